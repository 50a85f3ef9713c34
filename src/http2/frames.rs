//! What each frame that has come does to its connection and its stream (RFC 9113, section 6).

use http::HeaderMap;

use super::connection::{Connection, Going};
use super::fault::{By, Code, Fault};
use super::frame::{self, flag, kind};
use super::hpack::{Broken, List};
use super::message::{Head, Malformed, Trailers};
use super::receive::Piece;
use super::stream::Stream;
use super::window::{Allowance, Window};

/// Interim heads of one answer that wait for whoever takes them.
const INTERIM: usize = 64;

/// The most requests of a connection that their client has taken back before anybody looked at them; one more ends it
/// (CVE-2023-44487).
const UNSEEN_RESETS: usize = 20;

/// What a list of fields has become.
enum Decoded<T> {
    Message(T),
    Malformed,
    TooLarge,
}

impl<H: Head> Connection<H> {
    /// A frame of DATA has begun. Whether somebody wants it.
    pub(super) fn data_comes(&mut self, id: u32, length: u32) -> Result<bool, Code> {
        self.allowance.came(length).map_err(|_| Code::FLOW_CONTROL_ERROR)?;
        let Some(stream) = self.open.get(&id).and_then(|key| self.streams.get_mut(*key)) else {
            self.closed(id)?;
            self.taken(length as usize);
            return Ok(false);
        };
        if stream.came_whole {
            return Err(Code::STREAM_CLOSED);
        }
        let wrong = if !stream.has_head {
            Some(Code::PROTOCOL_ERROR)
        } else if stream.allowance.came(length).is_err() {
            Some(Code::FLOW_CONTROL_ERROR)
        } else {
            None
        };
        if let Some(code) = wrong {
            self.punish(id, code)?;
            self.taken(length as usize);
        }
        Ok(wrong.is_none())
    }

    /// A frame belongs to no open stream.
    ///
    /// # Errors
    /// It belongs to none that has ended by a reset of ours, whose frames may have been under way.
    fn closed(&self, id: u32) -> Result<(), Code> {
        if self.is_idle(id) {
            Err(Code::PROTOCOL_ERROR)
        } else if self.was_reset(id) || self.going == Going::Away {
            Ok(())
        } else {
            Err(Code::STREAM_CLOSED)
        }
    }

    /// Whether nobody has begun a stream of this number.
    fn is_idle(&self, id: u32) -> bool {
        // What comes after the last call is not looked at.
        id.is_multiple_of(2) || (id > self.last && !(H::IS_REQUEST && self.going == Going::Away))
    }

    /// Padding counts like what it pads, and is taken at once.
    pub(super) fn padding_came(&mut self, id: u32, length: u32) {
        self.taken(length as usize);
        if let Some(key) = self.open.get(&id).copied() {
            self.taken_of(key, length as usize);
        }
    }

    pub(super) fn piece_came(&mut self, id: u32, piece: Piece<'_>) -> Result<(), Code> {
        let length = piece.length();
        let Some(stream) = self.open.get(&id).and_then(|key| self.streams.get_mut(*key)) else {
            self.taken(length);
            return Ok(());
        };
        if let Some(left) = &mut stream.left {
            match left.checked_sub(length as u64) {
                Some(less) => *left = less,
                None => {
                    self.taken(length);
                    return self.punish(id, Code::PROTOCOL_ERROR);
                }
            }
        }
        match piece {
            Piece::Copied(bytes) => stream.pieces.push_copy(bytes),
            Piece::Held(bytes) => stream.pieces.push(bytes),
        }
        stream.wake_reader();
        Ok(())
    }

