//! What has been read from a client, and how much of it is handed on: one request at a time, and no byte that
//! was not understood.
//!
//! pingora's session takes what follows a request for a part of it, or of the next; so it is given exactly the
//! request, and what was read beyond stays here. A head that is refused is replaced by a stand-in, so that the
//! refusal is answered, logged and counted like any other failure. No sockets here.

use tokio::io::ReadBuf;

use crate::failure::Reason;
use crate::wire::{Body, Head, Limits, Reader};

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The head of a request.
    Head,
    /// The body of a request.
    Body,
    /// Nothing: the request is complete.
    Complete,
    /// Whatever comes: HTTP/2, or a tunnel.
    Raw,
}

#[derive(Debug)]
enum Framing {
    /// The reader is kept only while a head arrives in pieces.
    Head(Option<Box<Reader>>),
    Body(Body),
    Raw,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Inbound {
    framing: Framing,
    refused: Option<Reason>,
    /// Read, but not handed on yet.
    held: Vec<u8>,
    /// How many of the held bytes have been handed on, and how many may be.
    given: usize,
    approved: usize,
}

impl Inbound {
    /// A connection of which nothing has been read.
    pub fn new() -> Inbound {
        Inbound { framing: Framing::Head(None), refused: None, held: Vec::new(), given: 0, approved: 0 }
    }

    /// What is being read.
    pub fn stage(&self) -> Stage {
        match &self.framing {
            Framing::Head(_) => Stage::Head,
            Framing::Body(body) if body.is_complete() => Stage::Complete,
            Framing::Body(_) => Stage::Body,
            Framing::Raw => Stage::Raw,
        }
    }

    /// Why the request is refused.
    pub fn refused(&self) -> Option<Reason> {
        self.refused
    }

    /// What was read and not handed on.
    pub fn held(&self) -> &[u8] {
        self.held.get(self.given..).unwrap_or_default()
    }

    /// Whether a head has begun to arrive.
    pub fn has_begun(&self) -> bool {
        match &self.framing {
            Framing::Head(Some(reader)) => reader.has_begun(self.held()),
            Framing::Head(None) => !self.held().is_empty(),
            Framing::Body(_) | Framing::Raw => false,
        }
    }

    /// From here on everything is handed on as it comes.
    pub fn open(&mut self) {
        self.framing = Framing::Raw;
        self.approved = self.held.len();
    }

    /// The next request begins with what is held. The former one must have been handed on.
    pub fn begin(&mut self) {
        debug_assert!(self.given >= self.approved, "a request ends before the next begins");
        self.framing = Framing::Head(None);
        self.approved = self.given;
    }

    /// Keeps bytes that were read ahead.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.drain(..self.given);
        self.approved = self.approved.saturating_sub(self.given);
        self.given = 0;
        self.held.extend_from_slice(bytes);
        if matches!(self.framing, Framing::Raw) {
            self.approved = self.held.len();
        }
    }

