//! What can be written, as data: from it come the JSON Schema and the reference for users.
//!
//! Invariant: every section declares exactly the keys that its reader asks for; in tests a [`Section`] that is closed is
//! compared with its declaration, so that neither can be changed alone. Defaults are compared with `conf/reference.yaml`,
//! which is compared with what an empty file gives. Deliberately absent: checking anything. The readers do that, with
//! places and help; a schema can only say less.
//!
//! [`Section`]: super::section::Section

mod expectation;
mod listener;
mod process;
mod reference;
mod route;
mod schema;
mod upstream;

pub use reference::reference;
pub use schema::schema;

/// One mapping of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// As its reader calls it.
    pub kind: &'static str,
    /// In the order in which they are shown.
    pub keys: &'static [Key],
    /// Of these keys exactly one must be written; empty if there is no such choice.
    pub one_of: &'static [&'static str],
}

/// One key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub written: Written,
    /// What it is for, in words that can stand in a table.
    pub about: &'static str,
}

/// Whether a key must be written, and what holds if it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Required,
    /// The value that it then has, as it would be written.
    Default(&'static str),
    /// What then holds, in words.
    Otherwise(&'static str),
}

/// What may stand behind a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// `250ms`, `10s`, `5m`, `1h`, `1d`.
    Duration,
    /// `512B`, `64KiB`, `1MiB`.
    Size,
    /// `20%`.
    Share,
    /// A whole number of this range.
    Number(u64, u64),
    /// `on` or `off`.
    Switch,
    /// Any text; the word says which.
    Text(&'static str),
    /// One of these.
    Words(&'static [&'static str]),
    /// Several.
    List(&'static Shape),
    /// A mapping from names that are not ours; the word says which.
    Names(&'static str, &'static Shape),
    /// A mapping with keys.
    Section(&'static Section),
    /// One of these shapes.
    Either(&'static [Shape]),
}

/// A key that must be written.
const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, written: Written::Required, about }
}

/// A key with a default.
const fn key(name: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Key {
    Key { name, shape, written: Written::Default(default), about }
}

/// A key without a value of its own when it is not written.
const fn optional(name: &'static str, shape: Shape, otherwise: &'static str, about: &'static str) -> Key {
    Key { name, shape, written: Written::Otherwise(otherwise), about }
}

/// A mapping of which no key excludes another.
const fn section(kind: &'static str, keys: &'static [Key]) -> Section {
    Section { kind, keys, one_of: &[] }
}

const OFF: Shape = Shape::Words(&["off"]);
const UNLIMITED: Shape = Shape::Words(&["unlimited"]);
const PATH: Shape = Shape::Text("path");

/// All sections, each once: the file itself, and then what stands in it, in order.
pub(super) fn sections() -> Vec<&'static Section> {
    let mut found = vec![&process::FILE];
    let mut next = 0;
    while let Some(section) = found.get(next).copied() {
        next += 1;
        for key in section.keys {
            collect(&key.shape, &mut found);
        }
    }
    found
}

fn collect(shape: &'static Shape, found: &mut Vec<&'static Section>) {
    match shape {
        Shape::Section(section) if found.iter().any(|known| known.kind == section.kind) => {}
        Shape::Section(section) => found.push(section),
        Shape::List(item) | Shape::Names(_, item) => collect(item, found),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| collect(shape, found)),
        Shape::Duration
        | Shape::Size
        | Shape::Share
        | Shape::Number(..)
        | Shape::Switch
        | Shape::Text(_)
        | Shape::Words(_) => {}
    }
}

/// Panics if a reader has asked a section of this kind for other keys than it declares.
#[cfg(test)]
pub(super) fn compare(kind: &str, asked: &[&'static str]) {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    static DECLARED: LazyLock<HashMap<&str, Vec<&str>>> = LazyLock::new(|| {
        let sorted = |section: &Section| {
            let mut names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            names.sort_unstable();
            names
        };
        sections().into_iter().map(|section| (section.kind, sorted(section))).collect()
    });
    let mut asked = asked.to_vec();
    asked.sort_unstable();
    assert_eq!(DECLARED.get(kind), Some(&asked), "declared and read keys of the section `{kind}`");
}

#[cfg(test)]
mod tests;
