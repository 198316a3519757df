//! What Jupyter asks on the channel of the cells, one request after the other.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep_until;
use unicode_segmentation::UnicodeSegmentation;

use super::backend::Answer;
use super::errors::{CellError, Place, place_in_cells};
use super::marks::Failure;
use super::message::Message;
use super::names::{Outcome, listed};
use super::question::{is_part_of_name, question};
use super::session::{Running, Session};
use super::source::{Completeness, completeness, question_marks};
use super::{backtrace, kernel_info};

/// Shows all frames of the last panic.
const BACKTRACE: &str = ":backtrace";

/// How long a cell waits for the kernel to start before it says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// What it says.
const STARTING: &str = "The kernel is starting: it reads the sources of the libraries, to know their types and \
                        documentation. That takes 10 to 30 seconds.\n";

pub(super) struct Shell {
    session: Rc<Session>,
    count: u64,
    /// Requests that came before the kernel was ready, and others than cells that came while one failed.
    waiting: VecDeque<Message>,
    /// The request whose cell says that the kernel is starting.
    told: Option<Message>,
    /// The last panic, for [`BACKTRACE`].
    last_panic: Option<Failure>,
}

impl Shell {
    pub(super) fn new(session: Rc<Session>) -> Self {
        Self { session, count: 0, waiting: VecDeque::new(), told: None, last_panic: None }
    }

    /// Holds requests back until evcxr can answer them; what the kernel is can be told at once.
    pub(super) async fn wait_for_evcxr(&mut self, requests: &mut UnboundedReceiver<Message>) {
        let session = Rc::clone(&self.session);
        let ready = session.backend.ready();
        tokio::pin!(ready);
        loop {
            let late = session.opened.get() + PATIENCE;
            tokio::select! {
                () = &mut ready => break,
                request = requests.recv() => match request {
                    Some(request) if request.kind() == "kernel_info_request" => {
                        self.answer(&request, requests).await;
                    }
                    Some(request) => self.waiting.push_back(request),
                    None => return,
                },
                () = session.refused.notified() => self.refuse(requests),
                () = sleep_until(late), if self.told.is_none() && self.next_cell().is_some() => {
                    self.tell();
                }
            }
        }
        session.set_ready();
    }

    /// Says below the first cell what it waits for.
    fn tell(&mut self) {
        let Some(cell) = self.next_cell().cloned() else { return };
        self.publish_state(&cell, "busy");
        let content = json!({"name": "stdout", "text": STARTING});
        self.session.front.publish(&cell, "stream", content);
        self.told = Some(cell);
    }

    /// The first cell that waits, if it shows what it prints.
    fn next_cell(&self) -> Option<&Message> {
        let next = self.waiting.iter().find(|request| request.kind() == "execute_request");
        next.filter(|request| !request.flag("silent", false))
    }

    /// Takes back what a cell has said of the kernel's start.
    fn clear(&mut self, request: &Message) {
        if self.told.take_if(|told| told.id() == request.id()).is_some() {
            self.session.front.publish(request, "clear_output", json!({"wait": false}));
        }
    }

    /// Ends the cell that waits for the kernel's start, and those behind it.
    fn refuse(&mut self, requests: &mut UnboundedReceiver<Message>) {
        let is_cell = |request: &Message| request.kind() == "execute_request";
        let Some(place) = self.waiting.iter().position(is_cell) else { return };
        let Some(request) = self.waiting.remove(place) else { return };
        self.publish_state(&request, "busy");
        self.clear(&request);
        let message = "interrupted before the kernel had started: nothing of the cell has run";
        let error = CellError::new("Interrupted", message.to_owned(), None);
        if !request.flag("silent", false) {
            self.session.front.publish(&request, "error", error.content());
        }
        self.reply(&request, error.reply(self.count));
        self.publish_state(&request, "idle");
        if request.flag("stop_on_error", true) {
            self.abort(requests);
        }
    }

    /// Answers requests until the kernel ends.
    pub(super) async fn serve(&mut self, mut requests: UnboundedReceiver<Message>) {
        loop {
            let next = match self.waiting.pop_front() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            self.answer(&next, &mut requests).await;
        }
    }

