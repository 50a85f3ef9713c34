//! Regular expressions of the configuration.
//!
//! Invariant: a match costs time linear in what is looked at (the `regex` crate has no backtracking), and an expression
//! is bounded in memory. They work on bytes, and their classes are those of ASCII: `\d` is `0` to `9`.
//!
//! Deliberately absent: anchoring. As in nginx and HAProxy an expression may match anywhere; `^` and `$` tie it down.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::units::{ByteSize, Mistake};

/// A compiled expression is a few KiB; what is larger is an accident of nested repetitions.
const LARGEST: ByteSize = ByteSize(1 << 20);

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn new(text: &str) -> Result<Pattern, Mistake> {
        let size = usize::try_from(LARGEST.0).unwrap_or(usize::MAX);
        let regex = RegexBuilder::new(text).unicode(false).size_limit(size).dfa_size_limit(size).build();
        regex.map(Pattern).map_err(|error| {
            if let regex::Error::CompiledTooBig(_) = error {
                return Mistake::new(
                    format!("the expression takes more than {LARGEST} of memory"),
                    "write smaller repetitions, or several expressions",
                );
            }
            Mistake::new(
                format!("`{text}` is not a regular expression: {}", cause(&error)),
                "see https://docs.rs/regex/latest/regex/#syntax; there is no look-around, and there are no back-references",
            )
        })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it matches anywhere in `bytes`.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// `bytes` with the first match replaced; `$1` and `${name}` in the replacement are the groups of the match.
    pub fn replace_first<'a>(&self, bytes: &'a [u8], replacement: &str) -> Cow<'a, [u8]> {
        self.0.replace(bytes, replacement.as_bytes())
    }

    /// The first group that `replacement` names and that the expression does not have.
    pub fn missing_group<'a>(&self, replacement: &'a str) -> Option<&'a str> {
        let names: Vec<&str> = self.0.capture_names().flatten().collect();
        groups(replacement).into_iter().find(|group| match group.parse::<usize>() {
            Ok(number) => number >= self.0.captures_len(),
            Err(_) => !names.contains(group),
        })
    }

    /// The folder that everything it matches lies in: the literal beginning of the expression up to its last slash.
    /// `/` if it does not begin with `^` and a literal path.
    pub fn folder(&self) -> String {
        let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(self.as_str());
        let literal = parsed.as_ref().ok().and_then(literal_beginning).unwrap_or_default();
        let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.starts_with('/') { folder.to_owned() } else { "/".to_owned() }
    }
}

/// Two patterns are equal if they were written alike.
impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// The literal that directly follows `^`.
fn literal_beginning(expression: &Hir) -> Option<&str> {
    let HirKind::Concat(parts) = expression.kind() else { return None };
    let [start, first, ..] = parts.as_slice() else { return None };
    let (HirKind::Look(Look::Start), HirKind::Literal(literal)) = (start.kind(), first.kind()) else { return None };
    std::str::from_utf8(&literal.0).ok()
}

/// The last line of an error is its cause; the others draw the expression.
fn cause(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The names in `$name` and `${name}`; `$$` is a dollar sign.
fn groups(replacement: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = replacement;
    while let Some((_, after)) = rest.split_once('$') {
        let name = if let Some(after) = after.strip_prefix('$') {
            rest = after;
            continue;
        } else if let Some((name, _)) = after.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            name
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.get(..end).unwrap_or_default()
        };
        if !name.is_empty() {
            found.push(name);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap_or_else(|mistake| panic!("{mistake}"))
    }

    #[test]
    fn the_folder_is_the_literal_beginning_up_to_its_last_slash() {
        let cases = [
            ("^/api/v[0-9]+/users$", "/api"),
            ("^/api/(a|b)/", "/api"),
            ("^/a/b/c", "/a/b"),
            ("^/a\\.b/.*", "/a.b"),
            ("^/api", "/"),
            ("/api/", "/"),
            ("\\.php$", "/"),
            ("^/a/|^/b/", "/"),
            ("(?i)^/api/", "/"),
            ("(?m)^/api/", "/"),
            ("^(/api/)x", "/"),
            ("^/a/?b", "/"),
            ("^x/api/", "/"),
            ("^/a/b{0,3}", "/a"),
        ];
        for (text, folder) in cases {
            assert_eq!(pattern(text).folder(), folder, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_a_mistake() {
        for (text, part) in [
            ("(", "unclosed group"),
            ("(?=a)", "look-around"),
            ("(a)\\1", "backreferences"),
            ("((a{100}){100}){100}", "1MiB"),
        ] {
            let mistake = Pattern::new(text).unwrap_err();
            assert!(mistake.message.contains(part), "{text}: {mistake}");
        }
    }

    #[test]
    fn a_replacement_may_only_name_groups_that_there_are() {
        let users = pattern("^/users/([0-9]+)/(?P<rest>.*)$");
        assert_eq!(users.missing_group("/u/$1/$rest/${2}/$$9/$"), None);
        assert_eq!(users.missing_group("/u/$3"), Some("3"));
        assert_eq!(users.missing_group("/u/$1a"), Some("1a"));
        assert_eq!(users.missing_group("/u/${name}"), Some("name"));
        assert_eq!(&*users.replace_first(b"/users/7/x", "/u/${1}/$rest"), b"/u/7/x");
    }
}