    /// The other side has ended a stream.
    pub(super) fn stream_ends(&mut self, id: u32) -> Result<(), Code> {
        let Some(key) = self.open.get(&id).copied() else { return Ok(()) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.left.is_some_and(|left| left > 0) {
            return self.punish(id, Code::PROTOCOL_ERROR);
        }
        stream.came_whole = true;
        stream.wake_reader();
        self.close(key);
        Ok(())
    }

    /// A whole block of fields has come.
    pub(super) fn fields_came(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        match self.open.get(&id).copied() {
            Some(key) if self.streams.get(key).is_some_and(|stream| stream.has_head) => {
                self.trailers_came(key, id, ends, block)
            }
            Some(key) => self.answer_came(key, id, ends, block),
            None if H::IS_REQUEST && id > self.last && !id.is_multiple_of(2) => self.request_came(id, ends, block),
            None => {
                self.closed(id)?;
                // The table must follow all the same.
                self.decode_head(block).map(drop)
            }
        }
    }

    fn request_came(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        let decoded = self.decode_head(block)?;
        if self.going == Going::Away {
            return Ok(());
        }
        self.last = id;
        if self.open.len() >= self.limits.streams as usize {
            self.say_reset(id, Code::REFUSED_STREAM);
            return Ok(());
        }
        let (head, length) = match decoded {
            Decoded::Message(message) => message,
            Decoded::Malformed => return self.punish(id, Code::PROTOCOL_ERROR),
            Decoded::TooLarge => return self.too_large(id, ends),
        };
        if ends && length.is_some_and(|length| length > 0) {
            return self.punish(id, Code::PROTOCOL_ERROR);
        }
        self.meter.began();
        let key = self.begin(id);
        if let Some(stream) = self.streams.get_mut(key) {
            (stream.has_head, stream.came_whole, stream.left, stream.is_held) = (true, ends, length, false);
        }
        self.unheld.push_back((key, head));
        Ok(())
    }

    /// Somebody has begun a stream.
    pub(super) fn begin(&mut self, id: u32) -> usize {
        let stream = Stream::new(id, Window::new(self.asked.stream_window), Allowance::new(self.limits.stream_window));
        let key = self.streams.insert(stream);
        self.open.insert(id, key);
        key
    }

    /// RFC 6585, section 5.
    fn too_large(&mut self, id: u32, ends: bool) -> Result<(), Code> {
        let encoder = &mut self.encoder;
        self.outbox.fields(id, true, self.asked.frame as usize, |out| {
            encoder.begin(out);
            encoder.status(out, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        });
        if !ends {
            self.say_reset(id, Code::NO_ERROR);
        }
        self.offended()
    }

    fn answer_came(&mut self, key: usize, id: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        let decoded = self.decode_head(block)?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        match decoded {
            Decoded::Message((head, _)) if head.is_interim() => {
                if ends {
                    return self.punish(id, Code::PROTOCOL_ERROR);
                }
                if stream.interim.len() >= INTERIM {
                    return self.punish(id, Code::ENHANCE_YOUR_CALM);
                }
                stream.interim.push_back(head);
            }
            Decoded::Message((head, _)) => {
                stream.has_head = true;
                stream.head = Some(head);
            }
            Decoded::Malformed => return self.punish(id, Code::PROTOCOL_ERROR),
            Decoded::TooLarge => return self.punish(id, Code::ENHANCE_YOUR_CALM),
        }
        stream.wake_reader();
        if ends { self.stream_ends(id) } else { Ok(()) }
    }

    fn trailers_came(&mut self, key: usize, id: u32, ends: bool, block: &[u8]) -> Result<(), Code> {
        let mut trailers = Trailers::default();
        let list = self.decode(block, |name, value| trailers.add(name, value))?;
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.came_whole {
            return Err(Code::STREAM_CLOSED);
        }
        let trailers = match list {
            List::Whole => trailers.finish(),
            List::Malformed | List::TooLarge => Err(Malformed),
        };
        let Ok(trailers) = trailers.and_then(|trailers| if ends { Ok(trailers) } else { Err(Malformed) }) else {
            return self.punish(id, Code::PROTOCOL_ERROR);
        };
        stream.trailers = Some(trailers).filter(|trailers: &HeaderMap| !trailers.is_empty());
        self.stream_ends(id)
    }

    fn decode(&mut self, block: &[u8], field: impl FnMut(super::hpack::Name, http::HeaderValue)) -> Result<List, Code> {
        self.decoder.decode(block, self.limits.fields, field).map_err(|Broken| Code::COMPRESSION_ERROR)
    }

    fn decode_head(&mut self, block: &[u8]) -> Result<Decoded<(H, Option<u64>)>, Code> {
        let mut draft = H::Draft::default();
        let list = self.decode(block, |name, value| H::add(&mut draft, name, value))?;
        Ok(match list {
            List::Whole => H::finish(draft).map_or(Decoded::Malformed, Decoded::Message),
            List::Malformed => Decoded::Malformed,
            List::TooLarge => Decoded::TooLarge,
        })
    }

    /// A frame that carries no part of a message.
    pub(super) fn control(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Code> {
        let of_connection = matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        let of_stream = matches!(head.kind, kind::PRIORITY | kind::RST_STREAM);
        if (of_connection && head.stream != 0) || (of_stream && head.stream == 0) {
            return Err(Code::PROTOCOL_ERROR);
        }
        match head.kind {
            kind::SETTINGS if head.has(flag::ACK) => {
                if payload.is_empty() {
                    Ok(())
                } else {
                    Err(Code::FRAME_SIZE_ERROR)
                }
            }
            kind::SETTINGS => self.settings_came(payload),
            kind::PING => {
                if payload.len() != 8 {
                    return Err(Code::FRAME_SIZE_ERROR);
                }
                if head.has(flag::ACK) {
                    self.answered(payload)
                } else {
                    self.answer(payload)
                }
                Ok(())
            }
            kind::GOAWAY => {
                let (last, _) = payload.split_first_chunk::<4>().ok_or(Code::FRAME_SIZE_ERROR)?;
                let code = payload.get(4..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Code::FRAME_SIZE_ERROR)?;
                self.away_came(u32::from_be_bytes(*last) & 0x7fff_ffff, Code(u32::from_be_bytes(*code)));
                Ok(())
            }
            kind::RST_STREAM => {
                let code = <[u8; 4]>::try_from(payload).map_err(|_| Code::FRAME_SIZE_ERROR)?;
                self.reset_came(head.stream, Code(u32::from_be_bytes(code)))
            }
            kind::WINDOW_UPDATE => {
                let more = <[u8; 4]>::try_from(payload).map_err(|_| Code::FRAME_SIZE_ERROR)?;
                self.window_opens(head.stream, u32::from_be_bytes(more) & 0x7fff_ffff)
            }
            kind::PRIORITY => {
                let [depends_on @ .., _weight] = <[u8; 5]>::try_from(payload).map_err(|_| Code::FRAME_SIZE_ERROR)?;
                // What it says else is deprecated (section 5.3.2).
                let is_own = u32::from_be_bytes(depends_on) & 0x7fff_ffff == head.stream;
                if is_own { Err(Code::PROTOCOL_ERROR) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn settings_came(&mut self, payload: &[u8]) -> Result<(), Code> {
        let before = self.asked;
        self.asked.learn(payload, !H::IS_REQUEST)?;
        for table in [self.asked.smallest_table, self.asked.table] {
            self.encoder.limit(table as usize);
        }
        let change = i64::from(self.asked.stream_window) - i64::from(before.stream_window);
        if change != 0 {
            for key in self.open.values() {
                let Some(stream) = self.streams.get_mut(*key) else { continue };
                let had_room = stream.window.room() > 0;
                stream.window.change(change).map_err(|_| Code::FLOW_CONTROL_ERROR)?;
                if !had_room && stream.window.room() > 0 {
                    stream.wake_writer();
                }
            }
        }
        self.is_greeted = true;
        self.outbox.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        self.admit();
        Ok(())
    }

    fn window_opens(&mut self, id: u32, more: u32) -> Result<(), Code> {
        if more == 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        if id == 0 {
            self.window.change(more.into()).map_err(|_| Code::FLOW_CONTROL_ERROR)?;
            self.unblock();
            return Ok(());
        }
        let Some(stream) = self.open.get(&id).and_then(|key| self.streams.get_mut(*key)) else {
            // Of one that has ended it may have been under way.
            return if self.is_idle(id) { Err(Code::PROTOCOL_ERROR) } else { Ok(()) };
        };
        if stream.window.change(more.into()).is_err() {
            return self.punish(id, Code::FLOW_CONTROL_ERROR);
        }
        stream.wake_writer();
        Ok(())
    }

    fn reset_came(&mut self, id: u32, code: Code) -> Result<(), Code> {
        let Some(key) = self.open.get(&id).copied() else {
            return if self.is_idle(id) { Err(Code::PROTOCOL_ERROR) } else { Ok(()) };
        };
        if self.streams.get(key).is_some_and(|stream| !stream.is_held) {
            self.taken_back += 1;
            if self.taken_back > UNSEEN_RESETS {
                return Err(Code::ENHANCE_YOUR_CALM);
            }
        }
        self.end(key, Fault::Reset(code, By::Peer));
        Ok(())
    }

    /// The other side begins nothing more, and has looked at no stream of ours beyond `last` (section 6.8).
    fn away_came(&mut self, last: u32, code: Code) {
        if H::IS_REQUEST {
            // A client begins all streams, and so says what it means by beginning none.
            return;
        }
        self.going = Going::Away;
        let unseen: Vec<usize> = self.open.iter().filter(|(id, _)| **id > last).map(|(_, key)| *key).collect();
        for key in unseen {
            self.end(key, Fault::GoAway(code, By::Peer));
        }
        self.admit();
    }
}
