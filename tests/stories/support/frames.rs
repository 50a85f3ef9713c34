//! HTTP/2 frame by frame (RFC 9113), for what a well-behaved client or server cannot send.
//!
//! Fields are written as literals without indexing (RFC 7541, section 6.2.2), and the server is told to keep no
//! dynamic table, so that of its answers the status can be read without a whole decoder.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// What every client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const ENABLE_PUSH: u16 = 2;
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The bytes of a frame whose length is that of its payload.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of these fields, as they are written.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// What a SETTINGS frame carries.
pub fn settings(each: &[(u16, u32)]) -> Vec<u8> {
    each.iter().flat_map(|(identifier, value)| [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect()
}

/// The fields of an ordinary request.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":authority", "story.example"), (":path", path)]
}

/// A length, with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(block: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return block.push(number as u8);
    }
    block.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        block.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// How a stream ended, as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With END_STREAM.
    Whole,
    /// With RST_STREAM of this code.
    Reset(u32),
    /// The connection was given up: GOAWAY with this error.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
    /// Not within the time that was given.
    NotYet,
}

/// What a client sees of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Option<u16>,
    /// The last header block after the first, still compressed.
    pub trailers: Option<Vec<u8>>,
    pub body: Vec<u8>,
    pub end: End,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection, after its preface; of a client, and where it was accepted, of a server.
pub struct Http2 {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Frames of streams that nobody has asked for yet.
    kept: Vec<Frame>,
    /// The first SETTINGS of the other side, where it was waited for.
    settings: Vec<u8>,
    /// Whether it opens its windows for what it reads.
    pub reads_on: bool,
}

impl Http2 {
    /// Connects and sends the preface with settings that ask for no dynamic table.
    pub fn connect(address: SocketAddr) -> Http2 {
        let mut client = Http2::silent(address);
        client.send(PREFACE);
        client.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        client
    }

    /// Connects and sends nothing.
    pub fn silent(address: SocketAddr) -> Http2 {
        Http2::over(TcpStream::connect(address).expect("a connection"))
    }

    /// The server's side of a connection, which begins with these settings; none if the other side is no client of HTTP/2.
    pub fn accepted(stream: TcpStream, settings: &[u8]) -> Option<Http2> {
        let mut server = Http2::over(stream);
        server.stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut preface = [0; PREFACE.len()];
        server.stream.read_exact(&mut preface).ok().filter(|()| preface == PREFACE)?;
        server.send(&frame(SETTINGS, 0, 0, settings));
        let first = server.next(Instant::now() + PATIENCE).ok().filter(|first| first.kind == SETTINGS)?;
        server.settings = first.payload;
        Some(server)
    }

    fn over(stream: TcpStream) -> Http2 {
        stream.set_nodelay(true).expect("a socket");
        Http2 { stream, unread: Vec::new(), kept: Vec::new(), settings: Vec::new(), reads_on: true }
    }

    /// What the client has set this to at the beginning (RFC 9113, section 6.5.2).
    pub fn setting(&self, identifier: u16) -> Option<u32> {
        let set = self.settings.chunks_exact(6).rev().find(|each| each[..2] == identifier.to_be_bytes())?;
        Some(u32::from_be_bytes(set[2..].try_into().unwrap()))
    }

