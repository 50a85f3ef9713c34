//! `access_log`: where the lines about requests go, and how they look.
//!
//! Invariant: a template knows its fields; no name is looked up when a line is written. Deliberately absent: opening
//! the file, which is done when the process may still say no.

use std::path::PathBuf;

use super::problem::{Problem, Report};
use super::section::{Entry, Section, is_off, is_on};
use super::template::{self, Part};
use super::tree::Value;
use super::{Folder, Folders};
use crate::observe::access_log::{Field, Format, Piece};
use crate::units::Mistake;
/// Where the access log goes and how its lines look.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where the lines go.
    pub path: LogPath,
    /// How a line looks.
    pub format: Format,
}

/// JSON to standard output: what containers and systemd collect, and what programs read without a pattern.
impl Default for AccessLog {
    fn default() -> Self {
        AccessLog { path: LogPath::Stdout, format: Format::Json }
    }
}

/// Where the lines of the access log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPath {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, by its absolute path; it is appended to.
    File(PathBuf),
}

/// `off`, or a mapping with `path` and `format`.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>, folders: &Folders<'_>) -> Option<AccessLog> {
    let default = AccessLog::default();
    let Some(entry) = entry else {
        return Some(default);
    };
    if is_off(entry.node) {
        return None;
    }
    if is_on(entry.node) {
        return Some(default);
    }
    let mut section = Section::open(report, "access log", "`access_log`", Some(entry.key.place), entry.node)?;
    let path = section.entry("path");
    let off = path.is_some_and(|path| is_off(path.node));
    let path = path.and_then(|path| path.parsed(report, |text| log_path(text, folders.of(path.node.place))));
    let format = section.entry("format").and_then(|format| read_format(report, format));
    section.close();
    (!off).then(|| AccessLog { path: path.unwrap_or(default.path), format: format.unwrap_or(default.format) })
}

fn log_path(text: &str, folder: Folder<'_>) -> Result<LogPath, Mistake> {
    match text {
        "stdout" => Ok(LogPath::Stdout),
        "stderr" => Ok(LogPath::Stderr),
        _ => folder.file(text).map(LogPath::File),
    }
}

fn read_format(report: &Report, entry: Entry<'_>) -> Option<Format> {
    if let Value::Mapping(_) = &entry.node.value {
        let mut section =
            Section::open(report, "access log format", "`format` of `access_log`", Some(entry.key.place), entry.node)?;
        let template = section.required("template", "write `{ template: \"{client} {method} {path} {status}\" }`");
        let template = template.and_then(|template| read_template(report, template));
        section.close();
        return template.map(Format::Template);
    }
    entry.parsed(report, |text| match text {
        "json" => Ok(Format::Json),
        "combined" => Ok(Format::Combined),
        _ => {
            let help = "`json`, `combined`, or `{ template: \"{client} {method} {path} {status}\" }`";
            Err(Mistake::new(format!("`{text}` is not a format of the access log"), help))
        }
    })
}

/// Reports every unknown field, not only the first.
fn read_template(report: &Report, entry: Entry<'_>) -> Option<Vec<Piece>> {
    let text = entry.text(report)?;
    let problem = |message: String, help: String| report.add(Problem::at(entry.node.place, message).help(help));
    if text.is_empty() {
        problem(
            "the template is empty".to_owned(),
            "write some fields, such as `{client} {method} {path} {status}`".to_owned(),
        );
    }
    if text.contains(breaks_lines) {
        problem(
            "the template has a line break or another control character".to_owned(),
            "write one line, with no control character but tabs; the break at its end is added".to_owned(),
        );
    }
    let (pieces, mistakes) = template_pieces(text);
    let fine = mistakes.is_empty();
    for mistake in mistakes {
        problem(mistake.message, mistake.help);
    }
    fine.then_some(pieces)
}

/// A template's parts, and every mistake in it. `{{` and `}}` stand for braces.
pub(crate) fn template_pieces(text: &str) -> (Vec<Piece>, Vec<Mistake>) {
    let names: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
    let field = |name: &str| Field::from_name(name).ok_or_else(|| template::unknown(name, "field", &names));
    let (parts, mistakes) = template::parts(text, field);
    let piece = |part| match part {
        Part::Text(text) => Piece::Text(text),
        Part::Name(field) => Piece::Field(field),
    };
    (parts.into_iter().map(piece).collect(), mistakes)
}

/// A tab may separate columns; all else that is not printed could break a line in two, here or in a viewer.
fn breaks_lines(character: char) -> bool {
    (character.is_control() && character != '\t') || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_fields() {
        let (pieces, mistakes) = template_pieces("{client} {{{status}}} x");
        assert_eq!(mistakes, []);
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(pieces, [Piece::Field(Field::Client), text(" {"), Piece::Field(Field::Status), text("} x")]);
    }

    #[test]
    fn every_mistake_of_a_template_is_found() {
        let (_, mistakes) = template_pieces("{cliente} {} } {path");
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes.iter().any(|mistake| mistake.help.starts_with("did you mean `{client}`?")));
    }
}
