//! What all tests of the launcher share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap()
}

/// The workbook's Python with a script of this folder, and with Jupyter's files where the launcher
/// keeps them.
pub(crate) fn python(script: &str) -> Command {
    let state = root().join("target/workbook");
    let jupyter = |name: &str| -> PathBuf { state.join("jupyter").join(name) };
    let mut command = Command::new(state.join("venv/bin/python"));
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script))
        .env("JUPYTER_CONFIG_DIR", jupyter("config"))
        .env("JUPYTER_DATA_DIR", jupyter("data"))
        .env("JUPYTER_RUNTIME_DIR", jupyter("runtime"))
        .env("IPYTHONDIR", jupyter("ipython"))
        .env("JUPYTER_PREFER_ENV_PATH", "1")
        .env("JUPYTER_PLATFORM_DIRS", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONPATH", state.join("test-packages"))
        .env_remove("JUPYTER_PATH")
        .env_remove("JUPYTER_CONFIG_PATH")
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// What a program printed, which must have succeeded.
#[track_caller]
pub(crate) fn expect_success(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{printed}\n{message}", output.status);
    printed
}
