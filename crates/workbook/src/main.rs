//! The launcher `cargo workbook`, and the notebook kernel that it starts.
//!
//! One program plays both parts, because the kernel wants its own path for the processes that it
//! starts: the one that runs the cells (see [`kernel::runtime`]) is this program again.

mod analysis;
mod commands;
mod console;
mod kernel;
mod memory;
mod project;
mod setup;
mod variant;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use commands::{cuda, fetch_prices, lab, run, test};
use project::Project;
use setup::seed;
use variant::Variant;

/// The workbook: notebooks on recurrent networks for time series, in Rust.
#[derive(Parser)]
#[command(name = "cargo workbook", bin_name = "cargo workbook")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what the notebooks need, below target/: a Python environment and a warm build.
    Setup(setup::Options),
    /// Set up what is missing, then open JupyterLab on the notebooks.
    Lab {
        /// Passed on to JupyterLab, for instance --no-browser --port 8899.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run notebooks without a browser, in the same kernel, and stop at the first thing that fails.
    Run(run::Options),
    /// Set up what is missing, then run all tests, notebooks included.
    Test,
    /// Run cargo with feature `cuda`, for instance `cuda test --release`, on machines without CUDA's
    /// toolkit or a GPU too; without a command of cargo, print the environment that it needs.
    Cuda(cuda::Options),
    /// Fetch real prices of bitcoin for exercise 4 into data/, which git ignores.
    FetchBtc,
    /// What Jupyter starts for each open notebook.
    #[command(hide = true)]
    Kernel {
        #[arg(long)]
        variant: Variant,
        /// Start before anybody wants it, until the process with this number ends.
        #[arg(long, value_name = "KEEPER", conflicts_with = "connection_file")]
        spare: Option<u32>,
        /// The file in which Jupyter says how to reach it.
        #[arg(required_unless_present = "spare")]
        connection_file: Option<PathBuf>,
    },
    /// Keeps a kernel that is warm before a notebook is opened.
    #[command(hide = true)]
    Spare {
        /// Start no other one when it is taken.
        #[arg(long)]
        once: bool,
        /// The process whose end ends this one; by default the one that has started it.
        #[arg(long, value_name = "PROCESS")]
        parent: Option<u32>,
    },
    /// Compiles what every kernel needs into the current seed.
    #[command(hide = true)]
    Warm,
    /// Compiles what the notebook on prices needs, unless somebody is at it; whoever else wants the
    /// machine comes first.
    #[command(hide = true)]
    Polars,
}

fn main() -> ExitCode {
    // First of all: a kernel starts this program again to run cells in, and to stand for cargo and rustc.
    if let Some(code) = analysis::run_if_asked() {
        return code;
    }
    kernel::runtime::run_if_asked();
    evcxr::runtime_hook();
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<()> {
    if kernel::is_prepared() {
        return kernel::serve();
    }
    let arguments = Arguments::parse();
    let project = Project::locate()?;
    match arguments.command {
        Task::Setup(options) => setup::run(&project, &options),
        Task::Lab { arguments } => lab::run(&project, &arguments),
        Task::Run(options) => run::run(&project, &options),
        Task::Test => test::run(&project),
        Task::Cuda(options) => cuda::run(&project, &options),
        Task::FetchBtc => fetch_prices::run(&project),
        Task::Kernel { variant, spare: Some(keeper), .. } => {
            kernel::start_spare(&project, variant, keeper)
        }
        Task::Kernel { variant, connection_file, .. } => {
            let file = connection_file.context("Jupyter's file is missing")?;
            kernel::start(&project, variant, &file)
        }
        Task::Spare { once, parent } => kernel::keeper::run(&project, once, parent),
        Task::Warm => seed::warm(),
        Task::Polars if project.is_free(seed::POLARS_LOCK) => {
            rustix::process::nice(19).ok();
            seed::ensure(&project, Variant::Polars)
        }
        Task::Polars => Ok(()),
    }
}
