//! How a line of the access log looks and where lines go, as plain values that the configuration makes.
//!
//! Invariant: a template that parsed makes exactly one line per record, since its own text has no control characters
//! and the values are escaped. A field has one name, the same in JSON, in templates and in documents.
//!
//! Deliberately absent: conditions, alignment and arithmetic in templates; a log that needs them is better made of JSON.

use std::fmt;
use std::path::PathBuf;

/// How a record becomes a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, with every field; what is missing is `null`.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
    /// Pieces in the order in which they are written.
    Template(Vec<Piece>),
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to; made with mode 0640 if it is not there.
    File(PathBuf),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands in every line as it is.
    Text(String),
    /// The value of a field; `-` when it is missing.
    Field(Field),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What a record can tell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        impl Field {
            /// Every field, in the order in which JSON has them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in templates and the key in JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

fields! {
    /// When the request began: RFC 3339, UTC, milliseconds.
    Time "time",
    /// The identifier that the backend saw.
    RequestId "request_id",
    /// The address of the client.
    Client "client",
    /// The listener that accepted.
    Listener "listener",
    /// The method.
    Method "method",
    /// `http` or `https`.
    Scheme "scheme",
    /// The host that was asked for.
    Host "host",
    /// Path and query as they came.
    Path "path",
    /// The version of HTTP.
    Protocol "protocol",
    /// The status that was sent.
    Status "status",
    /// Why the request failed.
    Reason "reason",
    /// Bytes of the request's body.
    BytesReceived "bytes_received",
    /// Bytes of the response's body.
    BytesSent "bytes_sent",
    /// The whole time, in milliseconds with three decimals.
    Duration "duration_ms",
    /// The time to connect, in milliseconds with three decimals.
    ConnectTime "connect_ms",
    /// The time to the first byte of the answer, in milliseconds with three decimals.
    FirstByteTime "first_byte_ms",
    /// How many backends were tried.
    Attempts "attempts",
    /// What became of the attempt beside the first: `won` if its answer was passed on, else `lost`.
    Hedge "hedge",
    /// The route that matched.
    Route "route",
    /// The upstream that served.
    Upstream "upstream",
    /// The backend of the last attempt.
    Backend "backend",
    /// The client's `User-Agent`.
    UserAgent "user_agent",
    /// The client's `Referer`.
    Referer "referer",
}

impl Field {
    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}
