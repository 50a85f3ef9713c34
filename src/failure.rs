//! Why a request was not served: the one table of reasons and of the status that each answers with.
//!
//! A [`Reason`] is what the client reads in the body, the operator in the access log and in the label
//! `reason` of the metrics. Nobody else invents a status.

use http::StatusCode;

use crate::request_id::RequestId;

/// Why a request was not served as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The request's framing, target or authority is in doubt.
    BadRequest,
    /// The request's head or body did not arrive in time.
    RequestTimeout,
    /// More header bytes or fields than the listener takes.
    HeaderTooLarge,
    /// A target longer than can be read.
    UriTooLong,
    /// A method that asks for more than to forward: `CONNECT`, `TRACE`.
    MethodNotAllowed,
    /// A major version other than those that are spoken here.
    VersionNotSupported,
    /// More bytes of a body than the route takes.
    BodyTooLarge,
    /// A transfer coding other than `chunked`.
    UnknownCoding,
    /// No route matches.
    NoRoute,
    /// Every backend is out, or there is none.
    NoBackend,
    /// Every backend has as many requests as it may, and nobody may wait.
    Overloaded,
    /// The same, and too many wait.
    QueueFull,
    /// The same, and no room came in time.
    QueueTimeout,
    /// As many requests are in flight as the backends are found to carry.
    AdaptiveLimit,
    /// No connection: refused, unreachable.
    ConnectFailed,
    /// No connection in time.
    ConnectTimeout,
    /// A connection, but no TLS over it: its certificate was not right, or nothing in common.
    TlsFailed,
    /// The backend ended the connection before it had answered.
    Reset,
    /// What the backend sent is not HTTP.
    BadResponse,
    /// The backend sent no head in time.
    FirstByteTimeout,
    /// The backend sent no head in the time of one try.
    TryTimeout,
    /// The backend stopped in the middle of its answer.
    IdleTimeout,
    /// The request took longer than it may in all.
    TotalTimeout,
    /// The client left before it had its answer. Nothing is answered.
    ClientGone,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// Every reason, in the order of [`Reason::index`].
    pub const ALL: [Reason; 25] = [
        Reason::BadRequest,
        Reason::RequestTimeout,
        Reason::HeaderTooLarge,
        Reason::UriTooLong,
        Reason::MethodNotAllowed,
        Reason::VersionNotSupported,
        Reason::BodyTooLarge,
        Reason::UnknownCoding,
        Reason::NoRoute,
        Reason::NoBackend,
        Reason::Overloaded,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::AdaptiveLimit,
        Reason::ConnectFailed,
        Reason::ConnectTimeout,
        Reason::TlsFailed,
        Reason::Reset,
        Reason::BadResponse,
        Reason::FirstByteTimeout,
        Reason::TryTimeout,
        Reason::IdleTimeout,
        Reason::TotalTimeout,
        Reason::ClientGone,
        Reason::Internal,
    ];

    /// Its place in [`Reason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in answers, logs and metrics.
    pub const fn token(self) -> &'static str {
        match self {
            Reason::BadRequest => "bad_request",
            Reason::RequestTimeout => "request_timeout",
            Reason::HeaderTooLarge => "header_too_large",
            Reason::UriTooLong => "uri_too_long",
            Reason::MethodNotAllowed => "method_not_allowed",
            Reason::VersionNotSupported => "version_not_supported",
            Reason::BodyTooLarge => "body_too_large",
            Reason::UnknownCoding => "unknown_coding",
            Reason::NoRoute => "no_route",
            Reason::NoBackend => "no_backend",
            Reason::Overloaded => "overloaded",
            Reason::QueueFull => "queue_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::AdaptiveLimit => "adaptive_limit",
            Reason::ConnectFailed => "connect_failed",
            Reason::ConnectTimeout => "connect_timeout",
            Reason::TlsFailed => "tls_failed",
            Reason::Reset => "reset",
            Reason::BadResponse => "bad_response",
            Reason::FirstByteTimeout => "first_byte_timeout",
            Reason::TryTimeout => "try_timeout",
            Reason::IdleTimeout => "idle_timeout",
            Reason::TotalTimeout => "total_timeout",
            Reason::ClientGone => "client_gone",
            Reason::Internal => "internal",
        }
    }

    /// What the client is answered; none if there is nobody to answer.
    pub const fn status(self) -> Option<StatusCode> {
        Some(match self {
            Reason::BadRequest => StatusCode::BAD_REQUEST,
            Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Reason::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Reason::UriTooLong => StatusCode::URI_TOO_LONG,
            Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Reason::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Reason::NoRoute => StatusCode::NOT_FOUND,
            Reason::NoBackend
            | Reason::Overloaded
            | Reason::QueueFull
            | Reason::QueueTimeout
            | Reason::AdaptiveLimit => StatusCode::SERVICE_UNAVAILABLE,
            Reason::ConnectFailed | Reason::TlsFailed | Reason::Reset | Reason::BadResponse => StatusCode::BAD_GATEWAY,
            Reason::ConnectTimeout
            | Reason::FirstByteTimeout
            | Reason::TryTimeout
            | Reason::IdleTimeout
            | Reason::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
            Reason::ClientGone => return None,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }

    /// One sentence for the client: lower case, no address of the inside.
    pub const fn sentence(self) -> &'static str {
        match self {
            Reason::BadRequest => "the request cannot be understood without doubt",
            Reason::RequestTimeout => "the request did not arrive in time",
            Reason::HeaderTooLarge => "the request's header is larger than this server takes",
            Reason::UriTooLong => "the request's target is longer than this server takes",
            Reason::MethodNotAllowed => "the request's method is not served here",
            Reason::VersionNotSupported => "the request's version of HTTP is not spoken here",
            Reason::BodyTooLarge => "the request's body is larger than this server takes",
            Reason::UnknownCoding => "the request uses a transfer coding other than chunked",
            Reason::NoRoute => "nothing is served here",
            Reason::NoBackend => "no server is available for this request at the moment",
            Reason::Overloaded => "the servers for this request have as much to do as they can",
            Reason::QueueFull => "the servers for this request have as much to do as they can, and too many wait",
            Reason::QueueTimeout => {
                "the servers for this request have as much to do as they can, and no room came in time"
            }
            Reason::AdaptiveLimit => {
                "the servers for this request take longer than usual, and more would make all late"
            }
            Reason::ConnectFailed => "the server for this request cannot be reached",
            Reason::ConnectTimeout => "the server for this request cannot be reached in time",
            Reason::TlsFailed => "the server for this request cannot be reached securely",
            Reason::Reset => "the server for this request ended the connection before it answered",
            Reason::BadResponse => "the server for this request gave an answer that cannot be understood",
            Reason::FirstByteTimeout | Reason::TryTimeout => "the server for this request did not answer in time",
            Reason::IdleTimeout => "the server for this request stopped in the middle of its answer",
            Reason::TotalTimeout => "the request took longer than it may",
            Reason::ClientGone => "the client left",
            Reason::Internal => "this server made a mistake",
        }
    }
}

/// The body of an answer in plain text.
pub fn plain_body(reason: Reason, status: StatusCode, id: RequestId) -> String {
    let (code, title) = (status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    let (sentence, token) = (reason.sentence(), reason.token());
    format!("{code} {title}: {sentence}\nreason: {token}\nrequest id: {}\n", id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_at_its_index_and_its_token_is_its_own() {
        let mut tokens = std::collections::HashSet::new();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(tokens.insert(reason.token()));
        }
    }

    #[test]
    fn only_a_client_that_left_is_not_answered() {
        for reason in Reason::ALL {
            assert_eq!(reason.status().is_none(), reason == Reason::ClientGone);
            assert!(reason.status().is_none_or(|status| status.as_u16() >= 400));
        }
    }
}