    /// Hands on what is held and may be. False: there is nothing.
    pub fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(approved) = self.held.get(self.given..self.approved) else { return false };
        let (now, _) = approved.split_at(approved.len().min(buffer.remaining()));
        if now.is_empty() {
            return false;
        }
        buffer.put_slice(now);
        self.given += now.len();
        if self.given == self.held.len() {
            self.held = Vec::new();
            (self.given, self.approved) = (0, 0);
        }
        true
    }

    /// Looks at what is held of a head, and approves it when it is whole.
    pub fn inspect(&mut self, limits: Limits) {
        let Framing::Head(partial) = &mut self.framing else { return };
        let mut reader = partial.take().unwrap_or_default();
        let held = self.held.get(self.given..).unwrap_or_default();
        match whole(&mut reader, held, limits) {
            Ok(None) => self.framing = Framing::Head(Some(reader)),
            Ok(Some(request)) => self.approve(request),
            Err(reason) => self.refuse_head(&reader, reason),
        }
    }

    /// Looks at what was read straight into `buffer`, behind its first `before` bytes, while nothing is held; what
    /// may not be handed on yet is taken out again.
    ///
    /// # Errors
    /// The reason to refuse a request for whose head has been handed on already.
    pub fn pass(&mut self, buffer: &mut ReadBuf<'_>, before: usize, limits: impl Fn() -> Limits) -> Result<(), Reason> {
        debug_assert!(self.held().is_empty(), "what is held comes first");
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        let taken = match &mut self.framing {
            Framing::Raw => return Ok(()),
            Framing::Body(body) => match body.read(fresh) {
                Ok(taken) => taken,
                Err(reason) => {
                    self.refused = Some(reason);
                    buffer.set_filled(before);
                    return Err(reason);
                }
            },
            Framing::Head(_) => {
                let mut reader = Reader::default();
                match whole(&mut reader, fresh, limits()) {
                    Ok(Some(request)) if request.plain.is_some() => {
                        self.hold(fresh);
                        self.approve(request);
                        buffer.set_filled(before);
                        return Ok(());
                    }
                    Ok(Some(request)) => {
                        self.framing = Framing::Body(request.body);
                        request.length
                    }
                    Ok(None) => {
                        self.framing = Framing::Head(Some(Box::new(reader)));
                        0
                    }
                    Err(reason) => {
                        self.hold(fresh);
                        self.refuse_head(&reader, reason);
                        buffer.set_filled(before);
                        return Ok(());
                    }
                }
            }
        };
        if taken < fresh.len() {
            self.hold(fresh.get(taken..).unwrap_or_default());
        }
        buffer.set_filled(before + taken);
        Ok(())
    }

    /// Refuses the head that is being read.
    pub fn refuse(&mut self, reason: Reason) {
        let reader = match &mut self.framing {
            Framing::Head(reader) => reader.take().unwrap_or_default(),
            Framing::Body(_) | Framing::Raw => return,
        };
        self.refuse_head(&reader, reason);
    }

    /// What is held begins with this request.
    fn approve(&mut self, request: Request) {
        self.framing = Framing::Body(request.body);
        self.approved = self.given + request.length;
        if let Some(plain) = request.plain {
            self.approved = self.approved - request.head + plain.len();
            drop(self.held.splice(self.given..self.given + request.head, plain));
        }
    }

    /// Hands on a stand-in, and nothing else any more.
    fn refuse_head(&mut self, reader: &Reader, reason: Reason) {
        self.held = reader.stand_in(self.held());
        (self.given, self.approved) = (0, self.held.len());
        self.framing = Framing::Body(Body::Complete);
        self.refused = Some(reason);
    }
}

/// A head, with as much of its body as has arrived.
struct Request {
    length: usize,
    /// Of that the head.
    head: usize,
    body: Body,
    /// What is handed on instead of the head.
    plain: Option<Vec<u8>>,
}

