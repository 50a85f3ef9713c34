//! The YAML text as a tree in which every key and value knows its place.
//!
//! Invariant: a scalar keeps the text that was written (`1.20` stays `1.20`), for what it means depends on the key
//! that it stands under. Duplicate keys stay in the tree, so that both places can be shown. Aliases and merges are
//! already followed. Deliberately absent: any idea of which keys exist.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

use super::problem::{Place, Problem};

/// Ten thousand upstreams of ten backends are half of it, and it is read in a second.
pub(super) const MAX_NODES: usize = 2_000_000;
/// Our sections are seven deep. Parsing is recursive, so that this bounds the stack too.
const MAX_DEPTH: usize = 24;
/// What aliases may add to a file: enough for shared blocks, too little for a bomb.
const MAX_REPLAYED: usize = 1_000_000;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
    /// The text of a scalar that had references to the environment in it.
    pub written: Option<Box<str>>,
}

impl Node {
    /// As data, in the words of the file: references to the environment stay as they were written.
    pub fn as_written(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(text) => match &self.written {
                Some(written) => written.to_string().into(),
                None => scalar(text),
            },
            Value::Sequence(items) => items.iter().map(Node::as_written).collect(),
            Value::Mapping(entries) => {
                entries.iter().map(|(key, node)| (key.text.clone(), node.as_written())).collect()
            }
        }
    }

    /// Itself and all below it.
    pub fn count(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar(_) => 1,
            Value::Sequence(items) => items.iter().map(Node::count).sum::<usize>() + 1,
            Value::Mapping(entries) => entries.iter().map(|(_, node)| node.count() + 1).sum::<usize>() + 1,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// What reads back as it was written is a number; all else is a text, also `on` and `off`.
fn scalar(text: &str) -> serde_json::Value {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => number.into(),
        Ok(_) | Err(_) => text.into(),
    }
}

/// The name before a colon.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub text: String,
    pub place: Place,
}

/// Reads the one document of `source`, which is the file of this number; an empty one is a mapping without keys.
pub(super) fn read(source: &str, file: usize) -> Result<Node, Box<Problem>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            // One block shared by a thousand upstreams is good style; what aliases cost is limited by the replay.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Merge,
        // `on` and `off` are words of ours.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let parsed: Result<Parsed, Error> = serde_saphyr::from_str_with_options(source, options);
    match parsed {
        Ok(parsed) => Ok(Places { source, file }.node(parsed)),
        Err(error) => Err(Box::new(syntax_problem(source, file, &error))),
    }
}

/// A brace begins a mapping there.
const UNQUOTED: &str = "between `{ }` and `[ ]` a value with `${NAME}` in it needs quotes: `\"${NAME}\"`";

const TOO_DEEP: &str = "lists and mappings are nested more than 24 deep";

