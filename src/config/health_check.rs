//! `health_check` of an upstream: what a backend is asked, how often, and when it turns.
//!
//! Invariant: exactly one question is asked. Deliberately absent: asking it.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::matches::{NAME, method};
use super::problem::{Problem, Report};
use super::rewrite::host;
use super::section::{Entry, Section, is_off, is_on, mistaken};
use super::tree::Value;
use crate::units::Mistake;

/// A backend that must pass or fail more checks than this in a row never turns.
const MOST_CHECKS: u64 = 100;

const EXAMPLE: &str = "write `http: { path: /healthz }`";
const EXPECT: &str = "write a status, a range, or a list of them: `200`, `200-299`, `[200, 301-302]`";

/// A backend is asked on a timer whether it is fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What it is asked.
    pub question: Question,
    /// From the end of one check to the begin of the next, give or take a tenth.
    pub interval: Duration,
    /// How long one check may take, with connecting.
    pub timeout: Duration,
    /// So many successes in a row make it fit.
    pub healthy_after: u32,
    /// So many failures in a row make it unfit.
    pub unhealthy_after: u32,
}

/// What a backend is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// Whether it accepts a connection.
    Tcp,
    /// A request of HTTP, in what the upstream speaks.
    Http(Box<HttpQuestion>),
    /// `grpc.health.v1.Health/Check` about this service; the empty one is the server as a whole.
    Grpc(String),
}

/// A request, and which answers are good ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpQuestion {
    /// Without a body.
    pub method: Method,
    /// With its query.
    pub path: String,
    /// None: the backend's own address.
    pub host: Option<HeaderValue>,
    /// More fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// At least one.
    pub expect: Vec<RangeInclusive<u16>>,
    /// What its body must hold within the first 64 KiB.
    pub body: Option<String>,
}

impl HttpQuestion {
    /// The statuses that are good ones, as they are written.
    pub fn expected(&self) -> impl fmt::Display {
        let one = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least}-{most}"),
        };
        self.expect.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            question: Question::Tcp,
            // With three failures a dead backend is out after 15 s at most; retries bridge the time.
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}

/// `off`, or a mapping; without the key the default.
pub(super) fn read(upstream: &mut Section<'_>) -> Option<HealthCheck> {
    let default = HealthCheck::default();
    let report = upstream.report();
    let Some(entry) = upstream.entry("health_check") else {
        return Some(default);
    };
    if is_off(entry.node) || is_on(entry.node) {
        return is_on(entry.node).then_some(default);
    }
    let title = format!("`health_check` of {}", upstream.title());
    let protocol = upstream.entry("protocol").map(|entry| &entry.node.value);
    let over_http2 = matches!(protocol, Some(Value::Scalar(text)) if text == "http2");
    let mut section = Section::open(report, "health check", title, Some(entry.key.place), entry.node)?;
    let question = read_question(&mut section, over_http2);
    let interval = section.duration("interval", default.interval);
    // May be longer than the interval: a check that takes long is not joined by another.
    let timeout = section.duration("timeout", default.timeout);
    let mut count =
        |key, default: u32| u32::try_from(section.number(key, default.into(), 1..=MOST_CHECKS)).unwrap_or(default);
    let (healthy_after, unhealthy_after) =
        (count("healthy_after", default.healthy_after), count("unhealthy_after", default.unhealthy_after));
    section.close();
    Some(HealthCheck { question, interval, timeout, healthy_after, unhealthy_after })
}

