//! `cargo workbook cuda`: cargo with feature `cuda`, with or without CUDA's toolkit, with or without a
//! GPU.
//!
//! ```text
//! target/workbook/cuda/bin, nvvm      the compiler, unless the machine has a toolkit
//!                      include        its headers, or a link to the toolkit's
//!                      lib            what programs are linked with (see forward.c), and what they load
//!                      stand-in       an nvidia-smi for machines without a GPU
//! ```
//! dfdx compiles its kernels with `nvcc`, for the GPU that `nvidia-smi` names. Where there is none that
//! is one of compute capability 9.0 (H100, H200), unless `CUDA_COMPUTE_CAP` names another.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::console::step;
use crate::project::{self, Project, clean_command};
use crate::setup::venv;

/// The functions of NVIDIA's libraries, looked up when a program starts.
const FORWARD: &str = include_str!("cuda/forward.c");
/// The packages of a CUDA toolkit, less what is loaded at run time.
const REQUIREMENTS: &str = include_str!("cuda/requirements.txt");
const LIBRARIES: &str = include_str!("cuda/libraries.txt");

const SPACE_MB: u64 = 700;
const LIBRARIES_SPACE_MB: u64 = 2000;

/// An `nvidia-smi` that answers what dfdx's build asks, and nothing else, as on a machine with an H200.
const STAND_IN: &str = "#!/bin/sh
[ \"$*\" = '--query-gpu=compute_cap --format=csv' ] && echo compute_cap && echo 9.0
";

#[derive(Args)]
pub(crate) struct Options {
    /// Install NVIDIA's libraries without a GPU as well, to carry them to a machine that has one.
    #[arg(long)]
    libraries: bool,
    /// A command of cargo, for instance test --release --test layers.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CARGO COMMAND")]
    arguments: Vec<OsString>,
}

pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let lock = project.lock()?;
    let Environment { root, path, libraries } = ensure(project, options.libraries)?;
    drop(lock);
    let environment = [
        ("CUDA_PATH", root.into()),
        ("PATH", path),
        (
            "LD_LIBRARY_PATH",
            env::join_paths(libraries.into_iter().chain(project::library_paths()))?,
        ),
    ];
    let Some((command, arguments)) = options.arguments.split_first() else {
        for (name, value) in environment {
            println!("export {name}='{}'", value.to_string_lossy().replace('\'', r"'\''"));
        }
        return Ok(());
    };
    let status = project
        .cargo()
        .arg(command)
        .args(["--features", "cuda"])
        .args(arguments)
        .envs(environment)
        // A dylib has the same file name with and without the feature: in one folder, each build would
        // compile the crate anew after the other.
        .env("CARGO_TARGET_DIR", project.root.join("target/cuda"))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo {} failed", command.to_string_lossy());
    Ok(())
}

/// What cargo and the programs need.
pub(crate) struct Environment {
    /// CUDA's root, for linking.
    pub(crate) root: PathBuf,
    /// The `PATH`, with CUDA's programs before others.
    pub(crate) path: OsString,
    /// Where programs find NVIDIA's libraries.
    pub(crate) libraries: Vec<PathBuf>,
}

/// Lays out what feature `cuda` is built with, unless it is there. The caller holds the project's lock.
pub(crate) fn ensure(project: &Project, libraries: bool) -> Result<Environment> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "feature `cuda` is set up on Linux on x86-64 only; elsewhere build it with CUDA's own toolkit"
    );
    let root = project.state.join("cuda");
    let toolkit = Toolkit::find(&root)?;
    let key = format!(
        "{REQUIREMENTS}\n{FORWARD}\n{STAND_IN}\n{}",
        toolkit.as_ref().map_or("", |toolkit| toolkit.root.to_str().unwrap_or_default())
    );
    let stamp = root.join("complete");
    if !fs::read_to_string(&stamp).is_ok_and(|text| text == key) {
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot remove {}", root.display()))?;
        }
        match &toolkit {
            Some(toolkit) => toolkit.link(&root)?,
            None => install(project, &root)?,
        }
        forward(&root).context("cannot prepare what programs are linked with")?;
        let stand_in = root.join("stand-in/nvidia-smi");
        write_into_new_folder(&stand_in, STAND_IN)?;
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755))?;
        project::write(&stamp, &key)?;
    }

    let has_gpu = has_gpu();
    if libraries || has_gpu && toolkit.is_none() {
        install_libraries(project, &root)?;
    }
    let mut programs = vec![toolkit.as_ref().map_or(&root, |toolkit| &toolkit.root).join("bin")];
    if !has_gpu {
        programs.push(root.join("stand-in"));
    }
    programs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut libraries = vec![root.join("lib")];
    libraries.extend(toolkit.map(|toolkit| toolkit.root.join("lib64")));
    Ok(Environment { root, path: env::join_paths(programs)?, libraries })
}

/// CUDA's toolkit as NVIDIA installs it.
struct Toolkit {
    root: PathBuf,
}

