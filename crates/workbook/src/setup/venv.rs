//! The Python environment with JupyterLab, pinned by `binder/requirements.txt`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::console::step;
use crate::project::{self, Project};

/// The oldest Python that every pinned package installs on.
const OLDEST: (u32, u32) = (3, 11);

const SPACE_MB: u64 = 700;

/// Makes the environment, unless a complete one with the same pins is there.
///
/// An environment cannot be built beside and renamed, since its scripts name their own folder. So
/// the stamp comes last: without it, the next set-up starts afresh.
pub(crate) fn ensure(project: &Project) -> Result<()> {
    let folder = project.venv();
    if project::given_python().is_some() {
        let lab = project.jupyter().args(["-c", "import jupyterlab"]).output();
        ensure!(
            lab.is_ok_and(|output| output.status.success()),
            "SEQ2SEQ_WORKBOOK_PYTHON names {}, which is no Python environment with JupyterLab",
            folder.display()
        );
        return Ok(());
    }
    if is_complete(project)? {
        return Ok(());
    }
    let requirements = requirements(project);
    let python = find_python()?;
    project.ensure_space(SPACE_MB, "the Python environment")?;
    step("Installing JupyterLab into a Python environment of its own (about 250 MB)", || {
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let output = project::clean_command(&python)
            .args(["-m", "venv"])
            .arg(&folder)
            .output()
            .with_context(|| format!("cannot run {python}"))?;
        ensure!(
            output.status.success(),
            "{python} could not make a virtual environment: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        install(project, |pip| pip.arg("--requirement").arg(&requirements))?;
        project::write(&stamp(project), &pins(project)?)
    })
}

/// Whether there is an environment with the present pins. One from outside is taken as it is.
pub(crate) fn is_complete(project: &Project) -> Result<bool> {
    let pins = pins(project)?;
    Ok(project::given_python().is_some()
        || fs::read_to_string(stamp(project)).is_ok_and(|text| text == pins)
            // The link to the interpreter breaks when that Python is removed from the machine.
            && project.python().exists())
}

fn requirements(project: &Project) -> PathBuf {
    project.root.join("binder").join("requirements.txt")
}

fn pins(project: &Project) -> Result<String> {
    let path = requirements(project);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn stamp(project: &Project) -> PathBuf {
    project.venv().join("complete")
}

/// Installs packages with pip, with one line a package, and the whole of its output when it fails.
pub(crate) fn install(
    project: &Project,
    packages: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let mut pip = project.jupyter();
    // Exactly the list: nothing is resolved, so nothing can differ from what was tested.
    pip.args(["-m", "pip", "install", "--no-deps", "--no-input", "--no-color"])
        .args(["--progress-bar", "off", "--disable-pip-version-check"])
        .env("PIP_CACHE_DIR", project.state.join("pip"));
    packages(&mut pip);
    let (reader, writer) = std::io::pipe()?;
    let mut child = pip
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .context("cannot run pip")?;
    // The command holds the writing ends, and the reader waits until all of them are closed.
    pip.stdout(Stdio::null()).stderr(Stdio::null());
    let mut log = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if let Some(package) = line.strip_prefix("Collecting ") {
            eprintln!("    {}", package.split(" (").next().unwrap_or(package));
        } else if line.starts_with("Installing ") {
            eprintln!("    {}", line.split(':').next().unwrap_or(&line).to_lowercase());
        }
        log.push_str(&line);
        log.push('\n');
    }
    let status = child.wait()?;
    ensure!(status.success(), "pip failed ({status}):\n{log}");
    fs::remove_dir_all(project.state.join("pip")).ok();
    Ok(())
}

/// The first of `python3` and `python` that can do it, or why neither can.
fn find_python() -> Result<String> {
    const PROBE: &str = "import sys\nprint(*sys.version_info[:2])\nimport venv, ensurepip";
    let mut found = None;
    for name in ["python3", "python"] {
        let Ok(output) =
            project::clean_command(name).args(["-c", PROBE]).stdin(Stdio::null()).output()
        else {
            continue;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        let mut numbers = version.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            continue;
        };
        if (major, minor) < OLDEST {
            found.get_or_insert(format!(
                "`{name}` is Python {major}.{minor}, and the workbook needs {}.{} or newer",
                OLDEST.0, OLDEST.1
            ));
        } else if !output.status.success() {
            found.get_or_insert(format!(
                "`{name}` has no venv module; on Debian and Ubuntu: apt install python3-venv"
            ));
        } else {
            return Ok(name.to_owned());
        }
    }
    match found {
        Some(reason) => bail!("{reason}"),
        None => bail!(
            "Python is not installed (looked for `python3` and `python` on the PATH); the workbook \
             needs {}.{} or newer for JupyterLab",
            OLDEST.0,
            OLDEST.1
        ),
    }
}
