//! A request over a stream of HTTP/2, and its answer.
//!
//! What has come is held up to a piece; the window of the stream is given back as it is taken, so that a client that does not
//! read stops its backend, on this stream alone. Where it ends before the answer has, the backend is told so
//! (CANCEL) and the connection goes on.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use pingora::{Error, ErrorType, Result};

use super::connection::{Place, Since};
use super::length::{in_doubt, length};
use super::request;
use crate::forward::call::{Asked, Body, Follows, Misfit, Outgoing, Part, announced};
use crate::forward::request_head::RequestHead;
use crate::http2::{Came, Fault, Stream};

/// With so much of an answer no more of it is taken: with a frame that makes it more it is twice as much at most.
const PIECE: usize = 32 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Call {
    place: Place,
    asked: Asked,
    /// The head, while the backend takes no more requests.
    head: Option<RequestHead<'static>>,
    /// Whether anything is to follow it.
    body: Body,
    /// How much of the body is still to come, where that was announced.
    left: Option<u64>,
    /// What waits of it.
    piece: Bytes,
    /// What follows that; none if nothing waits.
    follows: Option<Follows>,
    /// Once the head is sent.
    stream: Option<Stream<Parts>>,
    /// How often the connection had sent something when the head was given to it.
    writes: u64,
    stage: Stage,
    /// Parts of the answer that were not told yet.
    held: VecDeque<Part>,
    /// Why there are no more.
    fault: Option<Box<Error>>,
    /// How much of a body the answer announces.
    announced: Option<u64>,
    /// How much of it has come.
    received: u64,
    bodiless: bool,
}

/// What comes next of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Nothing,
}

impl Call {
    /// Nothing has been asked yet.
    pub fn new(place: Place, asked: Asked) -> Call {
        Call {
            place,
            asked,
            head: None,
            body: Body::None,
            left: None,
            piece: Bytes::new(),
            follows: None,
            stream: None,
            writes: 0,
            stage: Stage::Head,
            held: VecDeque::new(),
            fault: None,
            announced: None,
            received: 0,
            bodiless: false,
        }
    }

    pub(in crate::forward) fn reused(&self) -> bool {
        self.place.since == Since::Before
    }

    pub(in crate::forward) fn is_stale(&self) -> bool {
        let signs = self.place.connection.signs();
        self.reused() && signs.closed() && (self.stream.is_none() || self.writes == signs.writes())
    }

    pub(in crate::forward) fn queue_head(&mut self, head: RequestHead<'_>, body: Body) -> Result<()> {
        request::check(&head)?;
        self.left = announced(&head, body);
        self.body = body;
        // What goes wrong here goes wrong again when it is sent.
        if !self.begin(&head).unwrap_or(false) {
            self.head = Some(head.into_owned());
        }
        Ok(())
    }

