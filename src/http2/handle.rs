//! One stream, as whoever serves or makes its request holds it. It ends with its holder: what was not complete then is reset.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::connection::{Connection, Shared};
use super::fault::{By, Code, Fault};
use super::frame::kind;
use super::hpack::Encoder;
use super::message::Head;
use super::stream::{Came, Stream as State, wait};

/// See the module's documentation.
#[derive(Debug)]
pub struct Stream<H: Head> {
    shared: Arc<Shared<H>>,
    key: usize,
}

impl<H: Head> Stream<H> {
    pub(super) fn new(shared: Arc<Shared<H>>, key: usize) -> Stream<H> {
        Stream { shared, key }
    }

    /// Waits for the next of what comes.
    ///
    /// # Errors
    /// Nothing more comes, and the end has not.
    pub fn poll_receive(&mut self, task: &Context<'_>) -> Poll<Result<Came<H>, Fault>> {
        let mut connection = self.shared.lock();
        let Some(stream) = connection.streams.get_mut(self.key) else { return Poll::Ready(Err(gone())) };
        let came = stream.poll_receive(task);
        if let Poll::Ready(Ok(Came::Piece(piece))) = &came {
            let length = piece.len();
            connection.taken(length);
            connection.taken_of(self.key, length);
        }
        came
    }

    /// Whether all that could come was taken.
    pub fn is_taken(&self) -> bool {
        self.shared.lock().streams.get(self.key).is_some_and(State::is_taken)
    }

    /// Waits until the stream has ended otherwise than in order.
    pub fn poll_fault(&mut self, task: &Context<'_>) -> Poll<Fault> {
        let mut connection = self.shared.lock();
        connection.streams.get_mut(self.key).map_or(Poll::Ready(gone()), |stream| stream.poll_fault(task))
    }

    /// Sends fields that `encode` writes: a head, interim or not, or trailers, which are the end.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send_fields(&mut self, end: bool, encode: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Result<(), Fault> {
        self.shared.lock().send_fields(self.key, end, encode)
    }

    /// Sends trailers, which are the end.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send_trailers(&mut self, trailers: &HeaderMap) -> Result<(), Fault> {
        self.send_fields(true, |encoder, out| {
            for (name, value) in trailers {
                encoder.field(out, name, value);
            }
        })
    }

    /// Sends the first of these bytes, as far as there is room, and takes them off; with `end`, the end behind the last. Waits for room
    /// where there is none. How many were sent: ask again while some are left.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn poll_send(&mut self, task: &Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<usize, Fault>> {
        self.shared.lock().poll_send(self.key, task, data, end)
    }

    /// Says that nothing more is sent.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send_end(&mut self) -> Result<(), Fault> {
        let mut connection = self.shared.lock();
        connection.sending(self.key)?;
        connection.send_end(self.key);
        Ok(())
    }

    /// Ends the stream, complete or not.
    pub fn reset(&mut self, code: Code) {
        let mut connection = self.shared.lock();
        if let Some(id) = connection.streams.get(self.key).filter(|stream| !stream.is_closed()).map(|stream| stream.id)
        {
            connection.say_reset(id, code);
            connection.end(self.key, Fault::Reset(code, By::Us));
        }
    }
}

impl<H: Head> Drop for Stream<H> {
    fn drop(&mut self) {
        self.shared.lock().release(self.key);
    }
}

/// What is said of a stream that is not there: there is none that somebody holds.
fn gone() -> Fault {
    Fault::Reset(Code::INTERNAL_ERROR, By::Us)
}

impl<H: Head> Connection<H> {
    /// A stream that may still send.
    fn sending(&mut self, key: usize) -> Result<&mut State<H>, Fault> {
        let stream = self.streams.get_mut(key).ok_or_else(gone)?;
        match stream.fault {
            Some(fault) => Err(fault),
            None if stream.sent_whole => Err(Fault::Reset(Code::STREAM_CLOSED, By::Us)),
            None => Ok(stream),
        }
    }

    pub(super) fn send_fields(
        &mut self,
        key: usize,
        end: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) -> Result<(), Fault> {
        let id = self.sending(key)?.id;
        let encoder = &mut self.encoder;
        self.outbox.fields(id, end, self.asked.frame as usize, |out| {
            encoder.begin(out);
            encode(encoder, out);
        });
        if end {
            self.sent_whole(key);
        }
        self.notify();
        Ok(())
    }

    fn poll_send(&mut self, key: usize, task: &Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<usize, Fault>> {
        let room = self.room();
        let frame = self.asked.frame as usize;
        let stream = match self.sending(key) {
            Ok(stream) => stream,
            Err(fault) => return Poll::Ready(Err(fault)),
        };
        let id = stream.id;
        let most = room.min(stream.window.room()).min(data.len());
        if most == 0 && !data.is_empty() {
            wait(&mut stream.writer, task);
            if stream.window.room() > 0 {
                self.block(key);
            }
            return Poll::Pending;
        }
        stream.window.use_up(most);
        self.window.use_up(most);
        let mut left = most;
        while left > 0 {
            let now = left.min(frame);
            left -= now;
            let piece = data.split_to(now);
            self.outbox.data(id, piece, end && data.is_empty());
        }
        if end && data.is_empty() {
            if most == 0 {
                self.outbox.end_data(id);
            }
            self.sent_whole(key);
        }
        self.notify();
        self.unblock();
        Poll::Ready(Ok(most))
    }

    fn send_end(&mut self, key: usize) {
        if let Some(id) = self.streams.get(key).map(|stream| stream.id) {
            self.outbox.end_data(id);
            self.sent_whole(key);
            self.notify();
        }
    }

    fn sent_whole(&mut self, key: usize) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.sent_whole = true;
            self.close(key);
        }
    }

    /// So much of what had come over a stream was taken.
    pub(super) fn taken_of(&mut self, key: usize, length: usize) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.came_whole && stream.fault.is_none())
        else {
            return;
        };
        if let Some(more) = stream.allowance.taken(u32::try_from(length).unwrap_or(u32::MAX)) {
            self.outbox.frame(kind::WINDOW_UPDATE, 0, stream.id, &more.to_be_bytes());
            self.notify();
        }
    }

    /// Nobody holds a stream any more.
    pub(super) fn release(&mut self, key: usize) {
        let Some(stream) = self.streams.try_remove(key) else { return };
        self.taken(stream.pieces.length());
        if stream.is_blocked {
            self.forget_blocked(key);
        }
        // It may have been woken for room that it did not take.
        self.unblock();
        if self.open.remove(&stream.id).is_some() {
            // After a whole answer the rest of the request is not needed (RFC 9113, section 8.1).
            let code = if H::IS_REQUEST && stream.sent_whole { Code::NO_ERROR } else { Code::CANCEL };
            self.say_reset(stream.id, code);
            self.admit();
        }
    }
}
