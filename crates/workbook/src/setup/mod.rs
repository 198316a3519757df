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
    announce(project, variant)?;
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

/// Says what is missing, and how long it will take.
fn announce(project: &Project, variant: Variant) -> Result<()> {
    let mut missing = Vec::new();
    if !venv::is_complete(project)? {
        missing.push("JupyterLab (half a minute)");
    }
    for (seed, time) in [
        (Variant::Core, "the kernel of the notebooks (3 minutes)"),
        (Variant::Polars, "the kernel with polars (4 minutes)"),
        (Variant::Cuda, "the kernel for NVIDIA GPUs (5 minutes)"),
    ] {
        if (seed == Variant::Core || seed == variant) && !seed::exists(project, seed) {
            missing.push(time);
        }
    }
    if !missing.is_empty() {
        eprintln!("To be set up, with the times on two free cores: {}.", missing.join(", "));
    }
    Ok(())
}
