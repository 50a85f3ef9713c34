//! A request over a connection of HTTP/1.1, and its answer.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pingora::{Error, ErrorType, Result};

use super::connection::{Connection, Framing};
use super::request;
use super::response::Answers;
use crate::forward::call::{Asked, Body, Follows, Misfit, Outgoing, Part, ended_early};
use crate::forward::request_head::RequestHead;
use crate::wire::answer::Fault;

/// See the module's documentation.
#[derive(Debug)]
pub struct Call {
    connection: Connection,
    framing: Framing,
    answers: Answers,
    /// The backend has said that it says no more.
    ended: bool,
}

impl Call {
    /// Nothing has been asked yet.
    pub fn new(connection: Connection, asked: Asked) -> Call {
        Call { connection, framing: Framing::Raw, answers: Answers::new(asked), ended: false }
    }

    /// The connection, for others or for another protocol.
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    pub(in crate::forward) fn reused(&self) -> bool {
        self.connection.reused
    }

    pub(in crate::forward) fn is_stale(&self) -> bool {
        self.connection.reused && !self.connection.touched
    }

    pub(in crate::forward) fn queue_head(&mut self, mut head: RequestHead<'_>, body: Body) -> Result<()> {
        self.framing = request::announce(&mut head, body);
        self.connection.queue_head(request::on_the_wire(&head)?);
        Ok(())
    }

    pub(in crate::forward) fn queue_body(&mut self, piece: Bytes, follows: Follows) -> Result<(), Misfit> {
        self.connection.queue_body(&mut self.framing, piece, follows)
    }

    pub(in crate::forward) fn takes_trailers(&self) -> bool {
        self.framing == Framing::Chunked
    }

    pub(in crate::forward) fn poll_receive(&mut self, task: &mut Context<'_>) -> Poll<Result<()>> {
        let bytes = ready!(self.connection.poll_receive(task)).map_err(unread)?;
        self.ended |= bytes.is_empty();
        self.answers.take(bytes);
        Poll::Ready(Ok(()))
    }

    pub(in crate::forward) fn poll_head(&mut self, task: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.poll_receive(task))?;
            if self.ended {
                return Poll::Ready(Err(ended_early()));
            }
            if self.answers.hold_head().map_err(unintelligible)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    pub(in crate::forward) fn part(&mut self) -> Result<Option<Part>> {
        match self.answers.part() {
            Ok(None) if self.ended && self.answers.ends() => Ok(Some(Part::End(None))),
            Ok(None) if self.ended => Err(ended_early()),
            part => part.map_err(unintelligible),
        }
    }

    pub(in crate::forward) fn is_complete(&self) -> bool {
        self.answers.is_complete()
    }

    pub(in crate::forward) fn leaves_reusable(&self) -> bool {
        self.answers.leaves_reusable() && !self.connection.has_unsent()
    }
}

impl Outgoing for Call {
    fn has_unsent(&self) -> bool {
        self.connection.has_unsent()
    }

    fn poll_send(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_send(task)
    }

    fn give_up(&mut self) {
        self.connection.give_up();
    }
}

fn unread(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ReadError, "reading an answer", error).into_up()
}

fn unintelligible(Fault(what): Fault) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}
