//! Which failed attempts may be made again with another backend, and after which pause. Pure: what happened and chance are
//! arguments.

use std::time::Duration;

use http::StatusCode;

use crate::config::{Backoff, RetryOn};
use crate::failure::Reason;

/// How far an attempt had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There was no connection: the backend cannot have seen anything of the request.
    NotConnected,
    /// The backend refused the connection: the same, and said at once.
    NotAccepted,
    /// The backend said that it did not process the request (HTTP/2 REFUSED_STREAM, GOAWAY).
    Refused,
    /// The request, or a part of it, was sent.
    Sent,
    /// A part of the answer was passed on to the client.
    Answered,
}

/// One failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// How far it had come.
    pub progress: Progress,
    /// Whether the method may be repeated without harm (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// Whether what was read of the body is still at hand.
    pub body_kept: bool,
}

/// Whether it is right to try again. Whether it is affordable is the budget's matter.
pub fn may_be_repeated(failed: Failed, on: RetryOn) -> bool {
    match failed.progress {
        Progress::Answered => false,
        Progress::NotConnected => on.connect && failed.body_kept && is_of_connecting(failed.reason),
        Progress::NotAccepted => (on.connect || on.refused) && failed.body_kept,
        Progress::Refused => on.refused && failed.body_kept,
        Progress::Sent => {
            let named = failed.reason == Reason::TryTimeout || on.reset && failed.reason == Reason::Reset;
            named && failed.idempotent && failed.body_kept
        }
    }
}

/// Whether an attempt that failed for this reason leaves others that run beside it as they are: the reason is its own, not one of
/// the request.
pub const fn leaves_others(reason: Reason) -> bool {
    match reason {
        Reason::ConnectFailed
        | Reason::ConnectTimeout
        | Reason::TlsFailed
        | Reason::Reset
        | Reason::BadResponse
        | Reason::FirstByteTimeout
        | Reason::TryTimeout
        | Reason::IdleTimeout => true,
        Reason::BadRequest
        | Reason::RequestTimeout
        | Reason::HeaderTooLarge
        | Reason::UriTooLong
        | Reason::MethodNotAllowed
        | Reason::VersionNotSupported
        | Reason::BodyTooLarge
        | Reason::UnknownCoding
        | Reason::NoRoute
        | Reason::NoBackend
        | Reason::Overloaded
        | Reason::QueueFull
        | Reason::QueueTimeout
        | Reason::AdaptiveLimit
        | Reason::TotalTimeout
        | Reason::ClientGone
        | Reason::Internal => false,
    }
}

/// An answer of which nothing was passed on yet.
#[derive(Clone, Copy, Debug)]
pub struct Declined {
    /// Its status.
    pub status: StatusCode,
    /// Whether the method may be repeated without harm (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// Whether what was read of the body is still at hand.
    pub body_kept: bool,
}

/// Whether it is right to leave the answer and ask another backend. Whether there is one is the upstream's matter.
pub fn may_be_asked_elsewhere(declined: Declined, on: RetryOn) -> bool {
    on.statuses.has(declined.status) && declined.idempotent && declined.body_kept
}

/// How long to wait before a request is tried again for the `nth` time, from 1: anything up to a bound that doubles, so that
/// requests that failed together do not come back together ("full jitter"). `chance` is from 0 to 1.
///
/// The first time nothing is waited for if the backend saw nothing of the request: it goes to another, which nobody has
/// found at fault.
pub fn pause(backoff: Backoff, nth: u32, saw: Saw, chance: f64) -> Duration {
    if nth <= 1 && saw == Saw::Nothing {
        return Duration::ZERO;
    }
    let doubled = 2_u32.saturating_pow(nth.saturating_sub(1));
    backoff.base.saturating_mul(doubled).min(backoff.max).mul_f64(chance.clamp(0.0, 1.0))
}

/// What a backend can have seen of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saw {
    /// Nothing, or nothing that it did anything with.
    Nothing,
    /// The request, or a part of it.
    Something,
}

impl Progress {
    /// What the backend can have seen.
    pub const fn saw(self) -> Saw {
        match self {
            Progress::NotConnected | Progress::NotAccepted | Progress::Refused => Saw::Nothing,
            Progress::Sent | Progress::Answered => Saw::Something,
        }
    }
}

