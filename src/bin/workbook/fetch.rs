//! `cargo workbook fetch-btc`: real prices of bitcoin.

use std::env;

use anyhow::{Context, Result, ensure};

use crate::project::{Project, clean_command};

/// Runs the example that fetches, since the launcher itself does without polars. In the dev profile:
/// it handles a few thousand rows, and to optimise polars for them takes minutes more.
pub(crate) fn run(project: &Project) -> Result<()> {
    let status = clean_command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--features", "polars", "--example", "fetch_btc"])
        .current_dir(&project.root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the prices were not fetched");
    Ok(())
}
