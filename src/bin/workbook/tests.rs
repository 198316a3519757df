//! `cargo workbook test`: all tests, notebooks included.

use std::env;

use anyhow::{Context, Result, ensure};

use crate::project::{Project, clean_command};
use crate::setup;

pub(crate) fn run(project: &Project) -> Result<()> {
    setup::ensure(project)?;
    // One build for everything, the launcher's own: a second profile would compile the kernel's
    // rust-analyzer again, which takes longer than all tests together.
    let status = clean_command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--release", "--features", "lab"])
        .current_dir(&project.root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "some tests failed");
    Ok(())
}