/// Why there was no connection, where another backend may have one.
const fn is_of_connecting(reason: Reason) -> bool {
    matches!(reason, Reason::ConnectFailed | Reason::ConnectTimeout | Reason::TlsFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RetryStatuses;

    const ALL: RetryOn = RetryOn { connect: true, reset: true, refused: true, statuses: RetryStatuses::NONE };

    #[test]
    fn pauses_double_to_a_bound_and_are_spread_from_nothing_up() {
        let millis = Duration::from_millis;
        let backoff = Backoff { base: millis(25), max: millis(250) };
        let longest = |nth| pause(backoff, nth, Saw::Something, 1.0);
        assert_eq!([1, 2, 3, 4, 5, 99].map(longest), [25, 50, 100, 200, 250, 250].map(millis));
        assert_eq!(pause(backoff, 2, Saw::Something, 0.5), millis(25));
        assert_eq!(pause(backoff, 9, Saw::Something, 0.0), Duration::ZERO);
    }

    #[test]
    fn who_was_never_heard_by_a_backend_goes_to_another_at_once_but_only_the_first_time() {
        let backoff = Backoff::default();
        assert_eq!(pause(backoff, 1, Progress::NotConnected.saw(), 1.0), Duration::ZERO);
        assert_eq!(pause(backoff, 2, Progress::NotConnected.saw(), 1.0), backoff.base * 2);
        assert_eq!(pause(backoff, 1, Progress::Sent.saw(), 1.0), backoff.base);
    }

    fn failed(reason: Reason, progress: Progress, idempotent: bool) -> Failed {
        Failed { reason, progress, idempotent, body_kept: true }
    }

    #[test]
    fn a_post_is_repeated_only_if_nothing_of_it_can_have_been_processed() {
        assert!(may_be_repeated(failed(Reason::ConnectFailed, Progress::NotConnected, false), ALL));
        assert!(may_be_repeated(failed(Reason::Reset, Progress::Refused, false), ALL));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Sent, false), ALL));
    }

    #[test]
    fn a_get_is_repeated_after_a_reset_but_not_after_a_timeout_or_a_part_of_the_answer() {
        assert!(may_be_repeated(failed(Reason::Reset, Progress::Sent, true), ALL));
        assert!(!may_be_repeated(failed(Reason::FirstByteTimeout, Progress::Sent, true), ALL));
        assert!(may_be_repeated(failed(Reason::TryTimeout, Progress::Sent, true), ALL));
        assert!(!may_be_repeated(failed(Reason::TryTimeout, Progress::Sent, false), ALL));
        assert!(!may_be_repeated(failed(Reason::BadResponse, Progress::Sent, true), ALL));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Answered, true), ALL));
    }

    #[test]
    fn what_the_configuration_leaves_out_is_not_repeated() {
        let none = RetryOn { connect: false, reset: false, refused: false, statuses: RetryStatuses::NONE };
        assert!(!may_be_repeated(failed(Reason::ConnectFailed, Progress::NotConnected, true), none));
        assert!(!may_be_repeated(failed(Reason::ConnectFailed, Progress::NotAccepted, true), none));
        let refused = RetryOn { refused: true, ..none };
        assert!(may_be_repeated(failed(Reason::ConnectFailed, Progress::NotAccepted, false), refused));
        assert!(!may_be_repeated(failed(Reason::ConnectTimeout, Progress::NotConnected, false), refused));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Refused, true), none));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Sent, true), none));
    }

    #[test]
    fn what_ends_the_request_ends_all_its_attempts() {
        let leaves: Vec<&str> =
            Reason::ALL.into_iter().filter(|reason| leaves_others(*reason)).map(Reason::token).collect();
        assert!(leaves.contains(&"reset") && leaves.contains(&"connect_timeout"), "{leaves:?}");
        assert!(!leaves.contains(&"client_gone") && !leaves.contains(&"total_timeout"), "{leaves:?}");
    }

    #[test]
    fn a_body_that_was_not_kept_is_never_repeated() {
        for (reason, progress) in [
            (Reason::ConnectFailed, Progress::NotConnected),
            (Reason::Reset, Progress::Refused),
            (Reason::Reset, Progress::Sent),
        ] {
            let failed = Failed { body_kept: false, ..failed(reason, progress, true) };
            assert!(!may_be_repeated(failed, ALL));
        }
    }
}
