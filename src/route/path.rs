//! Paths as rules name them, and their segments.
//!
//! Invariant: what a rule names is in the form that requests are brought into, so that comparing bytes is enough.

use super::normalise::{EncodedSlashes, Normalisation, Path, Unfit, normalise};
use crate::pattern::Pattern;
use crate::units::Mistake;

/// Which paths a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This one.
    Exact(String),
    /// This one and all below it, on borders of segments: `/a` is for `/a`, `/a/` and `/a/b`, not for `/ab`. A slash at
    /// the end says nothing.
    Prefix(String),
    /// Those that the expression matches.
    Regex(Pattern),
}

impl PathPattern {
    /// The path itself or the folder that all it is for lies in.
    pub(super) fn folder(&self) -> String {
        match self {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(path) => path.strip_suffix('/').unwrap_or(path).to_owned(),
            PathPattern::Regex(pattern) => {
                let folder = pattern.folder();
                folder.strip_suffix('/').unwrap_or(&folder).to_owned()
            }
        }
    }
}

/// What a rule's path must be so that it can match: the one form that requests are brought into.
///
/// # Errors
/// It never could; the help says what was meant.
pub fn rule_path(text: &str, how: Normalisation) -> Result<String, Mistake> {
    // Rules see every slash as a slash, and no parameters.
    let reading = Normalisation { encoded_slashes: EncodedSlashes::Decode, ..how };
    let seen = normal(text, reading)?.seen_by_rules().to_owned();
    // Escapes alone are another spelling; other segments are another path.
    let segments = |path: &str| path.split('/').count();
    if segments(text) != segments(&seen) || text.contains(';') {
        let help = format!("requests are brought into one form first; write `{seen}`");
        return Err(Mistake::new(format!("`{text}` can never match"), help));
    }
    Ok(seen)
}

/// A path that requests are given instead of theirs, in the one form.
///
/// # Errors
/// It is none.
pub fn replacement_path(text: &str, how: Normalisation) -> Result<String, Mistake> {
    normal(text, how).map(|path| path.forwarded().to_owned())
}

fn normal(text: &str, how: Normalisation) -> Result<Path<'_>, Mistake> {
    let mistake = |message: &str, help: &str| Err(Mistake::new(format!("`{text}` {message}"), help));
    if text.contains(['?', '#']) {
        return mistake("is more than a path", "leave out what follows the path; `query` asks for parameters");
    }
    match normalise(text.as_bytes(), how) {
        Ok(path) => Ok(path),
        Err(Unfit::Relative) => mistake("is not a path", &format!("write `/{text}`")),
        Err(Unfit::AboveRoot) => mistake("leaves the root", "write it without `..`"),
        Err(Unfit::Escape) => mistake("has a `%` without two hexadecimal digits", "write `%25` for a per cent sign"),
        Err(Unfit::Nul | Unfit::Overlong | Unfit::AmbiguousDots | Unfit::EncodedSlash) => {
            mistake("is a path that is always refused", "write it without this escape")
        }
    }
}

/// The segments of a path: of `/a/b/` they are `a`, `b` and an empty one; of `*` and of an empty path there are none.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|path| path.split('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::normalise::RepeatedSlashes;

    #[test]
    fn a_path_of_a_rule_is_brought_into_the_form_of_requests() {
        let merging = Normalisation::default();
        for (text, path) in
            [("/", "/"), ("/a/b/", "/a/b/"), ("/caf\u{e9}", "/caf%C3%A9"), ("/%7euser", "/~user"), ("/a b", "/a%20b")]
        {
            assert_eq!(rule_path(text, merging).as_deref(), Ok(path));
        }
        let keeping = Normalisation { repeated_slashes: RepeatedSlashes::Keep, ..merging };
        assert_eq!(rule_path("/a//b", keeping).as_deref(), Ok("/a//b"));
    }

    #[test]
    fn a_path_that_no_request_can_have_is_a_mistake() {
        for (text, part) in [
            ("api", "write `/api`"),
            ("/a/../b", "write `/b`"),
            ("/a//b", "write `/a/b`"),
            ("/a%2Fb", "write `/a/b`"),
            ("/a;x=1", "write `/a`"),
            ("/a?x=1", "`query`"),
            ("/..", "leaves the root"),
            ("/100%", "%25"),
            ("/%00", "always refused"),
        ] {
            let mistake = rule_path(text, Normalisation::default()).unwrap_err();
            assert!(mistake.to_string().contains(part), "{text}: {mistake}");
        }
    }
}
