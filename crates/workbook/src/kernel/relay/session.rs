//! What the relay's tasks share: the cell that runs, its outputs, and what is known of the variables.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::sync::Notify;

use super::backend::Backend;
use super::cells::{self, Cells, Said};
use super::front::Front;
use super::history::History;
use super::marks::{Failure, Piece, Splitter};
use super::message::Message;
use super::names::Names;
use super::output::{BATCH, Output, Stream};

/// How long a cell may take to respond to an interrupt before the relay warns the learner.
const PATIENCE: Duration = Duration::from_secs(2);

/// evcxr forgets what the cell was to make when it sees this.
const PANICKED: &str = "EVCXR_PANIC_NOTIFICATION";
const LEFT_EARLY: &str = "EVCXR_ERROR_OCCURRED";

pub(super) struct Session {
    pub(super) front: Front,
    pub(super) backend: Backend,
    pub(super) output: RefCell<Output>,
    pub(super) names: RefCell<Names>,
    pub(super) history: RefCell<History>,
    running: RefCell<Option<Running>>,
    cells: Cells,
    splitters: RefCell<[Splitter; 2]>,
    process: Cell<Option<Pid>>,
    /// The file that evcxr compiles.
    pub(super) compiled: PathBuf,
    /// Told when a cell begins, and when it writes.
    begun: Notify,
    /// When somebody began to wait for the kernel.
    pub(super) opened: Cell<tokio::time::Instant>,
    /// Whether evcxr has started.
    ready: Cell<bool>,
    /// Told of an interrupt before evcxr has started.
    pub(super) refused: Notify,
    /// Where the cells are to be; said to their process before the first one.
    folder: RefCell<Option<PathBuf>>,
}

/// A request that evcxr compiles and the cells' process runs.
pub(super) struct Running {
    request: Message,
    /// Whether the process has begun to run it.
    pub(super) begun: bool,
    pub(super) interrupted: Option<Instant>,
    /// Whether somebody has been told that the cell has not responded to the interrupt.
    warned: bool,
    pub(super) killed: bool,
    pub(super) panicked: bool,
    pub(super) left_early: bool,
    pub(super) panic: Option<Failure>,
    pub(super) error: Option<Failure>,
    for_evcxr: Vec<String>,
    /// The variables whose type the cell has redefined.
    pub(super) redefined: Vec<String>,
    /// Open while the cell may ask for input.
    input: Option<File>,
    /// What a cell asks before it reads.
    prompt: (String, bool),
    asked: bool,
}

impl Session {
    pub(super) fn new(front: Front, backend: Backend, cells: Cells, compiled: PathBuf) -> Self {
        Self {
            output: RefCell::new(Output::new(front.clone())),
            front,
            backend,
            names: RefCell::default(),
            history: RefCell::default(),
            running: RefCell::default(),
            cells,
            splitters: RefCell::default(),
            process: Cell::default(),
            compiled,
            begun: Notify::new(),
            opened: Cell::new(tokio::time::Instant::now()),
            ready: Cell::default(),
            refused: Notify::new(),
            folder: RefCell::default(),
        }
    }

    /// From here on a notebook in this folder has the kernel.
    pub(super) fn enter(&self, folder: PathBuf) {
        self.opened.set(tokio::time::Instant::now());
        *self.folder.borrow_mut() = Some(folder);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.get()
    }

    pub(super) fn set_ready(&self) {
        self.ready.set(true);
    }

    /// Has a cell run; what it leaves behind is returned by [`Self::end`].
    pub(super) fn begin(&self, request: &Message) {
        *self.running.borrow_mut() = Some(Running {
            request: request.clone(),
            begun: false,
            interrupted: None,
            warned: false,
            killed: false,
            panicked: false,
            left_early: false,
            panic: None,
            error: None,
            for_evcxr: Vec::new(),
            redefined: Vec::new(),
            input: None,
            prompt: Default::default(),
            asked: false,
        });
        self.begun.notify_one();
    }

    pub(super) fn end(&self) -> Option<Running> {
        self.drain();
        self.running.borrow_mut().take()
    }