#[expect(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open, and each brings its own words")]
fn syntax_problem(source: &str, file: usize, error: &Error) -> Problem {
    let place = error.location().map(|location| Places { source, file }.place(location));
    let words = first_line(error);
    let message = match error {
        Error::MultipleDocuments { .. } => "more than one YAML document in the file".to_owned(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => TOO_DEEP.to_owned(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            format!("too large for a configuration: {words}")
        }
        _ if words.contains("recursion limit") => TOO_DEEP.to_owned(),
        _ => format!("not valid YAML: {words}"),
    };
    let line = place.and_then(|place| source.lines().nth(place.line.saturating_sub(1))).unwrap_or_default();
    let help = match words.contains("parsing a flow") && line.contains("${") {
        true => Some(UNQUOTED),
        false => HELP.iter().find(|(part, _)| message.contains(part)).map(|(_, help)| *help),
    };
    let problem = Problem::new(message, place);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// What usually stands behind the parser's words; where nothing fits, they are shown alone.
const HELP: [(&str, &str); 11] = [
    ("tab", "indent with spaces"),
    ("did not find expected key", "keys of one mapping start in the same column; or something above is not closed"),
    ("expected '-' indicator", "items of one list start in the same column"),
    (
        "mapping values are not allowed",
        "start the key in the column of the keys above it; a value with `: ` in it needs quotes",
    ),
    ("unclosed bracket", "close it with `]` or `}`"),
    ("mismatched bracket", "close it first"),
    ("unclosed quote", "close it; inside, a double quote is written `\\\"`, a single one `''`"),
    ("unsupported tag", "tags are not used here; a value that starts with `!` needs quotes"),
    ("unknown value", "a value that starts with `*` is an alias of an earlier `&`; if it is none, put it into quotes"),
    ("unexpected character", "put the value into quotes"),
    ("more than one YAML document", "remove the `---` between them"),
];

/// The parser's own words without the place, which we show ourselves.
fn first_line(error: &Error) -> String {
    let text = error.without_snippet().render_with_formatter(&UserMessageFormatter);
    let line = text.lines().next().unwrap_or_default();
    let line = line.rsplit_once(" at line ").map_or(line, |(message, _)| message);
    line.trim_end_matches([',', '.', ' ']).to_owned()
}

/// Turns the parser's locations into ours, and typed scalars back into what was written.
struct Places<'a> {
    source: &'a str,
    file: usize,
}

impl Places<'_> {
    fn node(&self, parsed: Parsed) -> Node {
        let Spanned { value, referenced: _, defined } = parsed.0;
        let place = self.place(defined);
        let value = match value {
            Shape::Null => Value::Null,
            Shape::Text(text) => Value::Scalar(text),
            Shape::Typed => Value::Scalar(self.written(defined)),
            Shape::Sequence(items) => Value::Sequence(items.into_iter().map(|item| self.node(item)).collect()),
            Shape::Mapping(entries) => {
                Value::Mapping(entries.into_iter().map(|(key, value)| (self.key(key), self.node(value))).collect())
            }
        };
        Node { place, value, written: None }
    }

    fn key(&self, parsed: Parsed) -> Key {
        let Node { place, value, written: _ } = self.node(parsed);
        let text = match value {
            Value::Scalar(text) => text,
            Value::Null => "null".to_owned(),
            // No key of ours is called so: it is reported as unknown, where it stands.
            Value::Sequence(_) => "[…]".to_owned(),
            Value::Mapping(_) => "{…}".to_owned(),
        };
        Key { text, place }
    }

    fn written(&self, location: Location) -> String {
        let span = location.span();
        let slice = span.byte_offset().zip(span.byte_len()).and_then(|(offset, length)| {
            let start = usize::try_from(offset).ok()?;
            self.source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        });
        slice.unwrap_or_default().trim().to_owned()
    }

    fn place(&self, location: Location) -> Place {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        let written = self.written(location);
        let first = written.lines().next().unwrap_or_default();
        Place {
            file: self.file,
            line: number(location.line()),
            column: number(location.column()),
            length: first.chars().count().max(1),
        }
    }
}

struct Parsed(Spanned<Shape>);

enum Shape {
    Null,
    Text(String),
    /// A number or a boolean; its text is taken from the source.
    Typed,
    Sequence(Vec<Parsed>),
    Mapping(Vec<(Parsed, Parsed)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Parsed)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Typed)
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Shape::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> (Key, Node) {
        match read(text, 0).map(|node| node.value) {
            Ok(Value::Mapping(entries)) if entries.len() == 1 => entries.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_scalar_keeps_what_was_written() {
        for text in ["1.20", "0x1F", "1_000", "-0", "on", "TRUE", ".nan", "1e999", "007", "ö ä"] {
            assert_eq!(entry(&format!("ü: {text}  # comment")).1.value, Value::Scalar(text.to_owned()));
        }
        assert_eq!(entry("a: \"1.2\"").1.value, Value::Scalar("1.2".to_owned()));
        assert_eq!(entry("a: ''").1.value, Value::Scalar(String::new()));
        assert_eq!(entry("a: ~").1.value, Value::Null);
    }

    #[test]
    fn places_count_characters_from_one() {
        let (key, node) = entry("# x\nü: ö ä\n");
        assert_eq!(key.place, Place { file: 0, line: 2, column: 1, length: 1 });
        assert_eq!(node.place, Place { file: 0, line: 2, column: 4, length: 3 });
    }

    #[test]
    fn duplicates_stay_and_what_is_merged_gives_way() {
        let Ok(Node { value: Value::Mapping(entries), .. }) =
            read("a: &a { x: 1, y: 2 }\nb: { <<: *a, x: 3 }\nb: 4\n", 0)
        else {
            panic!("a mapping");
        };
        let keys: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
        assert_eq!(keys, ["a", "b", "b"]);
        let Some((_, Node { value: Value::Mapping(merged), .. })) = entries.get(1) else {
            panic!("a mapping");
        };
        let texts: Vec<(&str, &Value)> = merged.iter().map(|(key, node)| (key.text.as_str(), &node.value)).collect();
        let scalar = |text: &str| Value::Scalar(text.to_owned());
        assert_eq!(texts, [("x", &scalar("3")), ("y", &scalar("2"))]);
    }
}
