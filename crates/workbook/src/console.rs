//! What the launcher says while somebody waits for it.

use std::time::Instant;

use anyhow::Result;

/// Runs `work` between two lines: what it is, and how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    eprintln!("{title} ...");
    let result = work()?;
    eprintln!("    done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(result)
}
