//! What rust-analyzer reads.
//!
//! evcxr asks a rust-analyzer of its own for the types of a cell's variables, for completions and for
//! documentation. It reads the sources of the standard library and of every dependency, which takes most
//! of a kernel's start and of its memory, although most of them tell nothing about a cell. So it is shown
//! copies with declarations and documentation only, of those packages that the crate's public signatures
//! name.
//!
//! ```text
//! analysis/library/      the standard library, less the bodies of its functions
//!          packages/     the packages, likewise
//!          sysroot       a link to the library that is read now: see [`environment`]
//!          empty/        a library without content
//!          home/bin/     what rust-analyzer takes for cargo: see [`cargo`]
//!          answers/      what cargo has answered before
//! ```

mod cargo;
mod lean;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

pub(crate) use self::cargo::run_if_asked;
use crate::setup::toolchain;

/// The parts of the standard library that a cell can name. `std_detect` has some of its macros.
const LIBRARIES: [&str; 4] = ["alloc", "core", "std", "std_detect"];

/// Cargo's own home, which is not the one that rust-analyzer is told of.
const CARGO_HOME: &str = "SEQ2SEQ_WORKBOOK_CARGO_HOME";

/// Set where answers of cargo are to be kept.
const RECORD: &str = "SEQ2SEQ_WORKBOOK_RECORD";

/// Set to `full` where rust-analyzer is to read all sources, as they are: a test compares the two.
const SWITCH: &str = "SEQ2SEQ_WORKBOOK_ANALYSIS";

/// What the copies are made by: a seed is made anew where it changes.
pub(crate) const SOURCES: [&str; 3] =
    [include_str!("mod.rs"), include_str!("cargo.rs"), include_str!("lean.rs")];

fn folder(kernel: &Path) -> PathBuf {
    kernel.join("analysis")
}

/// Makes the copies of the standard library's sources. Those of packages are made when cargo first names
/// them, while the seed is warmed.
pub(crate) fn make(kernel: &Path) -> Result<()> {
    let folder = folder(kernel);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let sources = toolchain::sources()?;
    let library = folder.join("library");
    for name in LIBRARIES {
        lean::copy(&sources.join(name), &library.join(name))?;
    }
    // The intrinsics of processors are more than all the rest, and no cell calls them.
    write(&library.join("stdarch/crates/core_arch/src/mod.rs"), "")?;
    write(&folder.join("empty/core/src/lib.rs"), "")?;
    fs::create_dir_all(folder.join("answers"))?;
    Ok(())
}

/// Whether there are copies, which may be those of older sources.
fn is_made(kernel: &Path) -> bool {
    folder(kernel).join("answers").exists()
}

/// Has a kernel without dependencies read the library at once: it has no second package.
pub(crate) fn cool(kernel: &Path) -> Result<()> {
    if !is_made(kernel) {
        return Ok(());
    }
    fs::remove_dir_all(folder(kernel).join("empty"))?;
    write(&kernel.join("config/init.evcxr"), &first_lines())
}

fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// The first lines that evcxr runs.
///
/// Before them evcxr has compiled a first package, without dependencies, for which rust-analyzer has read
/// the library at `sysroot`: an empty one, since it reads the library anew for the next package. For
/// evcxr's own calls cargo has its own home again.
pub(crate) fn first_lines() -> String {
    format!(
        "!ln -sfn library \"$EVCXR_CONFIG_DIR/../analysis/sysroot\"\n:build_env CARGO_HOME={}",
        cargo_home().display()
    )
}

/// What makes rust-analyzer read the copies in the kernel's folder.
pub(crate) fn environment(kernel: &Path) -> Result<Vec<(&'static str, OsString)>> {
    let folder = folder(kernel);
    if !is_made(kernel) || env::var_os(SWITCH).is_some_and(|value| value == "full") {
        return Ok(Vec::new());
    }
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    let programs = folder.join("home/bin");
    fs::create_dir_all(&programs)?;
    let library = if folder.join("empty").exists() { "empty" } else { "library" };
    for (target, link) in
        [(launcher.as_path(), programs.join("cargo")), (Path::new(library), folder.join("sysroot"))]
    {
        fs::remove_file(&link).ok();
        symlink(target, &link).with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(vec![
        ("RUST_SRC_PATH", folder.join("sysroot").into()),
        ("CARGO_HOME", folder.join("home").into()),
        (CARGO_HOME, cargo_home().into()),
    ])
}

/// As [`environment`], while a seed is made.
pub(crate) fn recording() -> (&'static str, OsString) {
    (RECORD, "1".into())
}

/// Where cargo keeps what it has downloaded.
fn cargo_home() -> PathBuf {
    env::var_os(CARGO_HOME)
        .or_else(|| env::var_os("CARGO_HOME"))
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default()
}

/// Becomes this program again where the environment is rust-analyzer's, which is no affair of the cells.
pub(crate) fn leave_environment() {
    let (Some(home), Ok(launcher)) = (env::var_os(CARGO_HOME), env::current_exe()) else { return };
    let error = Command::new(launcher)
        .args(env::args_os().skip(1))
        .env("CARGO_HOME", home)
        .env_remove(CARGO_HOME)
        .env_remove("RUST_SRC_PATH")
        .exec();
    eprintln!("warning: the cells have the environment of rust-analyzer: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_crate_reads_the_library_at_once() {
        let kernel = env::temp_dir().join(format!("analysis-{}", std::process::id()));
        for name in ["library", "empty", "answers"] {
            fs::create_dir_all(folder(&kernel).join(name)).unwrap();
        }
        let sysroot = || fs::read_link(folder(&kernel).join("sysroot")).unwrap();
        let variables = environment(&kernel).unwrap();
        assert!(variables.iter().any(|(name, _)| *name == "RUST_SRC_PATH"), "{variables:?}");
        assert_eq!(sysroot(), Path::new("empty"));

        cool(&kernel).unwrap();
        environment(&kernel).unwrap();
        assert_eq!(sysroot(), Path::new("library"));
        let first = fs::read_to_string(kernel.join("config/init.evcxr")).unwrap();
        assert!(first.contains(":build_env CARGO_HOME="), "{first}");
        fs::remove_dir_all(&kernel).unwrap();
    }
}
