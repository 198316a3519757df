//! A failed cell's error: the message first, then the line of the cell that it came from.

use serde_json::{Value, json};

use super::names::Names;
use super::question::is_part_of_name;

/// What Jupyter gets to know of a failed cell, as an output and as a part of the reply.
#[derive(Debug)]
pub(super) struct CellError {
    /// The kind of error, as `ename`.
    pub(super) name: &'static str,
    pub(super) message: String,
    /// What is shown: lines, with the colours of a terminal.
    pub(super) lines: Vec<String>,
}

impl CellError {
    /// An error with its message, and the place it came from, if that is known.
    pub(super) fn new(name: &'static str, message: String, place: Option<&Place<'_>>) -> Self {
        let mut lines = vec![headline(&message)];
        lines.extend(place.map(Place::excerpt).unwrap_or_default());
        Self { name, message, lines }
    }

    pub(super) fn content(&self) -> Value {
        json!({"ename": self.name, "evalue": self.message, "traceback": self.lines})
    }

    pub(super) fn reply(&self, count: u64) -> Value {
        let mut reply = self.content();
        reply["status"] = "error".into();
        reply["execution_count"] = count.into();
        reply["payload"] = json!([]);
        reply
    }

    /// The compiler's messages, of which evcxr has sent one each, in one. A name that it does not find
    /// since a cell has taken it away is told as that.
    pub(super) fn of_compiler(errors: &[Value], code: &str, cell: u64, names: &Names) -> Self {
        let mut lines: Vec<String> = Vec::new();
        let mut message = None;
        let mut explained = Vec::new();
        for error in errors {
            let text = error["evalue"].as_str().unwrap_or_default();
            if !lines.is_empty() {
                lines.push(String::new());
            }
            if let Some(name) = missing_name(text)
                && let Some(explanation) = names.explain(name)
            {
                if explained.contains(&name) {
                    lines.pop();
                    continue;
                }
                explained.push(name);
                lines.push(headline(&explanation));
                lines.extend(
                    place_of_name(code, cell, name).map(|p| p.excerpt()).unwrap_or_default(),
                );
                message.get_or_insert(explanation);
                continue;
            }
            message.get_or_insert_with(|| text.to_owned());
            let traceback = error["traceback"].as_array().into_iter().flatten();
            let shown: Vec<_> = traceback.filter_map(Value::as_str).collect();
            match shown.is_empty() {
                true => lines.push(headline(text)),
                false => lines.extend(shown.into_iter().map(|line| with_cell(line, cell))),
            }
        }
        let message = message.unwrap_or_else(|| "the cell could not be compiled".to_owned());
        Self { name: "CompileError", message, lines }
    }
}

fn headline(message: &str) -> String {
    format!("\u{1b}[1;31merror\u{1b}[0m\u{1b}[1m: {message}\u{1b}[0m")
}

/// evcxr's name for a cell, with a count of its own, becomes the number that Jupyter shows.
fn with_cell(line: &str, cell: u64) -> String {
    let Some(start) = line.find("command_") else { return line.to_owned() };
    let digits = &line[start + "command_".len()..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 {
        return line.to_owned(); // a name of the learner's
    }
    format!("{}cell [{cell}]{}", &line[..start], &digits[end..])
}

/// The name that the compiler has looked for in vain.
fn missing_name(message: &str) -> Option<&str> {
    // Types are no variables, but stand among the names that a `let` may bind.
    let rest = message.strip_prefix("cannot find ")?;
    let rest = rest.strip_prefix("value ").or_else(|| rest.strip_prefix("function "))?;
    rest.contains("in this scope").then_some(())?;
    rest.split('`').nth(1)
}

/// A place in a cell.
pub(super) struct Place<'a> {
    pub(super) cell: u64,
    pub(super) code: &'a str,
    /// Counted from 0.
    pub(super) line: usize,
    /// The characters that are marked; none for the whole line.
    pub(super) columns: Option<std::ops::Range<usize>>,
}

impl Place<'_> {
    /// The line, marked as the compiler does it.
    fn excerpt(&self) -> Vec<String> {
        const FRAME: &str = "\u{1b}[1;34m";
        const MARK: &str = "\u{1b}[1;31m";
        const END: &str = "\u{1b}[0m";
        let Some(text) = self.code.lines().nth(self.line) else { return Vec::new() };
        let number = (self.line + 1).to_string();
        let gap = " ".repeat(number.len());
        let whole = || {
            let start = text.chars().take_while(|c| c.is_whitespace()).count();
            start..text.trim_end().chars().count()
        };
        let marked = self.columns.clone().unwrap_or_else(whole);
        let [before, under] = [marked.start, marked.len().max(1)];
        let (cell, end_gap) = (self.cell, " ".repeat(before));
        vec![
            format!("{gap}{FRAME}-->{END} cell [{cell}], line {number}"),
            format!("{gap} {FRAME}|{END}"),
            format!("{FRAME}{number} |{END} {text}"),
            format!("{gap} {FRAME}|{END} {end_gap}{MARK}{}{END}", "^".repeat(under)),
        ]
    }
}