    async fn answer(&mut self, request: &Message, requests: &mut UnboundedReceiver<Message>) {
        self.publish_state(request, "busy");
        match request.kind() {
            "execute_request" => {
                let (reply, go_on) = self.execute(request).await;
                self.session.front.reply(request.reply(reply));
                if !go_on {
                    self.abort(requests);
                }
            }
            "kernel_info_request" => self.reply(request, kernel_info()),
            "is_complete_request" => {
                let reply = match completeness(request.text("code")) {
                    Completeness::Complete => json!({"status": "complete"}),
                    Completeness::Invalid => json!({"status": "invalid"}),
                    Completeness::Incomplete(columns) => {
                        json!({"status": "incomplete", "indent": " ".repeat(columns)})
                    }
                };
                self.reply(request, reply);
            }
            "complete_request" => {
                let reply = self.complete(request).await;
                self.reply(request, reply);
            }
            "inspect_request" => {
                let reply = self.inspect(request).await;
                self.reply(request, reply);
            }
            "history_request" => {
                let reply = self.session.history.borrow().reply(&request.content);
                self.reply(request, reply);
            }
            "comm_info_request" => self.reply(request, json!({"status": "ok", "comms": {}})),
            // There is no comm that the kernel knows.
            "comm_open" => {
                let content = json!({"comm_id": request.content["comm_id"], "data": {}});
                self.session.front.publish(request, "comm_close", content);
            }
            _ => {}
        }
        self.publish_state(request, "idle");
    }

    fn reply(&self, request: &Message, content: Value) {
        self.session.front.reply(request.reply(content));
    }

    fn publish_state(&self, request: &Message, state: &str) {
        self.session.front.publish(request, "status", json!({"execution_state": state}));
    }

    /// Refuses the cells that wait behind one that failed.
    fn abort(&mut self, requests: &mut UnboundedReceiver<Message>) {
        let held = std::mem::take(&mut self.waiting).into_iter();
        for request in held.chain(std::iter::from_fn(|| requests.try_recv().ok())) {
            if request.kind() != "execute_request" {
                self.waiting.push_back(request);
                continue;
            }
            self.publish_state(&request, "busy");
            let content = json!({"status": "aborted", "execution_count": self.count});
            self.reply(&request, content);
            self.publish_state(&request, "idle");
        }
    }

    /// Runs a cell, and returns the reply and whether the cells after it are to run.
    async fn execute(&mut self, request: &Message) -> (Value, bool) {
        let session = Rc::clone(&self.session);
        let code = request.text("code");
        let silent = request.flag("silent", false);
        if request.flag("store_history", true) && !silent {
            self.count += 1;
            session.history.borrow_mut().add(self.count, code);
        }
        let count = self.count;
        if !silent {
            let content = json!({"code": code, "execution_count": count});
            session.front.publish(request, "execute_input", content);
            self.clear(request);
        }
        session.output.borrow_mut().begin(request, count, silent);
        let mut reply = json!({
            "status": "ok", "execution_count": count, "payload": [], "user_expressions": {},
        });
        if code.trim() == BACKTRACE {
            let text = self.last_panic.as_ref().map_or_else(
                || "No cell has panicked.\n".to_owned(),
                |panic| format!("{}\n{}\n", panic.message, panic.backtrace.trim_end()),
            );
            session.front.publish(request, "stream", json!({"name": "stdout", "text": text}));
            return (reply, true);
        }
        if code.trim().is_empty() {
            return (reply, true);
        }

        let (answer, running) = self.evaluate(request, code).await;
        let interrupted = running.interrupted.is_some();
        let error = self.error_of(code, count, &answer, &running);
        let outcome = match &error {
            Some(error) if error.name == "ProcessEnded" => Outcome::Ended,
            Some(_) => Outcome::Failed,
            None => Outcome::Ok,
        };
        if !answer.reply.is_null() {
            let variables = session.backend.execute(":vars").await;
            let variables = variables.shown.iter().filter_map(|data| data["text/plain"].as_str());
            let list: String = variables.collect();
            let mut names = session.names.borrow_mut();
            names.update(listed(&list), count, code, outcome, &running.redefined);
        }
        self.end_output(running);
        if let Some(error) = error {
            if !silent {
                session.front.publish(request, "error", error.content());
            }
            return (error.reply(count), !request.flag("stop_on_error", true));
        }
        if !silent {
            for data in answer.shown {
                let content = json!({"data": data, "metadata": {}, "execution_count": count});
                session.front.publish(request, "execute_result", content);
            }
        }
        reply["user_expressions"] = self.evaluate_expressions(request).await;
        (reply, !(interrupted && request.flag("stop_on_error", true)))
    }

