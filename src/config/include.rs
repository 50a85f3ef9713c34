//! `include`: a configuration in several files, read into one tree.
//!
//! Invariant: a file is read once. Sections with names or items of their own (`listeners`, `upstreams`, `routes`,
//! `tests`) go on in the next file; every other key may stand in one file only. Deliberately absent: overriding. What
//! is written in two files is a problem that shows both places.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{Environment, References};
use super::problem::{Place, Problem, Report};
use super::section::{Entry, duplicates, kind_of};
use super::source::{LARGEST, Opened, Source};
use super::tree::{self, Key, Node, Value};

/// Includes of includes: deeper is a mistake of thought.
const DEEPEST: usize = 8;
/// A file for each of a thousand services.
const MOST_FILES: usize = 1000;

const EXAMPLE: &str = "write `include: [conf.d/*.yaml]`";

/// The sections that go on in the next file, each with what it looks like.
const NAMED: [(&str, &str); 2] = [
    ("listeners", "write `listeners: { web: { address: \"0.0.0.0:8080\" } }`"),
    ("upstreams", "write `upstreams: { app: { backends: [127.0.0.1:9001] } }`"),
];
const LISTED: [(&str, &str); 2] = [
    ("routes", "write `routes: [ { upstream: app } ]`"),
    ("tests", "write `tests: [ { request: \"GET http://a.example/\", expect: { route: shop } } ]`"),
];

/// What has been read of a configuration's files.
pub(super) struct Files<'a> {
    report: &'a Report,
    environment: &'a Environment<'a>,
    pub sources: Vec<Source>,
    pub references: References,
    /// Files, and folders in which files may appear.
    pub watched: Vec<PathBuf>,
    /// By their real path, with the place that named them.
    read: HashMap<PathBuf, Option<Place>>,
    /// The files that are being read, each named by the one before.
    chain: Vec<PathBuf>,
    bytes: u64,
    nodes: usize,
    /// A file is missing from the tree: what is said of the rest would only follow from that.
    pub incomplete: bool,
}

impl<'a> Files<'a> {
    pub fn new(report: &'a Report, environment: &'a Environment<'a>) -> Self {
        Files {
            report,
            environment,
            sources: Vec::new(),
            references: References::default(),
            watched: Vec::new(),
            read: HashMap::new(),
            chain: Vec::new(),
            bytes: 0,
            nodes: 0,
            incomplete: false,
        }
    }

    /// The file at `path`, called `name`, and all that it includes, as one tree.
    ///
    /// # Errors
    /// If the file itself cannot be read; what it includes is reported.
    pub fn open(&mut self, path: &Path, name: &str) -> io::Result<Option<Node>> {
        self.watched.push(std::path::absolute(path)?);
        let opened = Source::open(path, name.to_owned(), LARGEST.0, 0)?;
        // A pipe has no other name.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.read.insert(real.clone(), None);
        self.chain.push(real);
        Ok(self.take(opened, None))
    }

    /// A text as if it were a file, and all that it includes, as one tree.
    pub fn text(&mut self, source: Source) -> Option<Node> {
        let opened = if source.text.len() as u64 > LARGEST.0 { Opened::TooLarge(source) } else { Opened::Text(source) };
        self.take(opened, None)
    }

    fn take(&mut self, opened: Opened, named: Option<Place>) -> Option<Node> {
        let taken = self.take_source(opened, named);
        self.incomplete |= taken.is_none();
        taken
    }

    fn take_source(&mut self, opened: Opened, named: Option<Place>) -> Option<Node> {
        match opened {
            Opened::Text(source) => return self.add(source),
            Opened::NotText(source, place) => {
                self.sources.push(source);
                let problem = Problem::at(place, "the file is not UTF-8 text").label("this byte");
                self.report.add(problem.help("save the file in UTF-8"));
            }
            Opened::TooLarge(source) => {
                self.sources.push(source);
                let (what, help) = match named {
                    Some(_) => ("the files together are", "split the configuration between several balancers"),
                    None => ("the file is", "generate less, or split it between several balancers"),
                };
                self.report.add(Problem::new(format!("{what} larger than {LARGEST}"), named).help(help));
            }
        }
        None
    }

