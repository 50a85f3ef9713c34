//! What is wrong with a configuration, and how it is shown to whoever has to mend it.
//!
//! Invariant: problems are in order of place, and each is shown with its own line of the file and no other. Deliberately
//! absent: warnings. What may be left as it is, is not worth an operator's minute.

use std::cell::RefCell;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::Source;

/// Where something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the files, by the order in which they were read; 0 is the one that includes the others.
    pub file: usize,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// In characters, at least 1, within the line.
    pub length: usize,
}

/// One thing that is wrong, in words for whoever wrote the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Lower case, no full stop, values in backticks.
    pub message: String,
    /// None when it concerns the file as a whole.
    pub place: Option<Place>,
    /// Stands beside the place.
    pub label: Option<String>,
    /// Another place that belongs to it, with its own label: the first of two equal keys, for one.
    pub related: Option<(Place, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, place: Option<Place>) -> Self {
        Problem { message: message.into(), place, label: None, related: None, help: None }
    }

    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Problem::new(message, Some(place))
    }

    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Problem { label: Some(label.into()), ..self }
    }

    pub(super) fn related(self, place: Place, label: impl Into<String>) -> Self {
        Problem { related: Some((place, label.into())), ..self }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Problem { help: Some(help.into()), ..self }
    }
}

/// Collects what the sections find, so that no section has to stop at the first problem.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Place>>,
}

impl Report {
    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// What is written there must not be shown, in whatever line a problem shows.
    pub fn conceal(&self, place: Place) {
        self.secrets.borrow_mut().push(place);
    }

    /// Where something was written that must not be shown.
    pub fn take_secrets(&self) -> Vec<Place> {
        self.secrets.take()
    }

    /// In order of place. What was found twice because a block is shared by aliases is said once.
    pub fn take_problems(&self) -> Vec<Problem> {
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        problems
    }
}

/// Whether problems are shown with colours: the caller knows whether a terminal looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text, for files and pipes.
    Off,
    /// ANSI escapes, for a terminal.
    On,
}

/// More are read by nobody, and a file that is none of ours may have a million.
pub const MOST_SHOWN: usize = 1000;

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(mut sources: Vec<Source>, problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "a configuration without problems is not refused");
        for Source { text, .. } in &mut sources {
            // To YAML a lone carriage return ends a line too. And a terminal would obey a stray control character.
            *text = text.replace("\r\n", "\n").replace('\r', "\n");
            *text = text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}");
        }
        Problems { sources, problems }
    }

    /// In order of place.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// The file that was loaded, as it was named.
    pub fn name(&self) -> &str {
        self.file(0)
    }

    /// The name of a file, by the number that places give it.
    pub fn file(&self, number: usize) -> &str {
        self.sources.get(number).map_or("", |source| &source.name)
    }

    /// All of them as text (beyond [`MOST_SHOWN`] only their number), each with its line of the file, a blank line
    /// between, and a line break at the end.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Off => Renderer::plain(),
            Colour::On => Renderer::styled(),
        };
        let lines: Vec<Lines<'_>> = self.sources.iter().map(|source| Lines::new(&source.text)).collect();
        let shown = self.problems.iter().take(MOST_SHOWN).map(|problem| self.render_one(problem, &lines, &renderer));
        let left = self.problems.len().saturating_sub(MOST_SHOWN);
        let left = (left > 0).then(|| format!("error: and {left} more problems"));
        shown.chain(left).collect::<Vec<_>>().join("\n\n") + "\n"
    }

    fn render_one(&self, problem: &Problem, lines: &[Lines<'_>], renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(printable(&problem.message)));
        let Some(place) = problem.place else {
            group = group.element(Origin::path(self.name()));
            return renderer.render(&[with_help(group, problem)]);
        };
        let primary = Mark { place, kind: AnnotationKind::Primary, label: problem.label.as_deref() };
        let related = problem.related.as_ref();
        let related =
            related.map(|(place, label)| Mark { place: *place, kind: AnnotationKind::Context, label: Some(label) });
        // What is in one file is shown in one drawing, from the first of its lines to the last.
        let (beside, elsewhere): (Vec<_>, Vec<_>) = related.into_iter().partition(|mark| mark.place.file == place.file);
        group = self.draw(group, lines, std::iter::once(primary).chain(beside).collect());
        for mark in elsewhere {
            group = self.draw(group, lines, vec![mark]);
        }
        renderer.render(&[with_help(group, problem)])
    }

    fn draw<'a>(&'a self, group: Group<'a>, lines: &[Lines<'a>], marks: Vec<Mark<'a>>) -> Group<'a> {
        let file = marks.first().map_or(0, |mark| mark.place.file);
        let first = marks.iter().map(|mark| mark.place.line).min().unwrap_or(1);
        let last = marks.iter().map(|mark| mark.place.line).max().unwrap_or(1);
        let Some(excerpt) = lines.get(file).map(|lines| lines.excerpt(first, last)) else { return group };
        let annotation = |mark: &Mark<'a>| mark.kind.span(excerpt.span(mark.place)).label(mark.label);
        let annotations: Vec<_> = marks.iter().map(annotation).collect();
        group.element(Snippet::source(excerpt.text).line_start(first).path(self.file(file)).annotations(annotations))
    }
}

/// A place in a drawing.
struct Mark<'a> {
    place: Place,
    kind: AnnotationKind,
    label: Option<&'a str>,
}

fn with_help<'a>(group: Group<'a>, problem: &'a Problem) -> Group<'a> {
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(printable(help))),
        None => group,
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Colour::Off))
    }
}

impl std::error::Error for Problems {}

/// A value that holds a line break or an escape must not break the line that quotes it; nor is a whole file quoted.
fn printable(text: &str) -> String {
    const LONGEST: usize = 500;
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let cut = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    text.chars().take(LONGEST).map(plain).collect::<String>() + cut
}

/// The text by lines, so that showing a hundred problems does not read the file a hundred times.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Lines { text, starts }
    }

    /// Both counted from 1 and included; beyond the end there is nothing.
    fn excerpt(&self, first: usize, last: usize) -> Excerpt<'a> {
        let start = self.start_of(first);
        let end = self.start_of(last.saturating_add(1)).max(start);
        Excerpt { text: self.text.get(start..end).unwrap_or_default(), first }
    }

    fn start_of(&self, line: usize) -> usize {
        self.starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }
}

struct Excerpt<'a> {
    text: &'a str,
    first: usize,
}

impl Excerpt<'_> {
    /// The bytes of `place`, kept within its line.
    fn span(&self, place: Place) -> std::ops::Range<usize> {
        let before: usize =
            self.text.split_inclusive('\n').take(place.line.saturating_sub(self.first)).map(str::len).sum();
        let line = self.text.get(before..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let at = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        let column = place.column.saturating_sub(1);
        let start = before + at(column);
        let end = before + at(column.saturating_add(place.length));
        start..end.max(start)
    }
}
