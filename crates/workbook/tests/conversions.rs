//! Weights to and from Keras, Flax and ONNX, in Python beside the frameworks themselves.

mod common;
#[path = "common/packages.rs"]
mod packages;

use common::{expect_success, python};

#[test]
fn frameworks_compute_the_same_with_converted_weights() {
    packages::install_test_packages();
    let printed = expect_success(&python("conversions.py").output().unwrap());
    println!("{printed}");
    assert!(printed.contains("all as expected"), "{printed}");
}
