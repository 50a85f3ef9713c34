//! How long an attempt may wait, and for what.
//!
//! Where we speak with the backend ourselves (HTTP/1.1) whoever waits asks [`Limits`]. For HTTP/2 pingora waits, with one
//! time-out for every read. Where the first byte, the pauses after it or the whole request have limits of their own, a small
//! task waits beside the request ([`Deadline`]). Others share its connection, so what is ended when the time is over is the
//! request's wait for its client; the proxy then sees that, and asks here why. Requests without a body whose limits are all
//! the same (the default) have no such task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::config::UpstreamTimeouts;
use crate::failure::Reason;
use crate::interrupt::Interrupt;

/// Longer than any request: the longest duration of a configuration.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What an attempt is waiting for, and so which limit is the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// More of the request, which is the client's turn: the listener keeps its time.
    Request,
    /// The backend to take what was sent.
    Sending,
    /// The head of the answer.
    FirstByte,
    /// More of the answer's body.
    Body,
    /// Bytes of an upgraded connection, in either direction.
    Tunnel,
    /// Nothing any more.
    Over,
}

/// The limits of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Where the session itself cannot time its client: HTTP/2.
    request_body_idle: Option<Duration>,
    first_byte: Duration,
    /// A shorter one, after which another backend may be asked.
    per_try: Option<Duration>,
    idle: Duration,
    tunnel: Duration,
    /// When the whole request must be over.
    total: Option<Instant>,
}

impl Limits {
    /// The limits of an attempt of a request that began at `began`. With `request_body_idle` the pauses in the
    /// request's body are bounded here; without it the session bounds them.
    pub fn new(
        timeouts: &UpstreamTimeouts,
        per_try: Option<Duration>,
        began: Instant,
        request_body_idle: Option<Duration>,
    ) -> Limits {
        Limits {
            request_body_idle,
            first_byte: timeouts.first_byte,
            per_try: per_try.filter(|per_try| *per_try < timeouts.first_byte),
            idle: timeouts.idle,
            tunnel: timeouts.tunnel,
            total: timeouts.total.map(|total| began + total),
        }
    }

    /// What is left for the whole request; none if it has no limit.
    pub fn left(timeouts: &UpstreamTimeouts, began: Instant) -> Option<Duration> {
        timeouts.total.map(|total| total.saturating_sub(began.elapsed()))
    }

    /// When the whole request must be over.
    pub fn total(&self) -> Option<Instant> {
        self.total
    }

    /// Whether pingora's own time-out cannot keep them even for a request without a body.
    pub fn need_watching(&self) -> bool {
        self.total.is_some() || self.per_try.is_some() || self.first_byte != self.idle
    }

    /// The shortest of them: a wait that begins now is not over before.
    fn shortest(&self) -> Duration {
        self.per_try
            .unwrap_or(self.first_byte)
            .min(self.idle)
            .min(self.tunnel)
            .min(self.request_body_idle.unwrap_or(FOR_EVER))
    }

    /// When a wait that begins now must be over, and what it means if it is not.
    pub fn due(&self, phase: Phase, now: Instant) -> Option<(Instant, Reason)> {
        let (limit, reason) = match phase {
            Phase::Request => (self.request_body_idle.unwrap_or(FOR_EVER), Reason::RequestTimeout),
            Phase::Sending => (self.idle, Reason::FirstByteTimeout),
            Phase::FirstByte => match self.per_try {
                Some(per_try) => (per_try, Reason::TryTimeout),
                None => (self.first_byte, Reason::FirstByteTimeout),
            },
            Phase::Body => (self.idle, Reason::IdleTimeout),
            // A tunnel may last; the limit of the whole request ends with its head.
            Phase::Tunnel => return Some((now + self.tunnel, Reason::IdleTimeout)),
            Phase::Over => return None,
        };
        let due = now + limit;
        match self.total {
            Some(total) if total < due => Some((total, Reason::TotalTimeout)),
            Some(_) | None => Some((due, reason)),
        }
    }
}

/// Watches one attempt until it is dropped.
#[derive(Debug)]
pub struct Deadline {
    limits: Limits,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    /// In microseconds since `began`; the greatest value for never.
    due: AtomicU64,
    /// Index of the reason that will be given.
    reason: AtomicU8,
    expired: AtomicU8,
}

