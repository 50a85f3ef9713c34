//! `client_address`: whose word on the address of a client is believed.
//!
//! Deliberately absent: lists of the networks that CDNs have, which change without us.

use super::problem::{Problem, Report};
use super::section::{Entry, Section, Switch, mistaken};
use super::tree::Value;
use crate::identity::{Field, Forwarded, Rules, Trusted, UnixPeers};
use crate::units::Mistake;

const EXAMPLE: &str = "write networks of proxies, as in `[10.0.0.0/8, 2001:db8::/32, unix]`";

/// The rules; nobody is believed unless it is written.
pub(super) fn read(mut section: Section<'_>) -> Rules {
    let report = section.report();
    let default = Rules::default();
    let rules = Rules {
        trusted: section.entry("trusted_proxies").map(|entry| read_trusted(report, entry)).unwrap_or_default(),
        field: section.parsed("field", default.field, |text| match text {
            "x_forwarded_for" => Ok(Field::XForwardedFor),
            "forwarded" => Ok(Field::Forwarded),
            _ => Err(Mistake::new(
                format!("`{text}` is not a field that tells a client's address"),
                "write `x_forwarded_for` or `forwarded`: the one that all trusted proxies write",
            )),
        }),
        forwarded: match section.switch("forwarded", Switch::Off) {
            Switch::On => Forwarded::Sent,
            Switch::Off => Forwarded::Removed,
        },
    };
    section.close();
    rules
}

fn read_trusted(report: &Report, entry: Entry<'_>) -> Trusted {
    let mut trusted = Trusted::default();
    // An empty list is how nobody is written.
    if matches!(&entry.node.value, Value::Sequence(items) if items.is_empty()) {
        return trusted;
    }
    for item in entry.items(report, EXAMPLE) {
        match &item.value {
            Value::Scalar(text) if text == "unix" => trusted.unix = UnixPeers::Trusted,
            Value::Scalar(text) => match text.parse() {
                Ok(network) => trusted.networks.push(network),
                Err(mistake) => report.add(mistaken(item.place, mistake)),
            },
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
                report.add(Problem::at(item.place, "a trusted proxy must be a network, or `unix`").help(EXAMPLE));
            }
        }
    }
    trusted
}
