//! How long an attempt may wait, and for what. Whoever waits asks [`Limits`].

use std::time::{Duration, Instant};

use crate::config::UpstreamTimeouts;
use crate::failure::Reason;

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
