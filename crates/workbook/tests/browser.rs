//! JupyterLab as a learner sees it, in a real browser.

use std::process::Command;

mod common;

#[test]
fn an_exercise_can_be_done_in_jupyterlab() {
    let found = ["chromium", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    let Some(browser) = found else {
        eprintln!("NOT TESTED: there is no chromium on the path (Debian: apt install chromium)");
        return;
    };
    let output = common::python("browser.py")
        .args(["--browser", browser, "--launcher", env!("CARGO_BIN_EXE_workbook")])
        .output()
        .expect("the workbook is set up: `cargo workbook setup`");
    let log = common::expect_success(&output);
    assert!(log.contains("its pictures are drawn all the same"), "{log}");
}
