//! Marks on standard output, by which a cell tells the notebook's kernel what to show.
//!
//! A mark is a line, `SEQ2SEQ_DISPLAY ` and JSON. The kernel takes it out of the cell's text and sends
//! Jupyter the message `display_data`, or `update_display_data`, which replaces an output in place.

use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const SVG: &str = "image/svg+xml";
pub(crate) const PNG: &str = "image/png";
const PLAIN: &str = "text/plain";

/// Whether the workbook's kernel reads standard output, and with it the marks.
pub(crate) fn reads_marks() -> bool {
    static READS: OnceLock<bool> = OnceLock::new();
    *READS.get_or_init(|| std::env::var_os("SEQ2SEQ_NOTEBOOK").is_some())
}

/// Whether this is the process in which evcxr, of whichever kernel, runs cells.
pub(crate) fn runs_cells() -> bool {
    static RUNS: OnceLock<bool> = OnceLock::new();
    *RUNS.get_or_init(|| std::env::var_os("EVCXR_IS_RUNTIME").is_some())
}

/// One output in several formats, of which the reader takes the best that it can show.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Bundle {
    data: BTreeMap<&'static str, String>,
    metadata: BTreeMap<&'static str, Metadata>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    /// The alternative text, where Jupyter looks for it.
    alt: String,
}

impl Bundle {
    /// An output that is text where nothing better can be shown.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { data: [(PLAIN, text.into())].into(), metadata: BTreeMap::new() }
    }

    /// Adds a picture, `content`, with its alternative text.
    pub(crate) fn with_image(mut self, mime: &'static str, content: String, alt: &str) -> Self {
        self.data.insert(mime, content);
        self.metadata.insert(mime, Metadata { alt: alt.to_owned() });
        self
    }

    /// Shows the output below the cell, never to be replaced.
    pub(crate) fn show(&self) {
        write(&self.mark(None, false));
    }

    /// The line for the kernel.
    fn mark(&self, display_id: Option<&str>, update: bool) -> String {
        #[derive(Serialize)]
        struct Mark<'a> {
            #[serde(flatten)]
            bundle: &'a Bundle,
            #[serde(skip_serializing_if = "Option::is_none")]
            display_id: Option<&'a str>,
            update: bool,
        }
        let mark = Mark { bundle: self, display_id, update };
        // Maps of strings always are JSON.
        let json = serde_json::to_string(&mark).unwrap_or_default();
        format!("SEQ2SEQ_DISPLAY {json}\n")
    }
}

/// An output that is renewed in place.
#[derive(Debug)]
pub(crate) struct Display {
    id: String,
    shown: bool,
}

impl Display {
    /// An output of its own, not yet shown.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // A process that is started anew may get the number of an earlier one.
        static STARTED: OnceLock<u128> = OnceLock::new();
        let started = *STARTED.get_or_init(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
        });
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { id: format!("seq2seq-{}-{started:x}-{count}", std::process::id()), shown: false }
    }

    /// Shows `bundle` below the cell, or in place of what this output has shown before.
    pub(crate) fn show(&mut self, bundle: &Bundle) {
        write(&bundle.mark(Some(&self.id), self.shown));
        self.shown = true;
    }

    /// Shows `bundle` in place of what this output has shown before.
    pub(crate) fn update(&self, bundle: &Bundle) {
        write(&bundle.mark(Some(&self.id), true));
    }

    /// Whether the output has been shown.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown
    }
}

/// Writes a mark in one piece, whoever else writes. Without a reader there is nobody to show it to.
fn write(mark: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(mark.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_line_of_json() {
        let alt = "a \"b\"\nand é";
        let bundle = Bundle::text("line\nline").with_image(SVG, "<svg>\n</svg>".into(), alt);
        for (id, update) in [(None, false), (Some("a"), true)] {
            let mark = bundle.mark(id, update);
            assert_eq!(mark.matches('\n').count(), 1, "{mark}");
            let json = mark.strip_prefix("SEQ2SEQ_DISPLAY ").unwrap();
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(value["data"]["text/plain"], "line\nline");
            assert_eq!(value["data"]["image/svg+xml"], "<svg>\n</svg>");
            assert_eq!(value["metadata"]["image/svg+xml"]["alt"], alt);
            assert!(value["metadata"].get("text/plain").is_none());
            assert_eq!(value.get("display_id").and_then(|id| id.as_str()), id);
            assert_eq!(value["update"], update);
        }
    }

    #[test]
    fn every_output_has_a_name_of_its_own() {
        assert_ne!(Display::new().id, Display::new().id);
    }
}
