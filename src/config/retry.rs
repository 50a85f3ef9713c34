//! `retry` of an upstream: when a request is tried again, and how much load that may add.
//!
//! Invariant: retries have a budget. Deliberately absent: deciding whether a request may be repeated.

use super::problem::{Problem, Report};
use super::section::{Entry, Section, is_off, is_on, number};
use super::suggest;
use super::tree::Value;
use crate::units::{Mistake, Percent};

/// An outage lasts longer than ten tries, and each is load on a cluster that is short of it.
const MOST_ATTEMPTS: u64 = 10;
/// When a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often a request is tried again, 1 to 10.
    pub attempts: u32,
    /// The share of requests that may be retries.
    pub budget: Percent,
    /// After which failures; at least one.
    pub on: RetryOn,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 2,
            // A cluster that fails gets at most a fifth more load from us.
            budget: Percent::clamped(20),
            on: RetryOn::default(),
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
}

impl Default for RetryOn {
    fn default() -> Self {
        RetryOn { connect: true, reset: true, refused: true }
    }
}

/// What a route says of retries; the budget is its upstream's.
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
    },
}

impl RetryRule {
    /// What holds for requests of the route to an upstream.
    pub fn over(self, upstream: Option<Retry>) -> Option<Retry> {
        match self {
            RetryRule::Inherit => upstream,
            RetryRule::Off => None,
            RetryRule::On { attempts, on } => {
                let Retry { attempts: inherited, budget, on: inherited_on } = upstream.unwrap_or_default();
                Some(Retry { attempts: attempts.unwrap_or(inherited), budget, on: on.unwrap_or(inherited_on) })
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
    section.close();
    Some(Retry { attempts, budget, on })
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
        return RetryRule::On { attempts: None, on: None };
    }
    let title = format!("`retry` of {}", route.title());
    let Some(mut section) = Section::open(report, "route retry", title, Some(entry.key.place), entry.node) else {
        return RetryRule::Inherit;
    };
    let help = "write it under `retry` of the upstream: all its routes share one budget";
    section.refuse_as("budget", "`budget` cannot be set by a route".to_owned(), help);
    let attempts = read_attempts(&mut section);
    let on = section.entry("on").map(|entry| read_on(report, entry));
    section.close();
    RetryRule::On { attempts, on }
}

fn read_attempts(section: &mut Section<'_>) -> Option<u32> {
    section.parsed("attempts", None, |text| match text {
        "0" => Err(Mistake::new("`attempts` cannot be `0`", "write `retry: off`")),
        _ => number("attempts", text, 1..=MOST_ATTEMPTS).map(|attempts| u32::try_from(attempts).ok()),
    })
}

fn read_on(report: &Report, entry: Entry<'_>) -> RetryOn {
    const NAMES: [&str; 3] = ["connect", "reset", "refused"];
    const HELP: &str = "write some of `[connect, reset, refused]`, or `retry: off`";
    let mut on = RetryOn { connect: false, reset: false, refused: false };
    for item in entry.items(report, HELP) {
        let unknown = |text: &str| {
            let message = format!("no failure is called `{text}`");
            report.add(Problem::at(item.place, message).help(suggest::help(text, "failures", &NAMES)));
        };
        let flag = match &item.value {
            Value::Scalar(text) => match text.as_str() {
                "connect" => &mut on.connect,
                "reset" => &mut on.reset,
                "refused" => &mut on.refused,
                text => {
                    unknown(text);
                    continue;
                }
            },
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
                report.add(Problem::at(item.place, "`on` must be a list of failures").help(HELP));
                continue;
            }
        };
        if std::mem::replace(flag, true) {
            report.add(Problem::at(item.place, "this failure stands twice in `on`").help("keep one of them"));
        }
    }
    on
}
