//! The cursor over one mapping of the tree: which keys it may have is what a section asks it for.
//!
//! Invariant: a key that nobody asked for is a problem, so nothing can be written that is not read. After a problem a
//! reader answers with the default and goes on: the value is never used, since a report with problems yields no
//! configuration. Deliberately absent: what any key means.

use std::time::Duration;

use super::problem::{Place, Problem, Report};
use super::suggest;
use super::tree::{Key, Node, Value};
use crate::units::{self, Mistake};

/// One key and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a Key,
    pub node: &'a Node,
}

pub(super) struct Section<'a> {
    /// In messages: "listener `web`".
    title: String,
    /// The kind of section, as its declaration names it (`shape`).
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests compare"))]
    kind: &'static str,
    /// Where a missing key is missed; None at the top of the file.
    place: Option<Place>,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
    /// Keys of which one is needed, and how to write the first.
    missing: Vec<(Vec<&'static str>, String)>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// Opens a mapping; what is none is reported, and None.
    pub fn open(
        report: &'a Report,
        kind: &'static str,
        title: impl Into<String>,
        place: Option<Place>,
        node: &'a Node,
    ) -> Option<Self> {
        let title = title.into();
        let Value::Mapping(entries) = &node.value else {
            if let (Value::Null, Some(place)) = (&node.value, place) {
                report.add(
                    Problem::at(place, format!("{title} has no value"))
                        .help("write its keys below it, or leave it out"),
                );
                return None;
            }
            let message = format!("{title} must be a mapping, not {}", kind_of(&node.value));
            report
                .add(Problem::at(node.place, message).help("write keys and values: `key: value`, or `{ key: value }`"));
            return None;
        };
        duplicates(report, entries);
        let section = Section {
            title,
            kind,
            place,
            entries,
            asked: Vec::new(),
            refused: Vec::new(),
            missing: Vec::new(),
            report,
        };
        Some(section)
    }

    fn empty(report: &'a Report, kind: &'static str) -> Self {
        Section {
            title: String::new(),
            kind,
            place: None,
            entries: &[],
            asked: Vec::new(),
            refused: Vec::new(),
            missing: Vec::new(),
            report,
        }
    }

    /// The report, for problems of the section's own.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// How messages call this section.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The value of `key` if it is written.
    pub fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let entries = self.entries;
        entries.iter().find(|(written, _)| written.text == key).map(|(key, node)| Entry { key, node })
    }

    /// A key that people expect and that does nothing here: written, it is a problem with its own help.
    pub fn refuse(&mut self, key: &'static str, help: &str) {
        self.refuse_as(key, format!("`{key}` has no effect in Evenkeel"), help);
    }

    /// The same in other words.
    pub fn refuse_as(&mut self, key: &'static str, message: String, help: &str) {
        self.refused.push(key);
        for (written, _) in self.entries.iter().filter(|(written, _)| written.text == key) {
            self.report.add(Problem::at(written.place, message.clone()).help(help));
        }
    }

    /// The value of a key that is looked for only to be refused.
    pub fn refused(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.refused.push(key);
        self.entries.iter().find(|(written, _)| written.text == key).map(|(key, node)| Entry { key, node })
    }

    /// The value of `key`, which must be written: `help` says how.
    pub fn required(&mut self, key: &'static str, help: &str) -> Option<Entry<'a>> {
        let entry = self.entry(key);
        if entry.is_none() {
            self.missing.push((vec![key], help.to_owned()));
        }
        entry
    }

    /// The values of those keys that are written, at least one of which must be: `help` says how.
    pub fn one_of<const N: usize>(
        &mut self,
        keys: [&'static str; N],
        help: &str,
    ) -> impl Iterator<Item = (&'static str, Entry<'a>)> + use<'a, N> {
        let written = keys.map(|key| self.entry(key).map(|entry| (key, entry)));
        if written.iter().all(Option::is_none) {
            self.missing.push((keys.to_vec(), help.to_owned()));
        }
        written.into_iter().flatten()
    }

    /// Reads one value with `read`, or answers with the default.
    pub fn parsed<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&str) -> Result<T, Mistake>) -> T {
        let report = self.report;
        self.entry(key).and_then(|entry| entry.parsed(report, read)).unwrap_or(default)
    }

    /// A duration that is not zero.
    pub fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.parsed(key, default, |text| {
            positive(key, text, "the shortest is `1ms`; what must never end wants a long one, such as `1d`")
        })
    }

    /// A whole number within a range.
    pub fn number(&mut self, key: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.parsed(key, default, |text| number(key, text, range))
    }

    /// `on` or `off`.
    pub fn switch(&mut self, key: &'static str, default: Switch) -> Switch {
        self.parsed(key, default, switch)
    }

    /// The mapping under `key`; when it is not written, one without keys, so that the defaults are found in one way.
    pub fn section(&mut self, key: &'static str, kind: &'static str) -> Section<'a> {
        let title = format!("`{key}` of {}", self.title);
        let report = self.report;
        let opened =
            self.entry(key).and_then(|entry| Section::open(report, kind, title, Some(entry.key.place), entry.node));
        opened.unwrap_or_else(|| Section::empty(report, kind))
    }

    /// Ends the section: what was not asked for is not a key of it, and what is required and not there is missed.
    pub fn close(mut self) {
        #[cfg(test)]
        super::shape::compare(self.kind, &self.asked);
        for (key, _) in self.entries {
            if self.asked.contains(&key.text.as_str()) || self.refused.contains(&key.text.as_str()) {
                continue;
            }
            // A required key that is missing because it is mistyped is one problem, not two.
            if let Some(meant) = suggest::nearest(&key.text, self.asked.iter().copied()) {
                self.missing.retain(|(missing, _)| !missing.contains(&meant));
            }
            let problem = Problem::at(key.place, format!("`{}` is not a key of {}", key.text, self.title));
            self.report.add(match self.asked.as_slice() {
                [] => problem.help("it takes no keys: write `{}`"),
                known => problem.help(suggest::help(&key.text, "keys here", known)),
            });
        }
        for (keys, help) in self.missing {
            let key = keys.first().copied().unwrap_or_default();
            self.report.add(Problem::new(format!("{} has no `{key}`", self.title), self.place).help(help));
        }
    }
}

