//! Copies of sources with declarations and documentation only.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use ra_ap_syntax::ast::{self, AstNode, AstToken, HasAttrs};
use ra_ap_syntax::{Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode, TextRange};

/// Folders of a package that are not part of its library.
const OTHERS: [&str; 4] = ["benches", "examples", "target", "tests"];

/// Copies the sources below a folder.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !OTHERS.iter().any(|other| name == *other) {
                copy(&path, &to.join(name))?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let copy = to.join(name);
            fs::write(&copy, lean(&text))
                .with_context(|| format!("cannot write {}", copy.display()))?;
        }
    }
    Ok(())
}

/// A source file without what tells nothing about it from outside: the bodies of functions, comments that
/// are no documentation, and tests.
fn lean(source: &str) -> String {
    let mut cuts = Vec::new();
    find_cuts(SourceFile::parse(source, Edition::CURRENT).tree().syntax(), &mut cuts);
    let mut copy = String::with_capacity(source.len());
    let mut end = 0;
    for (range, replacement) in cuts {
        copy.push_str(&source[end..usize::from(range.start())]);
        copy.push_str(replacement);
        end = range.end().into();
    }
    copy.push_str(&source[end..]);
    copy
}

/// Finds what to replace, and by what, in the order of the text.
fn find_cuts(node: &SyntaxNode, cuts: &mut Vec<(TextRange, &'static str)>) {
    for child in node.children_with_tokens() {
        match child {
            NodeOrToken::Token(token) => {
                let range = token.text_range();
                if ast::Comment::cast(token).is_some_and(|comment| comment.kind().doc.is_none()) {
                    cuts.push((range, ""));
                }
            }
            NodeOrToken::Node(node) if is_test(&node) => cuts.push((node.text_range(), "")),
            NodeOrToken::Node(node) if is_body(&node) => cuts.push((node.text_range(), "{}")),
            NodeOrToken::Node(node) => find_cuts(&node, cuts),
        }
    }
}

fn is_test(node: &SyntaxNode) -> bool {
    let attributes =
        ast::AnyHasAttrs::cast(node.clone()).filter(|_| ast::Item::can_cast(node.kind()));
    attributes.is_some_and(|item| {
        item.attrs().any(|attribute| attribute.to_string().replace(' ', "") == "#[cfg(test)]")
    })
}

/// Whether it is the body of a function that nobody looks into: constants can call a `const fn`, and
/// behind `impl Trait` is what the body returns.
fn is_body(node: &SyntaxNode) -> bool {
    if node.kind() != SyntaxKind::BLOCK_EXPR {
        return false;
    }
    node.parent().and_then(ast::Fn::cast).is_some_and(|function| {
        let hides_its_type = function.ret_type().is_some_and(|returned| {
            let mut nodes = returned.syntax().descendants();
            nodes.any(|node| node.kind() == SyntaxKind::IMPL_TRAIT_TYPE)
        });
        function.const_token().is_none() && !hides_its_type
    })
}

#[cfg(test)]
mod tests {
    use super::lean;

    #[test]
    fn declarations_and_documentation_stay() {
        let source = "\
//! A module.

/// Adds.
pub fn add(a: u32, b: u32) -> u32 {
    // a comment
    a + b
}

// another
pub const SIZE: usize = twice(2);
const fn twice(a: usize) -> usize { 2 * a }
pub fn odd() -> impl Iterator<Item = u32> { (0..).map(|i| 2 * i + 1) }
impl Trait for Type {
    /// Says it.
    fn say(&self) { println!(\"{self:?}\") }
}
macro_rules! make { () => { fn made() { 1 } } }

#[cfg(test)]
mod tests {
    #[test]
    fn adds() { assert_eq!(super::add(1, 2), 3) }
}
";
        let expected = "\
//! A module.

/// Adds.
pub fn add(a: u32, b: u32) -> u32 {}


pub const SIZE: usize = twice(2);
const fn twice(a: usize) -> usize { 2 * a }
pub fn odd() -> impl Iterator<Item = u32> { (0..).map(|i| 2 * i + 1) }
impl Trait for Type {
    /// Says it.
    fn say(&self) {}
}
macro_rules! make { () => { fn made() { 1 } } }


";
        assert_eq!(lean(source), expected);
    }

    /// Or is Rust of a later edition.
    #[test]
    fn a_text_that_is_no_rust_stays() {
        for text in ["", "fn", "}} {{ fn", "\u{1f980} = ("] {
            assert_eq!(lean(text), text);
        }
    }
}
