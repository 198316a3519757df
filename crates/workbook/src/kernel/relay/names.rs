//! Tracks which cell made each variable, and which cell moved or lost it.

use std::collections::BTreeMap;

use super::source::bound_names;

#[derive(Default)]
pub(super) struct Names {
    /// The number of the cell that made each variable that is there.
    present: BTreeMap<String, u64>,
    gone: BTreeMap<String, Gone>,
}

/// A variable that no longer exists, or never did.
struct Gone {
    /// The cell that made it.
    made_by: Option<u64>,
    why: Why,
}

enum Why {
    /// Moved by a cell that has run.
    Moved(u64),
    /// A cell that failed was to make it.
    NotMade(u64),
    /// Moved by a cell that failed.
    MovedByFailed(u64),
    /// A cell redefined its type.
    Retyped(u64),
    /// A cell with one of evcxr's commands, such as `:clear`.
    Cleared(u64),
    /// The process that runs the cells ended during this cell.
    Ended(u64),
}

/// How a cell has ended.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    Ok,
    Failed,
    /// With the process that ran it.
    Ended,
}

impl Names {
    /// Takes note of the variables that are there after a cell; the type of some was `redefined` in it.
    pub(super) fn update<'a>(
        &mut self,
        now: impl Iterator<Item = &'a str>,
        cell: u64,
        code: &str,
        outcome: Outcome,
        redefined: &[String],
    ) {
        let before = std::mem::take(&mut self.present);
        let bound = bound_names(code);
        for name in now {
            let anew = outcome == Outcome::Ok && bound.contains(&name);
            let made_by = before.get(name).copied().filter(|_| !anew).unwrap_or(cell);
            self.present.insert(name.to_owned(), made_by);
            self.gone.remove(name);
        }
        for (name, made_by) in before {
            if !self.present.contains_key(&name) {
                let why = match outcome {
                    Outcome::Ok if redefined.contains(&name) => Why::Retyped(cell),
                    Outcome::Ok if code.trim_start().starts_with(':') => Why::Cleared(cell),
                    Outcome::Ok => Why::Moved(cell),
                    Outcome::Failed if bound.contains(&&*name) => Why::NotMade(cell),
                    Outcome::Failed => Why::MovedByFailed(cell),
                    Outcome::Ended => Why::Ended(cell),
                };
                self.gone.insert(name, Gone { made_by: Some(made_by), why });
            }
        }
        if outcome != Outcome::Ok {
            for name in bound {
                if !self.present.contains_key(name) {
                    let gone = Gone { made_by: None, why: Why::NotMade(cell) };
                    self.gone.entry(name.to_owned()).or_insert(gone);
                }
            }
        }
    }

    /// The variables that are there.
    pub(super) fn present(&self) -> Vec<String> {
        self.present.keys().cloned().collect()
    }

    /// What has become of a variable that the compiler does not find, and what to do.
    pub(super) fn explain(&self, name: &str) -> Option<String> {
        let Gone { made_by, why } = self.gone.get(name)?;
        let again = match made_by {
            Some(cell) => format!("run cell [{cell}], which made it, again"),
            None => "run the cell again that makes it".to_owned(),
        };
        Some(match why {
            Why::Moved(cell) => format!(
                "`{name}` no longer exists: cell [{cell}] moved it. To get it back, {again}; to keep it, \
                 write `{name}.clone()` or `&{name}` in the cell that moves it."
            ),
            Why::NotMade(cell) => match made_by {
                Some(_) => format!(
                    "`{name}` no longer exists: cell [{cell}] failed while replacing it, and the old value was \
                     dropped. Correct that cell and run it again, or {again}."
                ),
                None => format!(
                    "`{name}` was never made: cell [{cell}], which was to make it, failed. Correct that \
                     cell and run it again."
                ),
            },
            Why::MovedByFailed(cell) => format!(
                "`{name}` no longer exists: cell [{cell}], which failed, had moved it. To get it back, \
                 {again}."
            ),
            Why::Retyped(cell) => format!(
                "`{name}` no longer exists: cell [{cell}] redefined its type. To get it back, {again}."
            ),
            Why::Cleared(cell) => format!(
                "`{name}` no longer exists: cell [{cell}] cleared the variables. To get it back, {again}."
            ),
            Why::Ended(cell) => format!(
                "`{name}` was lost when the process that runs the cells ended, in cell [{cell}]. To get \
                 it back, {again}."
            ),
        })
    }
}

/// The names in the text of evcxr's command `:vars`, which has a line `name: type` for each variable.
pub(super) fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(line.split_once(": ")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(cells: &[(&str, &[&str], Outcome)]) -> Names {
        let mut names = Names::default();
        for (index, (code, now, outcome)) in cells.iter().enumerate() {
            names.update(
                now.iter().copied(),
                index as u64 + 1,
                code,
                *outcome,
                &["typed".to_owned()],
            );
        }
        names
    }

    #[track_caller]
    fn check(names: &Names, name: &str, expected: &[&str]) {
        let text = names.explain(name).unwrap();
        for part in expected {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    #[test]
    fn a_name_that_moved_is_told_with_both_cells() {
        let names = after(&[
            ("let w = 1;", &["w"], Outcome::Ok),
            ("let z = 1;", &["w", "z"], Outcome::Ok),
            ("let y = w;", &["y", "z"], Outcome::Ok),
        ]);
        check(&names, "w", &["cell [3] moved it", "run cell [1]", "`w.clone()`"]);
        assert_eq!(names.explain("z"), None);
        assert_eq!(names.explain("never"), None);
        assert_eq!(names.present(), ["y", "z"]);
    }

    #[test]
    fn a_name_that_a_failed_cell_was_to_make_is_told_with_it() {
        let names = after(&[
            ("let q = 1;", &["q"], Outcome::Ok),
            ("let (q, p) = f()?;", &[], Outcome::Failed),
        ]);
        check(&names, "q", &["cell [2] failed while replacing it", "run cell [1]"]);
        check(&names, "p", &["never made: cell [2]"]);
    }

    #[test]
    fn a_type_that_was_redefined_and_a_command_are_no_moves() {
        let names = after(&[
            ("let (typed, other) = f();", &["other", "typed"], Outcome::Ok),
            ("struct P;", &["other"], Outcome::Ok),
            (":clear", &[], Outcome::Ok),
        ]);
        check(&names, "typed", &["cell [2] redefined its type", "run cell [1]"]);
        check(&names, "other", &["cell [3] cleared the variables"]);
    }

    #[test]
    fn what_ended_with_the_process_comes_back_with_its_cell() {
        let cells: &[(&str, &[&str], Outcome)] = &[
            ("let a = 1;", &["a"], Outcome::Ok),
            ("exit(0)", &[], Outcome::Ended),
            ("let a = 2;", &["a"], Outcome::Ok),
        ];
        check(&after(&cells[..2]), "a", &["ended, in cell [2]", "run cell [1]"]);
        assert_eq!(after(cells).explain("a"), None);
    }

    #[test]
    fn the_list_of_evcxr_is_read() {
        let found: Vec<_> =
            listed("a: Vec<(f64, f64)>\nmodel: seq2seq::model::Seq2Seq\n").collect();
        assert_eq!(found, ["a", "model"]);
    }
}
