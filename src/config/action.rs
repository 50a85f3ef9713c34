//! What a route does with its requests: `upstream`, `split`, `redirect` or `respond`.
//!
//! Invariant: after reading, names are indexes that hold, and a split leads somewhere.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::matches::NAME;
use super::problem::{Problem, Report};
use super::section::{Entry, Section, mistaken, number};
use super::suggest;
use super::template;
use super::tree::{Node, Value};
use crate::forward::template::{Piece, Template};
use crate::units::Mistake;

/// Shares are told apart down to a thousandth, and then some.
const MOST_WEIGHT: u64 = 1_000_000;
/// What is larger is a file, and wants a server for files.
const LARGEST_BODY: usize = 64 << 10;

/// Where requests are forwarded.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Indexes into `Config::upstreams`, none twice, each with its weight; at least one weight is not 0.
    pub upstreams: Vec<(usize, u32)>,
    /// What keeps a client at one upstream; None: chance decides for each request.
    pub key: Option<Key>,
}

impl Split {
    /// All to one upstream.
    pub fn to(upstream: usize) -> Split {
        Split { upstreams: vec![(upstream, 1)], key: None }
    }
}

/// What of a request keeps it with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The address of the client.
    ClientAddress,
    /// The first field of this name.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// The field `Location`.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Respond {
    /// 200 to 599.
    pub status: StatusCode,
    /// May be empty.
    pub body: Bytes,
    /// None where there can be no body.
    pub content_type: Option<HeaderValue>,
}

/// The upstreams of the file by their names: a hundred thousand routes may refer to ten thousand of them.
#[derive(Debug)]
pub(super) struct Upstreams<'a> {
    names: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Upstreams<'a> {
    pub fn new(names: impl Iterator<Item = &'a str>) -> Upstreams<'a> {
        let names: Vec<&str> = names.collect();
        // Of a name that stands twice, which is a problem already, the first.
        let places = names.iter().enumerate().rev().map(|(place, name)| (*name, place)).collect();
        Upstreams { names, places }
    }
}

/// What is written for `key`.
pub(super) enum Written {
    Forward(Split),
    Redirect(Redirect),
    Respond(Respond),
}

/// The one action of a route, and its key; None after a problem.
pub(super) fn read(
    section: &mut Section<'_>,
    upstreams: &Upstreams<'_>,
    route: &str,
) -> Option<(&'static str, Written)> {
    const HELP: &str = "write `upstream:` and the name of one; or `split`, `redirect` or `respond`";
    const KEYS: [&str; 4] = ["upstream", "split", "redirect", "respond"];
    let report = section.report();
    let mut written = section.one_of(KEYS, HELP);
    let (key, entry) = written.next()?;
    for (other, second) in written {
        let message = format!("route `{route}` has both `{key}` and `{other}`");
        let problem = Problem::at(second.key.place, message).related(entry.key.place, "the other");
        report.add(problem.help("keep one: a request is answered once"));
    }
    let action = match key {
        "upstream" => Written::Forward(Split::to(upstream(report, entry, upstreams, route)?)),
        "split" => Written::Forward(read_split(report, entry, upstreams, route)?),
        "redirect" => Written::Redirect(read_redirect(report, entry, route)?),
        _ => Written::Respond(read_respond(report, entry, route)?),
    };
    Some((key, action))
}

fn upstream(report: &Report, entry: Entry<'_>, upstreams: &Upstreams<'_>, route: &str) -> Option<usize> {
    let text = entry.text(report)?;
    let found = upstreams.places.get(text).copied();
    if found.is_none() && !upstreams.names.is_empty() {
        let problem = Problem::at(entry.node.place, format!("no upstream is called `{text}`"));
        let help = suggest::help(text, "upstreams here", &upstreams.names);
        report.add(problem.label(format!("used by route `{route}`")).help(help));
    }
    found
}

/// A list of shares; or a mapping, where a key keeps clients where they are.
fn read_split(report: &Report, entry: Entry<'_>, upstreams: &Upstreams<'_>, route: &str) -> Option<Split> {
    const HELP: &str = "write `[ { upstream: app, weight: 95 }, { upstream: next, weight: 5 } ]`, \
        or `{ key: client_address, upstreams: [ … ] }`";
    if !matches!(&entry.node.value, Value::Mapping(_)) {
        let upstreams = shares(report, entry, HELP, upstreams, route)?;
        return Some(Split { upstreams, key: None });
    }
    let title = format!("`split` of route `{route}`");
    let mut section = Section::open(report, "split", title, Some(entry.key.place), entry.node)?;
    let key = section.required("key", "write `key: client_address`, `{ header: x-user }` or `{ cookie: session }`");
    let list = section.required("upstreams", HELP);
    section.close();
    let key = key.and_then(|entry| read_key(report, entry));
    let upstreams = shares(report, list?, HELP, upstreams, route)?;
    Some(Split { upstreams, key: Some(key?) })
}

fn shares(
    report: &Report,
    entry: Entry<'_>,
    help: &str,
    upstreams: &Upstreams<'_>,
    route: &str,
) -> Option<Vec<(usize, u32)>> {
    let items = entry.items(report, help);
    let mut found: Vec<(usize, u32)> = Vec::new();
    for item in items {
        let Some((upstream, weight)) = share(report, item, upstreams, route) else { continue };
        if found.iter().any(|(known, _)| *known == upstream) {
            report.add(
                Problem::at(item.place, "this upstream stands twice in `split`").help("keep one, with both weights"),
            );
        }
        found.push((upstream, weight));
    }
    if !found.is_empty() && found.len() == items.len() && found.iter().all(|(_, weight)| *weight == 0) {
        report.add(Problem::at(entry.node.place, "all weights are 0").help("give one of them a weight"));
    }
    (!found.is_empty()).then_some(found)
}

