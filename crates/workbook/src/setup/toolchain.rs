//! What of Rust the kernel needs beside the compiler.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::console::step;
use crate::project::clean_command;

/// Sees to it that the sources of the standard library are there. The kernel reads them to tell the
/// types of a cell's variables; without them, every variable would have to name its own.
pub(crate) fn ensure() -> Result<()> {
    let sysroot = path_of("sysroot")?;
    if has_sources(&sysroot) {
        return Ok(());
    }
    step("Adding the sources of the standard library to Rust's toolchain", || {
        // A toolchain that is not rustup's own cannot be added to; the message below says what to do.
        clean_command("rustup")
            .args(["component", "add", "rust-src"])
            .stdin(Stdio::null())
            .status()
            .ok();
        ensure!(
            has_sources(&sysroot),
            "the notebooks need the sources of Rust's standard library, and {} has none: run \
             `rustup component add rust-src`, or install your system's package rust-src",
            sysroot.display()
        );
        Ok(())
    })
}

/// Looks where the kernel's rust-analyzer does.
fn has_sources(sysroot: &Path) -> bool {
    let named = env::var_os("RUST_SRC_PATH").map(PathBuf::from);
    [named, Some(sysroot.join("lib/rustlib/src/rust/library"))]
        .into_iter()
        .flatten()
        .any(|library| library.join("core").is_dir())
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
