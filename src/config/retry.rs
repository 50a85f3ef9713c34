//! `retry` of an upstream: when a request is tried again, and how much load that may add.
//!
//! Invariant: retries have a budget. Deliberately absent: deciding whether a request may be repeated.

use std::time::Duration;

use http::StatusCode;

use super::hedge::{self, Hedge};
use super::problem::{Problem, Report};
use super::section::{Entry, Section, Switch, is_off, is_on, number, positive, switch};
use super::suggest;
use super::tree::Value;
use crate::units::{Mistake, Percent};

/// How much longer the longest pause is than the first, where only the first is written.
const GROWTH: u32 = 10;

/// An outage lasts longer than ten tries, and each is load on a cluster that is short of it.
const MOST_ATTEMPTS: u64 = 10;

/// The failures that a request may be tried again after. What says that a server cannot, rather than that it will not.
const FAILURES: [&str; 8] = ["connect", "reset", "refused", "http_429", "http_500", "http_502", "http_503", "http_504"];

/// When a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often a request is tried again, 1 to 10.
    pub attempts: u32,
    /// The share of requests that may be retries.
    pub budget: Percent,
    /// After which failures; at least one.
    pub on: RetryOn,
    /// How long it waits before; None: not at all.
    pub backoff: Option<Backoff>,
    /// How long one try may take to connect, and then to the head of its answer; None: as long as any attempt.
    pub per_try_timeout: Option<Duration>,
    /// After which wait it is given to a second backend beside the first.
    pub hedge: Hedge,
}

/// How long a request waits before it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// At most so long the first time, and twice as long each time after.
    pub base: Duration,
    /// Never longer.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        // Envoy's: a client hardly notices, and a backend that restarts workers is through with it.
        Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 2,
            // A cluster that fails gets at most a fifth more load from us.
            budget: Percent::clamped(20),
            on: RetryOn::default(),
            backoff: Some(Backoff::default()),
            per_try_timeout: None,
            hedge: Hedge::Off,
        }
    }
}

/// The failures after which a request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection came about in time.
    pub connect: bool,
    /// The connection broke before an answer.
    pub reset: bool,
    /// The backend refused the connection or the stream.
    pub refused: bool,
    /// The backend answered with one of these.
    pub statuses: RetryStatuses,
}

/// Statuses of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryStatuses(u8);

impl RetryStatuses {
    /// None of them.
    pub const NONE: RetryStatuses = RetryStatuses(0);

    const ALL: [(&str, StatusCode); 5] = [
        ("http_429", StatusCode::TOO_MANY_REQUESTS),
        ("http_500", StatusCode::INTERNAL_SERVER_ERROR),
        ("http_502", StatusCode::BAD_GATEWAY),
        ("http_503", StatusCode::SERVICE_UNAVAILABLE),
        ("http_504", StatusCode::GATEWAY_TIMEOUT),
    ];

    /// This one; none if nothing is tried again after it.
    pub fn of(status: StatusCode) -> Option<RetryStatuses> {
        RetryStatuses::ALL.iter().position(|(_, known)| *known == status).map(|place| RetryStatuses(1 << place))
    }

    /// Whether this is one of them.
    pub fn has(self, status: StatusCode) -> bool {
        RetryStatuses::of(status).is_some_and(|one| self.0 & one.0 != 0)
    }

    /// The one that is written like this.
    fn named(text: &str) -> Option<RetryStatuses> {
        RetryStatuses::ALL.iter().position(|(name, _)| *name == text).map(|place| RetryStatuses(1 << place))
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        RetryOn { connect: true, reset: true, refused: true, statuses: RetryStatuses::NONE }
    }
}

/// What a route says of retries; the budget and the pauses are its upstream's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetryRule {
    /// Nothing: as its upstream.
    #[default]
    Inherit,
    /// A request is tried once.
    Off,
    /// Where there is none the upstream's word holds, and the default where that is `off`.
    On {
        /// How often a request is tried again, 1 to 10.
        attempts: Option<u32>,
        /// After which failures.
        on: Option<RetryOn>,
        /// After which wait it is given to a second backend.
        hedge: Option<Hedge>,
    },
}

impl RetryRule {
    /// What holds for requests of the route to an upstream.
    pub fn over(self, upstream: Option<Retry>) -> Option<Retry> {
        match self {
            RetryRule::Inherit => upstream,
            RetryRule::Off => None,
            RetryRule::On { attempts, on, hedge } => {
                let upstream = upstream.unwrap_or_default();
                let (attempts, on) = (attempts.unwrap_or(upstream.attempts), on.unwrap_or(upstream.on));
                Some(Retry { attempts, on, hedge: hedge.unwrap_or(upstream.hedge), ..upstream })
            }
        }
    }
}