    /// Answers a request with 200 and this.
    pub fn respond(&mut self, stream: u32, text: &str) {
        self.send(
            &[
                frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])),
                frame(DATA, END_STREAM, stream, text.as_bytes()),
            ]
            .concat(),
        );
    }

    /// Sends bytes; a connection that was closed on us is told by what can be read.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Another handle to write with, while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().expect("a handle")
    }

    /// Ends the connection for whoever still writes to it.
    pub fn shut(&self) {
        drop(self.stream.shutdown(std::net::Shutdown::Both));
    }

    /// Sends a whole request without a body.
    pub fn get(&mut self, stream: u32, path: &str) {
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&request("GET", path))));
    }

    /// Sends the fields of a request.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, stream: u32, fields: &[(N, V)], flags: u8) {
        self.send(&frame(HEADERS, END_HEADERS | flags, stream, &block(fields)));
    }

    /// The next frame; none when the connection has ended, or at `due`.
    pub fn next(&mut self, due: Instant) -> Result<Frame, End> {
        loop {
            if let Some((head, rest)) = self.unread.split_at_checked(9) {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                    let frame = Frame { kind: head[3], flags: head[4], stream, payload: payload.to_vec() };
                    self.unread.drain(..9 + length);
                    self.answer(&frame);
                    return Ok(frame);
                }
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::NotYet);
            }
            self.stream.set_read_timeout(Some(left)).expect("a socket");
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(read) => self.unread.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return Err(End::NotYet);
                }
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// What becomes of this stream, in the time that anything may take.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        self.outcome_within(stream, PATIENCE)
    }

    /// What becomes of this stream within `limit`.
    pub fn outcome_within(&mut self, stream: u32, limit: Duration) -> Outcome {
        let due = Instant::now() + limit;
        let mut outcome = Outcome { status: None, trailers: None, body: Vec::new(), end: End::NotYet };
        let mut given_up = None;
        outcome.end = loop {
            let kept = self.kept.iter().position(|frame| frame.stream == stream);
            let next = if let Some(index) = kept { Ok(self.kept.remove(index)) } else { self.next(due) };
            let frame = match next {
                Ok(frame) if frame.stream != 0 && frame.stream != stream => {
                    self.kept.push(frame);
                    continue;
                }
                Ok(frame) => frame,
                Err(End::Closed) => break given_up.unwrap_or(End::Closed),
                Err(end) => break end,
            };
            match (frame.kind, frame.stream) {
                (GOAWAY, _) => {
                    let code = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
                    if code != 0 {
                        given_up = Some(End::GoAway(code));
                    }
                }
                (RST_STREAM, id) if id == stream => {
                    break End::Reset(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                (HEADERS, id) if id == stream => match outcome.status {
                    None | Some(100..200) => outcome.status = Some(status(&frame.payload)),
                    Some(_) => outcome.trailers = Some(frame.payload.clone()),
                },
                (DATA, id) if id == stream => outcome.body.extend_from_slice(&frame.payload),
                _ => continue,
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 && frame.stream == stream {
                break End::Whole;
            }
        };
        outcome
    }

    /// Waits for the end of the connection, and says how it ended.
    pub fn end_of_connection(&mut self, limit: Duration) -> End {
        self.outcome_within(u32::MAX, limit).end
    }

    fn answer(&mut self, received: &Frame) {
        match received.kind {
            SETTINGS if received.flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[])),
            PING if received.flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &received.payload)),
            DATA if self.reads_on && !received.payload.is_empty() => {
                let length = u32::try_from(received.payload.len()).expect("a length").to_be_bytes();
                self.send(
                    &[frame(WINDOW_UPDATE, 0, 0, &length), frame(WINDOW_UPDATE, 0, received.stream, &length)].concat(),
                );
            }
            _ => {}
        }
    }
}

/// The status at the beginning of a header block that was made without a dynamic table.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A size update of the dynamic table comes first.
        [0x20, rest @ ..] => status(rest),
        [indexed @ 0x88..=0x8e, ..] => KNOWN[usize::from(indexed - 0x88)],
        // A literal with the name of `:status`.
        [0x08..=0x0e | 0x48..=0x4e, length, rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 { std::str::from_utf8(text).unwrap().parse().unwrap() } else { digits(text) }
        }
        other => panic!("no status at the beginning of {other:02x?}"),
    }
}

/// Three digits in the Huffman code (RFC 7541, appendix B): 0 to 2 are five bits, 3 to 9 six.
fn digits(text: &[u8]) -> u16 {
    let mut bits = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut take = |count: usize| bits.by_ref().take(count).fold(0, |number, bit| number << 1 | bit);
    (0..3).fold(0, |number, _| {
        let five = take(5);
        let digit = if five <= 2 { five } else { (five << 1 | take(1)) - 0x19 + 3 };
        number * 10 + digit
    })
}
