//! `cargo workbook run`: notebooks without a browser, in the real kernel.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::project::Project;
use crate::setup;
use crate::variant::Variant;

/// Speaks to the kernel through Jupyter's own client.
const SCRIPT: &str = include_str!("run.py");

#[derive(Args)]
pub(crate) struct Options {
    /// The notebooks, each run in a kernel of its own.
    #[arg(required = true, value_name = "NOTEBOOK")]
    notebooks: Vec<PathBuf>,
    /// Write the outputs back into the notebooks.
    #[arg(long, conflicts_with = "replace")]
    save: bool,
    /// Replace a text in the code cells before they run, for instance a hyperparameter.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], allow_hyphen_values = true)]
    replace: Vec<String>,
    /// Run the cells after one that fails, too, and report every failure.
    #[arg(long)]
    keep_going: bool,
    /// Print the seconds of each cell, and the peak memory of the kernel.
    #[arg(long)]
    timings: bool,
    /// Give up on a cell that takes longer than this.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u32,
}

pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let mut needed = Vec::new();
    for notebook in &options.notebooks {
        ensure_notebook(project, notebook)?;
        needed.push(Variant::of_notebook(notebook)?);
    }
    needed.dedup();
    for variant in needed {
        setup::ensure(project, variant)?;
    }

    let mut command = project.jupyter();
    // Isolated, so that a file in the current folder cannot pass for a Python module.
    command.args(["-I", "-c", SCRIPT]);
    command.args(["--timeout", &options.timeout.to_string()]);
    for (flag, given) in [
        ("--keep-going", options.keep_going),
        ("--save", options.save),
        ("--timings", options.timings),
    ] {
        if given {
            command.arg(flag);
        }
    }
    for pair in options.replace.chunks(2) {
        command.arg("--replace").args(pair);
    }
    let status = command
        .arg("--")
        .args(&options.notebooks)
        .status()
        .context("cannot run the Python environment")?;
    ensure!(status.success(), "a notebook failed");
    Ok(())
}

fn ensure_notebook(project: &Project, path: &Path) -> Result<()> {
    if path.is_file() && path.extension().is_some_and(|extension| extension == "ipynb") {
        return Ok(());
    }
    if path.exists() {
        bail!("{} is not a notebook (a file that ends in .ipynb)", path.display());
    }
    let mut present: Vec<String> = std::fs::read_dir(project.notebooks())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".ipynb"))
        .collect();
    present.sort();
    bail!(
        "there is no notebook {}; notebooks/ has: {}",
        path.display(),
        if present.is_empty() { "none".to_owned() } else { present.join(", ") }
    )
}
