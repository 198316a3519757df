//! What the cells write and show, as messages to Jupyter.
//!
//! Text is sent in batches: each message costs a page some work, and JupyterLab's server drops what
//! comes after 3000 messages, or 3 MB, in three seconds. Nothing waits longer than [`BATCH`], and
//! pictures and text keep their order.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::front::Front;
use super::marks::Piece;
use super::message::Message;

/// How long text may wait for more text.
pub(super) const BATCH: Duration = Duration::from_millis(50);

/// The most changes between the two streams in a batch that keep their places.
const CHANGES: usize = 6;

/// The bytes of text that a cell may send.
const TEXT_LIMIT: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

pub(super) struct Output {
    front: Front,
    /// The request whose cell runs, or else the last one: a thread that it has left behind may write.
    cause: Option<Message>,
    shown: Shown,
    count: u64,
    /// Text that waits, in order.
    text: Vec<(Stream, Vec<u8>)>,
    /// The bundle that is the cell's result, if nothing follows.
    bundle: Option<Bundle>,
    since: Option<Instant>,
    /// Bytes of text that were sent, and that were left out.
    sent: usize,
    left_out: usize,
}

/// What becomes of outputs.
enum Shown {
    Published,
    /// A silent request: nobody sees anything.
    Dropped,
    /// An expression of a request: its values are part of the reply.
    Collected(Vec<Value>),
}

/// Formats of one value.
struct Bundle {
    data: Map<String, Value>,
    metadata: Value,
    /// Whether another format can still join it.
    open: bool,
}

impl Output {
    pub(super) fn new(front: Front) -> Self {
        Self {
            front,
            cause: None,
            shown: Shown::Published,
            count: 0,
            text: Vec::new(),
            bundle: None,
            since: None,
            sent: 0,
            left_out: 0,
        }
    }

    /// From here on, outputs belong to this request.
    pub(super) fn begin(&mut self, cause: &Message, count: u64, silent: bool) {
        self.flush(true);
        self.cause = Some(cause.clone());
        self.shown = if silent { Shown::Dropped } else { Shown::Published };
        (self.count, self.sent, self.left_out) = (count, 0, 0);
    }

    /// The cell has ended: what waits is sent, and the last value is its result.
    pub(super) fn end(&mut self) {
        self.flush_text(true);
        if let Some(Bundle { data, metadata, .. }) = self.bundle.take() {
            // A loop at the end of a cell has a value, too.
            if data.get("text/plain").is_none_or(|text| text != "()" || data.len() > 1) {
                let count = self.count;
                let content = json!({"data": data, "metadata": metadata, "execution_count": count});
                self.publish("execute_result", content);
            }
        }
        self.since = None;
        if self.left_out > 0 {
            let [all, shown] =
                [self.sent + self.left_out, self.sent].map(|bytes| bytes as f64 / 1e6);
            self.left_out = 0;
            let note = format!(
                "[Output truncated: the cell printed {all:.1} MB, and only the first {shown:.1} MB is shown.]\n"
            );
            self.advise(&note);
        }
    }

    /// From here on, until [`Self::collected`], values are collected and text is dropped.
    pub(super) fn collect(&mut self) {
        self.flush(true);
        self.shown = Shown::Collected(Vec::new());
    }

    pub(super) fn collected(&mut self) -> Vec<Value> {
        self.flush(true);
        match std::mem::replace(&mut self.shown, Shown::Published) {
            Shown::Collected(values) => values,
            _ => Vec::new(),
        }
    }