/// `off`, or a mapping; without the key the default.
pub(super) fn read(upstream: &mut Section<'_>) -> Option<Retry> {
    let default = Retry::default();
    let report = upstream.report();
    let Some(entry) = upstream.entry("retry") else {
        return Some(default);
    };
    if is_off(entry.node) || is_on(entry.node) {
        return is_on(entry.node).then_some(default);
    }
    let title = format!("`retry` of {}", upstream.title());
    let mut section = Section::open(report, "retry", title, Some(entry.key.place), entry.node)?;
    let attempts = read_attempts(&mut section).unwrap_or(default.attempts);
    let budget = section.parsed("budget", default.budget, |text| match text.parse()? {
        budget if budget == Percent::clamped(0) => Err(Mistake::new("`budget` cannot be `0%`", "write `retry: off`")),
        budget => Ok(budget),
    });
    let on = section.entry("on").map_or(default.on, |entry| read_on(report, entry));
    let backoff = read_backoff(&mut section);
    let per_try_timeout = section.parsed("per_try_timeout", None, |text| match text {
        _ if switch(text) == Ok(Switch::Off) => Ok(None),
        _ => positive("per_try_timeout", text, "write `per_try_timeout: off`").map(Some),
    });
    let hedge = hedge::read(&mut section).unwrap_or_default();
    section.close();
    Some(Retry { attempts, budget, on, backoff, per_try_timeout, hedge })
}

/// The same of a route: what is not written is its upstream's.
pub(super) fn read_rule(route: &mut Section<'_>) -> RetryRule {
    let report = route.report();
    let Some(entry) = route.entry("retry") else {
        return RetryRule::Inherit;
    };
    if is_off(entry.node) {
        return RetryRule::Off;
    }
    if is_on(entry.node) {
        return RetryRule::On { attempts: None, on: None, hedge: None };
    }
    let title = format!("`retry` of {}", route.title());
    let Some(mut section) = Section::open(report, "route retry", title, Some(entry.key.place), entry.node) else {
        return RetryRule::Inherit;
    };
    let help = "write it under `retry` of the upstream: all its routes share one budget";
    section.refuse_as("budget", "`budget` cannot be set by a route".to_owned(), help);
    let help = "write it under `retry` of the upstream: it is about what its backends can take";
    for key in ["backoff", "per_try_timeout"] {
        section.refuse_as(key, format!("`{key}` cannot be set by a route"), help);
    }
    let attempts = read_attempts(&mut section);
    let on = section.entry("on").map(|entry| read_on(report, entry));
    let hedge = hedge::read(&mut section);
    section.close();
    RetryRule::On { attempts, on, hedge }
}

fn read_backoff(retry: &mut Section<'_>) -> Option<Backoff> {
    let default = Backoff::default();
    let report = retry.report();
    let Some(entry) = retry.entry("backoff") else {
        return Some(default);
    };
    if is_off(entry.node) || is_on(entry.node) {
        return is_on(entry.node).then_some(default);
    }
    let title = format!("`backoff` of {}", retry.title());
    let mut section = Section::open(report, "backoff", title, Some(entry.key.place), entry.node)?;
    let base = section.duration("base", default.base);
    // Who wants longer pauses than the default's wants them to grow as much.
    let max = section.duration("max", default.max.max(base.saturating_mul(GROWTH)));
    section.close();
    if max < base {
        report.add(
            Problem::at(entry.node.place, "`max` of a backoff is shorter than its `base`")
                .help("write `backoff: { base: 25ms, max: 250ms }`"),
        );
    }
    Some(Backoff { base, max })
}

fn read_attempts(section: &mut Section<'_>) -> Option<u32> {
    section.parsed("attempts", None, |text| match text {
        "0" => Err(Mistake::new("`attempts` cannot be `0`", "write `retry: off`")),
        _ => number("attempts", text, 1..=MOST_ATTEMPTS).map(|attempts| u32::try_from(attempts).ok()),
    })
}

fn read_on(report: &Report, entry: Entry<'_>) -> RetryOn {
    const HELP: &str = "write some of `[connect, reset, refused, http_502, http_503, http_504]`, or `retry: off`";
    let mut on = RetryOn { connect: false, reset: false, refused: false, statuses: RetryStatuses::NONE };
    for item in entry.items(report, HELP) {
        let Value::Scalar(text) = &item.value else {
            report.add(Problem::at(item.place, "`on` must be a list of failures").help(HELP));
            continue;
        };
        let written_before = match (text.as_str(), RetryStatuses::named(text)) {
            ("connect", _) => std::mem::replace(&mut on.connect, true),
            ("reset", _) => std::mem::replace(&mut on.reset, true),
            ("refused", _) => std::mem::replace(&mut on.refused, true),
            (_, Some(RetryStatuses(status))) => {
                let before = on.statuses.0;
                on.statuses.0 |= status;
                before == on.statuses.0
            }
            (text, None) => {
                let message = format!("no failure is called `{text}`");
                report.add(Problem::at(item.place, message).help(suggest::help(text, "failures", &FAILURES)));
                continue;
            }
        };
        if written_before {
            report.add(Problem::at(item.place, "this failure stands twice in `on`").help("keep one of them"));
        }
    }
    on
}
