//! Where things lie, the lock over them, and the environment for the programs that we start.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
pub(crate) use exercises::write;

/// Where the repository was when this program was built.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("this package is in crates/workbook")
}

/// The repository, and the folder below `target/` with everything that the launcher makes.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
}

impl Project {
    pub(crate) fn locate() -> Result<Project> {
        let root = root().to_owned();
        ensure!(
            root.join("Cargo.toml").is_file(),
            "{} was moved or deleted since this launcher was built; run `cargo workbook` in its new place",
            root.display()
        );
        // The tests set another folder up and break it.
        let state = match env::var_os("SEQ2SEQ_WORKBOOK_STATE") {
            Some(folder) => std::path::absolute(folder)?,
            None => root.join("target").join("workbook"),
        };
        fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        Ok(Project { root, state })
    }

    pub(crate) fn notebooks(&self) -> PathBuf {
        self.root.join("notebooks")
    }

    /// The Python environment: one that an image brings along, or else our own.
    pub(crate) fn venv(&self) -> PathBuf {
        given_python().unwrap_or_else(|| self.state.join("venv"))
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.venv().join("bin").join("python")
    }

    /// Waits for the lock over everything below [`Project::state`]; it is held until the file is
    /// dropped, and the system drops it for a process that dies.
    pub(crate) fn lock(&self) -> Result<File> {
        self.lock_file("lock")
    }

    /// Waits for the lock over a file below [`Project::state`].
    pub(crate) fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.state.join(name);
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("Waiting for another set-up of this workbook to finish ...");
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(file)
    }

    /// A file below [`Project::state`] for what a program in the background says.
    pub(crate) fn log(&self, name: &str) -> Result<File> {
        let path = self.state.join(name);
        let log = File::options().create(true).append(true).open(&path);
        log.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether nobody holds the lock over a file below [`Project::state`].
    pub(crate) fn is_free(&self, name: &str) -> bool {
        File::create(self.state.join(name)).is_ok_and(|file| file.try_lock().is_ok())
    }

    /// A command of the Python environment, with all of Jupyter's files below [`Project::state`].
    pub(crate) fn jupyter(&self) -> Command {
        self.with_jupyter(self.python())
    }

    /// A command in the same environment as [`Self::jupyter`]'s.
    pub(crate) fn with_jupyter(&self, program: impl AsRef<OsStr>) -> Command {
        let folder = self.state.join("jupyter");
        // IPython, which nothing here uses, complains when it cannot make its own.
        fs::create_dir_all(folder.join("ipython")).ok();
        let mut command = clean_command(program);
        command
            .env("JUPYTER_CONFIG_DIR", folder.join("config"))
            .env("JUPYTER_DATA_DIR", folder.join("data"))
            .env("JUPYTER_RUNTIME_DIR", folder.join("runtime"))
            .env("IPYTHONDIR", folder.join("ipython"))
            .env("JUPYTER_PREFER_ENV_PATH", "1")
            .env("JUPYTER_PLATFORM_DIRS", "1")
            .env_remove("JUPYTER_PATH")
            .env_remove("JUPYTER_CONFIG_PATH")
            .env_remove("JUPYTER_TOKEN")
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .env("PYTHONUNBUFFERED", "1");
        command
    }

    /// Cargo on the repository: the one that runs this program, if one does.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = clean_command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        cargo
    }

    /// Fails when the disk below [`Project::state`] has less room than `purpose` needs.
    pub(crate) fn ensure_space(&self, megabytes: u64, purpose: &str) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.state).with_context(|| {
            format!("cannot ask for the free space of {}", self.state.display())
        })?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) / 1_000_000;
        ensure!(
            free >= megabytes,
            "{purpose} needs {megabytes} MB, and {} has only {free} MB free: make room and try again",
            self.state.display()
        );
        Ok(())
    }
}

/// The Python environment with JupyterLab that an image brings along (see `binder/`).
pub(crate) fn given_python() -> Option<PathBuf> {
    env::var_os("SEQ2SEQ_WORKBOOK_PYTHON").map(PathBuf::from)
}

/// A command without the variables that would make a build inside a kernel differ from the seed's:
/// what `cargo run` and `cargo test` add for the program they start, and what changes cargo's
/// settings from outside.
pub(crate) fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if changes_builds(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    match env::join_paths(library_paths()) {
        Ok(paths) if !paths.is_empty() => command.env("LD_LIBRARY_PATH", paths),
        _ => command.env_remove("LD_LIBRARY_PATH"),
    };
    command
}

/// The environment without the variables that [`clean_command`] removes.
pub(crate) fn clean_environment() -> impl Iterator<Item = (String, OsString)> {
    env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| !changes_builds(name))
}

fn changes_builds(name: &str) -> bool {
    const PREFIXES: [&str; 6] =
        ["CARGO_BIN_", "CARGO_BUILD_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "EVCXR_"];
    const NAMES: [&str; 7] = [
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "CARGO_TARGET_TMPDIR",
        "RUSTFLAGS",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Where shared objects are looked for, less what cargo adds of its own output folders: they come
/// before the ones that are written in a shared object, and a cell would load the launcher's
/// libseq2seq.so instead of the kernel's.
pub(crate) fn library_paths() -> Vec<PathBuf> {
    let target = root().join("target");
    let paths = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    env::split_paths(&paths)
        .filter(|path| !path.as_os_str().is_empty() && !path.starts_with(&target))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_is_an_error_that_names_both_numbers() {
        let project = Project { root: PathBuf::from("/"), state: env::temp_dir() };
        project.ensure_space(0, "nothing").unwrap();
        let message = project.ensure_space(u64::MAX, "this").unwrap_err().to_string();
        assert!(message.contains(&format!("needs {} MB", u64::MAX)), "{message}");
        assert!(message.contains("MB free"), "{message}");
    }
}
