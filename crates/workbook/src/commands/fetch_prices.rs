//! `cargo workbook fetch-btc`: real prices of bitcoin.

use anyhow::{Context, Result, ensure};

use crate::project::Project;

/// Runs the example that fetches, since the launcher itself does without polars. In the dev profile:
/// it handles a few thousand rows, and to optimise polars for them takes minutes more.
pub(crate) fn run(project: &Project) -> Result<()> {
    let status = project
        .cargo()
        .args(["run", "--features", "polars", "--example", "fetch_btc"])
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the prices were not fetched");
    Ok(())
}
