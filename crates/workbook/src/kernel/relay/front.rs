//! The five sockets that Jupyter knows.

use std::rc::Rc;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use zeromq::{PubSocket, RepSocket, RouterSocket, Socket, SocketRecv, SocketSend};

use super::connection::Connection;
use super::message::Message;

/// What is sent to Jupyter. Each socket has a task of its own, so that a page that reads slowly keeps
/// nobody else waiting.
#[derive(Clone)]
pub(super) struct Front {
    publications: UnboundedSender<Message>,
    shell: UnboundedSender<Message>,
    control: UnboundedSender<Message>,
    stdin: UnboundedSender<Message>,
}

/// What Jupyter sends.
pub(super) struct Requests {
    pub(super) shell: UnboundedReceiver<Message>,
    pub(super) control: UnboundedReceiver<Message>,
    pub(super) stdin: UnboundedReceiver<Message>,
}

/// The sockets' ends of the channels. What is sent before there are sockets waits.
pub(super) struct Sockets {
    publications: UnboundedReceiver<Message>,
    shell: Router,
    control: Router,
    stdin: Router,
}

/// The end of a socket on which requests come in and replies go out.
struct Router {
    requests: UnboundedSender<Message>,
    replies: UnboundedReceiver<Message>,
}

impl Front {
    pub(super) fn new() -> (Self, Requests, Sockets) {
        let (publications, published) = unbounded_channel();
        let (shell, shell_requests, shell_router) = Router::new();
        let (control, control_requests, control_router) = Router::new();
        let (stdin, stdin_requests, stdin_router) = Router::new();
        let requests =
            Requests { shell: shell_requests, control: control_requests, stdin: stdin_requests };
        let sockets = Sockets {
            publications: published,
            shell: shell_router,
            control: control_router,
            stdin: stdin_router,
        };
        (Self { publications, shell, control, stdin }, requests, sockets)
    }

    /// Tells everybody something that `cause` has caused.
    pub(super) fn publish(&self, cause: &Message, kind: &str, content: serde_json::Value) {
        self.send(&self.publications, cause.publication(kind, content));
    }

    pub(super) fn reply(&self, reply: Message) {
        self.send(&self.shell, reply);
    }

    pub(super) fn reply_on_control(&self, reply: Message) {
        self.send(&self.control, reply);
    }

    pub(super) fn ask(&self, question: Message) {
        self.send(&self.stdin, question);
    }

    fn send(&self, to: &UnboundedSender<Message>, message: Message) {
        // It fails when the kernel ends.
        to.send(message).ok();
    }
}

impl Sockets {
    /// Listens where Jupyter expects the kernel.
    pub(super) async fn bind(mut self, connection: &Connection) -> Result<()> {
        let key: Rc<str> = connection.key.as_str().into();
        let mut heartbeat = RepSocket::new();
        bind(&mut heartbeat, connection, connection.hb_port).await?;
        spawn_local(async move {
            loop {
                // A client that leaves between the two is none of our business.
                if let Ok(beat) = heartbeat.recv().await {
                    heartbeat.send(beat).await.ok();
                }
            }
        });
        let mut iopub = PubSocket::new();
        bind(&mut iopub, connection, connection.iopub_port).await?;
        let signing = Rc::clone(&key);
        spawn_local(async move {
            while let Some(message) = self.publications.recv().await {
                iopub.send(message.frames(&signing)).await.ok();
            }
        });
        self.shell.bind(connection, connection.shell_port, &key).await?;
        self.control.bind(connection, connection.control_port, &key).await?;
        self.stdin.bind(connection, connection.stdin_port, &key).await
    }
}

async fn bind(socket: &mut impl Socket, connection: &Connection, port: u16) -> Result<()> {
    let address = connection.address(port);
    socket.bind(&address).await.with_context(|| format!("cannot listen at {address}"))?;
    Ok(())
}

impl Router {
    /// The kernel's two ends, and the socket's.
    fn new() -> (UnboundedSender<Message>, UnboundedReceiver<Message>, Self) {
        let ((requests, incoming), (outgoing, replies)) =
            (unbounded_channel(), unbounded_channel());
        (outgoing, incoming, Self { requests, replies })
    }

    async fn bind(mut self, connection: &Connection, port: u16, key: &Rc<str>) -> Result<()> {
        let mut socket = RouterSocket::new();
        bind(&mut socket, connection, port).await?;
        let (mut sending, mut receiving) = socket.split();
        let verifying = Rc::clone(key);
        spawn_local(async move {
            loop {
                match receiving.recv().await {
                    // A message that somebody else has signed is nobody's.
                    Ok(frames) => {
                        if let Some(message) = Message::parse(frames, &verifying)
                            && self.requests.send(message).is_err()
                        {
                            return;
                        }
                    }
                    // A client that left in the middle of a message.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let signing = Rc::clone(key);
        spawn_local(async move {
            while let Some(message) = self.replies.recv().await {
                // A page that was closed in the meantime gets no answer.
                sending.send(message.frames(&signing)).await.ok();
            }
        });
        Ok(())
    }
}