fn share(report: &Report, node: &Node, upstreams: &Upstreams<'_>, route: &str) -> Option<(usize, u32)> {
    let mut section = Section::open(report, "share", "a share of `split`", Some(node.place), node)?;
    let name = section.required("upstream", "write `{ upstream: app, weight: 95 }`");
    let name = name.and_then(|entry| upstream(report, entry, upstreams, route));
    let weight = section.required("weight", "write `weight:` and its share relative to the others");
    let weight = weight.and_then(|entry| entry.parsed(report, |text| number("weight", text, 0..=MOST_WEIGHT)));
    section.close();
    Some((name?, u32::try_from(weight?).ok()?))
}

fn read_key(report: &Report, entry: Entry<'_>) -> Option<Key> {
    const HELP: &str = "write `client_address`, `{ header: x-user }` or `{ cookie: session }`";
    if !matches!(&entry.node.value, Value::Mapping(_)) {
        return entry.parsed(report, |text| match text {
            "client_address" => Ok(Key::ClientAddress),
            _ => Err(Mistake::new(format!("`{text}` is not a key"), HELP)),
        });
    }
    let mut section = Section::open(report, "split key", "`key` of `split`", Some(entry.key.place), entry.node)?;
    let (header, cookie) = (section.entry("header"), section.entry("cookie"));
    section.close();
    let name = |entry: Entry<'_>| {
        entry.parsed(report, |text| {
            let name = HeaderName::from_bytes(text.as_bytes()).map(|name| (name, text.to_owned()));
            name.map_err(|_| Mistake::new(format!("`{text}` cannot be a name"), NAME))
        })
    };
    match (header, cookie) {
        (Some(header), None) => name(header).map(|(name, _)| Key::Header(name)),
        (None, Some(cookie)) => name(cookie).map(|(_, name)| Key::Cookie(name)),
        (Some(_), Some(_)) => {
            report.add(Problem::at(entry.node.place, "`key` has two sources").help(HELP));
            None
        }
        (None, None) => {
            if matches!(&entry.node.value, Value::Mapping(keys) if keys.is_empty()) {
                report.add(Problem::at(entry.node.place, "`key` has no source").help(HELP));
            }
            None
        }
    }
}

fn read_redirect(report: &Report, entry: Entry<'_>, route: &str) -> Option<Redirect> {
    let title = format!("`redirect` of route `{route}`");
    let mut section = Section::open(report, "redirect", title, Some(entry.key.place), entry.node)?;
    let written = section.required("to", "write `to: \"https://{host}{path_and_query}\"`");
    let to = written.and_then(|entry| template::read(report, entry));
    let status = section.parsed("status", StatusCode::PERMANENT_REDIRECT, |text| {
        let known = [301, 302, 303, 307, 308].into_iter().find(|status: &u16| status.to_string() == text);
        known.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(|| {
            Mistake::new(
                format!("`{text}` is not a status that redirects"),
                "308 and 301 are kept by clients, 307 and 302 are not; after 303 they ask with GET; 308 and 307 keep the method",
            )
        })
    });
    section.close();
    let (to, written) = (to?, written?);
    if let Err(mistake) = check_location(&to) {
        report.add(mistaken(written.node.place, mistake));
    }
    Some(Redirect { to, status })
}

/// A client must be able to tell where it is sent.
fn check_location(to: &Template) -> Result<(), Mistake> {
    const HELP: &str = "write a URL or a path: `https://{host}{path_and_query}`, `/new{path}`";
    let fine = match to.0.first() {
        None => false,
        Some(Piece::Text(text)) => text.starts_with('/') || text.contains(':'),
        Some(Piece::Value(_)) => true,
    };
    if !fine {
        return Err(Mistake::new("`to` is neither a URL nor a path", HELP));
    }
    let graphic = |piece: &Piece| match piece {
        Piece::Text(text) => text.chars().all(|character| character.is_ascii_graphic()),
        Piece::Value(_) => true,
    };
    if !to.0.iter().all(graphic) {
        return Err(Mistake::new("`to` has characters that cannot stand in a URL", "write them as `%XX`"));
    }
    Ok(())
}

fn read_respond(report: &Report, entry: Entry<'_>, route: &str) -> Option<Respond> {
    let title = format!("`respond` of route `{route}`");
    let mut section = Section::open(report, "respond", title, Some(entry.key.place), entry.node)?;
    let status = section.required("status", "write `status: 404`");
    let status = status.and_then(|entry| entry.parsed(report, |text| number("status", text, 200..=599)));
    let body = section.entry("body");
    let text = body.and_then(|entry| entry.text(report)).unwrap_or_default();
    let kind = section.entry("content_type");
    let content_type = kind.and_then(|entry| {
        entry.parsed(report, |text| {
            let fine = text.contains('/') && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            let value = HeaderValue::from_str(text).ok().filter(|_| fine);
            value.ok_or_else(|| {
                Mistake::new(
                    format!("`{text}` is not a content type"),
                    "write one such as `text/plain` or `application/json`",
                )
            })
        })
    });
    section.close();
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok())?;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(entry) = body.or(kind).filter(|_| bodiless) {
        let message = format!("an answer of status {} has no body", status.as_u16());
        report.add(Problem::at(entry.key.place, message).help("leave it out, or choose another status"));
    }
    if let Some(entry) = body.filter(|_| text.len() > LARGEST_BODY) {
        let message = format!("the body has {} bytes", text.len());
        report.add(Problem::at(entry.key.place, message).help(format!("at most {LARGEST_BODY}")));
    }
    let content_type = content_type.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
    Some(Respond {
        status,
        body: Bytes::copy_from_slice(text.as_bytes()),
        content_type: (!text.is_empty()).then_some(content_type),
    })
}
