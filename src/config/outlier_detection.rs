//! `outlier_detection` of an upstream: when its traffic takes a backend out, and for how long.
//!
//! Invariant: never all may be out. Deliberately absent: looking at any traffic.

use std::time::Duration;

use super::section::{Section, Switch, is_off, is_on};
use crate::units::{Mistake, Percent};

/// Whoever fails more often than this in a row is left to the success rate.
const MOST_FAILURES: u64 = 1000;

/// When a backend is taken out for what its traffic says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// So many failures one after the other take it out; 1 to 1000.
    pub consecutive_failures: u32,
    /// How long it is out the first time; longer each time.
    pub ejection: Duration,
    /// The share of backends that may be out.
    pub max_ejected: Percent,
    /// Whether a backend that answers nothing while others do is taken out.
    pub stalls: Stalls,
}

/// Whether a backend that answers nothing while others do is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stalls {
    /// It is.
    Detected,
    /// It is left alone.
    Ignored,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        OutlierDetection {
            // What fails by chance rarely does so five times in a row.
            consecutive_failures: 5,
            ejection: Duration::from_secs(30),
            // The others have to carry what it carried.
            max_ejected: Percent::clamped(50),
            stalls: Stalls::Detected,
        }
    }
}

/// `off`, or a mapping; without the key the default.
pub(super) fn read(upstream: &mut Section<'_>) -> Option<OutlierDetection> {
    let default = OutlierDetection::default();
    let report = upstream.report();
    let Some(entry) = upstream.entry("outlier_detection") else {
        return Some(default);
    };
    if is_off(entry.node) || is_on(entry.node) {
        return is_on(entry.node).then_some(default);
    }
    let title = format!("`outlier_detection` of {}", upstream.title());
    let mut section = Section::open(report, "outlier detection", title, Some(entry.key.place), entry.node)?;
    let failures = section.number("consecutive_failures", default.consecutive_failures.into(), 1..=MOST_FAILURES);
    let ejection = section.duration("ejection", default.ejection);
    let max_ejected = section.parsed("max_ejected", default.max_ejected, |text| match text.parse()? {
        share if share == Percent::clamped(0) => {
            Err(Mistake::new("`max_ejected` cannot be `0%`", "write `outlier_detection: off`"))
        }
        share => Ok(share),
    });
    let stalls = match section.switch("stalls", Switch::On) {
        Switch::On => Stalls::Detected,
        Switch::Off => Stalls::Ignored,
    };
    section.close();
    let consecutive_failures = u32::try_from(failures).unwrap_or(default.consecutive_failures);
    Some(OutlierDetection { consecutive_failures, ejection, max_ejected, stalls })
}
