//! `cargo workbook test`: all tests, notebooks included.

use anyhow::{Context, Result, ensure};

use crate::project::Project;
use crate::setup;
use crate::variant::Variant;

pub(crate) fn run(project: &Project) -> Result<()> {
    setup::ensure(project, Variant::Polars)?;
    // The launcher by itself, and in its own profile: together with other packages its dependencies
    // could get other features, and the kernel's rust-analyzer, which takes longer to compile than all
    // tests take, would be compiled again.
    cargo_test(project, &["--release"])?;
    cargo_test(project, &["--release", "--package", "workbook"])?;
    // What needs polars is compiled without optimisation: with it, that takes longer than all tests
    // together.
    cargo_test(project, &["--features", "polars", "--lib", "--test", "bitcoin"])?;
    cargo_test(project, &["--features", "polars", "--doc", "bitcoin"])
}

fn cargo_test(project: &Project, arguments: &[&str]) -> Result<()> {
    let status =
        project.cargo().arg("test").args(arguments).status().context("cannot run cargo")?;
    ensure!(status.success(), "some tests failed: `cargo test {}`", arguments.join(" "));
    Ok(())
}
