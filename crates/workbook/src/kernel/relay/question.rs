//! Shift-Tab: the documentation of the name at the cursor.
//!
//! evcxr cuts the cell off at the cursor and asks rust-analyzer about the end of what is left. So it
//! answers only at the end of a name, and only where the cut cell is still Rust: not in the middle of
//! a name, not among the arguments of a call, not inside `println!`. So the relay asks it about a piece
//! of code that ends where evcxr looks.

/// A piece of code that ends with the name at the cursor, or with the function whose arguments the
/// cursor is among: the statements before it, and the path or the expression that leads to it.
pub(super) fn question(cell: &str, cursor: usize) -> Option<String> {
    let cell: Vec<char> = cell.chars().collect();
    let mut end = cursor.min(cell.len());
    end += cell[end..].iter().take_while(|&&c| is_part_of_name(c)).count();
    let mut start = start_of_name(&cell[..end]);
    if start == end {
        let open = innermost(&cell[..end]).filter(|&open| cell[open] == '(')?;
        end = open - usize::from(cell[..open].ends_with(&['!']));
        start = start_of_name(&cell[..end]);
        if start == end {
            return None;
        }
    }
    let first = start_of_expression(&cell[..start]);
    let statements: String = cell[..end_of_statements(&cell[..first])].iter().collect();
    let name: String = cell[first..end].iter().collect();
    let after = &cell[end..];
    if after.starts_with(&[':'])
        && !after.starts_with(&[':', ':'])
        && let Some(of) = innermost(&cell[..first]).filter(|&open| cell[open] == '{')
    {
        // A field of a struct, unless it is a variable with its type.
        let path = trimmed(&cell[..of]);
        let path_start = start_of_expression(&path[..start_of_name(path)]);
        let path: String = path[path_start..].iter().collect();
        if path.rsplit("::").next()?.starts_with(char::is_uppercase) {
            return Some(format!("{statements}\n|it: {path}| it.{name}"));
        }
    }
    // With it, evcxr looks for a method; without, for a field.
    let call = if after.starts_with(&['(']) { "(" } else { "" };
    Some(format!("{statements}\n{name}{call}"))
}

pub(super) fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Without the white space at its end.
fn trimmed(code: &[char]) -> &[char] {
    &code[..code.len() - code.iter().rev().take_while(|c| c.is_whitespace()).count()]
}

/// Where the name at the end of this begins.
fn start_of_name(code: &[char]) -> usize {
    code.len() - code.iter().rev().take_while(|&&c| is_part_of_name(c)).count()
}

/// Where the path or the expression begins that a name continues: `a::`, `a.`, `a(b)?.`, `a[0].`
fn start_of_expression(code: &[char]) -> usize {
    let mut before = match trimmed(code) {
        [rest @ .., ':', ':'] => rest,
        [.., '.', '.'] => return code.len(),
        [rest @ .., '.'] => trimmed(rest),
        _ => return code.len(),
    };
    while let [rest @ .., c] = before {
        before = match c {
            '?' | '!' => rest,
            ')' | ']' => &rest[..innermost(rest).unwrap_or(0)],
            _ => break,
        };
    }
    start_of_expression(&before[..start_of_name(before)])
}

/// The innermost bracket that is open at the end.
fn innermost(code: &[char]) -> Option<usize> {
    brackets(code).0.last().copied()
}

/// The end of the last statement that is complete.
fn end_of_statements(code: &[char]) -> usize {
    brackets(code).1
}

/// The brackets that are open at the end, and the end of the last statement outside of any.
fn brackets(code: &[char]) -> (Vec<usize>, usize) {
    let (mut open, mut statements, mut at) = (Vec::new(), 0, 0);
    while at < code.len() {
        match code[at] {
            '(' | '[' | '{' => open.push(at),
            ')' | ']' | '}' => drop(open.pop()),
            ';' if open.is_empty() => statements = at + 1,
            '"' => {
                at += 1;
                while at < code.len() && code[at] != '"' {
                    at += 1 + usize::from(code[at] == '\\');
                }
            }
            '/' if code[at..].starts_with(&['/', '/']) => {
                at += code[at..].iter().take_while(|&&c| c != '\n').count();
            }
            _ => {}
        }
        at += 1;
    }
    (open, statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cursor is at the bar.
    #[track_caller]
    fn ask(cell: &str) -> Option<String> {
        let cursor = cell.chars().position(|c| c == '|').unwrap();
        question(&cell.replacen('|', "", 1), cursor).map(|question| question.trim().to_owned())
    }

    #[test]
    fn a_name_is_found_wherever_the_cursor_is_in_it() {
        for cell in ["let a = |fit(&mut b)?;", "let a = f|it(&mut b)?;", "let a = fit|(&mut b)?;"] {
            assert_eq!(ask(cell).as_deref(), Some("fit("), "{cell}");
        }
        assert_eq!(ask("let a: Seq2|Seq").as_deref(), Some("Seq2Seq"));
        assert_eq!(
            ask("let a = 1; // f(\n\"(;\"; b|").as_deref(),
            Some("let a = 1; // f(\n\"(;\";\nb")
        );
        assert_eq!(ask("|"), None);
        assert_eq!(ask("let a = 1 + |;"), None);
    }

    #[test]
    fn among_arguments_it_is_the_argument_or_else_the_function() {
        assert_eq!(ask("fit(&mut mod|el, &train)").as_deref(), Some("model"));
        assert_eq!(ask("fit(&mut model, |)").as_deref(), Some("fit("));
        assert_eq!(ask("println!(\"({}\", |").as_deref(), Some("println"));
        assert_eq!(ask("println!(\"{}\", mse|(&a, &b)?)").as_deref(), Some("mse("));
    }

    #[test]
    fn what_leads_to_a_name_goes_along() {
        assert_eq!(ask("let a = Seq2Seq::sta|cked(2);").as_deref(), Some("Seq2Seq::stacked("));
        assert_eq!(ask("f(&model.pre|dict(&a)?)").as_deref(), Some("model.predict("));
        let cell = "let a = 1;\nlet b = data.select(0..(a))?\n    .past_|tensor(&dev);";
        let expected = "let a = 1;\ndata.select(0..(a))?\n    .past_tensor(";
        assert_eq!(ask(cell).as_deref(), Some(expected));
        assert_eq!(ask("for i in 0..en|d {").as_deref(), Some("end"));
    }

    #[test]
    fn a_field_is_looked_up_in_its_struct() {
        let cell = "f(Hyperparameters {\n    hidden_|size: 12,\n    ..Default::default()\n})";
        assert_eq!(ask(cell).as_deref(), Some("|it: Hyperparameters| it.hidden_size"));
        assert_eq!(ask("for a in b { let c|: u32 = 1; }").as_deref(), Some("c"));
    }
}
