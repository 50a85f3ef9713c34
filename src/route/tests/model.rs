//! What the table is compared with: every rule is tried on every route, word for word as they are documented.

use std::cmp::Reverse;

use http::header::{COOKIE, HeaderName};

use super::super::*;
use super::Asked;

/// How specific the host is that matches best, if any does: the greater the more.
fn host(patterns: &[HostPattern], host: &str) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    let one = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (name == host).then_some(1000),
        HostPattern::Below(domain) => host.ends_with(&format!(".{domain}")).then_some(1 + domain.len()),
    };
    patterns.iter().filter_map(one).max()
}

fn is_below(folder: &str, path: &str) -> bool {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    folder.is_empty() || path == folder || path.starts_with(&format!("{folder}/"))
}

/// How specific the path is, if it matches.
fn path(pattern: Option<&PathPattern>, path: &str) -> Option<(bool, usize, bool)> {
    let length = |folder: &str| folder.strip_suffix('/').unwrap_or(folder).len();
    match pattern {
        None => Some((false, 0, false)),
        Some(PathPattern::Exact(exact)) => (exact == path).then_some((true, 0, false)),
        Some(PathPattern::Prefix(prefix)) => is_below(prefix, path).then_some((false, length(prefix), false)),
        Some(PathPattern::Regex(regex)) => {
            regex.is_match(path.as_bytes()).then_some((false, length(&regex.folder()), true))
        }
    }
}

fn holds<'v>(wanted: &Wanted, values: impl IntoIterator<Item = &'v str>) -> bool {
    let values: Vec<&str> = values.into_iter().collect();
    match wanted {
        Wanted::Exact(text) => values.contains(&text.as_str()),
        Wanted::Pattern(pattern) => values.iter().any(|value| pattern.is_match(value.as_bytes())),
        Wanted::Present => !values.is_empty(),
        Wanted::Absent => values.is_empty(),
    }
}

fn conditions(wanted: &Match, asked: &Asked) -> bool {
    let fields = |name: &HeaderName| asked.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
    let pairs = |text: &str, separator: char, name: &str| -> Vec<String> {
        let pairs = text.split(separator).map(|pair| pair.trim().split_once('=').unwrap_or((pair.trim(), "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    };
    let of = |values: &Vec<String>, wanted: &Wanted| holds(wanted, values.iter().map(String::as_str));
    let cookies = asked.headers.get(COOKIE).map_or("", |value| value.to_str().unwrap());
    (wanted.methods.is_empty() || wanted.methods.contains(&asked.method))
        && wanted.headers.iter().all(|(name, wanted)| holds(wanted, fields(name)))
        && wanted.query.iter().all(|(name, wanted)| of(&pairs(&asked.query, '&', name), wanted))
        && wanted.cookies.iter().all(|(name, wanted)| of(&pairs(cookies, ';', name), wanted))
        && (wanted.clients.is_empty()
            || asked.client.is_some_and(|client| wanted.clients.iter().any(|network| network.contains(&client))))
}

/// The route that wins.
pub fn find(routes: &[(Vec<usize>, Match)], asked: &Asked) -> Option<usize> {
    let matching = routes.iter().enumerate().filter_map(|(number, (listeners, wanted))| {
        let host = host(&wanted.hosts, asked.host)?;
        let path = path(wanted.path.as_ref(), &asked.path)?;
        let more = (
            !wanted.methods.is_empty(),
            wanted.headers.len(),
            wanted.query.len(),
            wanted.cookies.len(),
            !wanted.clients.is_empty(),
        );
        let serves = listeners.contains(&asked.listener) && conditions(wanted, asked);
        serves.then_some((host, path, more, Reverse(number)))
    });
    matching.max().map(|(_, _, _, Reverse(number))| number)
}