    /// Takes a piece that is text or a value; it waits for the next batch.
    pub(super) fn take(&mut self, stream: Stream, piece: Piece) {
        match piece {
            Piece::Text(text) => self.take_text(stream, text),
            Piece::Content { mime, text } => {
                let value = match mime.contains("json") {
                    true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                    false => Value::String(text),
                };
                if !self.bundle.as_ref().is_some_and(|b| b.open && !b.data.contains_key(&mime)) {
                    self.show(Bundle { data: Map::new(), metadata: json!({}), open: true });
                }
                if let Some(bundle) = &mut self.bundle {
                    bundle.data.insert(mime, value);
                }
            }
            Piece::Display(mut display) => {
                let Value::Object(data) = display["data"].take() else { return };
                let metadata = match display["metadata"].take() {
                    Value::Object(metadata) => Value::Object(metadata),
                    _ => json!({}),
                };
                match display["display_id"].as_str() {
                    None => self.show(Bundle { data, metadata, open: false }),
                    Some(id) => {
                        self.flush(false);
                        let update = display["update"].as_bool().unwrap_or(false);
                        let kind = if update { "update_display_data" } else { "display_data" };
                        let transient = json!({"display_id": id});
                        let content =
                            json!({"data": data, "metadata": metadata, "transient": transient});
                        self.publish(kind, content);
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds a line of the kernel's own, which counts as text of the cell.
    pub(super) fn note(&mut self, text: &str) {
        self.take(Stream::Stderr, Piece::Text(text.as_bytes().to_vec()));
    }

    /// Sends a line of the kernel's own, whatever the cell has printed before.
    pub(super) fn advise(&mut self, text: &str) {
        self.flush(false);
        self.publish("stream", json!({"name": "stderr", "text": text}));
    }

    /// The cell's code has ended: its last value waits for [`Self::end`], however long that takes.
    pub(super) fn settle(&mut self) {
        self.flush_text(false);
        self.since = None;
    }

    /// When something has to be sent, if anything waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + BATCH)
    }

    /// Sends what waits; the bytes of a character that is not complete only where they are the `last`.
    pub(super) fn flush(&mut self, last: bool) {
        self.flush_text(last);
        self.flush_bundle();
        self.since = None;
    }

    fn take_text(&mut self, stream: Stream, mut text: Vec<u8>) {
        self.flush_bundle();
        let allowed = TEXT_LIMIT.saturating_sub(self.sent);
        if text.len() > allowed {
            self.left_out += text.len() - allowed;
            text.truncate(allowed);
        }
        self.sent += text.len();
        if text.is_empty() {
            return;
        }
        self.since.get_or_insert_with(Instant::now);
        let place = if self.text.len() < CHANGES {
            self.text.len().checked_sub(1).filter(|&last| self.text[last].0 == stream)
        } else {
            self.text.iter().rposition(|(of, _)| *of == stream)
        };
        match place {
            Some(place) => self.text[place].1.extend(text),
            None => self.text.push((stream, text)),
        }
    }

    fn show(&mut self, bundle: Bundle) {
        self.flush_text(false);
        self.flush_bundle();
        self.bundle = Some(bundle);
        self.since = Some(Instant::now());
    }

    fn flush_text(&mut self, last: bool) {
        for (stream, bytes) in std::mem::take(&mut self.text) {
            let complete = if last { bytes.len() } else { complete_characters(&bytes) };
            if complete > 0 {
                let text = String::from_utf8_lossy(&bytes[..complete]);
                self.publish("stream", json!({"name": stream.name(), "text": text}));
            }
            if complete < bytes.len() {
                self.text.push((stream, bytes[complete..].to_vec()));
            }
        }
    }

    fn flush_bundle(&mut self) {
        if let Some(Bundle { data, metadata, .. }) = self.bundle.take() {
            self.publish(
                "display_data",
                json!({"data": data, "metadata": metadata, "transient": {}}),
            );
        }
    }

    fn publish(&mut self, kind: &str, mut content: Value) {
        let Some(cause) = &self.cause else { return };
        match &mut self.shown {
            Shown::Published => self.front.publish(cause, kind, content),
            Shown::Collected(values) if kind != "stream" => {
                let (data, metadata) = (content["data"].take(), content["metadata"].take());
                values.push(json!({"status": "ok", "data": data, "metadata": metadata}));
            }
            _ => {}
        }
    }
}

/// The length without a character at the end of which bytes are still missing.
fn complete_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let cut = bytes[tail..].iter().rposition(|&byte| byte >= 0xc0).map(|at| tail + at);
    match cut {
        Some(at) => match std::str::from_utf8(&bytes[at..]) {
            Err(error) if error.error_len().is_none() => at,
            _ => bytes.len(),
        },
        None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_sent_when_it_is_whole() {
        let text = "a\u{20ac}".as_bytes();
        assert_eq!(complete_characters(text), 4);
        assert_eq!(complete_characters(&text[..3]), 1);
        assert_eq!(complete_characters(&text[..2]), 1);
        assert_eq!(complete_characters(&[0xff, b'a']), 2);
        assert_eq!(complete_characters(&[]), 0);
    }
}
