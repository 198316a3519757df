//! The kernel that is started before anybody wants it.

mod common;

use common::{expect_success, python};

#[test]
fn a_spare_kernel_is_taken_and_leaves_nothing_behind() {
    let printed = expect_success(&python("spare.py").output().unwrap());
    assert!(printed.contains("all as expected"), "{printed}");
}