impl<'a> Entry<'a> {
    /// The text of a value; anything else is reported.
    pub fn text(&self, report: &Report) -> Option<&'a str> {
        let key = &self.key.text;
        match &self.node.value {
            Value::Scalar(text) => return Some(text),
            Value::Null => report.add(no_value(self)),
            Value::Sequence(_) | Value::Mapping(_) => {
                let message = format!("`{key}` must be one value, not {}", kind_of(&self.node.value));
                report.add(Problem::at(self.node.place, message));
            }
        }
        None
    }

    /// Reads the value with `read`; a mistake is reported at its place.
    pub fn parsed<T>(&self, report: &Report, read: impl FnOnce(&str) -> Result<T, Mistake>) -> Option<T> {
        let text = self.text(report)?;
        read(text).map_err(|mistake| report.add(mistaken(self.node.place, mistake))).ok()
    }

    /// The items of a list that has at least one; anything else is reported. `help` shows such a list.
    pub fn items(&self, report: &Report, help: &str) -> &'a [Node] {
        let key = &self.key.text;
        match &self.node.value {
            Value::Sequence(items) if items.is_empty() => {
                report.add(Problem::at(self.node.place, format!("`{key}` is empty")).help(help));
                items
            }
            Value::Sequence(items) => items,
            Value::Null => {
                report.add(no_value(self).help(help));
                &[]
            }
            Value::Scalar(_) | Value::Mapping(_) => {
                let message = format!("`{key}` must be a list, not {}", kind_of(&self.node.value));
                report.add(Problem::at(self.node.place, message).help(help));
                &[]
            }
        }
    }

    /// The names and values of a mapping that has at least one; anything else is reported. `help` shows such a mapping.
    pub fn named(&self, report: &Report, help: &str) -> &'a [(Key, Node)] {
        let key = &self.key.text;
        match &self.node.value {
            Value::Mapping(entries) if entries.is_empty() => {
                report.add(Problem::at(self.node.place, format!("`{key}` is empty")).help(help));
                entries
            }
            Value::Mapping(entries) => {
                duplicates(report, entries);
                entries
            }
            Value::Null => {
                report.add(no_value(self).help(help));
                &[]
            }
            Value::Scalar(_) | Value::Sequence(_) => {
                let message = format!("`{key}` must be a mapping from names, not {}", kind_of(&self.node.value));
                report.add(Problem::at(self.node.place, message).help(help));
                &[]
            }
        }
    }
}