    /// Sends what waits of a cell's output, and what its end has shown to be text.
    fn end_output(&mut self, running: Running) {
        let mut output = self.session.output.borrow_mut();
        output.end();
        if let Some(error) = running.error.filter(|_| !running.left_early) {
            // The cell's own text, which looked like an error.
            output.note(&format!("{}\n", error.message));
        }
        if let Some(panic) = running.panic {
            if !running.panicked && panic.thread == "cell" {
                output.note(&format!("The cell has caught a panic: {}\n", panic.message));
            }
            self.last_panic = Some(panic);
        }
        output.flush(true);
    }

    async fn evaluate(&self, request: &Message, code: &str) -> (Answer, Running) {
        self.session.begin(request);
        let answer = self.session.backend.execute(code).await;
        let running =
            self.session.end().expect("it was begun above, and this is the one task for cells");
        (answer, running)
    }

    /// The values of a request's expressions, or why they have none.
    async fn evaluate_expressions(&self, request: &Message) -> Value {
        let mut values = serde_json::Map::new();
        let none = serde_json::Map::new();
        for (name, expression) in request.content["user_expressions"].as_object().unwrap_or(&none) {
            let code = expression.as_str().unwrap_or_default();
            self.session.output.borrow_mut().collect();
            let (answer, running) = self.evaluate(request, code).await;
            let found = self.session.output.borrow_mut().collected().pop();
            let value = match (self.error_of(code, self.count, &answer, &running), found) {
                (Some(error), _) => error.reply(self.count),
                (None, Some(value)) => value,
                (None, None) => json!({"status": "ok", "data": {}, "metadata": {}}),
            };
            values.insert(name.clone(), value);
        }
        values.into()
    }

    /// Why a cell has failed, if it has.
    fn error_of(
        &self,
        code: &str,
        cell: u64,
        answer: &Answer,
        running: &Running,
    ) -> Option<CellError> {
        let first = answer.errors.first().and_then(|error| error["evalue"].as_str()).unwrap_or("");
        // evcxr's own words for it.
        if let Some((_, status)) = first.split_once("Subprocess terminated with status: ") {
            return Some(self.end_of_process(status, running));
        }
        if running.interrupted.is_some() && !running.begun {
            let message = "interrupted before the cell was compiled: nothing of it has run";
            return Some(CellError::new("Interrupted", message.to_owned(), None));
        }
        if !answer.errors.is_empty() {
            let names = self.session.names.borrow();
            return Some(CellError::of_compiler(&answer.errors, code, cell, &names));
        }
        let history = self.session.history.borrow();
        let place = |failure: &Failure| {
            let compiled = std::fs::read_to_string(&self.session.compiled).ok()?;
            let find = |line: usize| {
                let current = std::iter::once((cell, code));
                let older = history.newest_first().filter(|(number, _)| *number != cell);
                place_in_cells(&compiled, line.checked_sub(1)?, current.chain(older))
            };
            let told = failure.place.as_ref().filter(|(file, _)| backtrace::is_of_a_cell(file));
            told.and_then(|(_, line)| find(*line)).or_else(|| {
                backtrace::lines_of_cells(&failure.backtrace, self.session.process())
                    .into_iter()
                    .find_map(find)
            })
        };
        if running.panicked {
            // Without the helper, or with a hook of the learner's.
            let unknown =
                || Failure { message: "the cell panicked".to_owned(), ..Failure::default() };
            let failure = running.panic.clone().unwrap_or_else(unknown);
            let mut error =
                CellError::new("Panic", failure.message.clone(), place(&failure).as_ref());
            if let Some((file, line)) = failure.place.filter(|(f, _)| !backtrace::is_of_a_cell(f)) {
                error.lines.push(format!("panicked in {file}, line {line}"));
            }
            return Some(error);
        }
        if running.left_early {
            // Without the macro of the prelude, after `:clear`, its text is on standard error.
            let unknown = || Failure {
                message: "a `?` returned an error; its message is shown above".to_owned(),
                ..Failure::default()
            };
            let failure = running.error.clone().unwrap_or_else(unknown);
            let name = if running.interrupted.is_some() { "Interrupted" } else { "Error" };
            let place = place(&failure).or_else(|| match question_marks(code)[..] {
                [line] => Some(Place { cell, code, line, columns: None }),
                _ => None,
            });
            return Some(CellError::new(name, failure.message, place.as_ref()));
        }
        (answer.reply["status"] != "ok").then(|| {
            CellError::new("Error", "evcxr stopped responding; restart the kernel".to_owned(), None)
        })
    }

