//! The notebook kernel: evcxr in a folder of its own that starts as a copy of the seed, behind a relay.

pub(crate) mod keeper;
mod relay;
pub(crate) mod runtime;
mod spare;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;

use self::relay::{Client, Connection, Ending};
pub(crate) use self::spare::SWITCH as SPARE_SWITCH;
use crate::commands::papermill;
use crate::project::{self, Project};
use crate::setup::seed;
use crate::variant::Variant;

/// How evcxr's `main` reads the path of Jupyter's file.
const CONTROL_FILE: &str = "--control_file";

/// Where [`start`] tells [`serve`] which folder is the kernel's, and which file is Jupyter's.
const FOLDER: &str = "SEQ2SEQ_WORKBOOK_KERNEL";
const CONNECTION: &str = "SEQ2SEQ_WORKBOOK_CONNECTION";

/// Registers the kernels in the Python environment, and nowhere else, makes them the only ones, and
/// tells JupyterLab how their messages look. The kernel for GPUs is among them where it is `wanted`,
/// and where it was before.
pub(crate) fn install(project: &Project, wanted: Variant) -> Result<()> {
    let share = project.venv().join("share/jupyter");
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    let with_cuda = wanted == Variant::Cuda || Variant::Cuda.seed(project).exists();
    let variants =
        Variant::ALL.into_iter().filter(|&variant| variant != Variant::Cuda || with_cuda);
    let variants: Vec<_> = variants.collect();
    let mut files = Vec::new();
    for variant in &variants {
        let value = variant.to_possible_value().context("a variant without a name")?;
        let kernel = serde_json::json!({
            "argv": [launcher, "kernel", "--variant", value.get_name(), "{connection_file}"],
            "display_name": variant.display_name(),
            "language": "rust",
            // evcxr ends the process that runs the cells, and lives on.
            "interrupt_mode": "message",
        });
        let path = share.join("kernels").join(variant.kernel()).join("kernel.json");
        files.push((path, format!("{kernel:#}\n")));
    }
    // Nobody wants a window that asks for news in the middle of a lesson.
    let settings = serde_json::json!({
        "@jupyterlab/apputils-extension:notification": { "fetchNews": "false" },
    });
    files.push((share.join("lab/settings/overrides.json"), format!("{settings:#}\n")));
    let settings = serde_json::json!({
        "MappingKernelManager": { "default_kernel_name": Variant::Core.kernel() },
        // The Python kernel comes along with JupyterLab; a lesson in Rust has no use for it.
        "KernelSpecManager": {
            "allowed_kernelspecs": variants.iter().map(|variant| variant.kernel()).collect::<Vec<_>>(),
            "ensure_native_kernel": false,
        },
    });
    let etc = project.venv().join("etc/jupyter");
    files.push((etc.join("jupyter_server_config.d/seq2seq.json"), format!("{settings:#}\n")));
    // The one place for a style sheet that is not the user's own.
    if let Some(folder) = packages(project)? {
        files.push((
            folder.join("jupyter_server/static/custom/custom.css"),
            include_str!("messages.css").to_owned(),
        ));
        files.extend(papermill::files(&folder));
        let settings = serde_json::json!({ "LabApp": { "custom_css": true } });
        files.push((etc.join("jupyter_lab_config.json"), format!("{settings:#}\n")));
    }
    for (path, content) in files {
        if fs::read_to_string(&path).is_ok_and(|present| present == content) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        project::write(&path, &content)?;
    }
    Ok(())
}

