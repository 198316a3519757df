//! A message of Jupyter's protocol: its frames, its signature, and the messages that answer it.
//!
//! ```text
//! identities ... | <IDS|MSG> | signature | header | parent header | metadata | content
//! ```

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;
use zeromq::ZmqMessage;

const DELIMITER: &[u8] = b"<IDS|MSG>";
const VERSION: &str = "5.4";

#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Whom the router sends it to, or whom it came from.
    identities: Vec<Vec<u8>>,
    pub(super) header: Value,
    pub(super) parent: Value,
    pub(super) metadata: Value,
    pub(super) content: Value,
}

impl Message {
    /// A request of the relay's own.
    pub(super) fn request(kind: &str, content: Value) -> Self {
        Self {
            identities: Vec::new(),
            header: header(kind, &Uuid::new_v4().to_string()),
            parent: json!({}),
            metadata: json!({}),
            content,
        }
    }

    /// Reads the frames of a message; none when its signature is not the key's, or it is no message.
    pub(super) fn parse(frames: ZmqMessage, key: &str) -> Option<Self> {
        let frames = frames.into_vec();
        let at = frames.iter().position(|frame| frame == DELIMITER)?;
        let signature = frames.get(at + 1)?;
        let signed = frames.get(at + 2..).filter(|parts| parts.len() >= 4)?;
        let genuine = match mac(signed, key) {
            None => true,
            Some(mac) => mac.verify_slice(&hex::decode(signature).ok()?).is_ok(),
        };
        if !genuine {
            return None;
        }
        let [header, parent, metadata, content] =
            [0, 1, 2, 3].map(|part| serde_json::from_slice(&signed[part]).ok());
        Some(Self {
            identities: frames[..at].iter().map(|frame| frame.to_vec()).collect(),
            header: header?,
            parent: parent?,
            metadata: metadata?,
            content: content?,
        })
    }

    pub(super) fn frames(&self, key: &str) -> ZmqMessage {
        let parts = [&self.header, &self.parent, &self.metadata, &self.content]
            .map(|part| part.to_string().into_bytes());
        let signature = match mac(&parts, key) {
            None => String::new(),
            Some(mac) => hex::encode(mac.finalize().into_bytes()),
        };
        let mut frames = self.identities.clone();
        frames.extend([DELIMITER.to_vec(), signature.into_bytes()]);
        frames.extend(parts);
        let mut frames = frames.into_iter();
        let mut message = ZmqMessage::from(frames.next().unwrap_or_default());
        frames.for_each(|frame| message.push_back(frame.into()));
        message
    }

    pub(super) fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or_default()
    }

    pub(super) fn id(&self) -> &str {
        self.header["msg_id"].as_str().unwrap_or_default()
    }

    pub(super) fn parent_id(&self) -> &str {
        self.parent["msg_id"].as_str().unwrap_or_default()
    }

    /// A text of its content, empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.content[name].as_str().unwrap_or_default()
    }

    /// A truth of its content.
    pub(super) fn flag(&self, name: &str, otherwise: bool) -> bool {
        self.content[name].as_bool().unwrap_or(otherwise)
    }

    /// A message to everybody that this one has caused.
    pub(super) fn publication(&self, kind: &str, content: Value) -> Self {
        Self {
            // The topic, by which subscribers could choose; all of them take everything.
            identities: vec![kind.as_bytes().to_vec()],
            ..self.to_sender(kind, content)
        }
    }

    /// The answer to a request: `x_reply` to `x_request`.
    pub(super) fn reply(&self, content: Value) -> Self {
        self.to_sender(&self.kind().replace("_request", "_reply"), content)
    }

    /// A message to whoever has sent this one.
    pub(super) fn to_sender(&self, kind: &str, content: Value) -> Self {
        let session = self.header["session"].as_str().unwrap_or_default();
        Self {
            identities: self.identities.clone(),
            header: header(kind, session),
            parent: self.header.clone(),
            metadata: json!({}),
            content,
        }
    }
}

fn header(kind: &str, session: &str) -> Value {
    json!({
        "msg_id": Uuid::new_v4().to_string(),
        "msg_type": kind,
        "session": session,
        "username": "kernel",
        "date": chrono::Utc::now().to_rfc3339(),
        "version": VERSION,
    })
}

/// Jupyter's signature of the four parts and whatever follows them; none when there is no key.
fn mac(parts: &[impl AsRef<[u8]>], key: &str) -> Option<Hmac<Sha256>> {
    if key.is_empty() {
        return None;
    }
    let mut mac = Hmac::new_from_slice(key.as_bytes()).expect("a key may have any length");
    parts.iter().for_each(|part| mac.update(part.as_ref()));
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_way_and_another_key_does_not_read_it() {
        let message = Message::request("execute_request", json!({"code": "1 + 1"}));
        let read = Message::parse(message.frames("secret"), "secret").unwrap();
        assert_eq!(read.header, message.header);
        assert_eq!(read.text("code"), "1 + 1");
        assert!(Message::parse(message.frames("secret"), "another").is_none());
        assert!(Message::parse(message.frames(""), "secret").is_none());
        assert!(Message::parse(ZmqMessage::from("nothing of the kind"), "").is_none());
    }
}
