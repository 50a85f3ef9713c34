//! `match` of a route: which requests it is for.
//!
//! Invariant: hosts and paths are in the form that requests are brought into, so that what is written can match.
//! Deliberately absent: which of several routes wins, which is the router's matter.

use std::net::IpAddr;

use http::Method;
use http::header::HeaderName;
use ipnet::IpNet;

use super::problem::{Place, Problem, Report};
use super::section::{Entry, Section, Switch, kind_of, mistaken};
use super::tree::{Key, Node, Value};
use crate::pattern::Pattern;
use crate::route::{HostPattern, Match, Normalisation, PathPattern, Wanted, rule_path};
use crate::units::Mistake;

const HOSTS: &str = "write `hosts: [shop.example.com, \"*.example.com\"]`";
const METHODS: &str = "write `methods: [GET, HEAD]`";
const CLIENTS: &str = "write networks, as in `[10.0.0.0/8, \"2001:db8::/32\"]`, or single addresses";
const WANTED: &str = "write a value, `{ regex: \"…\" }`, `{ present: on }` or `{ present: off }`";

/// The section, or one that matches everything.
pub(super) fn read(route: &mut Section<'_>, normalisation: Normalisation) -> Match {
    let report = route.report();
    let mut section = route.section("match", "match");
    let wanted = Match {
        hosts: each(report, list(report, section.entry("hosts"), HOSTS), "a host", HostPattern::new),
        path: section.entry("path").and_then(|entry| read_path(report, entry, normalisation)),
        methods: each(report, list(report, section.entry("methods"), METHODS), "a method", method),
        headers: read_wanted(report, section.entry("headers"), header_name),
        query: read_wanted(report, section.entry("query"), |name| Ok(name.to_owned())),
        cookies: read_wanted(report, section.entry("cookies"), cookie_name),
        clients: each(report, list(report, section.entry("clients"), CLIENTS), "a network", network),
    };
    section.close();
    wanted
}

fn list<'a>(report: &Report, entry: Option<Entry<'a>>, help: &str) -> &'a [Node] {
    entry.map_or(&[], |entry| entry.items(report, help))
}

/// Items that are one value each, none twice.
fn each<T: PartialEq>(
    report: &Report,
    items: &[Node],
    what: &str,
    read: impl Fn(&str) -> Result<T, Mistake>,
) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    for item in items {
        let Value::Scalar(text) = &item.value else {
            report.add(Problem::at(item.place, format!("{what} must be one value, not {}", kind_of(&item.value))));
            continue;
        };
        match read(text) {
            Ok(value) if found.contains(&value) => {
                report.add(Problem::at(item.place, format!("`{text}` stands twice in this list")).help("keep one"));
            }
            Ok(value) => found.push(value),
            Err(mistake) => report.add(mistaken(item.place, mistake)),
        }
    }
    found
}

fn read_path(report: &Report, entry: Entry<'_>, normalisation: Normalisation) -> Option<PathPattern> {
    const HELP: &str = "write one of `{ exact: /a }`, `{ prefix: /a }`, `{ regex: \"^/a\" }`";
    if let Value::Scalar(text) = &entry.node.value {
        let help = if text.starts_with('/') {
            format!("write `{{ prefix: {text} }}` for it and all below, or `{{ exact: {text} }}`")
        } else {
            HELP.to_owned()
        };
        report.add(Problem::at(entry.node.place, "`path` must say how it is compared").help(help));
        return None;
    }
    let mut section = Section::open(report, "path", "`path` of a match", Some(entry.key.place), entry.node)?;
    let written = ["exact", "prefix", "regex"].map(|key| section.entry(key));
    section.close();
    let path = |entry: Entry<'_>| entry.parsed(report, |text| rule_path(text, normalisation));
    match written {
        [Some(exact), None, None] => path(exact).map(PathPattern::Exact),
        [None, Some(prefix), None] => path(prefix).map(PathPattern::Prefix),
        [None, None, Some(regex)] => regex.parsed(report, Pattern::new).map(PathPattern::Regex),
        [None, None, None] => {
            // A key that is none has been reported already.
            if matches!(&entry.node.value, Value::Mapping(keys) if keys.is_empty()) {
                report.add(Problem::at(entry.node.place, "`path` is empty").help(HELP));
            }
            None
        }
        several => {
            let second = several.into_iter().flatten().nth(1).map_or(entry.key.place, |entry| entry.key.place);
            report.add(Problem::at(second, "`path` is compared in two ways").help("keep one of them"));
            None
        }
    }
}

