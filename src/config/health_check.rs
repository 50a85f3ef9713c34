//! `health_check` of an upstream: how often a backend is asked, and when it turns.
//!
//! Invariant: a check ends before the next begins. Deliberately absent: asking anything.

use std::time::Duration;

use super::section::{Section, is_off, is_on};

/// A backend that must pass or fail more checks than this in a row never turns.
const MOST_CHECKS: u64 = 100;

/// A backend is asked on a timer whether it accepts a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// From the begin of one check to the begin of the next.
    pub interval: Duration,
    /// Never longer than the interval.
    pub timeout: Duration,
    /// So many successes in a row make it fit.
    pub healthy_after: u32,
    /// So many failures in a row make it unfit.
    pub unhealthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
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
    let mut section = Section::open(report, "health check", title, Some(entry.key.place), entry.node)?;
    section.section("tcp", "tcp health check").close();
    let interval = section.duration("interval", default.interval);
    // May be longer than the interval: a check that takes long is not joined by another.
    let timeout = section.duration("timeout", default.timeout);
    let mut count =
        |key, default: u32| u32::try_from(section.number(key, default.into(), 1..=MOST_CHECKS)).unwrap_or(default);
    let check = HealthCheck {
        interval,
        timeout,
        healthy_after: count("healthy_after", default.healthy_after),
        unhealthy_after: count("unhealthy_after", default.unhealthy_after),
    };
    section.close();
    Some(check)
}
