//! A spare kernel: warm before anybody wants it, and handed over to the notebook that does.
//!
//! ```text
//! keeper -> spare            starts it (see `keeper`), and is nobody's when the keeper ends
//! Jupyter -> leash -> spare  Jupyter's process asks for it, and from then on lives as long as it
//! ```
//!
//! Jupyter starts a process and means the kernel by it. So that process stays: it holds the kernel by
//! a connection, and whichever of the two ends, the other one ends with it. Whatever goes wrong before
//! the kernel is handed over, that process becomes a kernel itself, as it does without a spare.
//!
//! In the folder of the spare kernel there is one more, which only its owner can enter:
//!
//! ```text
//! handover/offer.json        what the kernel is, for itself
//!          socket            where it listens
//!          ready, taken      for the keeper
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::relay::Connection;
use crate::project::{self, Project};
use crate::setup::seed;
use crate::variant::Variant;

/// The variable that switches spare kernels off, as `0`.
pub(crate) const SWITCH: &str = "SEQ2SEQ_WORKBOOK_SPARE";

/// The file that names the variant of the kernel that was started last.
const LAST: &str = "last-variant";

/// How long one side of a handover waits for a word of the other.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a spare kernel looks whether its keeper is there.
const LOOKING: Duration = Duration::from_millis(500);

const ACCEPTED: &str = "accepted\n";
const REFUSED: &str = "refused\n";
const GO: &str = "go\n";
const SERVING: &str = "serving\n";
const ENDED: &str = "ended\n";

/// An order has a name and a value for each variable of the environment.
const LONGEST_ORDER: u64 = 4_000_000;

/// What a spare kernel is.
#[derive(Serialize, Deserialize)]
pub(super) struct Offer {
    variant: String,
    build: String,
    environment: BTreeMap<String, String>,
    /// The process whose end ends a kernel that nobody has taken.
    keeper: u32,
}

/// What the process that Jupyter has started wants.
#[derive(Serialize, Deserialize)]
struct Order {
    variant: String,
    build: String,
    environment: BTreeMap<String, String>,
    /// The file in which Jupyter says how to reach the kernel.
    connection_file: PathBuf,
    /// The folder of the notebook.
    folder: PathBuf,
}

/// What becomes of a spare kernel.
pub(super) enum Event {
    /// It is to listen at these ports, and to say whether it does.
    Taken { connection: Connection, folder: PathBuf, bound: mpsc::Sender<Result<()>> },
    /// Nobody can take it any more.
    Unwanted,
    /// Whoever has taken it is gone.
    Abandoned,
}

/// The end of the connection that a spare kernel is held by, once somebody has taken it.
pub(super) type Holder = Arc<OnceLock<UnixStream>>;

pub(crate) fn is_switched_off() -> bool {
    env::var_os(SWITCH).is_some_and(|value| value == "0")
}

/// Notes which kernel was started last: the next spare one is of the same variant.
pub(super) fn remember(project: &Project, variant: Variant) {
    // It is a matter of seconds only.
    if !is_switched_off() {
        project::write(&project.state.join(LAST), &name_of(variant)).ok();
    }
}

/// The variant of the kernel that was started last.
pub(super) fn last(project: &Project) -> Variant {
    let text = fs::read_to_string(project.state.join(LAST)).unwrap_or_default();
    Variant::from_str(&text, false).unwrap_or(Variant::Core)
}

