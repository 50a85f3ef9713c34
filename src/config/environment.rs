//! `${NAME}` and `${NAME:-default}` in values: what differs from machine to machine, and what must not be in a file.
//!
//! Invariant: what comes of a reference is one scalar, never read as YAML again; it is never silently empty; and no
//! problem shows what a variable held. `$${` stands for `${` itself, and a `$` before anything else for itself, so that
//! regular expressions need no care. Deliberately absent: references in keys, references in references.

use std::ffi::OsString;

use super::problem::{Place, Problem};
use super::tree::{Node, Value};
use crate::units::Mistake;

/// Where variables are looked up.
pub(super) type Environment<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The environment of this process.
pub(super) fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The references of a configuration: what they brought in, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct References {
    expansions: Vec<Expansion>,
    /// Scalars that have no value because a reference has none.
    unresolved: Vec<Place>,
    problems: Vec<Problem>,
}

/// What a reference brought into a scalar.
#[derive(Debug)]
struct Expansion {
    place: Place,
    /// The scalar as it was written.
    written: String,
    /// The scalar as it was read.
    whole: String,
    /// What the variables held.
    values: Vec<String>,
}

impl References {
    /// Replaces the references in all values below `node`; `text` is the file that they are in.
    pub fn expand(&mut self, node: &mut Node, text: &str, environment: &Environment<'_>) {
        match &mut node.value {
            Value::Null => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.expand(item, text, environment)),
            Value::Mapping(entries) => {
                entries.iter_mut().for_each(|(_, node)| self.expand(node, text, environment));
            }
            Value::Scalar(written) if written.contains("${") => {
                let Resolved { whole, values, mistakes } = resolve(written, environment);
                let place = node.place;
                if !mistakes.is_empty() {
                    self.unresolved.push(place);
                }
                let problem = |(reference, mistake): (String, Mistake)| {
                    Problem::at(place_of(&reference, place, text), mistake.message).help(mistake.help)
                };
                self.problems.extend(mistakes.into_iter().map(problem));
                let written = std::mem::replace(written, whole.clone());
                if !values.is_empty() {
                    self.expansions.push(Expansion { place, written: written.clone(), whole, values });
                }
                node.written = Some(written.into());
            }
            Value::Scalar(_) => {}
        }
    }

    /// Whether a scalar at or below `node` has no value.
    pub fn leave_open(&self, node: &Node) -> bool {
        match &node.value {
            Value::Null => false,
            Value::Scalar(_) => self.unresolved.contains(&node.place),
            Value::Sequence(items) => items.iter().any(|item| self.leave_open(item)),
            Value::Mapping(entries) => entries.iter().any(|(_, node)| self.leave_open(node)),
        }
    }

    /// Adds what is wrong with the references, leaves out what only follows from it, and puts what was written in the
    /// place of what the variables held, in all that the problems say.
    pub fn apply(self, mut problems: Vec<Problem>) -> Vec<Problem> {
        problems.retain(|problem| problem.place.is_none_or(|place| !self.unresolved.contains(&place)));
        for problem in problems.iter_mut().filter(|_| !self.expansions.is_empty()) {
            let place = problem.place;
            let hide =
                |text: &mut String| self.expansions.iter().for_each(|expansion| *text = expansion.hide(text, place));
            hide(&mut problem.message);
            problem.help.iter_mut().for_each(hide);
            problem.label.iter_mut().for_each(hide);
            problem.related.iter_mut().for_each(|(_, label)| hide(label));
        }
        problems.extend(self.problems);
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        problems
    }
}

/// A scalar with its references replaced, or with what is wrong with them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resolved {
    whole: String,
    values: Vec<String>,
    /// Each with the reference as it is written.
    mistakes: Vec<(String, Mistake)>,
}

fn resolve(text: &str, environment: &Environment<'_>) -> Resolved {
    let mut resolved = Resolved::default();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            resolved.whole += before;
            resolved.whole += "${";
            rest = reference.get(2..).unwrap_or_default();
            continue;
        }
        resolved.whole += before;
        let Some((inner, after)) = reference.get(2..).unwrap_or_default().split_once('}') else {
            let mistake = Mistake::new("a `${` is not closed", "close it with `}`, or write `$${` for `${` itself");
            resolved.mistakes.push((reference.to_owned(), mistake));
            return resolved;
        };
        rest = after;
        match look_up(inner, environment) {
            Ok(Found::Value(value)) => {
                resolved.whole += &value;
                resolved.values.push(value);
            }
            Ok(Found::Default(default)) => resolved.whole += default,
            Err(mistake) => resolved.mistakes.push((format!("${{{inner}}}"), mistake)),
        }
    }
    resolved.whole += rest;
    resolved
}

enum Found<'a> {
    Value(String),
    Default(&'a str),
}