    fn add(&mut self, source: Source) -> Option<Node> {
        let file = self.sources.len();
        self.bytes += source.text.len() as u64;
        let read = tree::read(&source.text, file);
        let mut whole = match read {
            Ok(root) => root,
            Err(problem) => {
                self.sources.push(source);
                self.report.add(*problem);
                return None;
            }
        };
        self.nodes = self.nodes.saturating_add(whole.count());
        if self.nodes > tree::MAX_NODES {
            self.sources.push(source);
            self.report.add(Problem::new("too large for a configuration", Some(whole.place)));
            return None;
        }
        self.references.expand(&mut whole, &source.text, self.environment);
        self.sources.push(source);
        let mut included = Vec::new();
        if let Value::Mapping(entries) = &whole.value {
            let none = Value::Sequence(Vec::new());
            for (key, node) in entries.iter().filter(|(key, node)| key.text == "include" && node.value != none) {
                for item in (Entry { key, node }).items(self.report, EXAMPLE) {
                    self.include(item, file, &mut included);
                }
            }
        }
        for part in included {
            merge(self.report, &mut whole, part);
        }
        Some(whole)
    }

    /// Reads what one item of an `include` stands for.
    fn include(&mut self, item: &Node, file: usize, included: &mut Vec<Node>) {
        let problem = |message: String| Problem::at(item.place, message);
        let Value::Scalar(written) = &item.value else {
            let message = format!("what is included must be a path, not {}", kind_of(&item.value));
            return self.report.add(problem(message).help(EXAMPLE));
        };
        if written.is_empty() || written.contains('\0') {
            let help = "write a path; a relative one starts at the folder of this file";
            return self.report.add(problem(format!("`{written}` is not a path")).help(help));
        }
        if self.chain.len() >= DEEPEST {
            let message = format!("`{written}` is included more than {DEEPEST} deep");
            return self.report.add(problem(message).help("include it from a file further up"));
        }
        let Some(source) = self.sources.get(file) else { return };
        let (folder, shown) = (source.folder.clone(), parent_of(&source.name));
        if !is_pattern(written) {
            return self.include_file(item.place, folder.join(written), shown.join(written), Wanted::Once, included);
        }
        let found = match matches(&folder, written) {
            Ok(found) => found,
            Err(why) => {
                return self.report.add(problem(format!("`{written}` is not a pattern: {}", why.msg)).help(EXAMPLE));
            }
        };
        self.watched.extend(found.folders);
        for path in found.files {
            let name = path.strip_prefix(&folder).map_or_else(|_| path.clone(), |inside| shown.join(inside));
            self.include_file(item.place, path, name, Wanted::IfNew, included);
        }
    }

    fn include_file(&mut self, place: Place, path: PathBuf, name: PathBuf, wanted: Wanted, included: &mut Vec<Node>) {
        let name = name.display().to_string();
        let problem = |message: String| Problem::at(place, message);
        self.watched.push(path.clone());
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) => {
                self.incomplete = true;
                let help = "a relative path starts at the folder of this file; a pattern such as `conf.d/*.yaml` may match nothing";
                return self.report.add(problem(format!("`{name}` cannot be read: {error}")).help(help));
            }
        };
        if let Some(earlier) = self.read.get(&real) {
            match wanted {
                Wanted::IfNew => {}
                Wanted::Once if self.chain.contains(&real) => {
                    let message = format!("`{name}` includes itself");
                    self.report.add(problem(message).label("by this").help("remove one step of the circle"));
                }
                Wanted::Once => {
                    let problem =
                        problem(format!("`{name}` is included twice")).label("again here").help("keep one of them");
                    self.report.add(match earlier {
                        Some(first) => problem.related(*first, "first here"),
                        None => problem,
                    });
                }
            }
            return;
        }
        if self.sources.len() >= MOST_FILES {
            let message = format!("more than {MOST_FILES} files are included");
            return self.report.add(problem(message).help("gather them in fewer files"));
        }
        let most = LARGEST.0.saturating_sub(self.bytes);
        let opened = match Source::open(&path, name.clone(), most, self.sources.len()) {
            Ok(opened) => opened,
            Err(error) => {
                self.incomplete = true;
                return self.report.add(problem(format!("`{name}` cannot be read: {error}")));
            }
        };
        self.read.insert(real.clone(), Some(place));
        self.chain.push(real);
        included.extend(self.take(opened, Some(place)));
        self.chain.pop();
    }
}

