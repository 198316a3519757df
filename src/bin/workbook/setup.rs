//! `cargo workbook setup`: everything between a fresh checkout and an open notebook.

use std::time::Instant;

use anyhow::Result;

use crate::project::Project;
use crate::{kernel, seed, venv};

pub(crate) fn run(project: &Project) -> Result<()> {
    ensure(project)?;
    println!("The workbook is set up: `cargo workbook lab` opens it.");
    Ok(())
}

/// Sets up what is missing or out of date, and says nothing when that is nothing.
pub(crate) fn ensure(project: &Project) -> Result<()> {
    let _lock = project.lock()?;
    kernel::remove_leftovers(project)?;
    venv::ensure(project)?;
    kernel::install(project)?;
    seed::ensure(project)
}

/// Runs `work` between two lines: what it is, and how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    eprintln!("{title} ...");
    let result = work()?;
    eprintln!("    done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(result)
}
