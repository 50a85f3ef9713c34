//! `request_headers` and `response_headers` of a route: fields that are set, added and removed.
//!
//! Invariant: no rule names a field of the connection or of the framing.

use http::HeaderValue;
use http::header::HeaderName;

use super::matches::NAME;
use super::problem::{Problem, Report};
use super::section::{Entry, Section, kind_of, mistaken};
use super::template;
use super::tree::{Node, Value as Written};
use crate::forward::header_rules::{HeaderRules, REQUEST_FIELDS, RESPONSE_FIELDS, Value, is_untouchable};
use crate::units::Mistake;

/// Whose fields they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// The section, or no rules.
pub(super) fn read(route: &mut Section<'_>, side: Side) -> HeaderRules {
    let report = route.report();
    let key = match side {
        Side::Request => "request_headers",
        Side::Response => "response_headers",
    };
    let mut section = route.section(key, "header rules");
    let rules = HeaderRules {
        set: read_values(report, section.entry("set"), side),
        add: read_values(report, section.entry("add"), side),
        remove: section.entry("remove").map_or_else(Vec::new, |entry| read_names(report, entry, side)),
    };
    section.close();
    rules
}

fn read_values(report: &Report, entry: Option<Entry<'_>>, side: Side) -> Vec<(HeaderName, Value)> {
    // An empty mapping is written where a block is filled in later.
    let Some(entry) = entry.filter(|entry| !matches!(&entry.node.value, Written::Mapping(keys) if keys.is_empty()))
    else {
        return Vec::new();
    };
    let named = entry.named(report, "write names and values, as in `{ x-team: shop }`");
    let mut values = Vec::new();
    for (key, node) in named {
        let value = template::read(report, Entry { key, node });
        let value = value.and_then(|template| match template.as_text() {
            Some(text) => HeaderValue::from_str(text).ok().map(Value::Fixed),
            None => Some(Value::Made(template)),
        });
        match name(&key.text, side) {
            Ok(name) => values.extend(value.map(|value| (name, value))),
            Err(mistake) => report.add(mistaken(key.place, mistake)),
        }
    }
    values
}

fn read_names(report: &Report, entry: Entry<'_>, side: Side) -> Vec<HeaderName> {
    const HELP: &str = "write names of fields, as in `[x-debug, server]`";
    // Empty as above.
    if matches!(&entry.node.value, Written::Sequence(items) if items.is_empty()) {
        return Vec::new();
    }
    let read = |item: &Node| {
        let Written::Scalar(text) = &item.value else {
            let message = format!("a field to remove must be a name, not {}", kind_of(&item.value));
            report.add(Problem::at(item.place, message).help(HELP));
            return None;
        };
        name(text, side).map_err(|mistake| report.add(mistaken(item.place, mistake))).ok()
    };
    entry.items(report, HELP).iter().filter_map(read).collect()
}

fn name(text: &str, side: Side) -> Result<HeaderName, Mistake> {
    let besides: &[HeaderName] = match side {
        Side::Request => &REQUEST_FIELDS,
        Side::Response => &RESPONSE_FIELDS,
    };
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| Mistake::new(format!("`{text}` cannot be the name of a header field"), NAME))?;
    if !is_untouchable(&name, besides) {
        return Ok(name);
    }
    let help = match name {
        http::header::HOST => "write `rewrite: { host: … }`",
        http::header::DATE => "it is the time at which the answer passes, whatever a rule says",
        _ => "it belongs to the connection or says where a message ends, so it is Evenkeel's own",
    };
    Err(Mistake::new(format!("`{text}` cannot be changed by a rule"), help))
}