impl Deadline {
    /// Begins with a wait for `phase`. Must be called in the runtime that serves the connection.
    pub fn watch(limits: Limits, phase: Phase, interrupt: Arc<Interrupt>) -> Deadline {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            due: AtomicU64::new(u64::MAX),
            reason: AtomicU8::new(0),
            expired: AtomicU8::new(0),
        });
        shared.set(limits.due(phase, Instant::now()));
        let task = tokio::spawn(wait(shared.clone(), limits.shortest(), interrupt)).abort_handle();
        Deadline { limits, shared, task }
    }

    /// The attempt waits for something else, or for more of the same, from now on.
    pub fn enter(&self, phase: Phase) {
        self.shared.set(self.limits.due(phase, Instant::now()));
    }

    /// Why the wait was ended, if it was.
    pub fn expired(&self) -> Option<Reason> {
        if self.shared.expired.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Reason::ALL.get(usize::from(self.shared.reason.load(Ordering::Relaxed))).copied()
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Whether it is the limit of the whole request that comes next; nothing extends that.
    fn waits_for_the_whole(&self) -> bool {
        self.reason.load(Ordering::Relaxed) == Reason::TotalTimeout as u8
    }

    fn set(&self, due: Option<(Instant, Reason)>) {
        let micros = match due {
            Some((due, reason)) => {
                self.reason.store(reason as u8, Ordering::Relaxed);
                micros(due, self.began)
            }
            None => u64::MAX,
        };
        self.due.store(micros, Ordering::Relaxed);
    }
}

/// From the beginning, never so late that it would mean never.
fn micros(due: Instant, began: Instant) -> u64 {
    u64::try_from(due.saturating_duration_since(began).as_micros()).unwrap_or(u64::MAX - 1)
}

/// Sleeps until the deadline stands still long enough to be reached. Deadlines also come nearer when the phase
/// changes, but never within the shortest limit: so it sleeps no longer than that.
async fn wait(shared: Arc<Shared>, shortest: Duration, interrupt: Arc<Interrupt>) {
    loop {
        let due = shared.due.load(Ordering::Relaxed);
        if due == u64::MAX {
            return;
        }
        let due = shared.began + Duration::from_micros(due);
        let now = Instant::now();
        if now >= due {
            // What the backend sent is not fetched while the client takes no more: then it is not the backend that is slow.
            if !shared.waits_for_the_whole() && interrupt.blocked() {
                shared.due.store(micros(now + shortest, shared.began), Ordering::Relaxed);
                continue;
            }
            break;
        }
        tokio::time::sleep_until(due.min(now + shortest).into()).await;
    }
    shared.expired.store(1, Ordering::Relaxed);
    interrupt.cut();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(total: Option<u64>) -> Limits {
        let timeouts = UpstreamTimeouts {
            first_byte: Duration::from_secs(5),
            idle: Duration::from_secs(2),
            tunnel: Duration::from_secs(60),
            total: total.map(Duration::from_secs),
            ..UpstreamTimeouts::default()
        };
        Limits::new(&timeouts, None, Instant::now(), None)
    }

    #[test]
    fn each_phase_has_its_limit_and_the_whole_request_cuts_them_short() {
        let now = Instant::now();
        let open = limits(None);
        assert!(open.due(Phase::Request, now).is_some_and(|(due, _)| due > now + Duration::from_secs(86_400)));
        assert_eq!(open.due(Phase::FirstByte, now), Some((now + Duration::from_secs(5), Reason::FirstByteTimeout)));
        assert_eq!(open.due(Phase::Body, now), Some((now + Duration::from_secs(2), Reason::IdleTimeout)));
        assert_eq!(open.due(Phase::Tunnel, now), Some((now + Duration::from_secs(60), Reason::IdleTimeout)));
        assert_eq!(open.due(Phase::Over, now), None);
        let short = limits(Some(1));
        assert_eq!(short.due(Phase::FirstByte, now).unwrap().1, Reason::TotalTimeout);
        assert_eq!(short.due(Phase::Tunnel, now).unwrap().1, Reason::IdleTimeout);
    }
}
