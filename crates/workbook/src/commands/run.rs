//! `cargo workbook run`: notebooks without a browser, in the real kernel.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::kernel;
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
    /// Set a parameter that the notebook declares in its cell tagged `parameters`; can be repeated.
    #[arg(
        short,
        long,
        value_name = "NAME=VALUE",
        value_parser = parameter,
        allow_hyphen_values = true,
        conflicts_with = "save"
    )]
    parameter: Vec<(String, String)>,
    /// Write the notebook that has run to another file.
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    output: Option<PathBuf>,
    /// Replace a text in the code cells before they run.
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
    let mut names: Vec<_> = options.parameter.iter().map(|(name, _)| name).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("the parameter {} is set twice", pair[0]);
    }
    let mut needed = Vec::new();
    for notebook in &options.notebooks {
        ensure_notebook(project, notebook)?;
        needed.push(Variant::of_notebook(notebook)?);
    }
    needed.dedup();
    if let Some(output) = &options.output {
        ensure_new(output, &options.notebooks)?;
    }
    for variant in needed {
        setup::ensure(project, variant)?;
    }

    let mut command = project.jupyter();
    // A spare kernel is for whoever sits before an open lab.
    command.env(kernel::SPARE_SWITCH, "0");
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
    for (name, value) in &options.parameter {
        // In one word, because a value can start like an option.
        command.arg(format!("--parameter={name}={value}"));
    }
    if let Some(output) = &options.output {
        command.arg("--output").arg(output);
    }
    let status = command
        .arg("--")
        .args(&options.notebooks)
        .status()
        .context("cannot run the Python environment")?;
    ensure!(status.success(), "a notebook failed");
    Ok(())
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    if name.is_empty() {
        return Err("there is no name before the `=`".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Refuses a file for the output that would overwrite a notebook, or be overwritten by the next one.
fn ensure_new(output: &Path, notebooks: &[PathBuf]) -> Result<()> {
    ensure!(
        notebooks.len() == 1,
        "--output is for one notebook, and {} are given",
        notebooks.len()
    );
    ensure!(
        output.extension().is_some_and(|extension| extension == "ipynb"),
        "{} is not the name of a notebook (a file that ends in .ipynb)",
        output.display()
    );
    let same = output
        .canonicalize()
        .is_ok_and(|output| notebooks[0].canonicalize().is_ok_and(|notebook| notebook == output));
    ensure!(!same, "--output would overwrite the notebook itself; --save does that");
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
