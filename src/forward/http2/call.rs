//! A request over a stream of HTTP/2, and its answer.
//!
//! What has come is held up to a piece; the window of the stream is given back as it is taken, so that a client that does not
//! read stops its backend, on this stream alone. Where it ends before the answer has, the library tells the backend so
//! (CANCEL) and the connection goes on.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use pingora::{Error, ErrorType, Result};

use super::connection::{Place, Since};
use super::request;
use super::response::{Answer, Rest, in_doubt, length, poll_body, poll_head};
use crate::forward::call::{Asked, Body, Follows, Misfit, Outgoing, Part, announced};
use crate::forward::request_head::RequestHead;

/// With so much of an answer no more of it is taken: with a frame that makes it more it is twice as much at most.
const PIECE: usize = 32 * 1024;

/// See the module's documentation.
#[derive(Debug)]
pub struct Call {
    place: Place,
    asked: Asked,
    /// The head, until it is sent.
    head: Option<Request<()>>,
    /// Whether anything is to follow it.
    body: Body,
    /// How much of the body is still to come, where that was announced.
    left: Option<u64>,
    /// What waits of it.
    piece: Bytes,
    /// What follows that; none if nothing waits.
    follows: Option<Follows>,
    sending: Option<SendStream<Bytes>>,
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

#[derive(Debug)]
enum Stage {
    /// Nothing was asked yet, or it could not be.
    Unasked,
    Head(ResponseFuture),
    Body(RecvStream),
    Complete,
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
            sending: None,
            writes: 0,
            stage: Stage::Unasked,
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
        self.reused() && signs.closed() && (self.sending.is_none() || self.writes == signs.writes())
    }

    pub(in crate::forward) fn queue_head(&mut self, head: RequestHead<'_>, body: Body) -> Result<()> {
        self.left = announced(&head, body);
        self.head = Some(request::with_authority(&head, self.place.connection.scheme())?);
        self.body = body;
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

    /// Gives the head to the connection.
    fn begin(&mut self, head: Request<()>) -> Result<(), h2::Error> {
        let connection = &self.place.connection;
        self.writes = connection.signs().writes();
        let (answer, sending) = connection.sender().send_request(head, self.body == Body::None)?;
        (self.stage, self.sending) = (Stage::Head(answer), Some(sending));
        Ok(())
    }

    /// Sends what there is room for of the piece, and what follows it.
    fn poll_send_body(&mut self, task: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Err(Reason::STREAM_CLOSED.into())) };
        while !self.piece.is_empty() {
            sending.reserve_capacity(self.piece.len());
            if sending.capacity() == 0 {
                ready!(sending.poll_capacity(task)).unwrap_or(Err(Reason::STREAM_CLOSED.into()))?;
            }
            let now = self.piece.split_to(sending.capacity().min(self.piece.len()));
            let last = self.piece.is_empty() && self.follows.take_if(|follows| *follows == Follows::End).is_some();
            if !now.is_empty() {
                sending.send_data(now, last)?;
            }
        }
        match self.follows.take() {
            None | Some(Follows::More) => Poll::Ready(Ok(())),
            Some(Follows::End) => Poll::Ready(sending.send_data(Bytes::new(), true)),
            Some(Follows::Trailers(trailers)) => Poll::Ready(sending.send_trailers(trailers)),
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

    /// The next part; none where the backend says, after its answer, that it needs no more of the request.
    fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Part>>> {
        match &mut self.stage {
            Stage::Unasked => Poll::Pending,
            Stage::Head(answer) => {
                let head = match ready!(poll_head(answer, task)) {
                    Ok(Answer::Interim(head)) => head,
                    Ok(Answer::Final(head, body)) => {
                        self.expect(&head, &body)?;
                        self.stage = Stage::Body(body);
                        head
                    }
                    Err(error) => return Poll::Ready(Err(self.broken(error))),
                };
                Poll::Ready(Ok(Some(Part::Head(Box::new(head.into())))))
            }
            Stage::Body(body) => {
                let part = match ready!(poll_body(body, task)) {
                    Ok(Rest::Piece(piece)) => self.piece_came(piece),
                    Ok(Rest::End(trailers)) => self.end(trailers),
                    Err(error) => Err(self.broken(error)),
                };
                Poll::Ready(part.map(Some))
            }
            Stage::Complete => match &mut self.sending {
                Some(sending) => sending.poll_reset(task).map(|_| Ok(None)),
                None => Poll::Pending,
            },
        }
    }

    /// A final head says what is to come.
    fn expect(&mut self, head: &http::response::Parts, body: &RecvStream) -> Result<()> {
        self.bodiless = self.asked == Asked::Head
            || head.status == StatusCode::NO_CONTENT
            || head.status == StatusCode::NOT_MODIFIED;
        self.announced = if self.bodiless { None } else { length(&head.headers)? };
        // The library counts frames of a body, and not that there are none.
        if body.is_end_stream() && self.announced.is_some_and(|announced| announced > 0) {
            return Err(in_doubt("a length of a body that does not come"));
        }
        Ok(())
    }

    fn piece_came(&mut self, piece: Bytes) -> Result<Part> {
        if self.bodiless {
            return Err(in_doubt("a body where there is none"));
        }
        self.received += piece.len() as u64;
        Ok(Part::Body(piece))
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Part> {
        if self.announced.is_some_and(|announced| announced != self.received) {
            return Err(in_doubt("another length than announced"));
        }
        self.stage = Stage::Complete;
        Ok(Part::End(trailers.map(Box::new)))
    }

    /// Nothing more comes over the stream, or over the connection.
    fn broken(&self, error: h2::Error) -> Box<Error> {
        if error.is_go_away() || error.is_io() {
            self.place.connection.signs().close();
        }
        Error::because(ErrorType::H2Error, "an exchange over HTTP/2", error).into_up()
    }

    pub(in crate::forward) fn is_complete(&self) -> bool {
        matches!(self.stage, Stage::Complete)
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
        if let Some(head) = self.head.take()
            && let Err(error) = self.begin(head)
        {
            let said = io::Error::other(error.to_string());
            self.fault = Some(self.broken(error));
            return Poll::Ready(Err(said));
        }
        if self.follows.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_send_body(task).map_err(io::Error::other)
    }

    fn give_up(&mut self) {
        (self.head, self.piece, self.follows) = (None, Bytes::new(), None);
    }
}
