//! The GPU of this machine, for the tests that want one.

use seq2seq::prelude::*;
use std::io::{Write, stderr};

/// The first GPU; where there is none, a line that says why `test` is skipped.
///
/// # Panics
/// When there is one that can not be used.
pub(crate) fn first(test: &str) -> Option<Cuda> {
    let Err(error) = Device::Cuda(0).check() else {
        return Some(Device::open_cuda(0).unwrap());
    };
    // Not by a macro: what those print of a test that passes is not shown.
    stderr().write_all(format!("{test} is skipped: {error}\n").as_bytes()).ok();
    None
}
