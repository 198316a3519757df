//! evcxr's own kernel, which compiles the cells and has them run: the relay is its only client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, SubSocket};

use super::connection::Connection;
use super::message::Message;

/// How often evcxr is asked whether it is there, while it starts.
const ASKING: Duration = Duration::from_millis(50);

/// How long a reply may take after evcxr has said that it is done.
const ABANDONED: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Backend {
    shell: UnboundedSender<Message>,
    control: UnboundedSender<Message>,
    waiting: Rc<RefCell<HashMap<String, Waiting>>>,
}

/// What has arrived of the answer to a request.
#[derive(Default)]
struct Waiting {
    answer: Answer,
    replied: bool,
    idle: bool,
    done: Option<oneshot::Sender<Answer>>,
}

/// evcxr's answer to a request.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) reply: Value,
    /// The contents of its messages `error`.
    pub(super) errors: Vec<Value>,
    /// The bundles of data that it shows by itself, for commands such as `:vars`.
    pub(super) shown: Vec<Value>,
}

impl Backend {
    /// Connects to evcxr, which is about to start, in the background.
    pub(super) fn connect(connection: &Connection) -> Self {
        let waiting = Rc::<RefCell<HashMap<String, Waiting>>>::default();
        let published = Rc::clone(&waiting);
        let (address, key) = (connection.address(connection.iopub_port), connection.key.clone());
        spawn_local(async move {
            let mut iopub = loop {
                let mut socket = SubSocket::new();
                if socket.connect(&address).await.is_ok() && socket.subscribe("").await.is_ok() {
                    break socket;
                }
                tokio::time::sleep(ASKING).await;
            };
            while let Ok(frames) = iopub.recv().await {
                if let Some(message) = Message::parse(frames, &key) {
                    let id = message.parent_id().to_owned();
                    take_publication(&mut published.borrow_mut(), message);
                    if published.borrow().get(&id).is_some_and(|request| request.idle) {
                        // The reply is on its way, unless evcxr has panicked.
                        let abandoned = Rc::clone(&published);
                        spawn_local(async move {
                            tokio::time::sleep(ABANDONED).await;
                            abandoned.borrow_mut().remove(&id);
                        });
                    }
                }
            }
        });
        let [shell, control] = [connection.shell_port, connection.control_port].map(|port| {
            let replied = Rc::clone(&waiting);
            let silent = port == connection.control_port;
            dealer(connection, port, move |message| {
                let mut waiting = replied.borrow_mut();
                if let Some(request) = waiting.get_mut(message.parent_id()) {
                    request.answer.reply = message.content.clone();
                    request.replied = true;
                    // Nobody publishes that a request on control is done.
                    request.idle |= silent;
                    finish(&mut waiting, message.parent_id());
                }
            })
        });
        Self { shell, control, waiting }
    }

    /// Asks until an answer comes whose publications come, too.
    pub(super) async fn ready(&self) {
        loop {
            let answer = self.request("kernel_info_request", json!({}));
            if tokio::time::timeout(10 * ASKING, answer).await.is_ok() {
                return;
            }
        }
    }

    /// Has evcxr answer a request.
    pub(super) async fn request(&self, kind: &str, content: Value) -> Answer {
        self.exchange(&self.shell, kind, content).await
    }

    /// Has evcxr run code; its answer comes when all that it publishes of it has come.
    pub(super) async fn execute(&self, code: &str) -> Answer {
        let content = json!({
            "code": code, "silent": false, "store_history": false, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": false,
        });
        self.request("execute_request", content).await
    }

    /// Has evcxr end, with the process that runs the cells.
    pub(super) async fn shut_down(&self) {
        let content = json!({"restart": false});
        let answer = self.exchange(&self.control, "shutdown_request", content);
        tokio::time::timeout(Duration::from_secs(5), answer).await.ok();
    }

    async fn exchange(&self, to: &UnboundedSender<Message>, kind: &str, content: Value) -> Answer {
        let (done, answer) = oneshot::channel();
        let request = Message::request(kind, content);
        let entry = Waiting { done: Some(done), ..Waiting::default() };
        self.waiting.borrow_mut().insert(request.id().to_owned(), entry);
        to.send(request).ok();
        // It fails when evcxr has ended, and the kernel with it.
        answer.await.unwrap_or_default()
    }
}

fn take_publication(waiting: &mut HashMap<String, Waiting>, mut message: Message) {
    let Some(request) = waiting.get_mut(message.parent_id()) else { return };
    match message.kind() {
        "error" => request.answer.errors.push(message.content),
        "execute_result" => request.answer.shown.push(message.content["data"].take()),
        "status" if message.text("execution_state") == "idle" => {
            request.idle = true;
            finish(waiting, message.parent_id());
        }
        _ => {}
    }
}

/// Hands the answer over when all of it is there.
fn finish(waiting: &mut HashMap<String, Waiting>, id: &str) {
    if waiting.get(id).is_some_and(|request| request.replied && request.idle)
        && let Some(Waiting { answer, done: Some(done), .. }) = waiting.remove(id)
    {
        done.send(answer).ok();
    }
}

/// Connects a socket for requests in the background, and hands their replies on.
fn dealer(
    connection: &Connection,
    port: u16,
    take: impl Fn(Message) + 'static,
) -> UnboundedSender<Message> {
    let (address, key) = (connection.address(port), connection.key.clone());
    let (requests, mut waiting) = unbounded_channel::<Message>();
    spawn_local(async move {
        let socket = loop {
            let mut socket = DealerSocket::new();
            match socket.connect(&address).await {
                Ok(()) => break socket,
                Err(_) => tokio::time::sleep(ASKING).await,
            }
        };
        let (mut sending, mut receiving) = socket.split();
        let signing = key.clone();
        spawn_local(async move {
            while let Some(message) = waiting.recv().await {
                sending.send(message.frames(&signing)).await.ok();
            }
        });
        while let Ok(frames) = receiving.recv().await {
            if let Some(message) = Message::parse(frames, &key) {
                take(message);
            }
        }
    });
    requests
}
