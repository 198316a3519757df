//! The kernel as Jupyter's tools see it. The tests speak to it in Python, in Jupyter's own client.
//!
//! The full numbers, by hand:
//!
//! ```text
//! target/workbook/venv/bin/python crates/workbook/tests/protocol interrupts --interrupts 100 --kills 20
//! target/workbook/venv/bin/python crates/workbook/tests/protocol bad_input --megabytes 100
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

mod common;
#[path = "common/packages.rs"]
mod packages;

use common::{expect_success, python};
use packages::install_test_packages;

/// Jupyter's own suite for kernels. Only what no kernel for Rust can do is left out; the script says
/// why, and fails when it leaves out anything else.
#[test]
fn the_suite_for_kernels_passes() {
    let _turn = turn();
    install_test_packages();
    expect_success(&python("protocol/suite.py").output().unwrap());
}

/// Every line of the table of what Jupyter's tools rely on.
#[test]
fn the_kernel_keeps_to_the_protocol() {
    scenarios("rows", &[]);
}

#[test]
fn outputs_arrive_at_once_and_in_order() {
    scenarios("outputs", &[]);
}

#[test]
fn an_interrupt_or_a_kill_costs_no_more_than_it_must() {
    scenarios("interrupts", &["--interrupts", "12", "--kills", "4"]);
}

#[test]
#[ignore = "takes five minutes; the test above does the same with small numbers"]
fn a_hundred_interrupts_and_twenty_kills() {
    scenarios("interrupts", &["--interrupts", "100", "--kills", "20"]);
}

#[test]
fn bad_cells_and_messages_leave_the_kernel_alive() {
    scenarios("bad_input", &["--megabytes", "10"]);
}

#[test]
#[ignore = "needs a gigabyte of memory; the test above does the same with less text"]
fn a_hundred_megabytes_in_one_line() {
    scenarios("bad_input", &["--megabytes", "100", "--only", "text_without_a_line_end"]);
}

/// Rust-analyzer reads copies of the sources; see `src/analysis`.
#[test]
fn copies_of_the_sources_tell_what_the_sources_tell() {
    scenarios("sources", &[]);
}

/// `jupyter execute`, `jupyter nbconvert --execute` and papermill.
#[test]
fn tools_of_others_can_run_the_notebooks() {
    scenarios("tools", &[]);
}

#[track_caller]
fn scenarios(group: &str, options: &[&str]) {
    let _turn = turn();
    let printed = expect_success(&python("protocol").arg(group).args(options).output().unwrap());
    assert!(printed.contains("all as expected"), "{printed}");
}

/// A kernel takes most of a gigabyte, and the tests measure times.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
