//! `cargo workbook test`: all tests, notebooks included.

use anyhow::{Context, Result, ensure};

use crate::project::Project;
use crate::setup;
use crate::variant::Variant;

pub(crate) fn run(project: &Project) -> Result<()> {
    setup::ensure(project, Variant::Polars)?;
    // In the profile of the notebooks' cells, which optimises the numerical crates alone: optimised as a
    // whole, polars would take longer to compile than all tests take to run.
    cargo_test(project, &["--features", "polars"])?;
    // The launcher by itself, and in its own profile: together with other packages its dependencies could
    // get other features, and the kernel's rust-analyzer, which takes longest to compile, would be compiled
    // again.
    cargo_test(project, &["--release", "--package", "workbook"])
}

fn cargo_test(project: &Project, arguments: &[&str]) -> Result<()> {
    let status =
        project.cargo().arg("test").args(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "some tests failed: `cargo test {}`", arguments.join(" "));
    Ok(())
}
