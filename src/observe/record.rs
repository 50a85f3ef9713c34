//! What one finished request leaves behind, as borrowed from the request while its last phase runs.
//!
//! Invariant: a record holds facts, not texts: formats decide how they look. What came from a client may be any bytes;
//! escaping is the work of the formats and is never done, or hoped for, here.

use std::time::{Duration, SystemTime};

/// The facts of one finished request. `None` says that there was no such thing, never that it was empty.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request began.
    pub time: SystemTime,
    /// The identifier that the backend saw as `X-Request-Id`.
    pub request_id: &'a str,
    /// The address of the client, after trusted proxies were believed.
    pub client: &'a str,
    /// The listener that accepted the connection.
    pub listener: &'a str,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The method as it came.
    pub method: &'a str,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// The host that was asked for.
    pub host: &'a str,
    /// Path and query as they came.
    pub path: &'a str,
    /// The path in its one form, where it did not come in it.
    pub normal_path: Option<&'a str>,
    /// The path that the backend was asked for, where a rewrite changed it.
    pub rewritten_path: Option<&'a str>,
    /// Of the rules that decided.
    pub generation: u64,
    /// The status that was sent; `None` when nothing was answered.
    pub status: Option<u16>,
    /// The token of `failure.rs`, when the answer was ours and a failure, or broke off.
    pub reason: Option<&'static str>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// From the end of the request's head to the end of the response.
    pub duration: Duration,
    /// How long connecting took, TLS included; `None` when a connection was reused or none was made.
    pub connect: Option<Duration>,
    /// From the end of the request's head to the head of the answer, over all attempts.
    pub first_byte: Option<Duration>,
    /// How many backends were tried; 0 when none was asked.
    pub attempts: u32,
    /// What became of the attempt that was made beside the first; `None` when none was.
    pub hedge: Option<Hedged>,
    /// The upstream that served.
    pub upstream: Option<&'a str>,
    /// The backend of the last attempt.
    pub backend: Option<&'a str>,
    /// The version of HTTP that the client spoke.
    pub protocol: Protocol,
    /// The field `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The field `Referer`.
    pub referer: Option<&'a [u8]>,
}

/// What became of an attempt that was made beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedged {
    /// Its answer was passed on.
    Won,
    /// It was not.
    Lost,
}

impl Hedged {
    /// The word in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

/// The versions of HTTP that are spoken with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The name as it stands in a request line: `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}
