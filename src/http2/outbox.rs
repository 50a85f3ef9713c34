//! What waits to be written to a connection: frames, in the order in which they were made.
//!
//! Heads and small payloads stand one behind the other; large payloads stay where they are, and are written from there.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use super::frame::{HEAD, Head, flag, kind};
use crate::spare;

/// Payloads from this on are not copied.
const LARGE: usize = 4 * 1024;

/// With so much written of what stands one behind the other, and no more than that left, what is left moves to the front.
const MOVE: usize = 16 * 1024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Outbox {
    small: Vec<u8>,
    /// How much of that was written.
    written: usize,
    /// Payloads, and where in `small` they belong.
    large: VecDeque<(usize, Bytes)>,
    unsent: usize,
    /// The stream of the last frame of all, and where its head begins, where that is one of DATA.
    last_data: Option<(u32, usize)>,
}

impl Outbox {
    /// How many bytes wait.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// What is no frame.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.begin();
        self.small.extend_from_slice(bytes);
        self.unsent += bytes.len();
    }

    /// A whole frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.begin();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.small.extend_from_slice(&Head { length, kind, flags, stream }.bytes());
        self.small.extend_from_slice(payload);
        self.unsent += HEAD + payload.len();
        self.last_data = None;
    }

    /// A frame of DATA.
    pub fn data(&mut self, stream: u32, payload: Bytes, end: bool) {
        let at = self.small.len();
        let flags = if end { flag::END_STREAM } else { 0 };
        if payload.len() < LARGE {
            self.frame(kind::DATA, flags, stream, &payload);
        } else {
            self.begin();
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            self.small.extend_from_slice(&Head { length, kind: kind::DATA, flags, stream }.bytes());
            self.unsent += HEAD + payload.len();
            self.large.push_back((self.small.len(), payload));
        }
        self.last_data = (!end).then_some((stream, at));
    }

    /// The end of a stream's data: said in the last frame where that is one of the same stream and still waits, else in one of its own.
    pub fn end_data(&mut self, stream: u32) {
        if let Some((last, at)) = self.last_data.take()
            && last == stream
            && at >= self.written
            && let Some(flags) = self.small.get_mut(at + 4)
        {
            *flags |= flag::END_STREAM;
            return;
        }
        self.frame(kind::DATA, flag::END_STREAM, stream, &[]);
    }

    /// A block of fields that `encode` writes, in frames of at most `most` bytes.
    pub fn fields(&mut self, stream: u32, end: bool, most: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.begin();
        let at = self.small.len();
        self.small.extend_from_slice(&[0; HEAD]);
        encode(&mut self.small);
        let length = self.small.len() - at - HEAD;
        let end = if end { flag::END_STREAM } else { 0 };
        if length <= most {
            self.set_head(at, length, kind::HEADERS, flag::END_HEADERS | end, stream);
        } else {
            self.split(at, most.max(1), end, stream);
        }
        self.unsent += self.small.len() - at;
        self.last_data = None;
    }

    /// Makes more than one frame of a block.
    fn split(&mut self, at: usize, most: usize, end: u8, stream: u32) {
        let block = self.small.split_off(at + HEAD);
        self.small.truncate(at);
        let (mut kind, mut flags) = (kind::HEADERS, end);
        let mut pieces = block.chunks(most).peekable();
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            let at = self.small.len();
            self.small.extend_from_slice(&[0; HEAD]);
            self.small.extend_from_slice(piece);
            self.set_head(at, piece.len(), kind, flags | last, stream);
            (kind, flags) = (kind::CONTINUATION, 0);
        }
    }

    fn set_head(&mut self, at: usize, length: usize, kind: u8, flags: u8, stream: u32) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(place) = self.small.get_mut(at..at + HEAD) {
            place.copy_from_slice(&Head { length, kind, flags, stream }.bytes());
        }
    }

    fn begin(&mut self) {
        if self.small.capacity() == 0 {
            self.small = spare::take();
        }
    }

    /// What is to be written next, in so many slices at most. How many there are.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut begin = self.written;
        let mut count = 0;
        let mut add = |bytes: &'a [u8]| match slices.get_mut(count) {
            Some(slice) if !bytes.is_empty() => {
                *slice = IoSlice::new(bytes);
                count += 1;
                true
            }
            Some(_) => true,
            None => false,
        };
        for (at, payload) in &self.large {
            if !add(self.small.get(begin..*at).unwrap_or_default()) || !add(payload) {
                return count;
            }
            begin = *at;
        }
        add(self.small.get(begin..).unwrap_or_default());
        count
    }

    /// So much was written.
    pub fn wrote(&mut self, mut count: usize) {
        self.unsent = self.unsent.saturating_sub(count);
        while count > 0 {
            let until = self.large.front().map_or(self.small.len(), |(at, _)| *at);
            let now = count.min(until - self.written);
            self.written += now;
            count -= now;
            if count == 0 {
                break;
            }
            let Some((_, payload)) = self.large.front_mut() else { break };
            let now = count.min(payload.len());
            payload.advance(now);
            count -= now;
            if payload.is_empty() {
                self.large.pop_front();
            }
        }
        if self.unsent == 0 {
            spare::give_back(std::mem::take(&mut self.small));
            self.written = 0;
            self.last_data = None;
        } else if self.written >= MOVE.max(self.small.len() / 2) {
            self.small.drain(..self.written);
            for (at, _) in &mut self.large {
                *at -= self.written;
            }
            self.last_data = self.last_data.and_then(|(stream, at)| Some((stream, at.checked_sub(self.written)?)));
            self.written = 0;
        }
    }

    /// Nothing of it can be written any more.
    pub fn clear(&mut self) {
        *self = Outbox::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes at most so many bytes to `out`.
    fn write(outbox: &mut Outbox, most: usize, out: &mut Vec<u8>) {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = outbox.slices(&mut slices);
        let mut written = 0;
        for slice in &slices[..count] {
            let now = slice.len().min(most - written);
            out.extend_from_slice(&slice[..now]);
            written += now;
        }
        outbox.wrote(written);
    }

    /// The frames of these bytes.
    fn frames(mut bytes: &[u8]) -> Vec<(Head, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let head = Head::read(*head);
            let (payload, rest) = rest.split_at(head.length as usize);
            frames.push((head, payload.to_vec()));
            bytes = rest;
        }
        assert!(bytes.is_empty());
        frames
    }

    proptest! {
        #[test]
        fn frames_leave_whole_and_in_order(
            steps in prop::collection::vec((0..5_u8, 0..12_000_usize, 1..4_u32), 1..60),
        ) {
            let (mut outbox, mut out, mut expected) = (Outbox::default(), Vec::new(), Vec::new());
            for (number, (what, size, stream)) in steps.into_iter().enumerate() {
                let payload = vec![u8::try_from(number).unwrap(); size];
                match what {
                    0 => {
                        outbox.frame(kind::PING, 0, 0, &payload);
                        expected.push((kind::PING, 0, payload));
                    }
                    1 => {
                        outbox.data(stream, payload.clone().into(), false);
                        expected.push((kind::DATA, stream, payload));
                    }
                    2 => {
                        outbox.fields(stream, false, 5_000, |out| out.extend_from_slice(&payload));
                        expected.push((kind::HEADERS, stream, payload));
                    }
                    _ => write(&mut outbox, size, &mut out),
                }
            }
            while outbox.unsent() > 0 {
                write(&mut outbox, 7_000, &mut out);
            }
            let mut seen: Vec<(u8, u32, Vec<u8>)> = Vec::new();
            for (head, payload) in frames(&out) {
                match seen.last_mut().filter(|_| head.kind == kind::CONTINUATION) {
                    Some((_, stream, block)) => {
                        prop_assert_eq!(*stream, head.stream);
                        block.extend(payload);
                    }
                    None => seen.push((head.kind, head.stream, payload)),
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_end_is_said_in_the_last_frame_if_that_waits_and_is_of_the_same_stream() {
        let ends = |between: fn(&mut Outbox, &mut Vec<u8>)| {
            let (mut outbox, mut out) = (Outbox::default(), Vec::new());
            outbox.data(1, Bytes::from(vec![b'x'; 10]), false);
            between(&mut outbox, &mut out);
            outbox.end_data(1);
            write(&mut outbox, usize::MAX, &mut out);
            let ends = frames(&out).into_iter().filter(|(head, _)| head.stream == 1 && head.has(flag::END_STREAM));
            ends.map(|(head, _)| head.length).collect::<Vec<_>>()
        };
        assert_eq!(ends(|_, _| {}), [10]);
        assert_eq!(ends(|outbox, out| write(outbox, 1, out)), [0]);
        assert_eq!(ends(|outbox, _| outbox.data(3, Bytes::from_static(b"y"), false)), [0]);
        assert_eq!(ends(|outbox, _| outbox.frame(kind::PING, 0, 0, &[0; 8])), [0]);
    }
}
