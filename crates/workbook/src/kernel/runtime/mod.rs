//! The process that runs the cells.
//!
//! evcxr starts the kernel's program again for it, and would have [`evcxr::runtime_hook`] run the
//! cells. That writes its marks for evcxr among the learner's text, reads its orders from the standard
//! input of the cells, and knows nothing of interrupts. So the loop is our own, with the same
//! protocol: a line `LOAD_AND_RUN path function` is an order, and `EVCXR_EXECUTION_COMPLETE` the answer.
//!
//! The relay makes five pipes in the kernel's folder:
//!
//! ```text
//! stdin  stdout  stderr      of the cells
//! from                       a line of JSON before each cell, and after it
//! to                         the answers
//! ```
//!
//! The pipes are the relay's: what a process writes before it dies is not lost.

mod library;

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;
use serde_json::{Value, json};

use self::library::{Library, Variables};
use super::{FOLDER, helper, link};
use crate::analysis;

/// evcxr's own name for the variable that makes a process this one.
const IS_RUNTIME: &str = "EVCXR_IS_RUNTIME";

/// Runs cells, and does not return, where evcxr has started this process for that.
pub(crate) fn run_if_asked() {
    if let (Some(_), Some(folder)) = (env::var_os(IS_RUNTIME), env::var_os(FOLDER)) {
        analysis::leave_environment();
        let code = match run_cells(&PathBuf::from(folder)) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("error: the process that runs the cells has to end: {error:#}");
                1
            }
        };
        exit(code);
    }
}

/// What the process talks to.
struct Link {
    orders: BufReader<File>,
    evcxr: File,
    relay: File,
    answers: BufReader<File>,
    /// What the cells get as their standard input, output and error.
    standard: [OwnedFd; 3],
}

impl Link {
    fn open(folder: &Path) -> Result<Self> {
        let pipe = |name: &str, flags| {
            let path = link(folder).join(name);
            rustix::fs::open(&path, flags | OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .with_context(|| format!("cannot open {}", path.display()))
        };
        // Files that evcxr has opened for this process go to other numbers, which no program that a
        // cell starts gets to see.
        let kept = |file: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(file, 3);
        let orders = kept(rustix::stdio::stdin())?;
        let evcxr = kept(rustix::stdio::stdout())?;
        // Opened without waiting for somebody who writes: there is nobody until a cell may read.
        let stdin = pipe("stdin", OFlags::RDONLY | OFlags::NONBLOCK)?;
        rustix::fs::fcntl_setfl(&stdin, OFlags::empty())?;
        let standard = [stdin, pipe("stdout", OFlags::WRONLY)?, pipe("stderr", OFlags::WRONLY)?];
        let (relay, answers) = (pipe("from", OFlags::WRONLY)?, pipe("to", OFlags::RDONLY)?);
        library::close_in_children([orders.as_fd(), evcxr.as_fd(), relay.as_fd()]);
        Ok(Self {
            orders: BufReader::new(orders.into()),
            evcxr: evcxr.into(),
            relay: relay.into(),
            answers: BufReader::new(answers.into()),
            standard,
        })
    }

    /// Gives the cells their standard files, whatever they have done to them.
    fn restore_standard_files(&self) -> Result<()> {
        let [stdin, stdout, stderr] = &self.standard;
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(stdout)?;
        rustix::stdio::dup2_stderr(stderr)?;
        Ok(())
    }

    fn tell(&mut self, message: &Value) -> Result<()> {
        self.relay.write_all(format!("{message}\n").as_bytes()).context("the relay has ended")
    }

    /// Tells the relay something, and waits for its answer.
    fn ask(&mut self, kind: &str, cell: u64) -> Result<Value> {
        self.tell(&json!({"kind": kind, "process": std::process::id(), "cell": cell}))?;
        loop {
            let mut line = String::new();
            ensure!(self.answers.read_line(&mut line)? > 0, "the relay has ended");
            let answer: Value = serde_json::from_str(&line)?;
            // Others are those of a process that has died.
            if answer["process"] == std::process::id() && answer["cell"] == cell {
                return Ok(answer);
            }
        }
    }
}

fn run_cells(folder: &Path) -> Result<()> {
    let mut link = Link::open(folder)?;
    link.restore_standard_files()?;
    // Without a handler an interrupt would end the process. The crate, once it is loaded, has its own,
    // which ends a training.
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))?;
    let process = std::process::id();
    link.tell(&json!({"kind": "hello", "process": process}))?;

    // It is missing where the kernel had to start without being set up.
    let helper = Library::open(&helper(folder)).ok();
    let helper_function = |name: &str| helper.as_ref().and_then(|helper| helper.function(name));
    let call = |function: Option<extern "C" fn()>| function.map_or((), |function| function());
    let [begin, end] = ["seq2seq_begin", "seq2seq_end"].map(helper_function);
    call(helper_function("seq2seq_start"));

    let mut new_cell = None;
    let mut variables = Variables::none();
    let mut order = String::new();
    for cell in 0.. {
        order.clear();
        if link.orders.read_line(&mut order)? == 0 {
            break; // evcxr has ended
        }
        let (path, function) = parse(&order)?;
        let library = Library::open(Path::new(path))?;
        // A crate that was compiled anew has another one.
        new_cell = library.function("seq2seq_new_cell").or(new_cell);
        // Before the relay is asked: an interrupt that it sends from then on is for this cell.
        call(new_cell);
        let answer = link.ask("begin", cell)?;
        if let Some(folder) = answer["folder"].as_str() {
            // The kernel was started for another folder than that of the notebook.
            env::set_current_dir(folder).with_context(|| format!("cannot enter {folder}"))?;
        }
        if answer["run"] == true {
            call(begin);
            library.run(function, &mut variables)?;
            if std::process::id() != process {
                // A process that the cell has forked is through with the cell, and with that alone.
                exit(0);
            }
            call(end);
            link.restore_standard_files()?;
        }
        let answer = link.ask("ran", cell)?;
        for mark in answer["marks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            writeln!(link.evcxr, "{mark}")?;
        }
        writeln!(link.evcxr, "EVCXR_EXECUTION_COMPLETE")?;
    }
    Ok(())
}

/// The shared object and the function of an order. There may be spaces in the path.
fn parse(order: &str) -> Result<(&str, &str)> {
    order
        .trim_end_matches('\n')
        .strip_prefix("LOAD_AND_RUN ")
        .and_then(|rest| rest.rsplit_once(' '))
        .with_context(|| format!("evcxr's order is {order:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_spaces() {
        let order = "LOAD_AND_RUN /a folder/with spaces/libctx.so run_user_code_3\n";
        let expected = ("/a folder/with spaces/libctx.so", "run_user_code_3");
        assert_eq!(parse(order).unwrap(), expected);
        assert!(parse("DANCE\n").unwrap_err().to_string().contains("DANCE"));
    }
}
