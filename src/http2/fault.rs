//! Why a stream has ended before it was complete, or a connection with all its streams.

use std::fmt;
use std::io;

/// What is said of an end that is none in order (RFC 9113, section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

#[expect(missing_docs, reason = "the names are those of RFC 9113, section 7")]
impl Code {
    pub const NO_ERROR: Code = Code(0);
    pub const PROTOCOL_ERROR: Code = Code(1);
    pub const INTERNAL_ERROR: Code = Code(2);
    pub const FLOW_CONTROL_ERROR: Code = Code(3);
    pub const STREAM_CLOSED: Code = Code(5);
    pub const FRAME_SIZE_ERROR: Code = Code(6);
    pub const REFUSED_STREAM: Code = Code(7);
    pub const CANCEL: Code = Code(8);
    pub const COMPRESSION_ERROR: Code = Code(9);
    pub const ENHANCE_YOUR_CALM: Code = Code(11);
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "code {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Who has ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// We, for what the other side did or because nobody waits any more.
    Us,
    /// The other side.
    Peer,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stream alone (RST_STREAM).
    Reset(Code, By),
    /// The connection (GOAWAY); of a stream: it is one that was not looked at, or ended with all others.
    GoAway(Code, By),
    /// The connection ended without a word.
    Io(io::ErrorKind),
}

impl Fault {
    /// Whether the other side has said that it did nothing with the request (sections 6.8 and 8.7).
    pub fn is_refusal(self) -> bool {
        matches!(self, Fault::Reset(Code::REFUSED_STREAM, By::Peer) | Fault::GoAway(_, By::Peer))
    }

    /// Whether it was not we who have ended it.
    pub fn is_of_peer(self) -> bool {
        matches!(self, Fault::Reset(_, By::Peer) | Fault::GoAway(_, By::Peer) | Fault::Io(_))
    }

    /// Whether all of the connection has ended, or nothing new begins on it.
    pub fn is_of_connection(self) -> bool {
        matches!(self, Fault::GoAway(..) | Fault::Io(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, code, by) = match self {
            Fault::Reset(code, by) => ("stream reset", code, by),
            Fault::GoAway(code, by) => ("connection given up", code, by),
            Fault::Io(kind) => return write!(formatter, "connection ended: {kind}"),
        };
        let by = match by {
            By::Us => "us",
            By::Peer => "the other side",
        };
        write!(formatter, "{what} by {by}: {code}")
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(fault)
    }
}
