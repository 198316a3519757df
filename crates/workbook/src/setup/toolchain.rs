//! What of Rust the kernel needs beside the compiler.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::console::step;
use crate::project::clean_command;

/// Sees to it that the sources of the standard library are there. The kernel reads them to tell the
/// types of a cell's variables; without them, every variable would have to name its own.
pub(crate) fn ensure() -> Result<()> {
    if sources().is_ok() {
        return Ok(());
    }
    step("Adding the sources of the standard library to Rust's toolchain", || {
        // A toolchain that is not rustup's own cannot be added to; the message of `sources` says what to
        // do.
        clean_command("rustup")
            .args(["component", "add", "rust-src"])
            .stdin(Stdio::null())
            .status()
            .ok();
        sources().map(drop)
    })
}

/// The folder with the sources of the standard library: the one that the variable for it names, or the
/// toolchain's.
pub(crate) fn sources() -> Result<PathBuf> {
    let sysroot = path_of("sysroot")?;
    let named = env::var_os("RUST_SRC_PATH").map(PathBuf::from);
    let mut folders = named.into_iter().chain([sysroot.join("lib/rustlib/src/rust/library")]);
    folders.find(|folder| folder.join("core").is_dir()).with_context(|| {
        format!(
            "the notebooks need the sources of Rust's standard library, and {} has none: run \
             `rustup component add rust-src`, or install your system's package rust-src",
            sysroot.display()
        )
    })
}

/// The folder with the shared libraries of Rust's own.
pub(crate) fn libraries() -> Result<PathBuf> {
    path_of("target-libdir")
}

/// What rustc prints for one of its paths.
fn path_of(name: &str) -> Result<PathBuf> {
    Ok(PathBuf::from(rustc(&["--print", name])?.trim()))
}

/// What rustc prints.
pub(crate) fn rustc(arguments: &[&str]) -> Result<String> {
    let output = clean_command("rustc")
        .args(arguments)
        .output()
        .context("cannot run rustc: is Rust on the PATH?")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