pub(super) fn method(text: &str) -> Result<Method, Mistake> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    let upper = text.to_ascii_uppercase();
    if upper == "CONNECT" {
        return Err(Mistake::new("`CONNECT` is never forwarded", "leave it out"));
    }
    if upper != text && KNOWN.contains(&upper.as_str()) {
        return Err(Mistake::new(format!("`{text}` is not a method"), format!("write `{upper}`: methods have a case")));
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| Mistake::new(format!("`{text}` is not a method"), METHODS))
}

fn header_name(text: &str) -> Result<HeaderName, Mistake> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| Mistake::new(format!("`{text}` cannot be the name of a header field"), NAME))?;
    match name {
        http::header::HOST => Err(Mistake::new("`host` is matched by `hosts`", "write `hosts: [shop.example.com]`")),
        name => Ok(name),
    }
}

pub(super) const NAME: &str = "names are of letters, digits and `-`, such as `x-team`";

fn cookie_name(text: &str) -> Result<String, Mistake> {
    // RFC 6265, section 4.1.1: a token, as the name of a field is.
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Mistake::new(format!("`{text}` cannot be the name of a cookie"), NAME)),
    }
}

fn network(text: &str) -> Result<IpNet, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not a network"), CLIENTS);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    if network.trunc() != network {
        let help = format!("write `{}`, or the address alone", network.trunc());
        return Err(Mistake::new(format!("`{text}` is an address within a network"), help));
    }
    Ok(network)
}

/// Names and what is asked of their values; a name stands once (names of header fields in whatever case).
fn read_wanted<N: PartialEq>(
    report: &Report,
    entry: Option<Entry<'_>>,
    read: impl Fn(&str) -> Result<N, Mistake>,
) -> Vec<(N, Wanted)> {
    const EXAMPLE: &str = "write names and values, as in `{ x-canary: \"1\" }`";
    let named = entry.map_or(&[][..], |entry| entry.named(report, EXAMPLE));
    let mut found: Vec<(N, Wanted)> = Vec::new();
    for (key, node) in named {
        let wanted = read_one(report, key, node);
        match read(&key.text) {
            Ok(name) if found.iter().any(|(known, _)| *known == name) => {
                // The very same spelling has been reported as a key that stands twice.
                if named.iter().filter(|(other, _)| other.text == key.text).count() == 1 {
                    report.add(Problem::at(key.place, format!("`{}` stands twice", key.text)).help("keep one"));
                }
            }
            Ok(name) => found.extend(wanted.map(|wanted| (name, wanted))),
            Err(mistake) => report.add(mistaken(key.place, mistake)),
        }
    }
    found
}

fn read_one(report: &Report, key: &Key, node: &Node) -> Option<Wanted> {
    match &node.value {
        Value::Scalar(text) => match printable(text, node.place) {
            Ok(()) => Some(Wanted::Exact(text.clone())),
            Err(problem) => {
                report.add(*problem);
                None
            }
        },
        Value::Mapping(_) => {
            let title = format!("`{}` of a match", key.text);
            let mut section = Section::open(report, "wanted value", title, Some(key.place), node)?;
            let regex = section.entry("regex");
            let present = section.entry("present");
            let switch = present.and_then(|entry| entry.parsed(report, super::section::switch));
            section.close();
            match (regex, present) {
                (Some(regex), None) => regex.parsed(report, Pattern::new).map(Wanted::Pattern),
                (None, Some(_)) => switch.map(|switch| match switch {
                    Switch::On => Wanted::Present,
                    Switch::Off => Wanted::Absent,
                }),
                (Some(_), Some(present)) => {
                    report.add(Problem::at(present.key.place, "`regex` and `present` stand together").help(WANTED));
                    None
                }
                (None, None) => {
                    if matches!(&node.value, Value::Mapping(keys) if keys.is_empty()) {
                        report.add(Problem::at(node.place, format!("`{}` asks for nothing", key.text)).help(WANTED));
                    }
                    None
                }
            }
        }
        Value::Null => {
            report.add(Problem::at(key.place, format!("`{}` has no value", key.text)).help(WANTED));
            None
        }
        Value::Sequence(_) => {
            report.add(Problem::at(node.place, format!("`{}` must be one value, not a list", key.text)).help(WANTED));
            None
        }
    }
}

fn printable(text: &str, place: Place) -> Result<(), Box<Problem>> {
    if text.chars().any(|character| character.is_control() && character != '\t') {
        let problem = Problem::at(place, "the value has a line break or another control character");
        return Err(Box::new(problem.help("no request has one: write it without")));
    }
    Ok(())
}
