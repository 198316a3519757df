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

use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};

use self::backend::Backend;
use self::cells::Cells;
use self::connection::Connection;
use self::front::{Front, Requests};
use self::output::Stream;
use self::session::Session;
use self::shell::Shell;
use super::link;

/// Makes what a kernel in `folder` needs: the pipes to the process that runs the cells, and evcxr's own
/// file of ports. Fails for a file of Jupyter's that the kernel does not understand.
pub(super) fn prepare(jupyters: &Path, evcxrs: &Path, folder: &Path) -> Result<()> {
    Connection::read(jupyters)?;
    cells::make_pipes(&link(folder))?;
    Connection::for_evcxr()?.write(evcxrs)
}

/// Starts to answer Jupyter, in a thread that ends when Jupyter asks for it.
pub(super) fn start(jupyters: &Path, evcxrs: &Path, folder: &Path) -> Result<JoinHandle<()>> {
    let (outside, inside) = (Connection::read(jupyters)?, Connection::read(evcxrs)?);
    let (link, compiled) = (link(folder), folder.join("cells/src/lib.rs"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (started, starting) = mpsc::channel();
    let thread = thread::Builder::new().name("relay".to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            let open = async { anyhow::Ok((Front::bind(&outside).await?, Cells::open(&link)?)) };
            match open.await {
                Ok(((front, requests), cells)) => {
                    started.send(Ok(())).ok();
                    let backend = Backend::connect(&inside);
                    serve(Session::new(front, backend, cells, compiled), requests).await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
    })?;
    starting.recv().context("the relay has ended")??;
    Ok(thread)
}

async fn serve(session: Session, mut requests: Requests) {
    let session = Rc::new(session);
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
    let starting = Rc::clone(&session);
    spawn_local(async move {
        // Until then evcxr runs code of its own, and the tasks above have their part in it.
        starting.backend.ready().await;
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