/// Whether a file that was read already may be named again.
#[derive(Clone, Copy)]
enum Wanted {
    /// By its path: somebody means it, so twice is a mistake.
    Once,
    /// By a pattern, which is for all that are left.
    IfNew,
}

fn parent_of(name: &str) -> PathBuf {
    Path::new(name).parent().map(Path::to_owned).unwrap_or_default()
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// What a pattern stands for.
struct Found {
    /// In the order of their names.
    files: Vec<PathBuf>,
    /// Where more may appear.
    folders: Vec<PathBuf>,
}

/// Files whose names begin with a dot are left out, as in a shell: editors keep their copies there.
fn matches(folder: &Path, written: &str) -> Result<Found, glob::PatternError> {
    const OPTIONS: glob::MatchOptions =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let start = glob::Pattern::escape(&folder.to_string_lossy());
    let pattern = if Path::new(written).is_absolute() { written.to_owned() } else { format!("{start}/{written}") };
    let paths = glob::glob_with(&pattern, OPTIONS)?;
    let mut files: Vec<PathBuf> = paths.filter_map(Result::ok).filter(|path| !path.is_dir()).collect();
    files.sort();
    let before = written.split(['*', '?', '[']).next().unwrap_or_default();
    let fixed = before.rsplit_once('/').map_or("", |(fixed, _)| if fixed.is_empty() { "/" } else { fixed });
    let mut folders = vec![folder.join(fixed)];
    folders.extend(files.iter().filter_map(|file| Some(file.parent()?.to_owned())));
    folders.sort();
    folders.dedup();
    Ok(Found { files, folders })
}

/// Adds what an included file holds.
fn merge(report: &Report, whole: &mut Node, part: Node) {
    let entries = match part.value {
        Value::Mapping(entries) => entries,
        // A file of comments only.
        Value::Null => return,
        value @ (Value::Scalar(_) | Value::Sequence(_)) => {
            let message = format!("an included file must be a mapping, not {}", kind_of(&value));
            let help = "write the same keys as in the file that includes it: `upstreams:`, `routes:`, …";
            return report.add(Problem::at(part.place, message).help(help));
        }
    };
    duplicates(report, &entries);
    let Value::Mapping(all) = &mut whole.value else { return };
    for (key, node) in entries {
        match key.text.as_str() {
            "include" => {}
            "version" => super::check_version(report, Entry { key: &key, node: &node }),
            name => match all.iter_mut().find(|(key, _)| key.text == name && goes_on(name)) {
                Some((_, first)) => join(report, first, &key, &node),
                None => all.push((key, node)),
            },
        }
    }
}

fn goes_on(name: &str) -> bool {
    NAMED.iter().chain(&LISTED).any(|(section, _)| *section == name)
}

/// What is of the wrong kind is reported and left out.
fn join(report: &Report, first: &mut Node, key: &Key, node: &Node) {
    let entry = Entry { key, node };
    let help = |sections: &[(&str, &'static str)]| {
        sections.iter().find(|(section, _)| *section == key.text).map(|(_, help)| *help)
    };
    match help(&NAMED) {
        Some(help) => drop(entry.named(report, help)),
        None => drop(entry.items(report, help(&LISTED).unwrap_or_default())),
    }
    if let (Value::Mapping(all), Value::Mapping(more)) = (&mut first.value, &node.value) {
        all.extend(more.iter().cloned());
    } else if let (Value::Sequence(all), Value::Sequence(more)) = (&mut first.value, &node.value) {
        all.extend(more.iter().cloned());
    }
}
