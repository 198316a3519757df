//! What the cells' process writes for the kernel and not for the learner: evcxr's marks, those of the
//! crate and those of the runtime, wherever in the text they stand.

use serde_json::Value;

/// A piece of what a process has written, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    /// A value that the cell shows, in one format.
    Content {
        mime: String,
        text: String,
    },
    /// A bundle of formats, from the crate; see its `plot::show`.
    Display(Value),
    /// What a learner is asked before the next line of standard input.
    Prompt {
        text: String,
        password: bool,
    },
    /// A mark that evcxr has to see, without its line end.
    ForEvcxr(String),
    Panicked,
    /// An error left the cell at a `?`.
    LeftEarly,
    /// Where and why a thread panicked, from the runtime.
    Panic(Failure),
    /// What left the cell at a `?`, and from where.
    Error(Failure),
}

/// An error or a panic as the process that runs the cells tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// The name of the thread.
    pub(super) thread: String,
    /// The file and the line; none for an error.
    pub(super) place: Option<(String, usize)>,
    pub(super) backtrace: String,
}

/// How a mark begins.
const MARKS: [(&str, Kind); 10] = [
    ("EVCXR_PANIC_NOTIFICATION", Kind::Line),
    ("EVCXR_ERROR_OCCURRED", Kind::Line),
    ("EVCXR_EXECUTION_COMPLETE", Kind::Line),
    ("EVCXR_VARIABLE_CHANGED_TYPE:", Kind::Line),
    ("EVCXR_INPUT_REQUEST_PASSWORD:", Kind::Line),
    ("EVCXR_INPUT_REQUEST:", Kind::Line),
    ("SEQ2SEQ_DISPLAY ", Kind::Line),
    ("EVCXR_BEGIN_CONTENT ", Kind::Content),
    ("\u{1e}SEQ2SEQ_PANIC\u{1f}", Kind::Record),
    ("\u{1e}SEQ2SEQ_ERROR\u{1f}", Kind::Record),
];
/// The bytes after which nobody waits for a mark's end.
const LONGEST: usize = 32 << 20;
const END_OF_CONTENT: &[u8] = b"EVCXR_END_CONTENT\n";

#[derive(Clone, Copy)]
enum Kind {
    /// Ends with the line.
    Line,
    /// Its first line is the format; it ends with a line of its own.
    Content,
    /// Fields with separators between them.
    Record,
}

/// Splits what a process writes into text and marks.
#[derive(Default)]
pub(super) struct Splitter {
    /// The beginning of a mark, or of what may become one.
    held: Vec<u8>,
}

impl Splitter {
    /// The pieces that are complete with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.held.extend_from_slice(bytes);
        self.split(false)
    }

    /// All that is left, when nothing follows.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        self.split(true)
    }

    fn split(&mut self, last: bool) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let (mut pieces, mut rest) = (Vec::new(), &held[..]);
        while !rest.is_empty() {
            let Some((start, mark)) = find(rest) else {
                let keep = if last { 0 } else { beginning_of_a_mark(rest) };
                push_text(&mut pieces, &rest[..rest.len() - keep]);
                rest = &rest[rest.len() - keep..];
                break;
            };
            push_text(&mut pieces, &rest[..start]);
            rest = &rest[start..];
            let (name, kind) = MARKS[mark];
            let after = &rest[name.len()..];
            match end(after, kind, last) {
                Some((length, terminator)) => {
                    pieces.extend(read(mark, &after[..length]));
                    rest = &after[length + terminator..];
                }
                // Cut off in the middle: what it holds is text.
                None if last || after.len() > LONGEST => rest = after,
                None => break,
            }
        }
        self.held = rest.to_vec();
        pieces
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &[u8]) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_vec()));
    }
}

/// Where the first mark begins, and which it is.
fn find(bytes: &[u8]) -> Option<(usize, usize)> {
    let candidates =
        bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'E' | b'S' | 0x1e));
    candidates.map(|(start, _)| start).find_map(|start| {
        let mark =
            MARKS.iter().position(|(name, _)| bytes[start..].starts_with(name.as_bytes()))?;
        Some((start, mark))
    })
}

/// How many of the last bytes may be the beginning of a mark.
fn beginning_of_a_mark(bytes: &[u8]) -> usize {
    let longest = MARKS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let first = bytes.len().saturating_sub(longest);
    (first..bytes.len())
        .find(|&start| MARKS.iter().any(|(name, _)| name.as_bytes().starts_with(&bytes[start..])))
        .map_or(0, |start| bytes.len() - start)
}

/// The length of what a mark holds, and that of what ends it.
fn end(after: &[u8], kind: Kind, last: bool) -> Option<(usize, usize)> {
    let at = |wanted: u8| after.iter().position(|&byte| byte == wanted);
    match kind {
        Kind::Line => at(b'\n').map(|length| (length, 1)).or(last.then_some((after.len(), 0))),
        Kind::Record => at(0x1e).map(|length| (length, 1)),
        Kind::Content => {
            let ends = |window: &[u8]| window == END_OF_CONTENT;
            let length = after.windows(END_OF_CONTENT.len()).position(ends)?;
            Some((length, END_OF_CONTENT.len()))
        }
    }
}

