//! `cargo workbook test`: all tests, notebooks included.

use anyhow::{Context, Result, ensure};

use crate::project::Project;
use crate::setup;
use crate::variant::Variant;

pub(crate) fn run(project: &Project) -> Result<()> {
    setup::ensure(project, Variant::Polars)?;
    // One build for everything, the launcher's own: a second profile would compile the kernel's
    // rust-analyzer again, which takes longer than all tests together.
    cargo_test(project, &["--workspace", "--release", "--features", "lab"])?;
    // But for what needs polars, which is compiled without optimisation: with it, it takes longer than
    // all tests together.
    cargo_test(project, &["--features", "polars", "--lib", "--test", "bitcoin"])
}

fn cargo_test(project: &Project, arguments: &[&str]) -> Result<()> {
    let status =
        project.cargo().arg("test").args(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "some tests failed: `cargo test {}`", arguments.join(" "));
    Ok(())
}