/// Two keys of one mapping that are equal: the second is shown, and where the first stands.
pub(super) fn duplicates(report: &Report, entries: &[(Key, Node)]) {
    let mut first = std::collections::HashMap::new();
    for (key, _) in entries {
        match first.entry(key.text.as_str()) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(key.place);
            }
            std::collections::hash_map::Entry::Occupied(occupied) => report.add(
                Problem::at(key.place, format!("`{}` is written twice", key.text))
                    .label("again here")
                    .related(*occupied.get(), "first here")
                    .help("keep one of them"),
            ),
        }
    }
}

fn no_value(entry: &Entry<'_>) -> Problem {
    Problem::at(entry.key.place, format!("`{}` has no value", entry.key.text)).help("write a value after the colon")
}

/// A problem of a mistake in the value that stands at `place`.
pub(super) fn mistaken(place: Place, mistake: Mistake) -> Problem {
    Problem::at(place, mistake.message).help(mistake.help)
}

/// `on` or `off`; `true` and `false` mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

/// Reads `on` or `off`.
pub(super) fn switch(text: &str) -> Result<Switch, Mistake> {
    match text {
        "on" | "true" => Ok(Switch::On),
        "off" | "false" => Ok(Switch::Off),
        _ => Err(Mistake::new(format!("`{text}` is neither `on` nor `off`"), "write `on` or `off`")),
    }
}

/// Whether a value is the word `off`.
pub(super) fn is_off(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(text) if switch(text) == Ok(Switch::Off))
}

/// Whether a value is the word `on`.
pub(super) fn is_on(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(text) if switch(text) == Ok(Switch::On))
}

/// A duration that is not zero; `help` says what to write instead of one.
pub(super) fn positive(key: &str, text: &str, help: &str) -> Result<Duration, Mistake> {
    match units::duration(text)? {
        Duration::ZERO => Err(Mistake::new(format!("`{key}` cannot be `{text}`"), help)),
        duration => Ok(duration),
    }
}

/// A whole number within `range`.
pub(super) fn number(key: &str, text: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Mistake> {
    let help = match *range.end() {
        u64::MAX => format!("a whole number, at least {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(Mistake::new(format!("`{text}` is not a whole number"), help));
    }
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| Mistake::new(format!("`{key}` cannot be `{text}`"), help))
}

/// Names stand in logs, in labels of metrics and in the paths of the admin address.
pub(super) fn check_name(report: &Report, what: &str, name: &str, place: Place) {
    if !is_name(name) {
        let message = format!("`{name}` cannot be the name of {what}");
        report
            .add(Problem::at(place, message).help(format!("1 to {LONGEST_NAME} of the characters a-z A-Z 0-9 - _ .")));
    }
}

const LONGEST_NAME: usize = 64;

/// Whether that can be a name.
pub(super) fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fine)
}

/// How messages call a value of the wrong kind.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar(_) => "a single value",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
    }
}