/// As in a shell, a variable that is empty is taken for one that is not set.
fn look_up<'a>(inner: &'a str, environment: &Environment<'_>) -> Result<Found<'a>, Mistake> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !begins || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(Mistake::new(
            format!("`${{{inner}}}` is not a reference to an environment variable"),
            "write `${NAME}` or `${NAME:-default}`, or `$${` for `${` itself",
        ));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(Mistake::new(
            format!("the default of `{name}` has a reference in it"),
            "a default is a text; write it out",
        ));
    }
    let help = || format!("set it before the start, or write a default: `${{{name}:-default}}`");
    let empty = match environment(name).map(OsString::into_string) {
        Some(Ok(value)) if !value.is_empty() => return Ok(Found::Value(value)),
        Some(Err(_)) => {
            let message = format!("the environment variable `{name}` is not UTF-8 text");
            return Err(Mistake::new(message, "set it to text"));
        }
        Some(Ok(_)) => true,
        None => false,
    };
    let state = if empty { "empty" } else { "not set" };
    default
        .map(Found::Default)
        .ok_or_else(|| Mistake::new(format!("the environment variable `{name}` is {state}"), help()))
}

/// Where in the scalar the reference stands, if it can be seen there; else the whole scalar.
fn place_of(reference: &str, scalar: Place, text: &str) -> Place {
    let line = text.lines().nth(scalar.line.saturating_sub(1)).unwrap_or_default();
    let start = line.char_indices().nth(scalar.column.saturating_sub(1)).map_or(line.len(), |(at, _)| at);
    let rest = line.get(start..).unwrap_or_default();
    match rest.find(reference) {
        Some(at) => {
            let before = rest.get(..at).unwrap_or_default().chars().count();
            Place { column: scalar.column + before, length: reference.chars().count(), ..scalar }
        }
        None => scalar,
    }
}

/// Shorter values are too common to be hunted for in every problem.
const LEAST_SECRET: usize = 4;

impl Expansion {
    fn hide(&self, text: &str, place: Option<Place>) -> String {
        let mut shown = text.to_owned();
        for value in std::iter::once(&self.whole).chain(&self.values).filter(|value| value.len() >= LEAST_SECRET) {
            shown = shown.replace(value.as_str(), &self.written);
        }
        if place != Some(self.place) {
            return shown;
        }
        // What is said of the value itself may show it in part or in another form.
        let part = |(index, part): (usize, &str)| {
            let quoted = index % 2 == 1 && part != self.written;
            if quoted && self.values.iter().any(|value| overlap(part, value)) {
                self.written.clone()
            } else {
                part.to_owned()
            }
        };
        shown.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
    }
}

/// Whether one is in the other, or they share some characters in a row.
fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let (short, long) = if a.len() < b.len() { (a.as_bytes(), b.as_bytes()) } else { (b.as_bytes(), a.as_bytes()) };
    let window = short.len().min(LEAST_SECRET);
    window > 0 && short.windows(window).any(|piece| long.windows(window).any(|other| other == piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        }
    }

    fn whole(text: &str) -> String {
        let resolved = resolve(text, &environment);
        assert_eq!(resolved.mistakes, [], "{text}");
        resolved.whole
    }

    fn mistake(text: &str) -> String {
        resolve(text, &environment).mistakes.into_iter().map(|(_, mistake)| mistake.message).collect()
    }

    #[test]
    fn a_reference_is_replaced_and_all_else_stays() {
        for (text, expected) in [
            ("127.0.0.1:${PORT}", "127.0.0.1:8080"),
            ("${PORT}${PORT}", "80808080"),
            ("${MISSING:-a b}", "a b"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY:-}", ""),
            ("${PORT:-1}", "8080"),
            ("$${PORT}", "${PORT}"),
            ("$$${PORT}", "$${PORT}"),
            ("^/api$|$1|$PORT|${MISSING:-$}", "^/api$|$1|$PORT|$"),
        ] {
            assert_eq!(whole(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_a_mistake() {
        assert_eq!(mistake("${MISSING}"), "the environment variable `MISSING` is not set");
        assert_eq!(mistake("${EMPTY}"), "the environment variable `EMPTY` is empty");
        assert_eq!(mistake("${PORT:-${MISSING}}"), "the default of `PORT` has a reference in it");
        assert_eq!(mistake("x${PORT"), "a `${` is not closed");
        assert_eq!(mistake("${}"), "`${}` is not a reference to an environment variable");
        assert_eq!(mistake("${1A} ${A-b}").matches("is not a reference").count(), 2);
    }

    #[test]
    fn texts_overlap_if_one_shows_some_of_the_other() {
        assert!(overlap("hunter2", "HUNTER2:80"));
        assert!(overlap("x-hunter", "hunter2"));
        assert!(overlap("7", "17"));
        assert!(!overlap("port", "hunter2"));
        assert!(!overlap("", "hunter2"));
    }
}
