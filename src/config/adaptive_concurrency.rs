//! `adaptive_concurrency` of an upstream: finding out how many requests its backends carry at once, and holding back
//! what is more.
//!
//! Invariant: the lowest limit is not above the highest. Deliberately absent: finding it out.

use super::problem::Problem;
use super::section::{Entry, Section, is_off};
use crate::balance::gradient::{Mode, Rules};
use crate::units::{Mistake, Percent};

/// More at once than any backend was seen to carry.
const HIGHEST: u64 = 1_000_000;
/// More answers than this say nothing new of the minimal latency, and take long to come.
const MOST_REQUESTS: u64 = 10_000;

/// How many requests at once are found to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveConcurrency {
    /// Whether more are held back.
    pub mode: Mode,
    /// How it is found.
    pub rules: Rules,
}

/// The defaults are those of Envoy's adaptive concurrency filter, and the interval that its documentation uses.
const DEFAULT: Rules = Rules {
    least: 3,
    most: 1000,
    percentile: Percent::clamped(50),
    tolerance: Percent::clamped(25),
    interval: std::time::Duration::from_secs(60),
    jitter: Percent::clamped(15),
    requests: 50,
};

/// `off`, or a mapping; without the key it is off.
pub(super) fn read(upstream: &mut Section<'_>) -> Option<AdaptiveConcurrency> {
    let report = upstream.report();
    let entry = upstream.entry("adaptive_concurrency").filter(|entry| !is_off(entry.node))?;
    let title = format!("`adaptive_concurrency` of {}", upstream.title());
    let mut section = Section::open(report, "adaptive concurrency", title, Some(entry.key.place), entry.node)?;
    let mode = section.required("mode", "write `mode: enforce`, or `mode: observe` to see first what it would do");
    let mode = mode.and_then(|entry: Entry<'_>| {
        entry.parsed(report, |text| match text {
            "enforce" => Ok(Mode::Enforce),
            "observe" => Ok(Mode::Observe),
            _ => Err(Mistake::new(format!("`{text}` is not a mode"), "write `enforce` or `observe`")),
        })
    });
    let rules = Rules {
        least: section.number("min_limit", DEFAULT.least, 1..=HIGHEST),
        most: section.number("max_limit", DEFAULT.most, 1..=HIGHEST),
        percentile: section.parsed("percentile", DEFAULT.percentile, |text| match text.parse()? {
            share if share == Percent::clamped(0) => {
                Err(Mistake::new("`percentile` cannot be `0%`", "write `percentile: 50%`"))
            }
            share => Ok(share),
        }),
        tolerance: section.parsed("tolerance", DEFAULT.tolerance, str::parse),
        interval: section.duration("measure_interval", DEFAULT.interval),
        jitter: section.parsed("measure_jitter", DEFAULT.jitter, str::parse),
        requests: section.number("measure_requests", DEFAULT.requests, 1..=MOST_REQUESTS),
    };
    if rules.least > rules.most {
        let place = section.entry("min_limit").or_else(|| section.entry("max_limit")).unwrap_or(entry).node.place;
        let message = format!("`min_limit` is above `max_limit`: {} and {}", rules.least, rules.most);
        report.add(Problem::at(place, message).help("the limit moves between the two"));
    }
    section.close();
    Some(AdaptiveConcurrency { mode: mode?, rules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::gradient::{Gradient, Seen};
    use crate::balance::latencies::{Window, step};
    use crate::config::Config;
    use std::time::{Duration, Instant};

    const TICK: Duration = Duration::from_millis(100);

    fn written(rule: &str) -> AdaptiveConcurrency {
        let text = format!(
            "version: 1\nlisteners: {{ web: {{ address: 127.0.0.1:8080 }} }}\nupstreams:\n  app:\n    backends: [127.0.0.1:9001]\n    \
             adaptive_concurrency: {{ mode: enforce, {rule} }}\nroutes: [{{ upstream: app }}]\n"
        );
        Config::from_yaml(&text).unwrap().upstreams[0].adaptive_concurrency.unwrap()
    }

    /// The limit from tick to tick, and whether it is the minimal latency's turn, where many ask a group that carries
    /// twenty at once, every fifth of them for long.
    fn course(rule: &str) -> Vec<(usize, bool)> {
        let AdaptiveConcurrency { mode, rules } = written(rule);
        let (mut now, least) = (Instant::now(), usize::try_from(rules.least).unwrap());
        let mut gradient = Gradient::new(now);
        let mut course = Vec::new();
        for _ in 0..1500 {
            let in_flight = gradient.limit(&rules, mode, least).min(500);
            let takes = Duration::from_millis(10).mul_f64((in_flight as f64 / 20.0).max(1.0));
            let mut all = Window::default();
            all.add(step(takes), 8);
            all.add(step(takes * 3), 2);
            let quiet = if in_flight <= least { all.clone() } else { Window::default() };
            now += TICK;
            gradient.tick(&Seen { all, quiet, in_flight, least }, &rules, mode, now, 0.5);
            course.push((gradient.limit(&rules, mode, least), gradient.is_measuring()));
        }
        course
    }

    #[test]
    fn every_rule_changes_what_is_found() {
        let usual = course("");
        for rule in [
            "min_limit: 40",
            "max_limit: 15",
            "percentile: 95%",
            "tolerance: 100%",
            "measure_interval: 20s",
            "measure_jitter: 0%",
            "measure_requests: 200",
        ] {
            assert!(course(rule) != usual, "{rule}");
        }
    }
}
