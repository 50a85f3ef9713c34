//! Texts with names in braces, whatever the names mean.
//!
//! `{{` and `}}` stand for braces.

use super::problem::{Problem, Report};
use super::section::Entry;
use super::suggest;
use crate::forward::template::{Piece, Template, Variable};
use crate::units::Mistake;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<T> {
    Text(String),
    Name(T),
}

/// A text's parts, and every mistake in it; `read` knows the names.
pub(super) fn parts<T>(text: &str, read: impl Fn(&str) -> Result<T, Mistake>) -> (Vec<Part<T>>, Vec<Mistake>) {
    let mut parts = Vec::new();
    let mut mistakes = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        plain.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            match read(name) {
                Ok(name) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Name(name));
                }
                Err(mistake) => mistakes.push(mistake),
            }
            rest = after;
        } else {
            let (message, help) = match brace.starts_with('{') {
                true => ("a `{` is not closed", "close it with `}`, or write `{{` for a brace itself"),
                false => ("a `}` was never opened", "write `}}` for a brace itself"),
            };
            mistakes.push(Mistake::new(message, help));
            rest = "";
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    (parts, mistakes)
}

/// That no value has this name; `what` is the word for them.
pub(super) fn unknown(name: &str, what: &str, names: &[&str]) -> Mistake {
    let near = suggest::nearest(name, names.iter().copied()).map(|near| format!("did you mean `{{{near}}}`? "));
    let all: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
    Mistake::new(
        format!("no {what} is called `{{{name}}}`"),
        format!("{}{what}s: {}", near.unwrap_or_default(), all.join(" ")),
    )
}

/// A text with values of a request in it; all that is wrong with it is reported.
pub(super) fn read(report: &Report, entry: Entry<'_>) -> Option<Template> {
    let text = entry.text(report)?;
    let add = |mistake: Mistake| report.add(Problem::at(entry.node.place, mistake.message).help(mistake.help));
    let variable = |name: &str| Variable::from_name(name).ok_or_else(|| unknown(name, "value", &Variable::NAMES));
    let (parts, mistakes) = parts(text, variable);
    let mut fine = mistakes.is_empty();
    mistakes.into_iter().for_each(add);
    if text.chars().any(|character| character.is_control() && character != '\t') {
        add(Mistake::new("the value has a line break or another control character", "write one line"));
        fine = false;
    }
    let pieces = parts.into_iter().map(|part| match part {
        Part::Text(text) => Piece::Text(text),
        Part::Name(variable) => Piece::Value(variable),
    });
    fine.then(|| Template(pieces.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(name: &str) -> Result<String, Mistake> {
        if name.is_empty() { Err(unknown(name, "value", &["a", "b"])) } else { Ok(name.to_uppercase()) }
    }

    #[test]
    fn a_text_is_text_and_names() {
        let text = |text: &str| Part::Text(text.to_owned());
        let name = |name: &str| Part::Name(name.to_owned());
        assert_eq!(parts("{a} {{{b}}} x", upper), (vec![name("A"), text(" {"), name("B"), text("} x")], Vec::new()));
        assert_eq!(parts("", upper), (Vec::new(), Vec::new()));
    }

    #[test]
    fn every_mistake_is_found() {
        let (_, mistakes) = parts("{} {a} {} } {b", upper);
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    }
}