    /// Reads what the cells write, until the kernel ends.
    pub(super) async fn read(&self, stream: Stream) {
        loop {
            self.cells.readable(stream).await;
            self.read_some(stream);
            tokio::task::yield_now().await;
        }
    }

    fn read_some(&self, stream: Stream) {
        let read = self.cells.read(stream, &mut self.splitters.borrow_mut()[stream as usize]);
        if let Some(pieces) = read {
            self.take(stream, pieces);
        }
    }

    /// Takes all that the cells have written.
    fn drain(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // One read takes all that a pipe holds, and with it all that was written before. More might
            // never end, while a thread goes on writing.
            self.read_some(stream);
            let rest = self.splitters.borrow_mut()[stream as usize].finish();
            self.take(stream, rest);
        }
    }

    fn take(&self, stream: Stream, pieces: Vec<Piece>) {
        let mut running = self.running.borrow_mut();
        for piece in pieces {
            match (piece, running.as_mut()) {
                (Piece::Panicked, Some(running)) => running.panicked = true,
                (Piece::LeftEarly, Some(running)) => running.left_early = true,
                (Piece::ForEvcxr(mark), Some(running)) => {
                    running.redefined.extend(mark.split_once(':').map(|(_, name)| name.to_owned()));
                    running.for_evcxr.push(mark);
                }
                (Piece::Prompt { text, password }, Some(running)) => {
                    running.prompt = (text, password);
                }
                (Piece::Error(failure), Some(running)) => {
                    // Text of the cell's own, unless the mark for it comes next.
                    if let Some(before) = running.error.replace(failure) {
                        self.output.borrow_mut().note(&format!("{}\n", before.message));
                    }
                }
                (Piece::Panic(failure), Some(running)) if failure.thread == "cell" => {
                    running.panic = Some(failure);
                }
                (Piece::Panic(failure), running) => {
                    let text = describe(&failure);
                    self.output.borrow_mut().note(&text);
                    // Such a panic can go on in the cell, which says nothing of it.
                    if let Some(running) = running {
                        running.panic.get_or_insert(failure);
                    }
                }
                (Piece::Error(failure), None) => {
                    self.output.borrow_mut().note(&format!("{}\n", failure.message));
                }
                (piece, _) => self.output.borrow_mut().take(stream, piece),
            }
        }
        self.begun.notify_one(); // there may be something to send
    }

    /// Answers the process that runs the cells, until the kernel ends.
    pub(super) async fn listen(&self) {
        let mut buffer = Vec::new();
        loop {
            self.hear(&self.cells.listen(&mut buffer).await);
        }
    }

    fn hear(&self, said: &Said) {
        self.process.set(said.process);
        let answer = match said.kind.as_str() {
            "begin" => {
                let mut running = self.running.borrow_mut();
                // Without a request it is evcxr's own code, while it starts.
                let may_run = running.as_ref().is_none_or(|running| running.interrupted.is_none());
                if let Some(running) = running.as_mut() {
                    // evcxr may begin a second time, after a type was redefined.
                    running.begun = may_run;
                    let may_ask = may_run
                        && running.request.flag("allow_stdin", false)
                        && said.process.is_some_and(cells::can_be_watched);
                    running.input = may_ask.then(|| self.cells.open_input()).flatten();
                }
                let folder = self.folder.borrow_mut().take_if(|_| may_run);
                json!({"run": may_run, "folder": folder})
            }
            "ran" => {
                self.drain();
                self.output.borrow_mut().settle();
                let mut marks = Vec::new();
                if let Some(running) = self.running.borrow_mut().as_mut() {
                    marks.append(&mut running.for_evcxr);
                    if running.left_early {
                        marks.push(LEFT_EARLY.to_owned());
                    }
                    if running.panicked || !running.begun {
                        marks.push(PANICKED.to_owned());
                    }
                    running.input = None;
                }
                json!({"marks": marks})
            }
            _ => return,
        };
        self.cells.answer(said, answer);
    }

    /// Sends what waits, asks for input, and warns of interrupts to which a cell does not respond, until
    /// the kernel ends.
    pub(super) async fn keep_time(&self) {
        let mut looked = tokio::time::Instant::now();
        loop {
            let due = self.output.borrow().due();
            let look = self.running.borrow().as_ref().map(|_| looked + BATCH);
            match due.into_iter().chain(look).min() {
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = self.begun.notified() => {}
                },
                None => self.begun.notified().await,
            }
            let now = tokio::time::Instant::now();
            if due.is_some_and(|due| due <= now) {
                self.output.borrow_mut().flush(false);
            }
            if look.is_some_and(|look| look <= now) {
                looked = now;
                self.ask_for_input();
                self.warn();
            }
        }
    }

    fn ask_for_input(&self) {
        let mut running = self.running.borrow_mut();
        let Some(running) = running.as_mut().filter(|running| !running.asked) else { return };
        let (Some(input), Some(process)) = (&running.input, self.process.get()) else { return };
        if cells::waits_for_input(process, input) {
            running.asked = true;
            self.output.borrow_mut().flush(false);
            let (prompt, password) = std::mem::take(&mut running.prompt);
            let content = json!({"prompt": prompt, "password": password});
            self.front.ask(running.request.to_sender("input_request", content));
        }
    }

    /// Hands a line to the cell that has asked for it.
    pub(super) fn give_input(&self, reply: &Message) {
        if let Some(running) = self.running.borrow_mut().as_mut().filter(|running| running.asked)
            && let Some(input) = &mut running.input
        {
            running.asked = false;
            input.write_all(format!("{}\n", reply.text("value")).as_bytes()).ok();
        }
    }

    fn warn(&self) {
        let mut running = self.running.borrow_mut();
        let Some(running) = running.as_mut() else { return };
        if running.interrupted.is_some() && !running.begun {
            cells::end_compilers(); // what was analysed may only now be compiled
        }
        let late = running.interrupted.is_some_and(|since| since.elapsed() >= PATIENCE);
        if late && !running.warned {
            running.warned = true;
            let advice = match running.begun {
                true => self.cost_of_a_kill(),
                false => "The cell is still being compiled. It will not be run.\n".to_owned(),
            };
            self.output.borrow_mut().advise(&advice);
        }
    }

    fn cost_of_a_kill(&self) -> String {
        let names = self.names.borrow().present();
        let lost = match names.is_empty() {
            true => "There are no variables to lose.".to_owned(),
            false => format!("These variables would be lost: {}.", names.join(", ")),
        };
        format!(
            "This cell has not responded to the interrupt. Interrupt once more to end the process that runs \
             the cells. {lost}\n"
        )
    }

    /// Interrupts the cell that runs, if one does.
    pub(super) fn interrupt(&self) {
        let mut running = self.running.borrow_mut();
        let Some(running) = running.as_mut() else {
            if !self.is_ready() {
                self.refused.notify_one();
            }
            return;
        };
        let process = self.process.get();
        running.input = None; // a cell that waits for input finds its end
        match (running.begun, process) {
            (true, Some(process)) if running.warned => {
                running.killed = true;
                cells::signal(process, Signal::KILL);
            }
            (true, Some(process)) => cells::signal(process, Signal::INT),
            _ => cells::end_compilers(),
        }
        running.interrupted.get_or_insert_with(Instant::now);
    }

    /// Ends the cell that runs, if one does, with the process: the kernel is about to end.
    pub(super) fn kill(&self) {
        if !self.is_ready() {
            cells::end_compilers();
        }
        let mut running = self.running.borrow_mut();
        let Some(running) = running.as_mut() else { return };
        match (running.begun, self.process.get()) {
            (true, Some(process)) => cells::signal(process, Signal::KILL),
            _ => cells::end_compilers(),
        }
        running.interrupted.get_or_insert_with(Instant::now); // so that it does not begin
    }

    pub(super) fn process(&self) -> Option<Pid> {
        self.process.get()
    }
}

/// A panic that ends no cell, as the standard library tells it.
fn describe(failure: &Failure) -> String {
    let Failure { message, thread, place, .. } = failure;
    match place {
        Some((file, line)) => format!("thread '{thread}' panicked at {file}:{line}:\n{message}\n"),
        None => format!("thread '{thread}' panicked:\n{message}\n"),
    }
}