fn read_question(check: &mut Section<'_>, over_http2: bool) -> Question {
    let report = check.report();
    let written = ["tcp", "http", "grpc"].map(|key| check.entry(key));
    let mut several = written.into_iter().flatten();
    if let (Some(first), Some(second)) = (several.next(), several.next()) {
        let message = format!("`{}` and `{}` stand together", first.key.text, second.key.text);
        let problem = Problem::at(second.key.place, message).related(first.key.place, "the other");
        report.add(problem.help("keep one: a backend is asked one thing"));
    }
    let [_, http, grpc] = written;
    check.section("tcp", "tcp health check").close();
    if let Some(http) = http {
        return read_http(check, http).map_or(Question::Tcp, |http| Question::Http(Box::new(http)));
    }
    let Some(grpc) = grpc else { return Question::Tcp };
    if !over_http2 {
        let problem = Problem::at(grpc.key.place, "`grpc` needs backends that are spoken to in `http2`");
        report.add(problem.help("write `protocol: http2` beside `health_check`"));
    }
    let mut section = check.section("grpc", "grpc health check");
    let service = section.parsed("service", String::new(), |text| match text.len() {
        0..=LONGEST_SERVICE => Ok(text.to_owned()),
        _ => Err(Mistake::new("the name of the service is too long", format!("at most {LONGEST_SERVICE} bytes"))),
    });
    section.close();
    Question::Grpc(service)
}

/// So long that its length is one byte of the message.
const LONGEST_SERVICE: usize = 120;

fn read_http(check: &Section<'_>, entry: Entry<'_>) -> Option<HttpQuestion> {
    let report = check.report();
    let title = format!("`http` of {}", check.title());
    let mut section = Section::open(report, "http health check", title, Some(entry.key.place), entry.node)?;
    let path = section.required("path", EXAMPLE).and_then(|entry| entry.parsed(report, path));
    let question = HttpQuestion {
        method: section.parsed("method", Method::GET, method),
        path: path.unwrap_or_default(),
        host: section.parsed("host", None, |text| host(text).map(Some)),
        headers: section.entry("headers").map_or_else(Vec::new, |entry| read_headers(report, entry)),
        expect: section.entry("expect").map_or_else(|| vec![200..=299], |entry| read_expect(report, entry)),
        body: section.parsed("body", None, |text| match text {
            "" => Err(Mistake::new("`body` is empty", "write what the body must hold, or leave it out")),
            text => Ok(Some(text.to_owned())),
        }),
    };
    section.close();
    Some(question)
}

fn path(text: &str) -> Result<String, Mistake> {
    let fine = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fine { Ok(text.to_owned()) } else { Err(Mistake::new(format!("`{text}` is not a path"), EXAMPLE)) }
}

fn read_headers(report: &Report, entry: Entry<'_>) -> Vec<(HeaderName, HeaderValue)> {
    const HELP: &str = "write `headers: { x-probe: \"1\" }`";
    let one = |(key, node): &(super::tree::Key, super::tree::Node)| {
        let Ok(name) = HeaderName::from_bytes(key.text.as_bytes()) else {
            let message = format!("`{}` cannot be the name of a header field", key.text);
            report.add(Problem::at(key.place, message).help(NAME));
            return None;
        };
        if [http::header::HOST, http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&name) {
            report.add(
                Problem::at(key.place, format!("`{name}` is not for a check to say")).help("use `host:`, and no body"),
            );
            return None;
        }
        let value = if let Value::Scalar(text) = &node.value { HeaderValue::from_str(text).ok() } else { None };
        if value.is_none() {
            report.add(Problem::at(node.place, format!("`{}` must have one value", key.text)).help(HELP));
        }
        Some((name, value?))
    };
    entry.named(report, HELP).iter().filter_map(one).collect()
}

fn read_expect(report: &Report, entry: Entry<'_>) -> Vec<RangeInclusive<u16>> {
    let items = match &entry.node.value {
        Value::Scalar(_) => std::slice::from_ref(entry.node),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => entry.items(report, EXPECT),
    };
    let one = |item: &super::tree::Node| {
        let range = if let Value::Scalar(text) = &item.value { statuses(text) } else { None };
        if range.is_none() {
            let mistake = Mistake::new("`expect` must be statuses from 100 to 599", EXPECT);
            report.add(mistaken(item.place, mistake));
        }
        range
    };
    items.iter().filter_map(one).collect()
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let range = status(least)?..=status(most)?;
    (!range.is_empty()).then_some(range)
}
