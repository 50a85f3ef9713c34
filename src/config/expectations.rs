//! `tests`: what the operator expects of the file's own routes; `evenkeel test` asks.
//!
//! Invariant: every test is a request that can be asked, and expects something. Deliberately absent: asking.

use std::net::IpAddr;

use http::StatusCode;

use super::problem::{Problem, Report};
use super::section::{Entry, Section, number};
use super::tree::{Node, Value};
use super::{Listener, Route, Upstream, suggest};
use crate::explain::Asked;
use crate::units::Mistake;

const EXAMPLE: &str = "write `tests: [ { request: \"GET https://shop.example.com/\", expect: { route: shop } } ]`";

/// A request, and what must become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// The line that it begins in.
    pub line: usize,
    /// What is asked.
    pub asked: Asked,
    /// What must hold; at least one thing.
    pub expected: Expected,
}

/// What must hold; none: it does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The route that is taken.
    pub route: Option<String>,
    /// An upstream that may answer.
    pub upstream: Option<String>,
    /// The status of what we answer ourselves: a redirect, a fixed answer, 404 without a route.
    pub status: Option<StatusCode>,
    /// Where the client is sent.
    pub location: Option<String>,
    /// Path and query that a backend is asked for.
    pub path: Option<String>,
    /// The host that a backend is asked for.
    pub host: Option<String>,
}

/// What tests may name.
pub(super) struct Named<'a> {
    pub listeners: &'a [Listener],
    pub upstreams: &'a [Upstream],
    pub routes: &'a [Route],
}

/// All tests; none unless they are written.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>, named: &Named<'_>) -> Vec<Test> {
    let Some(entry) = entry else { return Vec::new() };
    let items: &[Node] = match &entry.node.value {
        Value::Sequence(items) => items,
        Value::Null | Value::Scalar(_) | Value::Mapping(_) => entry.items(report, EXAMPLE),
    };
    items.iter().enumerate().filter_map(|(place, node)| read_test(report, place + 1, node, named)).collect()
}

fn read_test(report: &Report, number: usize, node: &Node, named: &Named<'_>) -> Option<Test> {
    let mut section = Section::open(report, "test", format!("test {number}"), Some(node.place), node)?;
    let asked = section.required("request", EXAMPLE).and_then(|entry| entry.parsed(report, request));
    let mut fields = Vec::new();
    if let Some(headers) = section.entry("headers") {
        for (key, value) in headers.named(report, "write `headers: { x-canary: \"1\" }`") {
            match &value.value {
                Value::Scalar(text) => fields.push((format!("{}: {text}", key.text), key.place)),
                Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
                    report.add(Problem::at(value.place, format!("`{}` must have one value", key.text)))
                }
            }
        }
    }
    let from = section.parsed("from", None, |text| {
        let address = text.parse::<IpAddr>().map(Some);
        address.map_err(|_| Mistake::new(format!("`{text}` is not an address"), "write one such as `10.1.2.3`"))
    });
    let listeners: Vec<&str> = named.listeners.iter().map(|listener| listener.name.as_str()).collect();
    let listener = section.entry("listener").and_then(|entry| one_of(report, entry, "listener", &listeners));
    let expected = section.required("expect", EXAMPLE).and_then(|entry| read_expected(report, number, entry, named));
    section.close();
    let mut asked = asked?;
    for (field, place) in fields {
        if let Err(why) = asked.add_field(&field) {
            report.add(Problem::at(place, why));
        }
    }
    asked.client = from.unwrap_or(asked.client);
    asked.listener = listener;
    Some(Test { line: node.place.line, asked, expected: expected? })
}

fn request(text: &str) -> Result<Asked, Mistake> {
    let wrong = |why: String| Mistake::new(why, "write `GET https://shop.example.com/api/x`");
    let (method, url) =
        text.split_once(' ').ok_or_else(|| wrong(format!("`{text}` is not a method and an address")))?;
    Asked::new(method, url.trim()).map_err(wrong)
}

fn read_expected(report: &Report, number: usize, entry: Entry<'_>, named: &Named<'_>) -> Option<Expected> {
    let title = format!("`expect` of test {number}");
    let mut section = Section::open(report, "expectation", title, Some(entry.key.place), entry.node)?;
    let routes: Vec<&str> = named.routes.iter().map(|route| route.name.as_str()).collect();
    let upstreams: Vec<&str> = named.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let text = |section: &mut Section<'_>, key| section.parsed(key, None, |text| Ok(Some(text.to_owned())));
    let expected = Expected {
        route: section.entry("route").and_then(|entry| one_of(report, entry, "route", &routes)),
        upstream: section.entry("upstream").and_then(|entry| one_of(report, entry, "upstream", &upstreams)),
        status: section.parsed("status", None, |text| {
            let status = self::number("status", text, 200..=599)?;
            Ok(u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()))
        }),
        location: text(&mut section, "location"),
        path: text(&mut section, "path"),
        host: text(&mut section, "host"),
    };
    section.close();
    if matches!(&entry.node.value, Value::Mapping(keys) if keys.is_empty()) {
        report.add(Problem::at(entry.key.place, format!("test {number} expects nothing")).help(EXAMPLE));
    }
    Some(expected)
}

fn one_of(report: &Report, entry: Entry<'_>, what: &str, known: &[&str]) -> Option<String> {
    let text = entry.text(report)?;
    if !known.contains(&text) {
        let help = suggest::help(text, &format!("{what}s here"), known);
        report.add(Problem::at(entry.node.place, format!("no {what} is called `{text}`")).help(help));
        return None;
    }
    Some(text.to_owned())
}
