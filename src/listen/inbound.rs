//! What has been read from a client and belongs to nobody yet, and how it becomes requests: one at a time, and no byte
//! that was not understood.
//!
//! A request that is refused becomes one all the same, with as much of it as was understood and the reason, so that the
//! refusal is answered, logged and counted like any other failure. No sockets here.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use pingora::http::RequestHeader;

use crate::failure::Reason;
use crate::wire::{Body, Connection, Head, Limits, Reader, Target, Understood};

/// Fields for which there is room besides the client's.
const OURS: usize = 8;

/// A request whose head is whole. Large, and handed on a few times: it goes in a box.
#[derive(Debug)]
pub struct Arrived {
    /// Its head.
    pub request: RequestHeader,
    /// What has come of its body with it.
    pub first: Bytes,
    /// The rest of the body.
    pub body: Body,
    /// Lines of the trailers so far.
    pub trailers: Vec<u8>,
    /// Whether it has a body at all.
    pub bodiless: bool,
    /// What it asks of its connection.
    pub connection: Connection,
    /// Why it is refused.
    pub refused: Option<Reason>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Inbound {
    held: Vec<u8>,
    /// Kept only while a head arrives in pieces.
    reader: Option<Box<Reader>>,
}

impl Inbound {
    /// What was read ahead.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Keeps bytes that were read ahead.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Gives up what was read ahead.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Whether a head has begun to arrive.
    pub fn has_begun(&self) -> bool {
        match &self.reader {
            Some(reader) => reader.has_begun(&self.held),
            None => !self.held.is_empty(),
        }
    }

    /// Takes the next request, which began with what is held and goes on with `fresh`. None: its head is not whole yet, and
    /// all of it is held.
    pub fn request(&mut self, fresh: &mut [u8], limits: Limits) -> Option<Box<Arrived>> {
        let mut held = std::mem::take(&mut self.held);
        let first = held.is_empty();
        let bytes = if first {
            fresh
        } else {
            held.extend_from_slice(fresh);
            held.as_mut_slice()
        };
        let mut reader = self.reader.take().map_or_else(Reader::default, |reader| *reader);
        match whole(&mut reader, bytes, limits) {
            Ok(Some((arrived, taken))) => {
                self.hold(bytes.get(taken..).unwrap_or_default());
                Some(arrived)
            }
            Ok(None) => {
                self.held = if first { bytes.to_vec() } else { held };
                self.reader = Some(Box::new(reader));
                None
            }
            Err(reason) => Some(refused(&reader, bytes, reason)),
        }
    }

    /// Refuses the request that is arriving.
    pub fn refuse(&mut self, reason: Reason) -> Box<Arrived> {
        let reader = self.reader.take().unwrap_or_default();
        refused(&reader, &self.take(), reason)
    }
}

/// A request with as much of its body as has arrived, and how many of the bytes it took.
fn whole(reader: &mut Reader, bytes: &mut [u8], limits: Limits) -> Result<Option<(Box<Arrived>, usize)>, Reason> {
    let Some(Head { length, mut body, connection }) = reader.read(bytes, limits)? else { return Ok(None) };
    let (head, rest) = bytes.split_at_mut_checked(length).ok_or(Reason::Internal)?;
    let (bodiless, mut trailers) = (body.is_complete(), Vec::new());
    let decoded = body.decode(rest, &mut trailers)?;
    // What a type of ours does not take, whoever is behind us might not either.
    let request = request(reader, head).ok_or(Reason::BadRequest)?;
    let first = Bytes::copy_from_slice(rest.get(..decoded.data).unwrap_or_default());
    let arrived = Arrived { request, first, body, trailers, bodiless, connection, refused: None };
    Ok(Some((Box::new(arrived), length + decoded.taken)))
}

/// A head as it is passed on: its values stay where they are, in one piece of memory.
fn request(reader: &Reader, head: &[u8]) -> Option<RequestHeader> {
    let bytes = Bytes::copy_from_slice(head);
    let target = match reader.target(head)? {
        Target::Here(range) => PathAndQuery::from_maybe_shared(bytes.slice(range)),
        Target::Root(range) => PathAndQuery::try_from([b"/", head.get(range)?].concat()),
        Target::Asterisk => PathAndQuery::try_from("*"),
    };
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(reader.method(head)?).ok()?;
    parts.uri = Uri::from(target.ok()?);
    parts.version = if reader.is_old() { Version::HTTP_10 } else { Version::HTTP_11 };
    parts.headers = HeaderMap::with_capacity(reader.fields().len() + OURS);
    for place in reader.fields() {
        let name = HeaderName::from_bytes(head.get(place.name.clone())?).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(place.value.clone())).ok()?;
        parts.headers.try_append(name, value).ok()?;
    }
    if let Some(host) = reader.host_of_target() {
        let host = HeaderValue::from_maybe_shared(bytes.slice(host)).ok()?;
        parts.headers.try_insert(header::HOST, host).ok()?;
    }
    Some(RequestHeader::from(parts))
}

