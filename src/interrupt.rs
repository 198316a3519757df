//! Interrupts: Ctrl-C in a terminal, and *Interrupt the kernel* in a notebook.
//!
//! Both send SIGINT, which sets a flag here. Trainings and predictions ask the flag between their steps.

use signal_hook::consts::SIGINT;
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Whether nobody asks the flag: SIGINT then ends the program, as if there were no handler.
static IDLE: AtomicBool = AtomicBool::new(true);
/// How many pieces of work ask the flag.
static UNDER_WAY: Mutex<usize> = Mutex::new(0);

/// A piece of work that ends early after an interrupt, from its beginning to its end.
///
/// In a notebook, an interrupt also ends what the same cell begins afterwards; the kernel calls
/// [`seq2seq_new_cell`] before the next cell. In a program, an interrupt ends the pieces of work under
/// way, a second one ends the program, and so does the first one where no such work is under way.
#[must_use]
#[derive(Debug)]
pub(crate) struct Watch {
    /// Whether it counts as under way: in a program.
    counted: bool,
}

/// Begins a piece of work. The first call installs the handlers.
pub(crate) fn watch() -> Watch {
    let counted = !install();
    if counted {
        let mut under_way = under_way();
        if *under_way == 0 {
            INTERRUPTED.store(false, Ordering::SeqCst);
            IDLE.store(false, Ordering::SeqCst);
        }
        *under_way += 1;
    }
    Watch { counted }
}

impl Watch {
    /// Whether the work has to end. It costs no more than to read a number.
    pub(crate) fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.counted {
            let mut under_way = under_way();
            *under_way -= 1;
            if *under_way == 0 {
                IDLE.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn under_way() -> MutexGuard<'static, usize> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handlers once; returns whether this is the process that runs a notebook's cells.
fn install() -> bool {
    static NOTEBOOK: OnceLock<bool> = OnceLock::new();
    *NOTEBOOK.get_or_init(|| {
        let notebook = std::env::var_os("EVCXR_IS_RUNTIME").is_some();
        let handlers = || {
            // They run in this order. The kernel's process survives every SIGINT.
            if !notebook {
                flag::register_conditional_default(SIGINT, &IDLE)?;
                flag::register_conditional_shutdown(SIGINT, 130, &INTERRUPTED)?;
            }
            flag::register(SIGINT, &INTERRUPTED)
        };
        // Where the system refuses, SIGINT does what it did before.
        let _ = handlers();
        notebook
    })
}

/// Tells the crate that a new cell begins: an interrupt of the cell before no longer counts. The
/// notebook's kernel looks this function up by its name.
#[allow(unsafe_code, reason = "the name is unique in the process; the function itself is safe")]
#[unsafe(no_mangle)]
pub extern "C" fn seq2seq_new_cell() {
    install(); // an interrupt may come before the cell's first training
    INTERRUPTED.store(false, Ordering::SeqCst);
}
