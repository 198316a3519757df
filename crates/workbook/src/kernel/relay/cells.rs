//! The relay's end of the process that runs the cells; the other one is `runtime`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::unix::pipe::Receiver;

use super::marks::{Piece, Splitter};
use super::output::Stream;

const PIPES: [&str; 5] = ["stdin", "stdout", "stderr", "from", "to"];

/// The pipes, and the process at their other end.
pub(super) struct Cells {
    folder: PathBuf,
    stdout: Receiver,
    stderr: Receiver,
    from: Receiver,
    to: File,
}

/// What the process says before and after a cell.
pub(super) struct Said {
    pub(super) kind: String,
    pub(super) process: Option<Pid>,
    cell: Value,
}

/// Makes the pipes in a folder.
pub(super) fn make_pipes(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for name in PIPES {
        let path = folder.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot create {}", path.display()))?;
    }
    Ok(())
}

impl Cells {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        // For reading and writing: a pipe at whose other end nobody is stays open, since evcxr starts
        // another process when one has died.
        let open = |name: &str| {
            let path = folder.join(name);
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        let receiver = |name: &str| anyhow::Ok(Receiver::from_file_unchecked(open(name)?)?);
        Ok(Self {
            folder: folder.to_owned(),
            stdout: receiver("stdout")?,
            stderr: receiver("stderr")?,
            from: receiver("from")?,
            to: open("to")?,
        })
    }

    fn receiver(&self, stream: Stream) -> &Receiver {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// Waits until the cells have written something.
    pub(super) async fn readable(&self, stream: Stream) {
        self.receiver(stream).readable().await.ok();
    }

    /// Reads at most as much as a pipe holds, and splits it into pieces.
    pub(super) fn read(&self, stream: Stream, splitter: &mut Splitter) -> Option<Vec<Piece>> {
        let mut buffer = [0; 1 << 16];
        let receiver = self.receiver(stream);
        // tokio reads only what it has been told of, and that may be less than there is.
        let read =
            receiver.try_read(&mut buffer).or_else(|_| rustix::io::read(receiver, &mut buffer));
        match read {
            Ok(read @ 1..) => Some(splitter.feed(&buffer[..read])),
            _ => None,
        }
    }

    /// What the process says next.
    pub(super) async fn listen(&self, buffer: &mut Vec<u8>) -> Said {
        loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if let Ok(said) = serde_json::from_slice::<Value>(&line) {
                    let process = said["process"].as_i64().and_then(|id| i32::try_from(id).ok());
                    return Said {
                        kind: said["kind"].as_str().unwrap_or_default().to_owned(),
                        process: process.and_then(Pid::from_raw),
                        cell: said["cell"].clone(),
                    };
                }
                continue;
            }
            self.from.readable().await.ok();
            let mut bytes = [0; 4096];
            match self.from.try_read(&mut bytes) {
                Ok(read) => buffer.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Answers what the process has said; it waits for that.
    pub(super) fn answer(&self, said: &Said, mut answer: Value) {
        answer["process"] = said.process.map(|id| id.as_raw_nonzero().get()).into();
        answer["cell"] = said.cell.clone();
        (&self.to).write_all(format!("{answer}\n").as_bytes()).ok();
    }

    /// Lets the cells wait for input. They find the end of their input otherwise.
    pub(super) fn open_input(&self) -> Option<File> {
        std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(self.folder.join("stdin"))
            .ok()
    }
}

/// What a process is asked at its start, see [`waits_for_input`].
pub(super) fn can_be_watched(process: Pid) -> bool {
    let process = process.as_raw_nonzero();
    std::fs::read_to_string(format!("/proc/{process}/task/{process}/syscall")).is_ok()
}

/// Whether a thread of the process waits in a call of `read` on standard input. Linux tells.
pub(super) fn waits_for_input(process: Pid, input: &File) -> bool {
    let reads = format!("{} 0x0 ", libc::SYS_read);
    let folder = format!("/proc/{}/task", process.as_raw_nonzero());
    let Ok(threads) = std::fs::read_dir(folder) else { return false };
    // What has been typed may not have been read yet.
    rustix::io::ioctl_fionread(input).is_ok_and(|waiting| waiting == 0)
        && threads.flatten().any(|thread| {
            std::fs::read_to_string(thread.path().join("syscall"))
                .is_ok_and(|call| call.starts_with(&reads))
        })
}

/// Sends a signal to the process that runs the cells.
pub(super) fn signal(process: Pid, signal: Signal) {
    kill_process(process, signal).ok();
}

/// Ends what cargo is compiling for this process, if anything.
pub(super) fn end_compilers() {
    fn end_family(process: &str) {
        children(process).iter().for_each(|child| end_family(child));
        if let Some(id) = process.parse().ok().and_then(Pid::from_raw) {
            signal(id, Signal::TERM);
        }
    }
    let is_cargo = |process: &&String| {
        std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "cargo\n")
    };
    children("self").iter().filter(is_cargo).for_each(|process| end_family(process));
}

/// The processes that a process has started, where the system tells.
fn children(process: &str) -> Vec<String> {
    let threads =
        std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect()
}