fn whole(reader: &mut Reader, bytes: &[u8], limits: Limits) -> Result<Option<Request>, Reason> {
    let Some(Head { length: head, mut body }) = reader.read(bytes, limits)? else { return Ok(None) };
    let length = head + body.read(bytes.get(head..).unwrap_or_default())?;
    Ok(Some(Request { length, head, body, plain: reader.plain_form(bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 1000, fields: 20 };

    /// Reads `wire` in pieces of these sizes, as a stream does, and gives what was handed on for each request.
    fn requests(wire: &[u8], pieces: &[usize], room: usize) -> (Vec<Vec<u8>>, Option<Reason>) {
        let mut pieces = pieces.iter().cycle();
        let mut rest = wire;
        let mut inbound = Inbound::new();
        let mut requests = vec![Vec::new()];
        loop {
            let mut memory = vec![0; room];
            let mut buffer = ReadBuf::new(&mut memory);
            while inbound.give(&mut buffer) && buffer.remaining() > 0 {}
            requests.last_mut().unwrap().extend_from_slice(buffer.filled());
            if !buffer.filled().is_empty() {
                continue;
            }
            if inbound.stage() == Stage::Complete {
                if let Some(reason) = inbound.refused() {
                    return (requests, Some(reason));
                }
                inbound.begin();
                inbound.inspect(LIMITS);
                requests.push(Vec::new());
                continue;
            }
            if rest.is_empty() {
                requests.retain(|request| !request.is_empty());
                return (requests, inbound.refused());
            }
            let piece = (*pieces.next().unwrap()).min(rest.len()).min(room);
            let (now, later) = rest.split_at(piece);
            rest = later;
            if inbound.held().is_empty() {
                buffer.put_slice(now);
                if let Err(reason) = inbound.pass(&mut buffer, 0, || LIMITS) {
                    return (requests, Some(reason));
                }
                requests.last_mut().unwrap().extend_from_slice(buffer.filled());
            } else {
                inbound.hold(now);
                inbound.inspect(LIMITS);
            }
        }
    }

    fn request() -> impl Strategy<Value = Vec<u8>> {
        let body = prop_oneof![
            Just("\r\n".to_owned()),
            "[a-z\r\n]{0,40}".prop_map(|body| format!("content-length: {}\r\n\r\n{body}", body.len())),
            proptest::collection::vec("[a-z\r\n]{1,20}", 0..4).prop_map(|chunks| {
                let chunks: String = chunks.iter().map(|chunk| format!("{:x};x\r\n{chunk}\r\n", chunk.len())).collect();
                format!("transfer-encoding: chunked\r\n\r\n{chunks}0\r\ntrailer: 1\r\n\r\n")
            }),
        ];
        ("[A-Z]{1,6}", "/[a-z]{0,20}", body)
            .prop_filter("served", |(method, ..)| method != "TRACE")
            .prop_map(|(method, path, body)| format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{body}").into_bytes())
    }

    proptest! {
        /// However the bytes arrive, each request is handed on whole, alone, and as it was sent.
        #[test]
        fn requests_are_handed_on_one_at_a_time(
            sent in proptest::collection::vec(request(), 1..5),
            pieces in proptest::collection::vec(1usize..200, 1..6),
            room in 1usize..300,
        ) {
            prop_assert_eq!(requests(&sent.concat(), &pieces, room), (sent, None));
        }

        /// How bytes that were never meant to be a request arrive makes no difference to what is made of them.
        #[test]
        fn the_pieces_make_no_difference(
            mut wire in request(),
            hurt in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            pieces in proptest::collection::vec(1usize..50, 1..6),
        ) {
            for (place, byte) in hurt {
                let place = place.index(wire.len());
                wire[place] = byte;
            }
            let whole = requests(&wire, &[wire.len()], 2000);
            let pieced = requests(&wire, &pieces, 2000);
            // What a body has let through before it turned bad cannot be called back.
            if whole.1.is_none() {
                prop_assert_eq!(&whole, &pieced);
            }
            prop_assert_eq!(whole.1, pieced.1);
        }
    }

    #[test]
    fn a_good_request_is_answered_before_a_bad_one_is_refused() {
        let good = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";
        let (handed, refused) = requests(format!("{good}GET /bad HTTP/1.1\r\n\r\n").as_bytes(), &[1000], 1000);
        assert_eq!(handed[0], good.as_bytes());
        assert_eq!(refused, Some(Reason::BadRequest));
        assert_eq!(handed[1], b"GET /bad HTTP/1.1\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn a_whole_uri_is_handed_on_as_its_path_however_it_arrives() {
        let wire =
            b"PUT http://a/x HTTP/1.3\r\nhost: a\r\ncontent-length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let first = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody".to_vec();
        for (pieces, room) in [(1000, 1000), (1, 1000), (1000, 7), (50, 20)] {
            let (handed, refused) = requests(wire, &[pieces], room);
            assert_eq!(refused, None);
            assert_eq!(handed, [first.clone(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()]);
        }
    }

    #[test]
    fn of_a_request_with_a_bad_chunk_in_its_first_bytes_nothing_is_handed_on() {
        let wire = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n";
        let (handed, refused) = requests(wire, &[1000], 1000);
        assert_eq!(refused, Some(Reason::BadRequest));
        assert_eq!(handed, [b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec()]);
    }

    #[test]
    fn what_follows_an_upgrade_is_held_until_the_backend_agrees() {
        let mut inbound = Inbound::new();
        let mut memory = [0; 200];
        let mut buffer = ReadBuf::new(&mut memory);
        buffer.put_slice(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\n\r\nframes");
        inbound.pass(&mut buffer, 0, || LIMITS).unwrap();
        assert!(buffer.filled().ends_with(b"\r\n\r\n") && inbound.held() == b"frames");
        buffer.clear();
        assert!(!inbound.give(&mut buffer));
        inbound.open();
        assert!(inbound.give(&mut buffer));
        assert_eq!(buffer.filled(), b"frames");
    }
}
