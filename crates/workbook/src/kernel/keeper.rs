//! The keeper of the spare kernel: it runs beside JupyterLab, and ends with it.

use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::{folder_of, spare};
use crate::memory;
use crate::project::Project;
use crate::setup::seed;
use crate::variant::Variant;

/// The lock that keeps several labs of a clone from keeping a spare kernel each.
const LOCK: &str = "spare-lock";

/// The megabytes that a warm kernel holds with the process that runs its cells; `cargo workbook run
/// --timings` shows it.
const HELD_BY_A_KERNEL: u64 = 500;

/// The megabytes without which there is no spare kernel. It must leave room for the kernel of the open
/// notebook, and for the compiler, which each cell starts.
const NEEDED: u64 = 3 * HELD_BY_A_KERNEL;

const TICK: Duration = Duration::from_secs(1);

/// How long the cells of a notebook that has just been opened have the machine to themselves.
const REST: Duration = Duration::from_secs(20);

/// How often kernels may die before they are ready.
const ATTEMPTS: u32 = 3;

/// Starts the keeper for a lab that this process is about to become. It writes to a log: whoever reads
/// the terminal has no use for it.
pub(crate) fn start(project: &Project) -> Result<()> {
    if spare::is_switched_off() {
        return Ok(());
    }
    let log = project.log("spare.log")?;
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    project
        // With the environment of the lab, which is that of its kernels.
        .with_jupyter(launcher)
        .args(["spare", "--parent", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal is for the lab, which asks whether it is meant.
        .process_group(0)
        .spawn()
        .context("cannot start the launcher")?;
    Ok(())
}

/// Keeps a spare kernel until the parent ends, or, if it is to be only `once`, until somebody has taken
/// it.
pub(crate) fn run(project: &Project, once: bool, parent: Option<u32>) -> Result<()> {
    if spare::is_switched_off() {
        return Ok(());
    }
    let parent = parent.or_else(spare::parent);
    let path = project.state.join(LOCK);
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut keeper = Keeper::new(project);
    let mut alone = false;
    // A kernel that nobody has taken ends when this process has.
    while spare::parent() == parent {
        alone = alone || lock.try_lock().is_ok();
        if alone {
            keeper.tick()?;
            if once && keeper.is_done() {
                break;
            }
        }
        thread::sleep(TICK);
    }
    Ok(())
}

struct Keeper<'a> {
    project: &'a Project,
    spare: Option<Spare>,
    /// Those that were taken: whoever has started a process has to ask for its end.
    taken: Vec<Child>,
    /// Whether it has come to the point where a kernel is started, or a reason found not to.
    attempted: bool,
    failures: u32,
    not_before: Instant,
    /// Under these circumstances there is no use in another attempt.
    hopeless: Option<Circumstances>,
    said: String,
}

struct Spare {
    process: Child,
    folder: PathBuf,
    ready: bool,
    since: Instant,
}

/// What decides whether a spare kernel can be started, memory apart.
#[derive(Clone, PartialEq)]
struct Circumstances {
    variant: Variant,
    seed: Option<SystemTime>,
}

impl<'a> Keeper<'a> {
    fn new(project: &'a Project) -> Self {
        Self {
            project,
            spare: None,
            taken: Vec::new(),
            attempted: false,
            failures: 0,
            not_before: Instant::now(),
            hopeless: None,
            said: String::new(),
        }
    }

    /// Whether the one kernel that was started is taken or dead, or none could be started.
    fn is_done(&self) -> bool {
        self.attempted && self.spare.is_none()
    }

    fn tick(&mut self) -> Result<()> {
        self.taken.retain_mut(|process| matches!(process.try_wait(), Ok(None)));
        match self.spare.take() {
            Some(spare) => self.look_after(spare),
            None if Instant::now() >= self.not_before => self.start_another(),
            None => Ok(()),
        }
    }

    fn look_after(&mut self, mut spare: Spare) -> Result<()> {
        if let Some(status) = spare.process.try_wait()? {
            // One that was taken and has served its notebook, or has heard that it is out of date.
            let fine = spare.ready || status.success();
            self.failures = if fine { 0 } else { self.failures + 1 };
            self.say(&format!("The spare kernel has ended ({status})."));
            self.rest();
        } else if spare::is_taken(&spare.folder) {
            self.say("The spare kernel was taken.");
            self.failures = 0;
            self.taken.push(spare.process);
            self.rest();
        } else {
            if !spare.ready && spare::is_ready(&spare.folder) {
                spare.ready = true;
                let seconds = spare.since.elapsed().as_secs();
                self.say(&format!("The spare kernel is ready, after {seconds} s."));
            }
            self.spare = Some(spare);
        }
        Ok(())
    }

    fn start_another(&mut self) -> Result<()> {
        self.attempted = true;
        let variant = spare::last(self.project);
        let seed = time_of(&variant.seed(self.project).join("key"));
        let circumstances = Circumstances { variant, seed };
        if self.hopeless.as_ref() == Some(&circumstances) {
            return Ok(());
        }
        self.hopeless = None;
        let name = variant.display_name();
        if self.failures >= ATTEMPTS {
            self.say(&format!(
                "No spare kernel: {ATTEMPTS} of the kind {name} have died before they were ready."
            ));
            self.failures = 0;
            self.hopeless = Some(circumstances);
            return Ok(());
        }
        // The memory before the seed, which takes a moment to compare.
        match memory::available() {
            Some(available) if available >= NEEDED => {}
            Some(_) => {
                self.say(&format!("No spare kernel: less than {NEEDED} MB of memory are free."));
                self.rest();
                return Ok(());
            }
            None => {
                self.say("No spare kernel: the system does not say how much memory is free.");
                self.hopeless = Some(circumstances);
                return Ok(());
            }
        }
        if seed::current(self.project, variant)?.is_none() {
            self.say(&format!("No spare kernel: what {name} needs is not compiled."));
            self.hopeless = Some(circumstances);
            return Ok(());
        }
        self.say(&format!("A spare kernel starts: {name}."));
        let process =
            command(self.project, variant)?.spawn().context("cannot start the launcher")?;
        let folder = folder_of(self.project, process.id());
        self.spare = Some(Spare { process, folder, ready: false, since: Instant::now() });
        Ok(())
    }

    fn rest(&mut self) {
        self.not_before = Instant::now() + REST;
    }

    /// Says something new.
    fn say(&mut self, text: &str) {
        if self.said != text {
            eprintln!("{text}");
            text.clone_into(&mut self.said);
        }
    }
}

/// The command of a spare kernel.
fn command(project: &Project, variant: Variant) -> Result<Command> {
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    let mut command = Command::new(launcher);
    command
        .args(["kernel", "--variant", &spare::name_of(variant)])
        .args(["--spare", &std::process::id().to_string()])
        // Where most notebooks are; the one that takes the kernel has it move.
        .current_dir(project.notebooks())
        .stdin(Stdio::null())
        // Not ended by what ends this process or the terminal's, for it may be somebody's by then.
        .process_group(0);
    Ok(command)
}

fn time_of(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}