impl Toolkit {
    /// The one that `CUDA_PATH` names, or the first on the `PATH`; but not `own`, the folder that this
    /// file lays out, which is both in a shell that has taken over our environment.
    fn find(own: &Path) -> Result<Option<Self>> {
        let is_complete =
            |root: &Path| root.join("bin/nvcc").is_file() && root.join("include/cuda.h").is_file();
        if let Some(root) = env::var_os("CUDA_PATH").map(PathBuf::from).filter(|root| root != own) {
            ensure!(
                is_complete(&root),
                "CUDA_PATH is {}, which has no bin/nvcc and include/cuda.h: it must be CUDA's \
                 toolkit, or not be set",
                root.display()
            );
            return Ok(Some(Self { root }));
        }
        let paths = env::var_os("PATH").unwrap_or_default();
        let mut roots = env::split_paths(&paths)
            .filter(|path| !path.starts_with(own))
            .filter_map(|path| path.join("nvcc").canonicalize().ok())
            .filter_map(|nvcc| Some(nvcc.parent()?.parent()?.to_path_buf()));
        Ok(roots.find(|root| is_complete(root)).map(|root| Self { root }))
    }

    /// Our own folder with its headers, for the linker must not find its libraries there.
    fn link(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        symlink(self.root.join("include"), root.join("include"))?;
        Ok(())
    }
}

/// Installs NVIDIA's packages, less what nothing here needs.
fn install(project: &Project, root: &Path) -> Result<()> {
    venv::ensure(project)?;
    project.ensure_space(SPACE_MB, "CUDA's compiler")?;
    step("Installing CUDA's compiler (about 100 MB)", || {
        unpack(project, "requirements.txt", ".", root)?;
        // For linking and for other kinds of programs.
        fs::remove_file(root.join("bin/nvlink")).ok();
        // Of the C++ libraries CUDA's own headers need nv/target alone, which lies beside this.
        for name in ["include/cccl", "lib", ".metadata"] {
            fs::remove_dir_all(root.join(name)).ok();
        }
        Ok(())
    })
}

/// Installs what programs load on a machine with a GPU, unless it is there.
fn install_libraries(project: &Project, root: &Path) -> Result<()> {
    let stamp = root.join("libraries");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == LIBRARIES) {
        return Ok(());
    }
    venv::ensure(project)?;
    project.ensure_space(LIBRARIES_SPACE_MB, "CUDA's libraries")?;
    step("Installing CUDA's libraries (about 500 MB)", || {
        unpack(project, "libraries.txt", "lib", &root.join("lib"))?;
        for name in ["libnvblas.so.13", "libnvrtc.alt.so.13", "libnvrtc-builtins.alt.so.13.0"] {
            fs::remove_file(root.join("lib").join(name)).ok();
        }
        project::write(&stamp, LIBRARIES)
    })
}

/// Installs a list of packages, and moves a part of the folder that they share to `to`.
fn unpack(project: &Project, list: &str, part: &str, to: &Path) -> Result<()> {
    let packages = project.state.join("cuda-packages");
    if packages.exists() {
        fs::remove_dir_all(&packages)?;
    }
    let list = project.root.join("crates/workbook/src/commands/cuda").join(list);
    venv::install(project, |pip| {
        pip.arg("--target").arg(&packages).arg("--requirement").arg(&list)
    })?;
    merge(&packages.join("nvidia/cu13").join(part), to)?;
    fs::remove_dir_all(&packages)?;
    Ok(())
}

/// Moves all files of a folder; those that are there are replaced.
fn merge(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() && target.exists() {
            merge(&entry.path(), &target)?;
        } else {
            fs::rename(entry.path(), &target)
                .with_context(|| format!("cannot move {}", target.display()))?;
        }
    }
    Ok(())
}

/// Compiles what programs are linked with instead of NVIDIA's libraries.
fn forward(root: &Path) -> Result<()> {
    let source = root.join("lib/forward.c");
    let object = source.with_extension("o");
    write_into_new_folder(&source, FORWARD)?;
    perform(clean_command("cc").args(["-O2", "-fPIC", "-c", "-o"]).arg(&object).arg(&source))?;
    perform(clean_command("ar").arg("crs").arg(root.join("lib/libcuda.a")).arg(&object))?;
    // The other libraries' functions are in the same archive; the linker asks for these by name.
    for name in ["libcublas.a", "libcublasLt.a", "libnvrtc.a"] {
        fs::write(root.join("lib").join(name), "!<arch>\n")?;
    }
    Ok(())
}

fn write_into_new_folder(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn perform(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Whether the driver knows of a GPU.
pub(crate) fn has_gpu() -> bool {
    let output = clean_command("nvidia-smi")
        .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that has taken over the environment finds the stand-in on its path.
    #[test]
    fn the_stand_in_answers_the_build_and_is_no_gpu() {
        let ask = |format: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", STAND_IN, "nvidia-smi", "--query-gpu=compute_cap", format]);
            shell.output().unwrap()
        };
        let answer = ask("--format=csv");
        assert!(answer.status.success() && answer.stdout == b"compute_cap\n9.0\n");
        assert!(!ask("--format=csv,noheader").status.success());
    }
}
