//! The kernel that Jupyter sees.
//!
//! evcxr's own kernel stays behind it: it compiles the cells, and answers Tab and Shift-Tab. It tells
//! Jupyter little of what happens to a cell, though: a panic is no error to it, an interrupt ends the
//! process with all variables, and text comes by whole lines. So the relay has the ports that Jupyter
//! knows, is the one client of evcxr, and hears from the process that runs the cells itself.
//!
//! ```text
//! Jupyter <-> front   shell, control <-> backend <-> evcxr
//!                       session      <-> cells   <-> runtime (another process)
//! ```

mod backend;
mod backtrace;
mod cells;
mod connection;
mod control;
mod errors;
mod front;
mod history;
mod marks;
mod message;
mod names;
mod output;
mod question;
mod session;
mod shell;
mod source;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, spawn_local};

use self::backend::Backend;
use self::cells::Cells;
pub(super) use self::connection::Connection;
use self::front::{Front, Requests, Sockets};
use self::output::Stream;
use self::session::Session;
use self::shell::Shell;
use super::link;
use super::spare::{Event, mark_ready};

/// Who is answered.
pub(super) enum Client {
    Jupyter(Connection),
    /// Whoever takes the kernel, which is a spare one.
    Unknown(UnboundedReceiver<Event>),
}

/// Why a kernel ends.
pub(super) enum Ending {
    /// Jupyter has asked for it, or nobody has use for the kernel.
    Wanted,
    /// The process that Jupyter takes for the kernel is gone.
    Abandoned,
}

/// Makes what a kernel in `folder` needs: the pipes to the process that runs the cells, and evcxr's own
/// file of ports.
pub(super) fn prepare(evcxrs: &Path, folder: &Path) -> Result<()> {
    cells::make_pipes(&link(folder))?;
    Connection::for_evcxr()?.write(evcxrs)
}

/// Starts to answer, in a thread that ends when the kernel has to.
pub(super) fn start(client: Client, evcxrs: &Path, folder: &Path) -> Result<JoinHandle<Ending>> {
    let inside = Connection::read(evcxrs)?;
    let folder = folder.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, starting) = mpsc::channel();
    let thread = thread::Builder::new().name("relay".to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            let (front, requests, sockets) = Front::new();
            let open = async {
                let cells = Cells::open(&link(&folder))?;
                anyhow::Ok(match client {
                    Client::Unknown(events) => (cells, Some((sockets, events))),
                    Client::Jupyter(outside) => {
                        sockets.bind(&outside).await?;
                        (cells, None)
                    }
                })
            };
            match open.await {
                Ok((cells, later)) => {
                    started.send(Ok(())).ok();
                    let backend = Backend::connect(&inside);
                    let compiled = folder.join("cells/src/lib.rs");
                    let session = Rc::new(Session::new(front, backend, cells, compiled));
                    let spare = later.is_some().then_some(folder);
                    tokio::select! {
                        () = serve(Rc::clone(&session), requests, spare) => Ending::Wanted,
                        ending = attend(&session, later) => {
                            session.kill();
                            ending
                        }
                    }
                }
                Err(error) => {
                    started.send(Err(error)).ok();
                    Ending::Wanted
                }
            }
        })
    })?;
    starting.recv().context("the relay has ended")??;
    Ok(thread)
}

/// Waits until a spare kernel is taken, and until it has to end.
async fn attend(session: &Session, later: Option<(Sockets, UnboundedReceiver<Event>)>) -> Ending {
    let Some((sockets, mut events)) = later else { return std::future::pending().await };
    let mut sockets = Some(sockets);
    loop {
        match events.recv().await {
            Some(Event::Taken { connection, folder, bound }) => {
                if let Some(sockets) = sockets.take() {
                    session.enter(folder);
                    bound.send(sockets.bind(&connection).await).ok();
                }
            }
            Some(Event::Abandoned) => return Ending::Abandoned,
            Some(Event::Unwanted) | None => return Ending::Wanted,
        }
    }
}

/// Answers until Jupyter asks for the kernel's end. The folder is that of a `spare` kernel.
async fn serve(session: Rc<Session>, mut requests: Requests, spare: Option<PathBuf>) {
    for stream in [Stream::Stdout, Stream::Stderr] {
        let session = Rc::clone(&session);
        spawn_local(async move { session.read(stream).await });
    }
    let listening = Rc::clone(&session);
    spawn_local(async move { listening.listen().await });
    let keeping = Rc::clone(&session);
    spawn_local(async move { keeping.keep_time().await });
    let answering = Rc::clone(&session);
    spawn_local(async move {
        while let Some(reply) = requests.stdin.recv().await {
            answering.give_input(&reply);
        }
    });
    let mut shell = Shell::new(Rc::clone(&session));
    spawn_local(async move {
        // Until then evcxr runs code of its own, and the tasks above have their part in it.
        shell.wait_for_evcxr(&mut requests.shell).await;
        if let Some(folder) = spare {
            mark_ready(&folder);
        }
        shell.serve(requests.shell).await;
    });
    control::serve(&session, requests.control).await;
}

fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "seq2seq-workbook",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": env!("CARGO_PKG_RUST_VERSION"),
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": concat!(
            "seq2seq ", env!("CARGO_PKG_VERSION"), ": recurrent networks for time series, in Rust, on evcxr"
        ),
        "help_links": [
            {"text": "The standard library of Rust", "url": "https://doc.rust-lang.org/stable/std/"},
        ],
        "supported_features": [],
    })
}
