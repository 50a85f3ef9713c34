//! The way from bytes to frames. What is whole is looked at where it was read; of what is not, as little is kept as can be:
//! bodies go on piece by piece, and of other frames the beginning waits for its rest.

use bytes::Bytes;

use super::connection::{Connection, PREFACE};
use super::fault::Code;
use super::flood::Flood;
use super::frame::{self, HEAD, flag, kind};
use super::message::Head;
use crate::scratch::Read;

/// Beyond the limit of a list of fields, a block may be so much larger before it is not taken to its end: so who
/// is a little above the limit is told that (RFC 9113, section 10.5.1).
const BLOCK_BEYOND: usize = 64 * 1024;

/// Frames of one block; with the smallest limit of a frame they hold far more than any list.
const BLOCK_FRAMES: u32 = 256;

/// Pieces of bodies that are empty, one behind the other.
const EMPTY_PIECES: u32 = 1000;

/// Where in the bytes we are.
#[derive(Debug)]
enum Stage {
    /// So much of the preface has come.
    Preface(usize),
    /// Between two frames, or within the head of one.
    Head,
    /// Within a frame of DATA.
    Data(Data),
    /// Within another frame, which is looked at when it is whole.
    Payload(frame::Head),
    /// Within something that is not looked at.
    Skip(u32),
}

/// What is still to come of a frame of DATA.
#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    left: u32,
    padding: u32,
    /// How much padding there is has not been read.
    is_padded: bool,
    ends: bool,
}

/// A block of fields whose last frame has not come.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    /// The stream is said to depend on itself (section 5.3.1).
    is_own: bool,
    bytes: Vec<u8>,
    frames: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Reader {
    stage: Stage,
    /// The beginning of a head or a payload.
    held: Vec<u8>,
    /// In a box, since hardly any head needs it.
    block: Option<Box<Block>>,
    /// A frame has come; the first are settings (section 3.4).
    begun: bool,
    /// Pieces that were empty.
    empty: u32,
}

impl Reader {
    /// Nothing has come.
    pub fn new(preface: bool) -> Reader {
        let stage = if preface { Stage::Preface(0) } else { Stage::Head };
        Reader { stage, held: Vec::new(), block: None, begun: false, empty: 0 }
    }

    /// Whether a block of fields has begun without its end.
    pub fn is_within_fields(&self) -> bool {
        self.block.is_some()
    }

    /// The first bytes of something that is whole with so many; none if it is not yet.
    fn whole<'a>(&mut self, read: &'a [u8], length: usize) -> Whole<'a> {
        if self.held.is_empty()
            && let Some((whole, _)) = read.split_at_checked(length)
        {
            return Whole::Here(whole);
        }
        let more = read.split_at_checked(length - self.held.len()).map_or(read, |(more, _)| more);
        self.held.extend_from_slice(more);
        if self.held.len() == length { Whole::Held(more.len()) } else { Whole::NotYet }
    }
}

enum Whole<'a> {
    /// Where it was read.
    Here(&'a [u8]),
    /// Together with what was held; so much of it was read now.
    Held(usize),
    NotYet,
}

impl<H: Head> Connection<H> {
    /// Looks at what was read, which is not nothing.
    ///
    /// # Errors
    /// The other side breaks the protocol, so that the connection must end.
    pub fn receive(&mut self, read: &mut Read<'_>) -> Result<(), Code> {
        let mut at = 0;
        loop {
            let bytes = read.bytes().get(at..).unwrap_or_default();
            if bytes.is_empty() && !matches!(self.reader.stage, Stage::Data(_) | Stage::Payload(_)) {
                return Ok(());
            }
            match self.reader.stage {
                Stage::Preface(have) => {
                    let expected = PREFACE.get(have..).unwrap_or_default();
                    let length = bytes.len().min(expected.len());
                    if bytes.get(..length) != expected.get(..length) {
                        return Err(Code::PROTOCOL_ERROR);
                    }
                    at += length;
                    let have = have + length;
                    self.reader.stage = if have == PREFACE.len() { Stage::Head } else { Stage::Preface(have) };
                }
                Stage::Head => {
                    let head = match self.reader.whole(bytes, HEAD) {
                        Whole::Here(head) => {
                            at += HEAD;
                            head.first_chunk().copied()
                        }
                        Whole::Held(length) => {
                            at += length;
                            std::mem::take(&mut self.reader.held).first_chunk().copied()
                        }
                        Whole::NotYet => return Ok(()),
                    };
                    let Some(head) = head else { return Ok(()) };
                    self.reader.stage = self.frame_begins(frame::Head::read(head))?;
                }
                Stage::Payload(head) => {
                    match self.reader.whole(bytes, head.length as usize) {
                        Whole::Here(payload) => {
                            at += payload.len();
                            self.frame_is_whole(head, payload)?;
                        }
                        Whole::Held(length) => {
                            at += length;
                            let payload = std::mem::take(&mut self.reader.held);
                            self.frame_is_whole(head, &payload)?;
                        }
                        Whole::NotYet => return Ok(()),
                    }
                    self.reader.stage = Stage::Head;
                }
                Stage::Skip(left) => {
                    let skipped = bytes.len().min(left as usize);
                    at += skipped;
                    let left = left - u32::try_from(skipped).unwrap_or(left);
                    self.reader.stage = if left == 0 { Stage::Head } else { Stage::Skip(left) };
                }
                Stage::Data(data) => {
                    // What is before it was looked at.
                    let Some(stage) = self.data(data, read, &mut at)? else { return Ok(()) };
                    self.reader.stage = stage;
                }
            }
        }
    }