    /// All variables are lost with the process that had them.
    fn end_of_process(&self, status: &str, running: &Running) -> CellError {
        let status = status.trim();
        let why = match running.killed {
            true => "You have ended the process that runs the cells".to_owned(),
            false => format!("The process that runs the cells has ended ({status})"),
        };
        let lost = self.session.names.borrow().present();
        let message = match lost.is_empty() {
            true => format!(
                "{why}. There were no variables to lose; the next cell runs in a new process."
            ),
            false => format!(
                "{why}. These variables are lost: {}. To get them back, run the cells that make them again (menu Run, \
                 Run All Above Selected Cell).",
                lost.join(", ")
            ),
        };
        CellError::new("ProcessEnded", message, None)
    }

    /// Completions. Jupyter counts characters, evcxr what a reader takes for one, and of where a
    /// completed name begins it loses the blanks before the statement: so that is found out here.
    async fn complete(&self, request: &Message) -> Value {
        let code = request.text("code");
        let cursor = request.content["cursor_pos"].as_u64().unwrap_or(0) as usize;
        let (before, after) = code.split_at(byte_of_character(code, cursor));
        let content = json!({"code": code, "cursor_pos": before.graphemes(true).count()});
        let mut reply = self.session.backend.request("complete_request", content).await.reply;
        if reply["status"] != "ok" {
            reply = json!({"status": "ok", "matches": [], "metadata": {}});
        }
        let matches = reply["matches"].as_array().into_iter().flatten();
        let command = matches.filter_map(Value::as_str).any(|name| name.starts_with(':'));
        let is_part = |c: &char| is_part_of_name(*c) || command && *c == ':';
        let start = cursor.saturating_sub(before.chars().rev().take_while(is_part).count());
        let end = cursor + after.chars().take_while(is_part).count();
        reply["cursor_start"] = start.into();
        reply["cursor_end"] = end.into();
        let types = reply["metadata"]["_jupyter_types_experimental"].as_array_mut();
        for kind in types.into_iter().flatten() {
            kind["start"] = start.into();
            kind["end"] = end.into();
        }
        reply
    }

    async fn inspect(&self, request: &Message) -> Value {
        let nothing = json!({"status": "ok", "found": false, "data": {}, "metadata": {}});
        let cursor = request.content["cursor_pos"].as_u64().unwrap_or(0) as usize;
        let Some(question) = question(request.text("code"), cursor) else { return nothing };
        let position = question.graphemes(true).count();
        let content = json!({"code": question, "cursor_pos": position, "detail_level": 0});
        let reply = self.session.backend.request("inspect_request", content).await.reply;
        if reply["status"] == "ok" { reply } else { nothing }
    }
}

/// Where a character begins.
fn byte_of_character(code: &str, character: usize) -> usize {
    code.char_indices().nth(character).map_or(code.len(), |(byte, _)| byte)
}
