//! What some tests in Python need, and the workbook does not.

use std::fs;
use std::process::Command;

use crate::common::{expect_success, root};

/// Installs `requirements.txt` beside the workbook's Python, once.
pub(crate) fn install_test_packages() {
    let requirements = root().join("crates/workbook/tests/requirements.txt");
    let state = root().join("target/workbook");
    let packages = state.join("test-packages");
    let stamp = packages.join("complete");
    let wanted = fs::read_to_string(&requirements).unwrap();
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return;
    }
    fs::remove_dir_all(&packages).ok();
    let output = Command::new(state.join("venv/bin/python"))
        .args(["-I", "-m", "pip", "install", "--no-deps", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--target"])
        .arg(&packages)
        .arg("--requirement")
        .arg(&requirements)
        .output()
        .expect("the workbook is set up: `cargo workbook setup`");
    expect_success(&output);
    fs::write(stamp, wanted).unwrap();
}