    pub(in crate::forward) fn queue_body(&mut self, piece: Bytes, follows: Follows) -> Result<(), Misfit> {
        debug_assert!(self.piece.is_empty() && self.follows.is_none(), "one piece at a time");
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(piece.len() as u64).ok_or(Misfit::Long)?;
            if follows != Follows::More && *left > 0 {
                return Err(Misfit::Short);
            }
        }
        let says_something = !piece.is_empty() || follows != Follows::More;
        self.piece = piece;
        self.follows = Some(follows).filter(|_| says_something && self.body == Body::Follows);
        Ok(())
    }

    pub(in crate::forward) fn takes_trailers(&self) -> bool {
        self.body == Body::Follows
    }

    /// Gives the head to the connection. False: it takes no more for now.
    fn begin(&mut self, head: &RequestHead<'_>) -> Result<bool, Fault> {
        let connection = &self.place.connection;
        self.writes = connection.signs().writes();
        let write = |encoder: &mut _, out: &mut _| request::write(head, connection.scheme(), encoder, out);
        self.stream = connection.client().begin(self.body == Body::None, write)?;
        Ok(self.stream.is_some())
    }

    /// Sends the head that waits, once it can be.
    fn poll_send_head(&mut self, task: &Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(head) = self.head.take() {
            if self.begin(&head)? {
                break;
            }
            self.head = Some(head);
            ready!(self.place.connection.client().poll_ready(task));
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what there is room for of the piece, and what follows it.
    fn poll_send_body(&mut self, task: &Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        let is_last = self.follows == Some(Follows::End);
        while !self.piece.is_empty() {
            ready!(stream.poll_send(task, &mut self.piece, is_last))?;
            if self.piece.is_empty() && is_last {
                self.follows = None;
            }
        }
        match self.follows.take() {
            None | Some(Follows::More) => Poll::Ready(Ok(())),
            Some(Follows::End) => Poll::Ready(stream.send_end()),
            Some(Follows::Trailers(trailers)) => Poll::Ready(stream.send_trailers(&trailers)),
        }
    }

    pub(in crate::forward) fn poll_receive(&mut self, task: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault));
        }
        let mut size = 0;
        while size < PIECE {
            match self.poll_part(task) {
                Poll::Ready(Ok(part)) => {
                    size += if let Some(Part::Body(piece)) = &part { piece.len() } else { 0 };
                    self.held.extend(part);
                    if self.is_complete() {
                        break;
                    }
                }
                Poll::Ready(Err(fault)) if self.held.is_empty() => return Poll::Ready(Err(fault)),
                Poll::Ready(Err(fault)) => {
                    self.fault = Some(fault);
                    break;
                }
                Poll::Pending if self.held.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(in crate::forward) fn part(&mut self) -> Result<Option<Part>> {
        match (self.held.pop_front(), &mut self.fault) {
            (Some(part), _) => Ok(Some(part)),
            (None, fault) => fault.take().map_or(Ok(None), Err),
        }
    }

    /// The next part; none where the backend says, after its answer, that it needs no more of the request (RST_STREAM with NO_ERROR;
    /// RFC 9113, section 8.1).
    fn poll_part(&mut self, task: &Context<'_>) -> Poll<Result<Option<Part>>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        if self.stage == Stage::Nothing {
            return stream.poll_fault(task).map(|_| Ok(None));
        }
        let part = match ready!(stream.poll_receive(task)) {
            Ok(Came::Head(head)) => self.head_came(head),
            Ok(Came::Piece(piece)) => self.piece_came(piece),
            Ok(Came::End(trailers)) => self.end(trailers),
            Err(fault) => Err(self.broken(fault)),
        };
        Poll::Ready(part.map(Some))
    }

    /// A final head says what is to come.
    fn head_came(&mut self, head: Parts) -> Result<Part> {
        if !head.status.is_informational() {
            self.bodiless = self.asked == Asked::Head
                || head.status == StatusCode::NO_CONTENT
                || head.status == StatusCode::NOT_MODIFIED;
            self.announced = if self.bodiless { None } else { length(&head.headers)? };
            self.stage = Stage::Body;
            // A length of a body that does not come is found out before anything of it is told.
            if self.announced.is_some_and(|announced| announced > 0)
                && self.stream.as_ref().is_some_and(Stream::is_taken)
            {
                return Err(in_doubt("a length of a body that does not come"));
            }
        }
        Ok(Part::Head(Box::new(head.into())))
    }

    fn piece_came(&mut self, piece: Bytes) -> Result<Part> {
        if self.bodiless {
            return Err(in_doubt("a body where there is none"));
        }
        self.received += piece.len() as u64;
        if self.announced.is_some_and(|announced| announced < self.received) {
            return Err(in_doubt("more than the length announced"));
        }
        Ok(Part::Body(piece))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Part> {
        if self.announced.is_some_and(|announced| announced != self.received) {
            return Err(in_doubt("another length than announced"));
        }
        self.stage = Stage::Nothing;
        Ok(Part::End(trailers.map(Box::new)))
    }

    /// Nothing more comes over the stream, or over the connection.
    fn broken(&self, fault: Fault) -> Box<Error> {
        if fault.is_of_connection() {
            self.place.connection.signs().close();
        }
        Error::because(ErrorType::H2Error, "an exchange over HTTP/2", fault).into_up()
    }

    pub(in crate::forward) fn is_complete(&self) -> bool {
        self.stage == Stage::Nothing
    }

    pub(in crate::forward) fn is_bodiless(&self) -> bool {
        self.bodiless
    }
}

impl Outgoing for Call {
    fn has_unsent(&self) -> bool {
        self.head.is_some() || self.follows.is_some()
    }

    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(fault) = ready!(self.poll_send_head(task)) {
            self.fault = Some(self.broken(fault));
            return Poll::Ready(Err(fault.into()));
        }
        self.poll_send_body(task).map_err(io::Error::from)
    }

    fn give_up(&mut self) {
        (self.head, self.piece, self.follows) = (None, Bytes::new(), None);
    }
}
