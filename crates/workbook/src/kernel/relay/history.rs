//! The cells of this session, for front ends that ask for them.

use serde_json::{Value, json};

#[derive(Default)]
pub(super) struct History {
    /// The number and the text of each cell.
    cells: Vec<(u64, String)>,
}

impl History {
    pub(super) fn add(&mut self, count: u64, code: &str) {
        self.cells.push((count, code.to_owned()));
    }

    /// The cells from the newest to the oldest, with their numbers.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (u64, &str)> {
        self.cells.iter().rev().map(|(count, code)| (*count, code.as_str()))
    }

    /// The reply to a `history_request`; what cells have shown is not kept.
    pub(super) fn reply(&self, request: &Value) -> Value {
        let number = |name: &str| request[name].as_u64();
        let most = number("n").map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        fn last<T: Copy>(cells: &[T], most: usize) -> Vec<T> {
            cells[cells.len().saturating_sub(most)..].to_vec()
        }
        let found: Vec<&(u64, String)> = match request["hist_access_type"].as_str() {
            Some("range") => {
                let start = number("start").unwrap_or(0);
                let stop = number("stop").unwrap_or(u64::MAX);
                // This session is number 0, and all that is kept.
                let here = request["session"].as_i64().unwrap_or(0) == 0;
                self.cells.iter().filter(|(n, _)| here && (start..stop).contains(n)).collect()
            }
            Some("search") => {
                let pattern: Vec<char> =
                    request["pattern"].as_str().unwrap_or("*").chars().collect();
                let matching = |code: &str| matches(&pattern, &code.chars().collect::<Vec<_>>());
                let mut cells: Vec<&(u64, String)> =
                    self.cells.iter().filter(|(_, code)| matching(code)).collect();
                if request["unique"].as_bool().unwrap_or(false) {
                    let all = cells.clone();
                    let mut index = 0;
                    cells.retain(|(_, code)| {
                        index += 1;
                        all[index..].iter().all(|(_, later)| later != code)
                    });
                }
                last(&cells, most)
            }
            _ => last(&self.cells.iter().collect::<Vec<_>>(), most),
        };
        let output = request["output"].as_bool().unwrap_or(false);
        let entries: Vec<Value> = found
            .into_iter()
            .map(|(count, code)| match output {
                true => json!([0, count, [code, null]]),
                false => json!([0, count, code]),
            })
            .collect();
        json!({"status": "ok", "history": entries})
    }
}

/// Whether the whole text is what a pattern with `*` and `?` says.
fn matches(pattern: &[char], text: &[char]) -> bool {
    // After the last `*`: where the pattern and the text go on, if that one takes a character more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut read) = (0, 0);
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, read));
        } else if at == pattern.len() && read == text.len() {
            return true;
        } else if read < text.len() && pattern.get(at).is_some_and(|&c| c == '?' || c == text[read])
        {
            (at, read) = (at + 1, read + 1);
        } else {
            match &mut retry {
                Some((after, from)) if *from < text.len() => {
                    *from += 1;
                    (at, read) = (*after, *from);
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: Value) -> Vec<u64> {
        let mut history = History::default();
        for (index, code) in ["let a = 1;", "a + 1", "let b = 2;", "a + 1"].iter().enumerate() {
            history.add(index as u64 + 1, code);
        }
        let reply = history.reply(&request);
        let entries = reply["history"].as_array().unwrap();
        entries.iter().map(|entry| entry[1].as_u64().unwrap()).collect()
    }

    #[test]
    fn patterns_match_the_whole_text() {
        let matches = |pattern: &str, text: &str| {
            let [pattern, text] = [pattern, text].map(|text| text.chars().collect::<Vec<_>>());
            super::matches(&pattern, &text)
        };
        for (pattern, text) in
            [("", ""), ("*", "abc"), ("a*c", "abcc"), ("a?c*", "abc"), ("**", "")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("?", ""), ("a*b", "abc"), ("a*b*d", "acbc")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(30), &"a".repeat(29)));
    }

    #[test]
    fn the_three_ways_to_ask_are_answered() {
        assert_eq!(ask(json!({"hist_access_type": "tail", "n": 2})), [3, 4]);
        let range = json!({"hist_access_type": "range", "session": 0, "start": 2, "stop": 4});
        assert_eq!(ask(range), [2, 3]);
        assert_eq!(ask(json!({"hist_access_type": "search", "pattern": "let ? =*"})), [1, 3]);
        let unique = json!({"hist_access_type": "search", "pattern": "a*", "unique": true});
        assert_eq!(ask(unique), [4]);
    }
}
