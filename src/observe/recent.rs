//! The latest requests that somebody will ask about: those that failed, that were refused, and that were slow.
//!
//! Invariant: what is remembered is bounded, also for one request, and each kind has places of its own, so that
//! strangers who are refused push nothing else out. A request that is none of these costs a comparison.
//!
//! Deliberately absent: what went well. The access log has every request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::record::{Hedged, Record};
use super::timestamp;

/// Places of each kind in each shard.
const PLACES: usize = 32;
/// Threads share a lock only if there are more of them than these.
const SHARDS: usize = 16;
/// The most bytes that are kept of a text that a stranger chose.
const LONGEST_TEXT: usize = 512;

/// Why a request is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was not served: ours or the backend's 5xx, or it broke off.
    Failed,
    /// It was turned away for what it was: a 4xx of ours.
    Refused,
    /// Its answer began late.
    Slow,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Failed, Kind::Refused, Kind::Slow];
}

/// A request that is remembered.
#[derive(Clone, Debug, Serialize)]
pub struct Remembered {
    #[serde(skip)]
    at: SystemTime,
    /// When it began.
    pub time: String,
    /// Why it is remembered.
    pub kind: Kind,
    /// Its identifier.
    pub request_id: String,
    /// The client's address.
    pub client: String,
    /// The listener that it came through.
    pub listener: String,
    /// Its route.
    pub route: Option<String>,
    /// Its method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host that was asked for.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The path in its one form, where it did not come in it.
    pub normal_path: Option<String>,
    /// The path that the backend was asked for, where a rewrite changed it.
    pub rewritten_path: Option<String>,
    /// The generation of the rules that decided.
    pub generation: u64,
    /// What was answered.
    pub status: Option<u16>,
    /// Why it was not served.
    pub reason: Option<&'static str>,
    /// How long it took.
    pub duration_ms: f64,
    /// When its answer began.
    pub first_byte_ms: Option<f64>,
    /// How many backends were tried.
    pub attempts: u32,
    /// What became of the attempt beside the first.
    pub hedge: Option<&'static str>,
    /// The upstream.
    pub upstream: Option<String>,
    /// The backend of the last attempt.
    pub backend: Option<String>,
    /// The version of HTTP.
    pub protocol: &'static str,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Recent {
    shards: [Mutex<[VecDeque<Remembered>; Kind::ALL.len()]>; SHARDS],
    /// In microseconds.
    slow_after: AtomicU64,
}

impl Default for Recent {
    /// Nothing is slow until [`Recent::slow_after`] says what is.
    fn default() -> Recent {
        Recent {
            shards: [const { Mutex::new([const { VecDeque::new() }; 3]) }; SHARDS],
            slow_after: AtomicU64::new(u64::MAX),
        }
    }
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

impl Recent {
    /// From now on an answer that begins later than this is slow.
    pub fn slow_after(&self, limit: Duration) {
        self.slow_after.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Why a request is to be remembered; None for most. `waited` is how long its client waited for an answer to begin.
    pub fn kind(&self, status: Option<u16>, failed: bool, waited: Duration) -> Option<Kind> {
        match status {
            Some(400..=499) if failed => Some(Kind::Refused),
            Some(500..) => Some(Kind::Failed),
            Some(_) | None if failed => Some(Kind::Failed),
            Some(_) | None => {
                let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
                (waited > self.slow_after.load(Ordering::Relaxed)).then_some(Kind::Slow)
            }
        }
    }

    /// Remembers a request, and forgets the oldest of its kind if there are too many.
    pub fn keep(&self, kind: Kind, record: &Record<'_>) {
        let remembered = Remembered::new(kind, record);
        let shard = SHARD.try_with(|shard| *shard).unwrap_or_default();
        let Some(shard) = self.shards.get(shard) else { return };
        let mut kinds = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = kinds.get_mut(kind as usize) else { return };
        if places.len() >= PLACES {
            places.pop_front();
        }
        places.push_back(remembered);
    }

    /// All that are remembered, the latest first.
    pub fn read(&self) -> Vec<Remembered> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let kinds = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(kinds.iter().flatten().cloned());
        }
        all.sort_by_key(|remembered| std::cmp::Reverse(remembered.at));
        all
    }
}

impl Remembered {
    fn new(kind: Kind, record: &Record<'_>) -> Remembered {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Remembered {
            at: record.time,
            time: timestamp::rfc3339_text(record.time),
            kind,
            request_id: record.request_id.to_owned(),
            client: record.client.to_owned(),
            listener: record.listener.to_owned(),
            route: owned(record.route),
            method: cut(record.method),
            scheme: if record.scheme == "https" { "https" } else { "http" },
            host: cut(record.host),
            path: cut(record.path),
            normal_path: record.normal_path.map(cut),
            rewritten_path: record.rewritten_path.map(cut),
            generation: record.generation,
            status: record.status,
            reason: record.reason,
            duration_ms: milliseconds(record.duration),
            first_byte_ms: record.first_byte.map(milliseconds),
            attempts: record.attempts,
            hedge: record.hedge.map(Hedged::as_str),
            upstream: owned(record.upstream),
            backend: owned(record.backend),
            protocol: record.protocol.as_str(),
        }
    }
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(LONGEST_TEXT);
    text.get(..end).unwrap_or_default().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::access_log::sample;

    #[test]
    fn what_went_well_is_not_remembered_and_each_kind_is_told_apart() {
        let recent = Recent::default();
        recent.slow_after(Duration::from_millis(100));
        let quick = Duration::from_millis(1);
        assert_eq!(recent.kind(Some(200), false, quick), None);
        assert_eq!(recent.kind(Some(404), false, quick), None, "a backend's own");
        assert_eq!(recent.kind(Some(404), true, quick), Some(Kind::Refused));
        assert_eq!(recent.kind(Some(500), false, quick), Some(Kind::Failed));
        assert_eq!(recent.kind(Some(200), true, quick), Some(Kind::Failed), "it broke off");
        assert_eq!(recent.kind(None, true, quick), Some(Kind::Failed));
        assert_eq!(recent.kind(Some(200), false, Duration::from_millis(101)), Some(Kind::Slow));
    }

    #[test]
    fn the_latest_stay_and_one_kind_pushes_no_other_out() {
        let recent = Recent::default();
        let record = sample::record();
        recent.keep(Kind::Failed, &record);
        let long = "x".repeat(10_000);
        for _ in 0..1000 {
            recent.keep(Kind::Refused, &Record { path: &long, ..record });
        }
        let read = recent.read();
        assert_eq!(read.len(), PLACES + 1);
        assert_eq!(read.iter().filter(|remembered| remembered.kind == Kind::Failed).count(), 1);
        assert!(read.iter().all(|remembered| remembered.path.len() <= LONGEST_TEXT + 3));
    }
}
