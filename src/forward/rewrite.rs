//! Another path or host for the backend than the client asked for. Pure: from a path to a path.
//!
//! Invariant: the result begins with a slash. That an expression brings it into a form in which it means something else
//! (`/../`) is the caller's to see, who normalises it once more. Deliberately absent: the query, which stays.

use std::borrow::Cow;

use http::HeaderValue;

use crate::pattern::Pattern;

/// What a route changes of the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// None: the path stays.
    pub path: Option<PathRewrite>,
    /// None: the host stays.
    pub host: Option<HeaderValue>,
}

/// How a path is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// What is below one path moves below another.
    Prefix {
        /// `/api`; paths that are not below it stay.
        from: String,
        /// `/` to strip it.
        to: String,
    },
    /// The first match of an expression is replaced.
    Regex {
        /// What is looked for.
        pattern: Pattern,
        /// With `$1` and `${name}` for the groups of the match.
        replacement: String,
    },
}

impl PathRewrite {
    /// The path for the backend; none if it stays.
    pub fn apply(&self, path: &str) -> Option<String> {
        match self {
            PathRewrite::Prefix { from, to } => {
                let rest = below(path, from)?;
                let rest = rest.strip_prefix('/').or_else(|| rest.strip_prefix(ENCODED_SLASH));
                Some(match rest {
                    Some(rest) => format!("{}/{rest}", to.strip_suffix('/').unwrap_or(to)),
                    None => to.clone(),
                })
            }
            PathRewrite::Regex { pattern, replacement } => match pattern.replace_first(path.as_bytes(), replacement) {
                Cow::Borrowed(_) => None,
                Cow::Owned(bytes) => {
                    let path = String::from_utf8_lossy(&bytes);
                    Some(if path.starts_with('/') { path.into_owned() } else { format!("/{path}") })
                }
            },
        }
    }
}

const ENCODED_SLASH: &str = "%2F";

/// What follows `prefix` in `path`, read as rules read it: an encoded slash ends a segment, parameters are passed over.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut rest = path;
    for wanted in prefix.split('/').filter(|segment| !segment.is_empty()) {
        loop {
            rest = rest.strip_prefix('/').or_else(|| rest.strip_prefix(ENCODED_SLASH))?;
            if !rest.starts_with('/') && !rest.starts_with(ENCODED_SLASH) {
                break;
            }
        }
        let end = [rest.find('/'), rest.find(ENCODED_SLASH)].into_iter().flatten().min().unwrap_or(rest.len());
        let (segment, after) = rest.split_at_checked(end)?;
        if segment.split(';').next() != Some(wanted) {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(from: &str, to: &str) -> PathRewrite {
        PathRewrite::Prefix { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn a_prefix_is_replaced_as_the_gateway_api_says() {
        for (path, from, to, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/", "/foo/", "/", "/"),
            ("/a", "/", "/b", "/b/a"),
            ("/", "/", "/b", "/b/"),
            ("/foo;v=1/bar;x", "/foo", "/", "/bar;x"),
            ("/foo%2Fbar%2Fx", "/foo", "/", "/bar%2Fx"),
            ("/%2Ffoo/x", "/foo", "/", "/x"),
        ] {
            assert_eq!(prefix(from, to).apply(path).as_deref(), Some(expected), "{path}: {from} to {to}");
        }
        for path in ["/foobar", "/", "/fo", "/bar/foo"] {
            assert_eq!(prefix("/foo", "/").apply(path), None, "{path}");
        }
    }

    #[test]
    fn an_expression_replaces_its_first_match() {
        let regex = |pattern: &str, replacement: &str| PathRewrite::Regex {
            pattern: Pattern::new(pattern).unwrap(),
            replacement: replacement.to_owned(),
        };
        let users = regex("^/users/([0-9]+)/(?P<rest>.*)$", "/u/${rest}/$1");
        assert_eq!(users.apply("/users/7/a/b").as_deref(), Some("/u/a/b/7"));
        assert_eq!(users.apply("/users/x/a"), None);
        assert_eq!(regex("a", "b").apply("/aa").as_deref(), Some("/ba"));
        assert_eq!(regex("^/old/", "").apply("/old/x").as_deref(), Some("/x"));
    }
}
