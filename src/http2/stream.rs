//! What is known of one stream (RFC 9113, section 5.1), for as long as somebody holds it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;

use super::fault::Fault;
use super::pieces::Pieces;
use super::window::{Allowance, Window};

/// What has come over a stream.
#[derive(Debug)]
pub enum Came<H> {
    /// A head: of an answer, interim or final. That of a request comes with its stream.
    Head(H),
    /// A piece of the body, not empty.
    Piece(Bytes),
    /// The end, with trailers if there were any. It is told again to whoever asks again, without them.
    End(Option<HeaderMap>),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Stream<H> {
    pub id: u32,
    /// Somebody was given it.
    pub is_held: bool,
    /// Interim heads that wait.
    pub interim: VecDeque<H>,
    /// The head that waits, behind those.
    pub head: Option<H>,
    /// The head, but for interim ones, has come.
    pub has_head: bool,
    pub pieces: Pieces,
    pub trailers: Option<HeaderMap>,
    /// How much of the body must still come, where that was said.
    pub left: Option<u64>,
    /// The other side has ended it.
    pub came_whole: bool,
    /// We have ended it.
    pub sent_whole: bool,
    /// It has ended otherwise.
    pub fault: Option<Fault>,
    /// It waits for room on the connection.
    pub is_blocked: bool,
    pub window: Window,
    pub allowance: Allowance,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl<H> Stream<H> {
    pub fn new(id: u32, window: Window, allowance: Allowance) -> Stream<H> {
        Stream {
            id,
            is_held: true,
            interim: VecDeque::new(),
            head: None,
            has_head: false,
            pieces: Pieces::default(),
            trailers: None,
            left: None,
            came_whole: false,
            sent_whole: false,
            fault: None,
            is_blocked: false,
            window,
            allowance,
            reader: None,
            writer: None,
        }
    }

    /// Whether nothing more can come or go over it.
    pub fn is_closed(&self) -> bool {
        self.fault.is_some() || (self.came_whole && self.sent_whole)
    }

    /// The next of what has come.
    ///
    /// # Errors
    /// Why nothing more comes, after all that has.
    pub fn poll_receive(&mut self, task: &Context<'_>) -> Poll<Result<Came<H>, Fault>> {
        if let Some(head) = self.interim.pop_front().or_else(|| self.head.take()) {
            return Poll::Ready(Ok(Came::Head(head)));
        }
        if let Some(piece) = self.pieces.take() {
            return Poll::Ready(Ok(Came::Piece(piece)));
        }
        if self.came_whole {
            return Poll::Ready(Ok(Came::End(self.trailers.take())));
        }
        self.poll_fault(task).map(Err)
    }

    /// Whether all that could come was taken.
    pub fn is_taken(&self) -> bool {
        self.came_whole && self.head.is_none() && self.pieces.length() == 0 && self.trailers.is_none()
    }

    /// Waits until it has ended otherwise than in order.
    pub fn poll_fault(&mut self, task: &Context<'_>) -> Poll<Fault> {
        if let Some(fault) = self.fault {
            return Poll::Ready(fault);
        }
        wait(&mut self.reader, task);
        Poll::Pending
    }

    /// Something has come.
    pub fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// There may be room.
    pub fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Wakes the task when something changes.
pub fn wait(place: &mut Option<Waker>, task: &Context<'_>) {
    if !place.as_ref().is_some_and(|waker| waker.will_wake(task.waker())) {
        *place = Some(task.waker().clone());
    }
}
