//! `balance` of an upstream: how a backend is picked.
//!
//! Invariant: a policy that hashes has a key. Deliberately absent: picking anything.

use http::HeaderName;

use super::problem::{Problem, Report};
use super::section::{Entry, Section};
use super::suggest;
use super::tree::Value;
use crate::units::Mistake;

const POLICIES: [&str; 6] = ["round_robin", "random", "least_request", "peak_ewma", "ring_hash", "maglev"];
const KEYS: [&str; 5] = ["client_address", "header", "cookie", "path", "query"];
const KEY: &str = "write `{ key: client_address }`, or `path`, `query`, `{ header: x-user }`, `{ cookie: session }`, `{ query: user }`";

/// How a backend is picked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, as weighted.
    #[default]
    RoundRobin,
    /// By chance, as weighted.
    Random,
    /// The one of two with fewer requests in flight for its weight.
    LeastRequest,
    /// The one of two at which the wait is expected to be shorter.
    PeakEwma,
    /// By a key of the request, on a ring (ketama), with bounded load.
    RingHash(HashKey),
    /// By a key of the request, through a table.
    Maglev(HashKey),
}

impl Balance {
    /// As it is written.
    pub const fn token(&self) -> &'static str {
        match self {
            Balance::RoundRobin => "round_robin",
            Balance::Random => "random",
            Balance::LeastRequest => "least_request",
            Balance::PeakEwma => "peak_ewma",
            Balance::RingHash(_) => "ring_hash",
            Balance::Maglev(_) => "maglev",
        }
    }

    /// What of a request decides, where a policy hashes.
    pub fn key(&self) -> Option<&HashKey> {
        match self {
            Balance::RingHash(key) | Balance::Maglev(key) => Some(key),
            Balance::RoundRobin | Balance::Random | Balance::LeastRequest | Balance::PeakEwma => None,
        }
    }
}

/// What of a request decides where it goes. A request without it goes anywhere, by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, behind proxies that are believed.
    ClientAddress,
    /// The first field of this name.
    Header(HeaderName),
    /// The value of the cookie of this name.
    Cookie(String),
    /// The path, without the query.
    Path,
    /// The whole query.
    Query,
    /// The value of the first parameter of this name in the query, as it is written there.
    Parameter(String),
}

/// The name of a policy, or a mapping from one to its key.
pub(super) fn read(report: &Report, entry: Entry<'_>) -> Option<Balance> {
    let Value::Mapping(entries) = &entry.node.value else {
        return entry.parsed(report, |text| match text {
            "round_robin" => Ok(Balance::RoundRobin),
            "random" => Ok(Balance::Random),
            "least_request" => Ok(Balance::LeastRequest),
            "peak_ewma" => Ok(Balance::PeakEwma),
            "ring_hash" | "maglev" => Err(Mistake::new(
                format!("`{text}` needs a key"),
                format!("write `balance: {{ {text}: {{ key: client_address }} }}`"),
            )),
            _ => Err(unknown(text)),
        });
    };
    let [(name, node)] = entries.as_slice() else {
        let help = "write `round_robin`, or `{ ring_hash: { key: client_address } }`";
        report.add(Problem::at(entry.node.place, "`balance` must be one policy").help(help));
        return None;
    };
    let policy: fn(HashKey) -> Balance = match name.text.as_str() {
        "ring_hash" => Balance::RingHash,
        "maglev" => Balance::Maglev,
        text if POLICIES.contains(&text) => {
            let help = format!("write `balance: {text}`");
            report.add(Problem::at(name.place, format!("`{text}` takes no keys")).help(help));
            return None;
        }
        text => {
            report.add(super::section::mistaken(name.place, unknown(text)));
            return None;
        }
    };
    let title = format!("`{}`", name.text);
    let mut section = Section::open(report, "hash policy", title, Some(name.place), node)?;
    let key = section.required("key", KEY).and_then(|entry| read_key(report, entry));
    section.close();
    key.map(policy)
}

fn unknown(text: &str) -> Mistake {
    Mistake::new(format!("no policy is called `{text}`"), suggest::help(text, "policies", &POLICIES))
}

fn read_key(report: &Report, entry: Entry<'_>) -> Option<HashKey> {
    let Value::Mapping(entries) = &entry.node.value else {
        return entry.parsed(report, |text| match text {
            "client_address" => Ok(HashKey::ClientAddress),
            "path" => Ok(HashKey::Path),
            "query" => Ok(HashKey::Query),
            "header" | "cookie" => {
                Err(Mistake::new(format!("`{text}` needs a name"), format!("write `{{ {text}: NAME }}`")))
            }
            _ => Err(Mistake::new(format!("no key is called `{text}`"), suggest::help(text, "keys", &KEYS))),
        });
    };
    let [(kind, node)] = entries.as_slice() else {
        report.add(Problem::at(entry.node.place, "`key` must be one key").help(KEY));
        return None;
    };
    let named = Entry { key: kind, node };
    match kind.text.as_str() {
        "header" => named.parsed(report, header).map(HashKey::Header),
        "cookie" => named.parsed(report, cookie_name).map(HashKey::Cookie),
        "query" => named.parsed(report, |text| name(text, "a parameter", is_parameter)).map(HashKey::Parameter),
        text => {
            let problem = Problem::at(kind.place, format!("no key is called `{text}`"));
            report.add(problem.help(suggest::help(text, "keys with a name", &["header", "cookie", "query"])));
            None
        }
    }
}

fn header(text: &str) -> Result<HeaderName, Mistake> {
    let mistake = || Mistake::new(format!("`{text}` cannot be the name of a field"), "write one such as `x-user`");
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| mistake())
}

/// The name of a cookie.
pub(super) fn cookie_name(text: &str) -> Result<String, Mistake> {
    name(text, "a cookie", is_token)
}

fn name(text: &str, what: &str, fine: fn(u8) -> bool) -> Result<String, Mistake> {
    if text.is_empty() || !text.bytes().all(fine) {
        return Err(Mistake::new(format!("`{text}` cannot be the name of {what}"), "write one such as `session`"));
    }
    Ok(text.to_owned())
}

/// RFC 6265, section 4.1.1: the name of a cookie is a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand before `=` in a query.
fn is_parameter(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"&=#".contains(&byte)
}
