//! Which failed attempts may be made again with another backend. Pure: what happened is the argument.

use crate::config::RetryOn;
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
        Progress::Sent => on.reset && failed.reason == Reason::Reset && failed.idempotent && failed.body_kept,
    }
}

/// Why there was no connection, where another backend may have one.
const fn is_of_connecting(reason: Reason) -> bool {
    matches!(reason, Reason::ConnectFailed | Reason::ConnectTimeout | Reason::TlsFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: RetryOn = RetryOn { connect: true, reset: true, refused: true };

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
        assert!(!may_be_repeated(failed(Reason::BadResponse, Progress::Sent, true), ALL));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Answered, true), ALL));
    }

    #[test]
    fn what_the_configuration_leaves_out_is_not_repeated() {
        let none = RetryOn { connect: false, reset: false, refused: false };
        assert!(!may_be_repeated(failed(Reason::ConnectFailed, Progress::NotConnected, true), none));
        assert!(!may_be_repeated(failed(Reason::ConnectFailed, Progress::NotAccepted, true), none));
        let refused = RetryOn { refused: true, ..none };
        assert!(may_be_repeated(failed(Reason::ConnectFailed, Progress::NotAccepted, false), refused));
        assert!(!may_be_repeated(failed(Reason::ConnectTimeout, Progress::NotConnected, false), refused));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Refused, true), none));
        assert!(!may_be_repeated(failed(Reason::Reset, Progress::Sent, true), none));
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