pub(super) fn name_of(variant: Variant) -> String {
    variant.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub(super) fn handover(folder: &Path) -> PathBuf {
    folder.join("handover")
}

pub(super) fn is_ready(folder: &Path) -> bool {
    handover(folder).join("ready").exists()
}

pub(super) fn is_taken(folder: &Path) -> bool {
    handover(folder).join("taken").exists()
}

/// Tells the keeper that the kernel answers at once from now on.
pub(super) fn mark_ready(folder: &Path) {
    File::create(handover(folder).join("ready")).ok();
}

/// What a kernel is built from: its seed, and this program. None when the seed is not up to date.
pub(super) fn build(project: &Project, variant: Variant) -> Result<Option<String>> {
    let launcher = env::current_exe().context("cannot tell the path of the launcher")?;
    let modified = fs::metadata(&launcher)
        .and_then(|data| data.modified())
        .with_context(|| format!("cannot tell the age of {}", launcher.display()))?;
    let age = modified.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
    Ok(seed::current(project, variant)?.map(|seed| format!("{seed} {age}")))
}

/// The variables on which it depends what cells and compilers do. The others tell who has started whom.
fn environment() -> BTreeMap<String, String> {
    const PREFIXES: [&str; 3] = ["JPY_", "JUPYTER", "PYTHON"];
    const NAMES: [&str; 7] =
        ["_", "PWD", "OLDPWD", "SHLVL", "IPYTHONDIR", "IPY_INTERRUPT_EVENT", "LD_LIBRARY_PATH"];
    let mut variables: BTreeMap<_, _> = project::clean_environment()
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .filter(|(name, _)| {
            !NAMES.contains(&name.as_str()) && !PREFIXES.iter().any(|p| name.starts_with(p))
        })
        .collect();
    let libraries = env::join_paths(project::library_paths()).unwrap_or_default();
    variables.insert("LD_LIBRARY_PATH".to_owned(), libraries.to_string_lossy().into_owned());
    variables
}

/// Writes down in a kernel's folder what it is, for [`Offer::read`].
pub(super) fn describe(variant: Variant, build: String, keeper: u32, folder: &Path) -> Result<()> {
    let handover = handover(folder);
    // The environment may hold secrets.
    DirBuilder::new()
        .mode(0o700)
        .create(&handover)
        .with_context(|| format!("cannot create {}", handover.display()))?;
    let offer = Offer { variant: name_of(variant), build, environment: environment(), keeper };
    let path = handover.join("offer.json");
    fs::write(&path, serde_json::to_string(&offer)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Offer {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = handover(folder).join("offer.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Whether the kernel is what the order wants.
    fn judge(&self, order: &Order) -> Verdict {
        if self.variant != order.variant {
            return Verdict::Stay(format!("a kernel {} is wanted", order.variant));
        }
        if self.build != order.build {
            return Verdict::End;
        }
        let (own, wanted) = (&self.environment, &order.environment);
        let differs = |name: &&String| own.get(*name) != wanted.get(*name);
        match own.keys().chain(wanted.keys()).find(differs) {
            Some(name) => Verdict::Stay(format!("the variable {name} has another value")),
            None => Verdict::Take,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Take,
    /// The kernel waits for another order.
    Stay(String),
    /// Nobody will want a kernel of an older build.
    End,
}

/// Listens for an order, in the background. What becomes of the kernel is told by the events, and
/// whoever takes it is the `holder`.
pub(super) fn offer(
    folder: &Path,
    offer: Offer,
    holder: &Holder,
) -> Result<UnboundedReceiver<Event>> {
    let handover = handover(folder);
    let listener = with_short_path(&handover, |path| UnixListener::bind(path))
        .with_context(|| format!("cannot listen in {}", handover.display()))?;
    let (events, receiver) = unbounded_channel();
    let (keeper, taken, ending) = (offer.keeper, Arc::clone(holder), events.clone());
    thread::Builder::new().name("keeper".to_owned()).spawn(move || {
        while taken.get().is_none() {
            if parent() != Some(keeper) {
                ending.send(Event::Unwanted).ok();
                return;
            }
            thread::sleep(LOOKING);
        }
    })?;
    let holder = Arc::clone(holder);
    thread::Builder::new().name("handover".to_owned()).spawn(move || {
        let event =
            attend(&listener, &offer, &handover, &events, &holder).unwrap_or_else(|error| {
                eprintln!("The spare kernel cannot be handed over: {error:#}");
                Event::Unwanted
            });
        events.send(event).ok();
    })?;
    Ok(receiver)
}

/// The process that has started this one.
pub(super) fn parent() -> Option<u32> {
    rustix::process::getppid().and_then(|id| id.as_raw_nonzero().get().try_into().ok())
}

/// Waits for whoever takes the kernel, and then for the end of that process.
fn attend(
    listener: &UnixListener,
    offer: &Offer,
    handover: &Path,
    events: &UnboundedSender<Event>,
    holder: &Holder,
) -> Result<Event> {
    loop {
        let mut stream = listener.accept()?.0;
        let (order, connection) = match consider(&stream, offer) {
            Ok(Some(accepted)) => accepted,
            Ok(None) => {
                stream.write_all(REFUSED.as_bytes()).ok();
                return Ok(Event::Unwanted);
            }
            Err(reason) => {
                eprintln!("The spare kernel was not taken: {reason:#}.");
                stream.write_all(REFUSED.as_bytes()).ok();
                continue;
            }
        };
        // Whoever has lost patience meanwhile starts another kernel, and does not say this.
        let agreed = stream.write_all(ACCEPTED.as_bytes()).is_ok()
            && read_line(&stream).is_ok_and(|line| line == GO);
        if !agreed {
            continue;
        }
        fs::remove_file(handover.join("socket"))?;
        File::create(handover.join("taken"))?;
        env::set_current_dir(&order.folder)
            .with_context(|| format!("cannot enter {}", order.folder.display()))?;
        let (bound, binding) = mpsc::channel();
        events.send(Event::Taken { connection, folder: order.folder, bound }).ok();
        binding.recv().context("the relay has ended")??;
        holder.set(stream.try_clone()?).ok();
        stream.write_all(SERVING.as_bytes())?;
        stream.set_read_timeout(None)?;
        // Nothing more is said on this way.
        stream.read_exact(&mut [0]).ok();
        return Ok(Event::Abandoned);
    }
}

/// Reads an order. None when the kernel is of no use any more, and an error when it is not what is
/// wanted.
fn consider(stream: &UnixStream, offer: &Offer) -> Result<Option<(Order, Connection)>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let order: Order =
        serde_json::from_str(&read_line(stream)?).context("an order cannot be understood")?;
    match offer.judge(&order) {
        Verdict::Stay(reason) => Err(anyhow!("{reason}")),
        Verdict::End => Ok(None),
        Verdict::Take => {
            ensure!(order.folder.is_dir(), "{} is no folder", order.folder.display());
            let connection = Connection::read(&order.connection_file)?;
            Ok(Some((order, connection)))
        }
    }
}

fn read_line(stream: &UnixStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_ORDER)).read_line(&mut line)?;
    Ok(line)
}

/// Calls `act` with a path of `socket` in a folder. An address has room for about a hundred bytes, and
/// a folder's path may have more.
fn with_short_path<T>(
    folder: &Path,
    act: impl FnOnce(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let opened = File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join("socket"))
}

/// The process that Jupyter has started, which holds a spare kernel that it has taken.
pub(super) struct Leash(BufReader<UnixStream>);

/// Takes a spare kernel, if there is one that does exactly what a new one would.
pub(super) fn take(project: &Project, variant: Variant, connection_file: &Path) -> Option<Leash> {
    if is_switched_off() {
        return None;
    }
    let spares = listening(project);
    if spares.is_empty() {
        return None;
    }
    let folder = env::current_dir().ok()?;
    if folder.join("evcxr.toml").exists() {
        return None; // evcxr reads it when it starts
    }
    let order = Order {
        variant: name_of(variant),
        // A kernel of another build ends when it hears of this one.
        build: build(project, variant).ok()?.unwrap_or_default(),
        environment: environment(),
        connection_file: std::path::absolute(connection_file).ok()?,
        folder,
    };
    let order = format!("{}\n", serde_json::to_string(&order).ok()?);
    spares.into_iter().find_map(|stream| take_one(stream, &order).ok())
}

/// Connections to the spare kernels that there are.
fn listening(project: &Project) -> Vec<UnixStream> {
    let entries = fs::read_dir(&project.state).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("kernel-"))
        .filter_map(|entry| {
            with_short_path(&handover(&entry.path()), |path| UnixStream::connect(path)).ok()
        })
        .collect()
}

fn take_one(mut stream: UnixStream, order: &str) -> Result<Leash> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(order.as_bytes())?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut expect = |expected: &str| {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        ensure!(line == expected, "the spare kernel says {line:?}");
        Ok(())
    };
    expect(ACCEPTED)?;
    stream.write_all(GO.as_bytes())?;
    // It answers to nobody else from here on: either it serves, or it ends.
    stream.set_read_timeout(Some(5 * PATIENCE))?;
    expect(SERVING)?;
    stream.set_read_timeout(None)?;
    Ok(Leash(lines))
}

impl Leash {
    /// Waits for the kernel's end.
    pub(super) fn hold(self) -> Result<()> {
        let lines = self.0.lines().map_while(Result::ok);
        ensure!(lines.last().is_some_and(|line| line == ENDED.trim_end()), "the kernel has died");
        Ok(())
    }
}

/// Tells whoever holds the kernel that it ends as it should.
pub(super) fn say_ended(holder: &Holder) {
    if let Some(mut stream) = holder.get() {
        stream.write_all(ENDED.as_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_kernel_goes_only_to_whoever_would_have_started_the_same() {
        let offer = Offer {
            variant: "core".to_owned(),
            build: "1".to_owned(),
            environment: variables(&[("HOME", "/a"), ("LANG", "C")]),
            keeper: 1,
        };
        let order = |variant: &str, build: &str, environment| Order {
            variant: variant.to_owned(),
            build: build.to_owned(),
            environment: variables(environment),
            connection_file: PathBuf::new(),
            folder: PathBuf::new(),
        };
        let same: &[_] = &[("HOME", "/a"), ("LANG", "C")];
        assert_eq!(offer.judge(&order("core", "1", same)), Verdict::Take);
        assert!(matches!(offer.judge(&order("polars", "2", same)), Verdict::Stay(_)));
        assert_eq!(offer.judge(&order("core", "2", same)), Verdict::End);
        for (environment, name) in [
            (&[("HOME", "/a"), ("LANG", "D")][..], "LANG"),
            (&[("HOME", "/a")], "LANG"),
            (&[("HOME", "/a"), ("LANG", "C"), ("RUST_LOG", "debug")], "RUST_LOG"),
        ] {
            let verdict = offer.judge(&order("core", "1", environment));
            let Verdict::Stay(reason) = verdict else { panic!("{verdict:?}") };
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn a_socket_may_lie_deep() {
        let mut folder = env::temp_dir().join(format!("spare-{}", std::process::id()));
        let top = folder.clone();
        (0..20).for_each(|_| folder.push("a-folder-with-a-long-name"));
        fs::create_dir_all(&folder).unwrap();
        let listener = with_short_path(&folder, |path| UnixListener::bind(path)).unwrap();
        let mut sent = with_short_path(&folder, |path| UnixStream::connect(path)).unwrap();
        sent.write_all(b"a line\n").unwrap();
        assert_eq!(read_line(&listener.accept().unwrap().0).unwrap(), "a line\n");
        drop(listener);
        assert!(with_short_path(&folder, |path| UnixStream::connect(path)).is_err());
        fs::remove_dir_all(top).unwrap();
    }
}