/// Where a name first stands in a cell.
fn place_of_name<'a>(code: &'a str, cell: u64, name: &str) -> Option<Place<'a>> {
    code.lines().enumerate().find_map(|(line, text)| {
        let found = text.match_indices(name).find(|(at, _)| {
            let [before, after] = [&text[..*at], &text[at + name.len()..]];
            !before.ends_with(is_part_of_name) && !after.starts_with(is_part_of_name)
        });
        let start = text[..found?.0].chars().count();
        let columns = Some(start..start + name.chars().count());
        Some(Place { cell, code, line, columns })
    })
}

/// The place in a cell of a line of the file that evcxr has compiled.
///
/// It holds the statements of the cell as they are, among what evcxr adds, and the functions of older
/// cells. So the line is looked for in the cells, from the newest; where it stands several times, the
/// lines around it decide.
pub(super) fn place_in_cells<'a>(
    compiled: &str,
    line: usize,
    cells: impl Iterator<Item = (u64, &'a str)>,
) -> Option<Place<'a>> {
    let compiled: Vec<&str> = compiled.lines().collect();
    let wanted = compiled.get(line)?.trim();
    let same = |compiled: &str, own: &str| {
        let own = own.trim();
        // What a cell ends with is wrapped, to be shown.
        !own.is_empty() && (compiled.trim() == own || own.len() > 3 && compiled.contains(own))
    };
    let mut best: Option<(usize, Place<'a>)> = None;
    for (cell, code) in cells {
        let own: Vec<&str> = code.lines().collect();
        for (index, _) in own.iter().enumerate().filter(|(_, text)| same(wanted, text)) {
            let above = (1..=line.min(index))
                .take_while(|d| compiled[line - d].trim() == own[index - d].trim());
            let below = (1..own.len() - index).take_while(|d| {
                compiled.get(line + d).is_some_and(|text| text.trim() == own[index + d].trim())
            });
            let score = above.count() + below.count();
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, Place { cell, code, line: index, columns: None }));
            }
        }
    }
    best.map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::relay::names::Outcome;

    #[test]
    fn a_line_of_the_compiled_file_is_found_in_its_cell() {
        let compiled = "use a;\nfn f() {\n    panic!();\n}\nlet _ = (||{\nlet x = 1;\nf();\n(x?).evcxr_display();";
        let cells = [(2, "let x = 1;\nf();\nx?"), (1, "fn f() {\n    panic!();\n}")];
        let find = |line| {
            let place = place_in_cells(compiled, line, cells.into_iter());
            place.map(|place| (place.cell, place.line))
        };
        assert_eq!(find(2), Some((1, 1)));
        assert_eq!(find(6), Some((2, 1)));
        assert_eq!(find(0), None);
        let twice = "let _ = 0;\nlet a = 1;\ng();\nlet b = 2;\ng();\n";
        let cell = [(3, "let a = 1;\ng();\nlet b = 2;\ng();")];
        assert_eq!(place_in_cells(twice, 4, cell.into_iter()).unwrap().line, 3);
    }

    #[test]
    fn the_marked_line_is_shown_as_the_compiler_does_it() {
        let code = "let a = 1;\nlet z = w;";
        let place = place_of_name(code, 7, "w").unwrap();
        let text = place.excerpt().join("\n");
        let plain: String =
            text.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |p| p.1)).collect();
        assert_eq!(plain, " --> cell [7], line 2\n  |\n2 | let z = w;\n  |         ^");
    }

    #[test]
    fn a_name_that_is_gone_is_explained_instead_of_missing() {
        let mut names = Names::default();
        names.update(["w"].into_iter(), 1, "let w = 1;", Outcome::Ok, &[]);
        names.update([].into_iter(), 2, "drop(w);", Outcome::Ok, &[]);
        let error = |name: &str| {
            let text = format!("cannot find value `{name}` in this scope");
            json!({"evalue": text, "traceback": [text, "command_12:1"]})
        };
        let found = CellError::of_compiler(&[error("w"), error("w")], "w + 1", 3, &names);
        assert!(found.message.contains("cell [2] moved it"), "{found:?}");
        assert_eq!(found.lines.len(), 5, "{found:?}");
        let found = CellError::of_compiler(&[error("v")], "v + 1", 3, &names);
        assert_eq!(found.message, "cannot find value `v` in this scope");
        assert_eq!(found.lines[1], "cell [3]:1");
        assert_eq!(with_cell("2 | let command_name = 1;", 3), "2 | let command_name = 1;");
        assert_eq!(missing_name("cannot find type `HashMap` in this scope"), None);
    }
}
