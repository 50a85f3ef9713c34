//! What an attempt says of its backend: pure reading of its answer.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

/// How an attempt went, as far as it is the backend's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, whatever it thought of the request.
    Served,
    /// It answered that this client asks too often.
    Declined {
        /// When it wants to be asked again, if it said so in seconds.
        retry_after: Option<Duration>,
    },
    /// It answered that it could not.
    Failed {
        /// When it wants to be asked again, if it said so in seconds.
        retry_after: Option<Duration>,
    },
    /// It did not answer, or not to the end, or not in HTTP.
    Broken,
    /// It could not be connected to.
    Unreachable,
}

impl Outcome {
    /// Of an answer with this status and these fields.
    pub fn of(status: StatusCode, fields: &HeaderMap) -> Outcome {
        let hint = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if !hint && !is_failure(status) {
            return Outcome::Served;
        }
        let retry_after = fields.get(RETRY_AFTER).filter(|_| hint).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        match status {
            StatusCode::TOO_MANY_REQUESTS => Outcome::Declined { retry_after },
            _ => Outcome::Failed { retry_after },
        }
    }
}

/// 501 and 505 say something of the request, every other 5xx of the server (RFC 9110, section 15.6).
fn is_failure(status: StatusCode) -> bool {
    let of_the_request = matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    status.is_server_error() && !of_the_request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&'static str>) -> Outcome {
        let fields = retry_after.map(|value| (RETRY_AFTER, http::HeaderValue::from_static(value)));
        Outcome::of(StatusCode::from_u16(status).unwrap(), &fields.into_iter().collect())
    }

    #[test]
    fn what_the_client_got_wrong_is_not_held_against_the_backend() {
        assert!([101, 200, 302, 404, 413, 501, 505].iter().all(|status| of(*status, None) == Outcome::Served));
        assert!([429, 500, 502, 503, 504, 599].iter().all(|status| of(*status, None) != Outcome::Served));
    }

    #[test]
    fn a_backend_says_in_seconds_when_it_wants_to_be_asked_again() {
        let seconds = |seconds| Outcome::Failed { retry_after: Some(Duration::from_secs(seconds)) };
        let silent = Outcome::Failed { retry_after: None };
        assert_eq!((of(503, Some("7")), of(500, Some("7"))), (seconds(7), silent));
        assert_eq!(of(429, Some("1")), Outcome::Declined { retry_after: Some(Duration::from_secs(1)) });
        assert_eq!((of(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")), of(503, Some("-1"))), (silent, silent));
    }
}
