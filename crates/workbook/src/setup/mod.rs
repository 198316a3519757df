//! `cargo workbook setup`: everything between a fresh checkout and an open notebook.

pub(crate) mod seed;
pub(crate) mod toolchain;
pub(crate) mod venv;

use anyhow::Result;
use clap::Args;

use crate::kernel;
use crate::project::Project;
use crate::variant::Variant;

#[derive(Args)]
pub(crate) struct Options {
    /// Prepare the kernel for NVIDIA GPUs, too; without a GPU it computes on the CPU.
    #[arg(long)]
    cuda: bool,
}

pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    ensure(project, Variant::Polars)?;
    if options.cuda {
        ensure(project, Variant::Cuda)?;
    }
    println!("The workbook is set up: `cargo workbook lab` opens it.");
    Ok(())
}

/// Sets up what is missing or out of date for notebooks of the variant, and says nothing when that is
/// nothing.
pub(crate) fn ensure(project: &Project, variant: Variant) -> Result<()> {
    let lock = project.lock()?;
    kernel::remove_leftovers(project)?;
    venv::ensure(project)?;
    toolchain::ensure()?;
    kernel::install(project, variant)?;
    drop(lock);
    seed::ensure(project, Variant::Core)?;
    match variant {
        Variant::Core => Ok(()),
        other => seed::ensure(project, other),
    }
}