/// Where the packages of the Python environment are.
fn packages(project: &Project) -> Result<Option<PathBuf>> {
    let library = project.venv().join("lib");
    let entries =
        fs::read_dir(&library).with_context(|| format!("cannot read {}", library.display()))?;
    for entry in entries {
        let folder = entry?.path().join("site-packages");
        if folder.join("jupyter_server").is_dir() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// Prepares a folder for a kernel, and becomes that kernel; or takes the spare kernel, if that is the
/// same, and stays as long as it does.
///
/// When the seed is missing or out of date, because a source file changed while the lab is open, it
/// is rebuilt first: the kernel would have to compile the same, and so the next one need not. When
/// that fails the kernel starts all the same, without the crate, and the notebook's own `:dep` line
/// shows the compiler's message where a learner sees it.
pub(crate) fn start(project: &Project, variant: Variant, connection_file: &Path) -> Result<()> {
    if let Some(leash) = spare::take(project, variant, connection_file) {
        spare::remember(project, variant);
        return leash.hold();
    }
    if variant == Variant::Polars && !seed::has_polars(project)? {
        return stand_in(project, connection_file);
    }
    spare::remember(project, variant);
    Connection::read(connection_file)?;
    let ready = seed::ensure(project, variant);
    let lock = project.lock()?;
    let kernel = prepare(project, variant, |folder| {
        let Err(error) = ready else { return Ok(()) };
        eprintln!("The kernel starts cold: {error:#}");
        seed::cool(folder)
    })?;
    drop(lock);
    kernel.run(project, Some(connection_file))
}

/// As [`start`], for whoever asks next; until then it is the keeper's. It compiles no seed.
pub(crate) fn start_spare(project: &Project, variant: Variant, keeper: u32) -> Result<()> {
    let lock = project.lock()?;
    let build = spare::build(project, variant)?
        .with_context(|| format!("what {} needs is not compiled", variant.display_name()))?;
    let describe = |folder: &Path| spare::describe(variant, build, keeper, folder);
    let kernel = prepare(project, variant, describe)?;
    drop(lock);
    kernel.run(project, None)
}

/// The folder of the kernel that a process is.
fn folder_of(project: &Project, process: u32) -> PathBuf {
    // As deep as the seed, since shared objects name their libraries by relative paths.
    project.state.join(format!("kernel-{process}"))
}

/// A kernel that has everything, but does not run yet.
struct Prepared {
    folder: PathBuf,
    /// Locked as long as the folder is in use.
    alive: File,
    environment: Vec<(&'static str, OsString)>,
}

/// Makes the folder of a kernel, of which no part is left when that fails. The caller has the project's
/// lock.
fn prepare(
    project: &Project,
    variant: Variant,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<Prepared> {
    remove_leftovers(project)?;
    let folder = folder_of(project, std::process::id());
    let fill = || {
        seed::copy(&variant.seed(project), &folder)?;
        finish(&folder)?;
        let alive = File::create(folder.join("alive"))?;
        alive.lock()?;
        relay::prepare(&control_file(&folder), &folder)?;
        anyhow::Ok((alive, seed::environment(project, variant, &folder)?))
    };
    match fill() {
        Ok((alive, environment)) => Ok(Prepared { folder, alive, environment }),
        Err(error) => {
            // On a full disk it would be in the way of the next attempt.
            remove(&folder);
            Err(error).with_context(|| format!("cannot prepare {}", folder.display()))
        }
    }
}

/// Where evcxr reads its ports.
fn control_file(folder: &Path) -> PathBuf {
    folder.join("connection.json")
}

impl Prepared {
    /// Becomes the kernel.
    fn run(self, project: &Project, connection_file: Option<&Path>) -> Result<()> {
        let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
        let mut command = project::clean_command(launcher);
        match connection_file {
            Some(path) => command.env(CONNECTION, path),
            None => command.env_remove(CONNECTION),
        };
        let error = command
            .arg(CONTROL_FILE)
            .arg(control_file(&self.folder))
            .envs(self.environment)
            .env(FOLDER, &self.folder)
            // The crate shows pictures by the relay's marks where somebody understands them.
            .env("SEQ2SEQ_NOTEBOOK", "1")
            // evcxr_jupyter renews what it finds installed at this path, by default in the user's home.
            .env("JUPYTER_PATH", project.venv().join("share/jupyter"))
            // Standard input is the one file that stays open when a process becomes another, so the lock
            // on it lives exactly as long as the kernel. The kernel itself reads nothing from it, and
            // gives the process that runs the cells a pipe instead.
            .stdin(self.alive)
            .exec();
        remove(&self.folder);
        Err(error).context("cannot start the kernel")
    }
}

/// Starts to compile what [`Variant::Polars`] needs, unless somebody is at it, and becomes a kernel that
/// answers every cell with what to do.
fn stand_in(project: &Project, connection_file: &Path) -> Result<()> {
    prepare_polars(project)?;
    let error = project
        .jupyter()
        .args(["-I", "-c", include_str!("not_ready.py")])
        .arg(connection_file)
        .arg(Variant::Polars.seed(project))
        .arg(project.state.join(seed::POLARS_LOCK))
        .exec();
    Err(error).context("cannot start the kernel")
}

/// Builds the seed of [`Variant::Polars`] in the background; what it says is in a log beside it. It
/// goes on when a notebook is closed.
pub(crate) fn prepare_polars(project: &Project) -> Result<()> {
    let log = project.log("polars.log")?;
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    project::clean_command(launcher)
        .arg("polars")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the launcher")?;
    Ok(())
}

/// Whether this process is a kernel that [`start`] has prepared.
pub(crate) fn is_prepared() -> bool {
    env::args_os().nth(1).is_some_and(|argument| argument == CONTROL_FILE)
}

/// The folder with the pipes between the relay and the process that runs the cells.
fn link(folder: &Path) -> PathBuf {
    folder.join("link")
}

/// What `runtime/helper.rs` is compiled to; the seed holds it.
pub(crate) fn helper(folder: &Path) -> PathBuf {
    folder.join("helper.so")
}

/// The source of [`helper`].
pub(crate) const HELPER: &str = include_str!("runtime/helper.rs");

/// Answers Jupyter until it asks for an end, then removes the kernel's folder.
pub(crate) fn serve() -> Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from);
    let (Some(folder), Some(evcxrs)) = (variable(FOLDER), env::args_os().nth(2).map(PathBuf::from))
    else {
        bail!("{CONTROL_FILE} is for the kernel's own use; `cargo workbook lab` starts it");
    };
    let holder = spare::Holder::default();
    let result = relay(variable(CONNECTION), &evcxrs, &folder, &holder);
    remove(&folder);
    if matches!(result, Ok(Ending::Abandoned)) {
        end_own_group();
    }
    spare::say_ended(&holder);
    result.map(drop)
}

/// Runs evcxr behind the relay. Without a file of Jupyter's it waits until somebody takes it.
fn relay(
    jupyters: Option<PathBuf>,
    evcxrs: &Path,
    folder: &Path,
    holder: &spare::Holder,
) -> Result<Ending> {
    let client = match jupyters {
        Some(path) => Client::Jupyter(Connection::read(&path)?),
        None => Client::Unknown(spare::offer(folder, spare::Offer::read(folder)?, holder)?),
    };
    let relay = relay::start(client, evcxrs, folder)?;
    // Whichever ends first: the relay when Jupyter asks for it, evcxr when it cannot start.
    let (ended, ending) = mpsc::channel();
    let by_relay = ended.clone();
    thread::spawn(move || by_relay.send(relay.join().map_err(|_| anyhow!("the relay panicked"))));
    thread::spawn(move || {
        let evcxr = std::panic::catch_unwind(evcxr_jupyter::main);
        match evcxr.unwrap_or_else(|_| Err(anyhow!("evcxr panicked"))) {
            Ok(()) => Ok(()), // the relay requested this, and has still to reply to Jupyter
            Err(error) => ended.send(Err(error)),
        }
    });
    ending.recv().context("the relay and evcxr have ended without a word")?
}

/// Ends this process and all that cells have started, as Jupyter does with the processes of a kernel
/// that does not end by itself.
fn end_own_group() {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        rustix::process::kill_current_process_group(rustix::process::Signal::KILL).ok();
    }
}

/// Removes a kernel's folder. A compiler that has just been ended may still have written into it.
fn remove(folder: &Path) {
    for _ in 0..5 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                thread::sleep(Duration::from_millis(50));
            }
            _ => return,
        }
    }
}

/// Removes the folders of kernels that were killed. A folder is in use while its lock is held; they
/// are made under the project's lock, which the caller has, so none is between the two.
pub(crate) fn remove_leftovers(project: &Project) -> Result<()> {
    for entry in fs::read_dir(&project.state)? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("kernel-") {
            continue;
        }
        let in_use = File::open(folder.join("alive")).is_ok_and(|file| file.try_lock().is_err());
        if !in_use && let Err(error) = fs::remove_dir_all(&folder) {
            eprintln!("warning: cannot remove {}: {error}", folder.display());
        }
    }
    Ok(())
}
