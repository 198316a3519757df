//! What the process that runs the cells does in the cells' own copy of the standard library.
//!
//! The launcher has its standard library linked in, and the cells share another one, with its own
//! buffer of standard output and its own panic hook. So this is compiled by `rustc` alone, when the
//! kernel is set up, as a shared object that links to the library of the cells.

use std::backtrace::Backtrace;
use std::io::{Write, stderr, stdout};
use std::panic::{PanicHookInfo, set_hook};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

/// How long text without a line end may stay in the buffer.
const PATIENCE: Duration = Duration::from_millis(20);

static CELLS: OnceLock<ThreadId> = OnceLock::new();
static FLUSHER: OnceLock<Thread> = OnceLock::new();
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Called once, on the thread that runs the cells.
#[unsafe(no_mangle)]
pub extern "C" fn seq2seq_start() {
    let _ = CELLS.set(thread::current().id());
    set_hook(Box::new(report));
    let flusher = thread::Builder::new().name("flusher".to_owned()).spawn(flush_while_running);
    if let Ok(handle) = flusher {
        let _ = FLUSHER.set(handle.thread().clone());
    }
}

/// Called before a cell.
#[unsafe(no_mangle)]
pub extern "C" fn seq2seq_begin() {
    RUNNING.store(true, Ordering::Release);
    if let Some(flusher) = FLUSHER.get() {
        flusher.unpark();
    }
}

/// Called after a cell.
#[unsafe(no_mangle)]
pub extern "C" fn seq2seq_end() {
    RUNNING.store(false, Ordering::Release);
    let _ = stdout().flush();
}

fn flush_while_running() {
    loop {
        while !RUNNING.load(Ordering::Acquire) {
            thread::park();
        }
        thread::sleep(PATIENCE);
        let _ = stdout().flush();
    }
}

/// Tells the kernel of a panic, in a record that the relay reads; see its `marks.rs`.
fn report(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let cells = CELLS.get() == Some(&current.id());
    let thread = if cells { "cell" } else { current.name().unwrap_or("<unnamed>") };
    let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
    let message = info.payload_as_str().unwrap_or("Box<dyn Any>");
    // With the addresses, which the relay looks up: the library keeps no track of what is loaded later.
    let backtrace = Backtrace::force_capture();
    let fields = [thread, file, &line.to_string(), message, &format!("{backtrace:#}")]
        .map(|field| field.replace(['\u{1e}', '\u{1f}'], " "));
    if cells {
        // Text that was written before comes before. Another thread could wait here for a lock that the
        // cell holds while it waits for the thread.
        let _ = stdout().flush();
    }
    let record = format!("\u{1e}SEQ2SEQ_PANIC\u{1f}{}\u{1e}", fields.join("\u{1f}"));
    let _ = stderr().write_all(record.as_bytes());
}
