//! `cargo exercises [--check]`.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match perform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform() -> Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let check = match &arguments[..] {
        [] => false,
        [argument] if argument == "--check" => true,
        _ => bail!("the arguments are {arguments:?}: allowed is --check, or none"),
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).context("this package is in crates/exercises")?;
    exercises::generate(&root.join("notebooks"), check)
}
