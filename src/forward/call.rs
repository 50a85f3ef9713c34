//! One request to a backend and its answer, in whichever version of HTTP they are spoken.
//!
//! What differs between versions is below here ([`http1::Call`], [`http2::Call`]); `proxy::exchange` is the loop above, for both.
//! Nothing here waits by itself: it is polled.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Version};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::request_head::RequestHead;
use super::{http1, http2};

/// A part of an answer.
#[derive(Debug)]
pub enum Part {
    /// A head, interim or final.
    Head(Box<ResponseHeader>),
    /// A piece of the body, not empty.
    Body(Bytes),
    /// The end, with trailers if there were any.
    End(Option<Box<HeaderMap>>),
}

/// What was asked, which says whether there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: there is none.
    Head,
    /// Another method.
    Other,
}

/// Whether a request has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It comes behind the head, if only its end.
    Follows,
    /// There is none.
    None,
}

/// How long the body of a request is, as far as that is known before it comes.
pub(super) fn announced(head: &RequestHead<'_>, body: Body) -> Option<u64> {
    let length = head.first(&CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.trim().parse().ok()).or((body == Body::None).then_some(0))
}

/// What follows a piece of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// There may be more of it.
    More,
    /// It has ended.
    End,
    /// It has ended, and these are its trailers.
    Trailers(HeaderMap),
}

/// A piece of a request's body that does not fit what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// More came than was announced.
    Long,
    /// Less came than was announced.
    Short,
}

impl From<Misfit> for Box<Error> {
    /// Of the client.
    fn from(misfit: Misfit) -> Box<Error> {
        match misfit {
            Misfit::Long => Error::explain(ErrorType::InvalidHTTPHeader, "more of a body than announced"),
            Misfit::Short => Error::explain(ErrorType::ConnectionClosed, "less of a body than announced"),
        }
        .into_down()
    }
}

/// What goes to a backend.
pub trait Outgoing {
    /// Whether something waits to be sent.
    fn has_unsent(&self) -> bool;

    /// Sends all that waits.
    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Forgets what waits: it cannot be sent.
    fn give_up(&mut self);
}

/// See the module's documentation.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box costs more than the few moves of what most requests are")]
pub enum Call {
    /// Over a connection of its own.
    Http1(http1::Call),
    /// Over a stream of a connection that others share. In a box: it is twice as large, and moved some times.
    Http2(Box<http2::Call>),
}

impl Call {
    /// What is spoken.
    pub fn version(&self) -> Version {
        match self {
            Call::Http1(_) => Version::HTTP_11,
            Call::Http2(_) => Version::HTTP_2,
        }
    }

    /// Whether the connection has served a request before.
    pub fn reused(&self) -> bool {
        match self {
            Call::Http1(call) => call.reused(),
            Call::Http2(call) => call.reused(),
        }
    }

    /// Whether the connection had been kept, and ended before anything of the request was sent over it.
    pub fn is_stale(&self) -> bool {
        match self {
            Call::Http1(call) => call.is_stale(),
            Call::Http2(call) => call.is_stale(),
        }
    }

    /// Sends this head, before anything else.
    ///
    /// # Errors
    /// If it cannot be represented.
    pub fn queue_head(&mut self, head: RequestHead<'_>, body: Body) -> Result<()> {
        match self {
            Call::Http1(call) => call.queue_head(head, body),
            Call::Http2(call) => call.queue_head(head, body),
        }
    }

    /// Sends a piece of the body, behind a head that waits. Nothing else may wait.
    ///
    /// # Errors
    /// If it does not fit what was announced.
    pub fn queue_body(&mut self, piece: Bytes, follows: Follows) -> Result<(), Misfit> {
        match self {
            Call::Http1(call) => call.queue_body(piece, follows),
            Call::Http2(call) => call.queue_body(piece, follows),
        }
    }

    /// Whether trailers can follow the body.
    pub fn takes_trailers(&self) -> bool {
        match self {
            Call::Http1(call) => call.takes_trailers(),
            Call::Http2(call) => call.takes_trailers(),
        }
    }

    /// Waits for more of the answer, or for the end of it. Once it is complete: for the backend to say that it needs no more.
    ///
    /// # Errors
    /// There will be no more.
    pub fn poll_receive(&mut self, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Call::Http1(call) => call.poll_receive(task),
            Call::Http2(call) => call.poll_receive(task),
        }
    }

    /// Waits until a whole head has come, which stays to be told.
    ///
    /// # Errors
    /// There will be none.
    pub fn poll_head(&mut self, task: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Call::Http1(call) => call.poll_head(task),
            // What comes first is a head.
            Call::Http2(call) => call.poll_receive(task),
        }
    }

    /// The next part of what has come; none if more must come first. Not to be asked after the end.
    ///
    /// # Errors
    /// There are no more.
    pub fn part(&mut self) -> Result<Option<Part>> {
        match self {
            Call::Http1(call) => call.part(),
            Call::Http2(call) => call.part(),
        }
    }

    /// Whether all of the answer has come.
    pub fn is_complete(&self) -> bool {
        match self {
            Call::Http1(call) => call.is_complete(),
            Call::Http2(call) => call.is_complete(),
        }
    }

    /// Whether the head that was told last says that no body follows, in whatever framing.
    pub fn is_bodiless(&self) -> bool {
        match self {
            Call::Http1(call) => call.is_complete(),
            Call::Http2(call) => call.is_bodiless(),
        }
    }

    /// Whether nothing stands against giving its place to another request.
    pub fn leaves_reusable(&self) -> bool {
        match self {
            Call::Http1(call) => call.leaves_reusable(),
            Call::Http2(call) => call.is_complete() && !call.has_unsent(),
        }
    }
}

impl Outgoing for Call {
    fn has_unsent(&self) -> bool {
        match self {
            Call::Http1(call) => call.has_unsent(),
            Call::Http2(call) => call.has_unsent(),
        }
    }

    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Call::Http1(call) => call.poll_send(task),
            Call::Http2(call) => call.poll_send(task),
        }
    }

    fn give_up(&mut self) {
        match self {
            Call::Http1(call) => call.give_up(),
            Call::Http2(call) => call.give_up(),
        }
    }
}

/// What is said of an answer that its connection has outlived.
pub fn ended_early() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the connection ended before the answer").into_up()
}
