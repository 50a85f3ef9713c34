//! `upstreams`: the backends that serve one purpose, and the policy that they share.
//!
//! Invariant: an upstream has at least one backend and none twice. Deliberately absent: resolving names, and any
//! opinion on whether a backend answers.

use std::time::Duration;

use super::adaptive_concurrency::{self, AdaptiveConcurrency};
use super::address::BackendAddress;
use super::balance::{self, Balance};
use super::circuit_breaker::{self, CircuitBreaker};
use super::health_check::{self, HealthCheck};
use super::outlier_detection::{self, OutlierDetection};
use super::problem::{Place, Problem, Report};
use super::retry::{self, Retry};
use super::section::{Entry, Section, Switch, check_name, is_off, positive, switch};
use super::sticky::{self, StickyCookie};
use super::tree::{Node, Value};
use super::upstream_tls::{self, UpstreamTls};
use super::{Folder, Folders};
use crate::units::{Mistake, Percent, SizeLimit};

const EXAMPLE: &str = "write `upstreams: { app: { backends: [127.0.0.1:9001] } }`";
const BACKENDS: &str = "write `backends: [127.0.0.1:9001, 127.0.0.1:9002]`";

/// pingora's `RoundRobin` keeps one entry per unit of weight: more would cost megabytes and say nothing new.
const MOST_WEIGHT: u64 = 1000;
/// A tier for each data centre that anybody has, and some.
const HIGHEST_TIER: u64 = 15;
/// pingora's `RoundRobin` counts backends in 16 bits.
const MOST_BACKENDS: usize = 65_535;
/// With more than half of the backends out, it is likelier that the judges err, or that a few are to carry too much.
const DEFAULT_PANIC_THRESHOLD: Percent = Percent::clamped(50);

/// Backends that serve one purpose.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Unique in the file.
    pub name: String,
    /// In the order of the file; at least one, no address twice.
    pub backends: Vec<Backend>,
    /// How one of them is picked.
    pub balance: Balance,
    /// Below this share of fit backends health is ignored; None: never.
    pub panic_threshold: Option<Percent>,
    /// Over this time a backend that comes back or is added is given more and more of its share; None: all at once.
    pub slow_start: Option<Duration>,
    /// None: a backend is fit until traffic says otherwise.
    pub health_check: Option<HealthCheck>,
    /// None: what traffic says of a backend does not take it out.
    pub outlier_detection: Option<OutlierDetection>,
    /// None: nothing bounds how many requests are in flight.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// None: how many requests the backends carry at once is not looked for.
    pub adaptive_concurrency: Option<AdaptiveConcurrency>,
    /// None: a request is tried once.
    pub retry: Option<Retry>,
    /// None: a client goes wherever the policy sends its request.
    pub sticky: Option<StickyCookie>,
    /// What is spoken to backends.
    pub protocol: Protocol,
    /// None: without TLS.
    pub tls: Option<UpstreamTls>,
    /// How long a backend may take.
    pub timeouts: UpstreamTimeouts,
    /// The largest body of a request, unless a route says otherwise.
    pub request_body: SizeLimit,
}

impl Upstream {
    /// An upstream with the defaults of a file.
    pub fn new(name: impl Into<String>, backends: Vec<Backend>) -> Self {
        Upstream {
            name: name.into(),
            backends,
            balance: Balance::default(),
            panic_threshold: Some(DEFAULT_PANIC_THRESHOLD),
            slow_start: None,
            health_check: Some(HealthCheck::default()),
            outlier_detection: Some(OutlierDetection::default()),
            circuit_breaker: Some(CircuitBreaker::default()),
            // It refuses requests by what it has learnt, which is for an operator to want.
            adaptive_concurrency: None,
            retry: Some(Retry::default()),
            sticky: None,
            protocol: Protocol::default(),
            tls: None,
            timeouts: UpstreamTimeouts::default(),
            // Backends have limits of their own, and know what their uploads are.
            request_body: SizeLimit::Unlimited,
        }
    }
}