/// What stands for a request that is refused.
fn refused(reader: &Reader, bytes: &[u8], reason: Reason) -> Box<Arrived> {
    let Understood { method, target, host, accept } = reader.understood(bytes);
    let mut parts = Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(method).unwrap_or_default();
    parts.uri = PathAndQuery::try_from(target).map(Uri::from).unwrap_or_default();
    for (name, value) in [(header::HOST, host), (header::ACCEPT, accept)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
            parts.headers.insert(name, value);
        }
    }
    Box::new(Arrived {
        request: RequestHeader::from(parts),
        first: Bytes::new(),
        body: Body::Complete,
        trailers: Vec::new(),
        bodiless: true,
        connection: Connection { ends: true, upgrade: false },
        refused: Some(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bytes: 1000, fields: 20 };

    /// What was made of one request.
    #[derive(Debug, PartialEq, Eq)]
    struct Made {
        line: String,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        trailers: Vec<u8>,
        refused: Option<Reason>,
    }

    fn made(arrived: &Arrived) -> Made {
        let Arrived { request, first, trailers, refused, .. } = arrived;
        let fields = request.headers.iter();
        Made {
            line: format!("{} {} {:?}", request.method, request.uri, request.version),
            fields: fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
            body: first.to_vec(),
            trailers: trailers.clone(),
            refused: *refused,
        }
    }

    /// Reads `wire` in pieces of these sizes, as a connection does.
    fn requests(wire: &[u8], pieces: &[usize]) -> Vec<Made> {
        let mut pieces = pieces.iter().cycle();
        let (mut inbound, mut rest, mut all) = (Inbound::default(), wire, Vec::new());
        let mut current: Option<(Made, Body)> = None;
        loop {
            if let Some((request, body)) = current.take() {
                if body.is_complete() {
                    let over = request.refused.is_some();
                    all.push(request);
                    if over {
                        return all;
                    }
                } else {
                    current = Some((request, body));
                }
            }
            let mut piece = inbound.held().to_vec();
            if current.is_some() || inbound.held().is_empty() || inbound.reader.is_some() {
                if rest.is_empty() {
                    all.extend(current.map(|(request, _)| request));
                    return all;
                }
                let (now, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                (piece, rest) = (now.to_vec(), later);
            } else {
                inbound.take();
            }
            match &mut current {
                Some((request, body)) => match body.decode(&mut piece, &mut request.trailers) {
                    Ok(decoded) => {
                        request.body.extend_from_slice(&piece[..decoded.data]);
                        inbound.hold(&piece[decoded.taken..]);
                    }
                    Err(reason) => {
                        request.refused = Some(reason);
                        *body = Body::Complete;
                    }
                },
                None => {
                    let arrived = inbound.request(&mut piece, LIMITS);
                    current = arrived.map(|arrived| (made(&arrived), arrived.body));
                }
            }
        }
    }

    /// A request on the wire, and what is to be made of it.
    fn request() -> impl Strategy<Value = (Vec<u8>, Made)> {
        let body = prop_oneof![
            Just((String::new(), String::new(), String::new(), String::new())),
            "[a-z\r\n]{0,40}"
                .prop_map(|body| { (format!("content-length: {}", body.len()), body.clone(), body, String::new()) }),
            proptest::collection::vec("[a-z\r\n]{1,20}", 0..4).prop_map(|chunks| {
                let wire: String = chunks.iter().map(|chunk| format!("{:x};x\r\n{chunk}\r\n", chunk.len())).collect();
                let wire = format!("{wire}0\r\ntrailer: 1\r\n\r\n");
                ("transfer-encoding: chunked".to_owned(), wire, chunks.concat(), "trailer: 1\r\n\r\n".to_owned())
            }),
        ];
        ("[A-Z]{1,6}", "/[a-z]{0,20}", body).prop_filter("served", |(method, ..)| method != "TRACE").prop_map(
            |(method, path, (framing, wire, body, trailers))| {
                let line = if framing.is_empty() { String::new() } else { format!("{framing}\r\n") };
                let framing = framing.split_once(": ").map(|(name, value)| (name.to_owned(), value.into()));
                let made = Made {
                    line: format!("{method} {path} HTTP/1.1"),
                    fields: [("host".to_owned(), b"a".to_vec())].into_iter().chain(framing).collect(),
                    body: body.into_bytes(),
                    trailers: trailers.into_bytes(),
                    refused: None,
                };
                (format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{line}\r\n{wire}").into_bytes(), made)
            },
        )
    }

    proptest! {
        /// However the bytes arrive, each request is made whole, alone, and as it was sent.
        #[test]
        fn requests_are_made_one_at_a_time(
            sent in proptest::collection::vec(request(), 1..5),
            pieces in proptest::collection::vec(1usize..200, 1..6),
        ) {
            let (wire, expected): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
            prop_assert_eq!(requests(&wire.concat(), &pieces), expected);
        }

        /// How bytes that were never meant to be a request arrive makes no difference to what is made of them.
        #[test]
        fn the_pieces_make_no_difference(
            (mut wire, _) in request(),
            hurt in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            pieces in proptest::collection::vec(1usize..50, 1..6),
        ) {
            for (place, byte) in hurt {
                let place = place.index(wire.len());
                wire[place] = byte;
            }
            let whole = requests(&wire, &[wire.len()]);
            let pieced = requests(&wire, &pieces);
            let refused = |made: &[Made]| made.last().and_then(|made| made.refused);
            // What a body has let through before it turned bad cannot be called back.
            if refused(&whole).is_none() {
                prop_assert_eq!(&whole, &pieced);
            }
            prop_assert_eq!(refused(&whole), refused(&pieced));
        }
    }

    #[test]
    fn a_good_request_is_made_before_a_bad_one_is_refused() {
        let made = requests(b"GET /good HTTP/1.1\r\nhost: a\r\n\r\nGET /bad HTTP/1.1\r\n\r\n", &[1000]);
        let seen: Vec<_> = made.iter().map(|made| (made.line.as_str(), made.refused)).collect();
        assert_eq!(seen, [("GET /good HTTP/1.1", None), ("GET /bad HTTP/1.1", Some(Reason::BadRequest))]);
    }

    #[test]
    fn a_whole_uri_becomes_its_path_however_it_arrives() {
        let wire =
            b"PUT http://a/x HTTP/1.3\r\nhost: a\r\ncontent-length: 4\r\n\r\nbodyGET http://b?q HTTP/1.0\r\n\r\n";
        for pieces in [1000, 1, 50, 7] {
            let made = requests(wire, &[pieces]);
            let seen: Vec<_> = made.iter().map(|made| (made.line.as_str(), made.body.as_slice())).collect();
            assert_eq!(seen, [("PUT /x HTTP/1.1", &b"body"[..]), ("GET /?q HTTP/1.0", b"")]);
            assert_eq!(made[1].fields, [("host".to_owned(), b"b".to_vec())]);
        }
    }

    #[test]
    fn of_a_request_with_a_bad_chunk_in_its_first_bytes_nothing_is_made_but_a_refusal() {
        let wire = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n";
        let made = requests(wire, &[1000]);
        assert_eq!((made.len(), made[0].refused), (1, Some(Reason::BadRequest)));
        assert_eq!((made[0].body.as_slice(), made[0].fields.len()), (&b""[..], 1));
    }

    #[test]
    fn what_follows_an_upgrade_is_held() {
        let mut inbound = Inbound::default();
        let mut wire = *b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nframes";
        let arrived = inbound.request(&mut wire, LIMITS).unwrap();
        assert!(arrived.connection.upgrade && arrived.first.is_empty() && inbound.held() == b"frames");
    }
}