/// Parses the content of a mark. Returns `None` for a mark that is malformed or not needed.
fn read(mark: usize, held: &[u8]) -> Option<Piece> {
    let held = String::from_utf8_lossy(held);
    let name = MARKS[mark].0;
    match name.trim_matches(['\u{1e}', '\u{1f}', ':', ' ']) {
        "EVCXR_PANIC_NOTIFICATION" => Some(Piece::Panicked),
        "EVCXR_ERROR_OCCURRED" => Some(Piece::LeftEarly),
        "EVCXR_VARIABLE_CHANGED_TYPE" => Some(Piece::ForEvcxr(format!("{name}{held}"))),
        "EVCXR_INPUT_REQUEST_PASSWORD" => {
            Some(Piece::Prompt { text: held.into_owned(), password: true })
        }
        "EVCXR_INPUT_REQUEST" => Some(Piece::Prompt { text: held.into_owned(), password: false }),
        "SEQ2SEQ_DISPLAY" => {
            serde_json::from_str(&held).ok().filter(Value::is_object).map(Piece::Display)
        }
        "EVCXR_BEGIN_CONTENT" => {
            let (mime, text) = held.split_once('\n')?;
            let text = text.strip_suffix('\n').unwrap_or(text);
            Some(Piece::Content { mime: mime.to_owned(), text: text.to_owned() })
        }
        "SEQ2SEQ_PANIC" => {
            let mut fields = held.split('\u{1f}').map(str::to_owned);
            let mut field = || fields.next().unwrap_or_default();
            let (thread, file, line) = (field(), field(), field());
            let place = line.parse().ok().map(|line| (file, line));
            Some(Piece::Panic(Failure { thread, place, message: field(), backtrace: field() }))
        }
        "SEQ2SEQ_ERROR" => {
            let (message, backtrace) = held.split_once('\u{1f}').unwrap_or((&held, ""));
            let (message, backtrace) = (message.to_owned(), backtrace.to_owned());
            Some(Piece::Error(Failure { message, backtrace, ..Failure::default() }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    /// The pieces of a text, cut into two at every place: no cut may change them.
    #[track_caller]
    fn check(written: &[u8], expected: &[Piece]) {
        for cut in 0..=written.len() {
            let mut splitter = Splitter::default();
            let mut pieces = splitter.feed(&written[..cut]);
            pieces.extend(splitter.feed(&written[cut..]));
            pieces.extend(splitter.finish());
            let mut joined: Vec<Piece> = Vec::new();
            for piece in pieces {
                match (joined.last_mut(), piece) {
                    (Some(Piece::Text(before)), Piece::Text(after)) => before.extend(after),
                    (_, piece) => joined.push(piece),
                }
            }
            assert_eq!(joined, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_mark_is_found_wherever_it_stands_in_a_line() {
        check(b"epoch 1 EVCXR_ERROR_OCCURRED\n", &[text("epoch 1 "), Piece::LeftEarly]);
        check(b"EVCXR_PANIC_NOTIFICATION\nmore", &[Piece::Panicked, text("more")]);
        check(b"helloEVCXR_EXECUTION_COMPLETE\n", &[text("hello")]);
        check(
            b"x\nEVCXR_VARIABLE_CHANGED_TYPE:y\nz\n",
            &[
                text("x\n"),
                Piece::ForEvcxr("EVCXR_VARIABLE_CHANGED_TYPE:y".to_owned()),
                text("z\n"),
            ],
        );
    }

    #[test]
    fn a_text_that_only_begins_like_a_mark_is_a_text() {
        check(b"EVCXR_", &[text("EVCXR_")]);
        check(b"SEQ2SEQ is EVCXR\x1e", &[text("SEQ2SEQ is EVCXR\u{1e}")]);
        check(b"EVCXR_BEGIN_CONTENT text/plain\nno end", &[text("text/plain\nno end")]);
        check(b"\xff\xfe", &[Piece::Text(vec![0xff, 0xfe])]);
    }

    #[test]
    fn what_a_mark_holds_is_read() {
        let content =
            |text: &str| Piece::Content { mime: "text/plain".to_owned(), text: text.to_owned() };
        check(
            b"a EVCXR_BEGIN_CONTENT text/plain\n1\n2\nEVCXR_END_CONTENT\nb",
            &[text("a "), content("1\n2"), text("b")],
        );
        check(
            b"SEQ2SEQ_DISPLAY {\"update\":true}\n",
            &[Piece::Display(serde_json::json!({"update": true}))],
        );
        check(
            b"EVCXR_INPUT_REQUEST_PASSWORD:Key?\n",
            &[Piece::Prompt { text: "Key?".to_owned(), password: true }],
        );
        let failure = Failure {
            message: "out\nof luck".to_owned(),
            thread: "main".to_owned(),
            place: Some(("src/lib.rs".to_owned(), 12)),
            backtrace: "0: 0x1".to_owned(),
        };
        check(
            "\u{1e}SEQ2SEQ_PANIC\u{1f}main\u{1f}src/lib.rs\u{1f}12\u{1f}out\nof luck\u{1f}0: 0x1\u{1e}"
                .as_bytes(),
            &[Piece::Panic(failure)],
        );
    }
}
