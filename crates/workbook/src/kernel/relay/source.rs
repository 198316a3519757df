//! The text of a cell, as far as it can be understood without compiling it.

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, TokenKind, tokenize};

/// Whether a cell can be run as it stands, for front ends that ask when somebody presses Enter.
#[derive(Debug, PartialEq)]
pub(super) enum Completeness {
    Complete,
    /// With the columns by which the next line would be indented.
    Incomplete(usize),
    Invalid,
}

pub(super) fn completeness(code: &str) -> Completeness {
    let mut open = Vec::new();
    let mut last = None;
    for (kind, _) in tokens(code) {
        let closes = match kind {
            TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => {
                open.push(kind);
                None
            }
            TokenKind::CloseParen => Some(TokenKind::OpenParen),
            TokenKind::CloseBracket => Some(TokenKind::OpenBracket),
            TokenKind::CloseBrace => Some(TokenKind::OpenBrace),
            TokenKind::BlockComment { terminated: false, .. } => {
                return Completeness::Incomplete(4 * open.len());
            }
            TokenKind::Literal { kind, .. } if !is_terminated(kind) => {
                return Completeness::Incomplete(0);
            }
            TokenKind::Unknown => return Completeness::Invalid,
            _ => None,
        };
        if closes.is_some() && open.pop() != closes {
            return Completeness::Invalid;
        }
        if is_code(kind) {
            last = Some(kind);
        }
    }
    let goes_on = matches!(
        last,
        Some(
            TokenKind::Eq
                | TokenKind::Dot
                | TokenKind::Comma
                | TokenKind::Plus
                | TokenKind::Minus
                | TokenKind::Star
                | TokenKind::Slash
                | TokenKind::And
                | TokenKind::Or
                | TokenKind::Colon
        )
    );
    match open.len() {
        0 if !goes_on => Completeness::Complete,
        depth => Completeness::Incomplete(4 * depth.max(1)),
    }
}

fn is_terminated(kind: LiteralKind) -> bool {
    match kind {
        LiteralKind::Char { terminated }
        | LiteralKind::Byte { terminated }
        | LiteralKind::Str { terminated }
        | LiteralKind::ByteStr { terminated }
        | LiteralKind::CStr { terminated } => terminated,
        LiteralKind::RawStr { n_hashes }
        | LiteralKind::RawByteStr { n_hashes }
        | LiteralKind::RawCStr { n_hashes } => n_hashes.is_some(),
        LiteralKind::Int { .. } | LiteralKind::Float { .. } => true,
    }
}

/// The names that the `let`s of a cell bind, types and paths of patterns among them: more than there
/// are, but none too few.
pub(super) fn bound_names(code: &str) -> Vec<&str> {
    let (mut names, mut binding) = (Vec::new(), false);
    for (kind, text) in tokens(code).filter(|&(kind, _)| is_code(kind)) {
        match kind {
            TokenKind::Ident if text == "let" => binding = true,
            TokenKind::Ident if binding && text != "mut" => names.push(text),
            TokenKind::Eq | TokenKind::Semi => binding = false,
            _ => {}
        }
    }
    names
}

/// The lines, counted from 0, on which an error can leave the cell.
pub(super) fn question_marks(code: &str) -> Vec<usize> {
    let (mut line, mut lines) = (0, Vec::new());
    for (kind, text) in tokens(code) {
        if kind == TokenKind::Question && lines.last() != Some(&line) {
            lines.push(line);
        }
        line += text.matches('\n').count();
    }
    lines
}

fn is_code(kind: TokenKind) -> bool {
    !matches!(
        kind,
        TokenKind::Whitespace | TokenKind::LineComment { .. } | TokenKind::BlockComment { .. }
    )
}

fn tokens(code: &str) -> impl Iterator<Item = (TokenKind, &str)> {
    let mut start = 0;
    tokenize(code, FrontmatterAllowed::No).map(move |token| {
        let end = start + token.len as usize;
        let text = &code[start..end];
        start = end;
        (token.kind, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_bracket_text_or_operator_is_incomplete() {
        for code in
            ["fn f() {", "let a = [1,\n 2", "let t = \"abc", "/* a", "let a =", "a.", "r#\"a\""]
        {
            assert!(matches!(completeness(code), Completeness::Incomplete(_)), "{code}");
        }
        assert_eq!(completeness("fn f() {\n    if true {"), Completeness::Incomplete(8));
        for code in
            ["", "let a = 1;", "fn f() {}", "'('", "// (", ":dep a = { path = \"..\" }", "a?"]
        {
            assert_eq!(completeness(code), Completeness::Complete, "{code}");
        }
        for code in ["fn f() )", "(]", "}"] {
            assert_eq!(completeness(code), Completeness::Invalid, "{code}");
        }
    }

    #[test]
    fn the_names_of_patterns_are_found() {
        assert_eq!(bound_names("let a = b;\nlet (mut c, d) = e;"), ["a", "c", "d"]);
        assert_eq!(bound_names("// let a = 1;\nb = c;"), [""; 0]);
    }

    #[test]
    fn a_question_mark_in_a_text_leaves_nothing() {
        assert_eq!(question_marks("a()?;\n\"?\" // ?\nb()?.c()?"), [0, 2]);
    }
}