    /// A step within a frame of DATA; none if more must come first.
    fn data(&mut self, mut data: Data, read: &mut Read<'_>, at: &mut usize) -> Result<Option<Stage>, Code> {
        let bytes = read.bytes().get(*at..).unwrap_or_default();
        if data.is_padded {
            let Some(padding) = bytes.first() else { return Ok(None) };
            *at += 1;
            data.is_padded = false;
            data.padding = u32::from(*padding);
            data.left = (data.left - 1).checked_sub(data.padding).ok_or(Code::PROTOCOL_ERROR)?;
            self.padding_came(data.stream, data.padding + 1);
            return Ok(Some(Stage::Data(data)));
        }
        if data.left > 0 {
            let length = bytes.len().min(data.left as usize);
            if length == 0 {
                return Ok(None);
            }
            data.left -= u32::try_from(length).unwrap_or(data.left);
            let piece = if Read::is_worth_holding(length) {
                read.skip(std::mem::take(at));
                Piece::Held(read.take_first(length))
            } else {
                *at += length;
                Piece::Copied(bytes.get(..length).unwrap_or_default())
            };
            self.piece_came(data.stream, piece)?;
            if data.left > 0 {
                return Ok(Some(Stage::Data(data)));
            }
        }
        if data.ends {
            self.stream_ends(data.stream)?;
        }
        Ok(Some(if data.padding > 0 { Stage::Skip(data.padding) } else { Stage::Head }))
    }

    /// The head of a frame has come: what is made of its payload.
    fn frame_begins(&mut self, head: frame::Head) -> Result<Stage, Code> {
        if head.length > self.limits.frame {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        if H::IS_REQUEST {
            self.meter.came(head).map_err(|Flood| Code::ENHANCE_YOUR_CALM)?;
        }
        let is_settings = head.kind == kind::SETTINGS && !head.has(flag::ACK);
        if !std::mem::replace(&mut self.reader.begun, true) && !is_settings {
            return Err(Code::PROTOCOL_ERROR);
        }
        let goes_on = self.reader.block.as_ref().map(|block| block.stream);
        if goes_on != (head.kind == kind::CONTINUATION).then_some(head.stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        match head.kind {
            kind::DATA => self.data_begins(head),
            kind::PUSH_PROMISE => Err(Code::PROTOCOL_ERROR),
            kind::HEADERS
            | kind::PRIORITY
            | kind::RST_STREAM
            | kind::SETTINGS
            | kind::PING
            | kind::GOAWAY
            | kind::WINDOW_UPDATE
            | kind::CONTINUATION => Ok(Stage::Payload(head)),
            // What is unknown says nothing (section 5.5).
            _ if head.length == 0 => Ok(Stage::Head),
            _ => Ok(Stage::Skip(head.length)),
        }
    }

    fn data_begins(&mut self, head: frame::Head) -> Result<Stage, Code> {
        let (ends, is_padded) = (head.has(flag::END_STREAM), head.has(flag::PADDED));
        if is_padded && head.length == 0 {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        // Empty pieces cost their sender nothing (section 10.5).
        self.reader.empty = if head.length > 0 || ends { 0 } else { self.reader.empty + 1 };
        if self.reader.empty > EMPTY_PIECES {
            return Err(Code::ENHANCE_YOUR_CALM);
        }
        let is_wanted = self.data_comes(head.stream, head.length)?;
        Ok(if is_wanted {
            Stage::Data(Data { stream: head.stream, left: head.length, padding: 0, is_padded, ends })
        } else if head.length == 0 {
            Stage::Head
        } else {
            Stage::Skip(head.length)
        })
    }

    fn frame_is_whole(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Code> {
        match head.kind {
            kind::HEADERS => self.fields_begin(head, payload),
            kind::CONTINUATION => self.fields_go_on(head, payload),
            _ => self.control(head, payload),
        }
    }

    fn fields_begin(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Code> {
        let mut block = payload;
        if head.has(flag::PADDED) {
            let (padding, rest) = block.split_first().ok_or(Code::FRAME_SIZE_ERROR)?;
            let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Code::PROTOCOL_ERROR)?;
            block = rest.get(..length).unwrap_or_default();
        }
        let mut is_own = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block.split_first_chunk::<5>().ok_or(Code::FRAME_SIZE_ERROR)?;
            let [stream @ .., _weight] = *priority;
            is_own = u32::from_be_bytes(stream) & 0x7fff_ffff == head.stream;
            block = rest;
        }
        if head.stream == 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.fields_end(head.stream, ends, is_own, block);
        }
        let block = Block { stream: head.stream, ends, is_own, bytes: block.to_vec(), frames: 1 };
        self.reader.block = Some(Box::new(block));
        Ok(())
    }

    fn fields_end(&mut self, stream: u32, ends: bool, is_own: bool, block: &[u8]) -> Result<(), Code> {
        self.fields_came(stream, ends, block)?;
        if is_own { self.punish(stream, Code::PROTOCOL_ERROR) } else { Ok(()) }
    }

    fn fields_go_on(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Code> {
        let Some(mut block) = self.reader.block.take() else { return Err(Code::PROTOCOL_ERROR) };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        if head.has(flag::END_HEADERS) {
            return self.fields_end(block.stream, block.ends, block.is_own, &block.bytes);
        }
        if block.bytes.len() > self.limits.fields + BLOCK_BEYOND || block.frames > BLOCK_FRAMES {
            return Err(Code::ENHANCE_YOUR_CALM);
        }
        self.reader.block = Some(block);
        Ok(())
    }
}

/// A piece of a body.
pub enum Piece<'a> {
    /// It is to be copied.
    Copied(&'a [u8]),
    /// It stays where it is.
    Held(Bytes),
}

impl Piece<'_> {
    pub fn length(&self) -> usize {
        match self {
            Piece::Copied(bytes) => bytes.len(),
            Piece::Held(bytes) => bytes.len(),
        }
    }
}