/// One address that can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its identity.
    pub address: BackendAddress,
    /// Its share of the traffic, relative to the others; 0 takes none. Up to 1000.
    pub weight: u32,
    /// Serves when the lower ones cannot; 0 to 15.
    pub tier: u32,
}

impl Backend {
    /// A backend of weight 1, in the first tier.
    pub fn new(address: BackendAddress) -> Self {
        Backend { address, weight: 1, tier: 0 }
    }
}

/// What is spoken to backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: asked for in the TLS handshake, or without TLS by prior knowledge (RFC 9113, section 3.3).
    Http2,
}

/// How long a backend may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// To accept a connection.
    pub connect: Duration,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Duration,
    /// Between two reads or writes.
    pub idle: Duration,
    /// For a whole request with all its attempts; None: unlimited.
    pub total: Option<Duration>,
    /// How long an idle connection is kept for reuse.
    pub keep_alive: Duration,
    /// Between two bytes of an upgraded connection (WebSocket).
    pub tunnel: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            // One lost SYN is sent again after 1 s; two are a reason to go elsewhere.
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            // Downloads and streams have no natural end.
            total: None,
            keep_alive: Duration::from_secs(60),
            // WebSockets are silent for long, but not for ever.
            tunnel: Duration::from_secs(3600),
        }
    }
}

/// The upstreams in the order of the file; their names stay in step with the keys even after problems.
pub(super) fn read(report: &Report, entry: Option<Entry<'_>>, folders: &Folders<'_>) -> Vec<Upstream> {
    let named = entry.map_or(&[][..], |entry| entry.named(report, EXAMPLE));
    named
        .iter()
        .map(|(key, node)| {
            check_name(report, "an upstream", &key.text, key.place);
            let title = format!("upstream `{}`", key.text);
            let section = Section::open(report, "upstream", title, Some(key.place), node);
            section.map_or_else(
                || Upstream::new(key.text.as_str(), Vec::new()),
                |section| read_one(section, &key.text, &folders.of(key.place)),
            )
        })
        .collect()
}

fn read_one(mut section: Section<'_>, name: &str, folder: &Folder<'_>) -> Upstream {
    let report = section.report();
    let backends = section.required("backends", BACKENDS).map(|entry| read_backends(report, entry, name));
    let backends = backends.unwrap_or_default();
    let tls = section.entry("tls").filter(|tls| !is_off(tls.node));
    let tls = tls.and_then(|tls| upstream_tls::read(&section, tls, folder, &backends));
    let upstream = Upstream {
        name: name.to_owned(),
        backends,
        balance: section.entry("balance").and_then(|entry| balance::read(report, entry)).unwrap_or_default(),
        panic_threshold: section.parsed("panic_threshold", Some(DEFAULT_PANIC_THRESHOLD), |text| match text {
            _ if switch(text) == Ok(Switch::Off) => Ok(None),
            _ => text.parse().and_then(|share| match share {
                share if share == Percent::clamped(0) => {
                    Err(Mistake::new("`panic_threshold` cannot be `0%`", "write `panic_threshold: off`"))
                }
                share => Ok(Some(share)),
            }),
        }),
        slow_start: section.parsed("slow_start", None, |text| match text {
            _ if switch(text) == Ok(Switch::Off) => Ok(None),
            _ => positive("slow_start", text, "write `slow_start: off`").map(Some),
        }),
        health_check: health_check::read(&mut section),
        outlier_detection: outlier_detection::read(&mut section),
        circuit_breaker: circuit_breaker::read(&mut section),
        adaptive_concurrency: adaptive_concurrency::read(&mut section),
        retry: retry::read(&mut section),
        sticky: sticky::read(&mut section, folder),
        protocol: section.parsed("protocol", Protocol::default(), |text| match text {
            "http1" => Ok(Protocol::Http1),
            "http2" => Ok(Protocol::Http2),
            _ => Err(Mistake::new(
                format!("`{text}` is not a protocol that backends are spoken to in"),
                "write `http1` or `http2`",
            )),
        }),
        tls,
        timeouts: read_timeouts(section.section("timeouts", "upstream timeouts")),
        request_body: read_request_body(section.section("limits", "upstream limits")).unwrap_or(SizeLimit::Unlimited),
    };
    section.close();
    upstream
}

