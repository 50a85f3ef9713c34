//! `hedge` of `retry`: after which wait a request is given to a second backend, beside the one that has not answered yet.
//!
//! Deliberately absent: which requests may be hedged, and whether it is affordable.

use std::time::Duration;

use super::problem::Problem;
use super::section::{Section, is_off, is_on, positive};
use crate::units::{Mistake, Percent, duration, show};

/// A client does not notice what is shorter, and a second request costs more than it would win.
const LEAST: Duration = Duration::from_millis(5);

/// See the module's documentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hedge {
    /// Never.
    #[default]
    Off,
    /// Once it has waited longer than most requests of its upstream lately, and no less than `min`.
    Lately {
        /// How many those are.
        percentile: Percentile,
        /// However quick the upstream is.
        min: Duration,
    },
    /// Once it has waited so long.
    Time(Duration),
}

/// What share of requests has had its answer sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// 90 of 100.
    P90,
    /// 95 of 100.
    P95,
    /// 99 of 100.
    P99,
}

impl Percentile {
    /// All there are.
    pub const ALL: [Percentile; 3] = [Percentile::P90, Percentile::P95, Percentile::P99];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Percentile::P90 => "p90",
            Percentile::P95 => "p95",
            Percentile::P99 => "p99",
        }
    }

    /// The share.
    pub const fn share(self) -> Percent {
        match self {
            Percentile::P90 => Percent::clamped(90),
            Percentile::P95 => Percent::clamped(95),
            Percentile::P99 => Percent::clamped(99),
        }
    }
}

impl Hedge {
    /// Where it is on and nothing else is written: one request in twenty, as in "The Tail at Scale" (Dean and Barroso, 2013).
    const ON: Hedge = Hedge::Lately { percentile: Percentile::P95, min: LEAST };

    /// In a word.
    pub fn show(self) -> String {
        match self {
            Hedge::Off => "off".to_owned(),
            Hedge::Lately { percentile, min } => format!("{}, at least {}", percentile.name(), show(min)),
            Hedge::Time(time) => show(time),
        }
    }
}

/// What `hedge` says; none if it is not there.
pub(super) fn read(retry: &mut Section<'_>) -> Option<Hedge> {
    let report = retry.report();
    let entry = retry.entry("hedge")?;
    if is_off(entry.node) {
        return Some(Hedge::Off);
    }
    if is_on(entry.node) {
        return Some(Hedge::ON);
    }
    let title = format!("`hedge` of {}", retry.title());
    let mut section = Section::open(report, "hedge", title, Some(entry.key.place), entry.node)?;
    let after = section.parsed("after", Hedge::ON, after);
    let min = section.entry("min");
    let hedge = match after {
        Hedge::Lately { percentile, .. } => {
            let parsed = min.and_then(|entry| entry.parsed(report, |text| positive("min", text, "the least is `1ms`")));
            Hedge::Lately { percentile, min: parsed.unwrap_or(LEAST) }
        }
        Hedge::Off | Hedge::Time(_) => {
            if let Some(entry) = min {
                let problem = Problem::at(entry.key.place, "`min` has no effect beside a fixed time");
                report.add(problem.help("leave it out, or write `after: p95`"));
            }
            after
        }
    };
    section.close();
    Some(hedge)
}

fn after(text: &str) -> Result<Hedge, Mistake> {
    const HELP: &str = "write `p90`, `p95`, `p99`, or a time such as `200ms`; or `hedge: off`";
    if let Some(percentile) = Percentile::ALL.into_iter().find(|percentile| percentile.name() == text) {
        return Ok(Hedge::Lately { percentile, min: LEAST });
    }
    match duration(text) {
        Ok(time) if !time.is_zero() => Ok(Hedge::Time(time)),
        Ok(_) | Err(_) => Err(Mistake::new(format!("`{text}` is no wait after which a request is hedged"), HELP)),
    }
}
