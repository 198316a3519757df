//! What Jupyter asks on the channel that a running cell does not keep waiting.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use super::kernel_info;
use super::message::Message;
use super::session::Session;

/// Answers until Jupyter asks for the kernel's end.
pub(super) async fn serve(session: &Session, mut requests: UnboundedReceiver<Message>) {
    while let Some(request) = requests.recv().await {
        let reply = |content| session.front.reply_on_control(request.reply(content));
        match request.kind() {
            "kernel_info_request" => reply(kernel_info()),
            "interrupt_request" => {
                session.interrupt();
                reply(json!({"status": "ok"}));
            }
            "shutdown_request" => {
                session.kill();
                // Before it is ready it hears nothing, and it ends with this process.
                if session.is_ready() {
                    session.backend.shut_down().await;
                }
                let restart = request.flag("restart", false);
                let content = json!({"status": "ok", "restart": restart});
                session.front.publish(&request, "shutdown_reply", content.clone());
                reply(content);
                // The tasks that send need a moment.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return;
            }
            _ => {}
        }
    }
}