fn read_backends(report: &Report, entry: Entry<'_>, upstream: &str) -> Vec<Backend> {
    let items = entry.items(report, BACKENDS);
    if items.len() > MOST_BACKENDS {
        let message = format!("upstream `{upstream}` has {} backends", items.len());
        report.add(
            Problem::at(entry.key.place, message)
                .help(format!("at most {MOST_BACKENDS}: spread them over several upstreams")),
        );
    }
    let mut places = std::collections::HashMap::new();
    let mut backends = Vec::new();
    for (backend, place) in items.iter().filter_map(|item| read_backend(report, item)) {
        // The case of a name says nothing, so it does not make another backend.
        let identity = backend.address.to_string().to_ascii_lowercase();
        let identity =
            if let BackendAddress::Unix(path) = &backend.address { path.display().to_string() } else { identity };
        if let Some(first) = places.get(&identity) {
            let message = format!("backend `{}` stands twice in upstream `{upstream}`", backend.address);
            let problem = Problem::at(place, message).label("again here").related(*first, "first here");
            report.add(problem.help("keep one of them; a `weight` gives it more traffic"));
        } else {
            places.insert(identity, place);
        }
        backends.push(backend);
    }
    backends
}

/// An address, or a mapping with an address and a weight.
fn read_backend(report: &Report, node: &Node) -> Option<(Backend, Place)> {
    let parse = |text: &str| text.parse::<BackendAddress>();
    match &node.value {
        Value::Scalar(text) => match parse(text) {
            Ok(address) => Some((Backend::new(address), node.place)),
            Err(mistake) => {
                report.add(super::section::mistaken(node.place, mistake));
                None
            }
        },
        Value::Mapping(_) => {
            let mut section = Section::open(report, "backend", "a backend", Some(node.place), node)?;
            let written = section.required("address", "write `{ address: 127.0.0.1:9001, weight: 3 }`");
            let address = written.and_then(|entry| entry.parsed(report, parse));
            let weight = section.number("weight", 1, 0..=MOST_WEIGHT);
            let tier = section.number("tier", 0, 0..=HIGHEST_TIER);
            section.close();
            let weight = u32::try_from(weight).unwrap_or(u32::MAX);
            let tier = u32::try_from(tier).unwrap_or(u32::MAX);
            Some((Backend { address: address?, weight, tier }, written?.node.place))
        }
        Value::Null | Value::Sequence(_) => {
            let message = format!("a backend must be an address, not {}", super::section::kind_of(&node.value));
            report.add(
                Problem::at(node.place, message)
                    .help("write `127.0.0.1:9001`, or `{ address: 127.0.0.1:9001, weight: 3 }`"),
            );
            None
        }
    }
}

/// `limits` of an upstream or a route; none where nothing is said.
pub(super) fn read_request_body(mut section: Section<'_>) -> Option<SizeLimit> {
    let limit = section.parsed("request_body", None, |text| text.parse().map(Some));
    section.close();
    limit
}

fn read_timeouts(mut section: Section<'_>) -> UpstreamTimeouts {
    let default = UpstreamTimeouts::default();
    let timeouts = UpstreamTimeouts {
        connect: section.duration("connect", default.connect),
        first_byte: section.duration("first_byte", default.first_byte),
        idle: section.duration("idle", default.idle),
        total: section.parsed("total", default.total, |text| match text {
            "unlimited" => Ok(None),
            _ => positive("total", text, "write `unlimited`").map(Some),
        }),
        keep_alive: section.duration("keep_alive", default.keep_alive),
        tunnel: section.duration("tunnel", default.tunnel),
    };
    section.close();
    timeouts
}
