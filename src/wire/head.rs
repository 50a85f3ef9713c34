//! The head of a request: its line and its fields, and what body they announce.
//!
//! A head is read line by line as it arrives and is either complete, not yet complete, or refused for a reason. Where
//! its parts are is remembered, so that nobody has to look for them again.
//! Nothing is guessed: no bare LF, no folded lines, no space before a colon, no second `Host` or length. The one
//! liberty is RFC 9110's, section 2.5: a higher minor version of HTTP/1 is read as HTTP/1.1.

use std::ops::Range;

use super::authority::{Authority, Scheme};
use super::body::Body;
use super::bytes::{are_target, are_token, are_value, is_framing_in_disguise, is_token, trimmed};
use crate::failure::Reason;

/// The longest target that the type of URIs takes, less some room.
const LONGEST_TARGET: usize = 65_000;

/// What most requests have fewer of.
const USUAL_FIELDS: usize = 16;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes, line ends and the empty line included.
    pub bytes: usize,
    /// The most fields.
    pub fields: usize,
}

/// A head that is complete and without doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its bytes, from the first of the request line (or of an empty line before it) to the end of the empty line.
    pub length: usize,
    /// The body that follows.
    pub body: Body,
    /// What it asks of the connection.
    pub connection: Connection,
}

/// What a request asks of the connection that it comes on, by its version and by `Connection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The connection is of no use after this request (RFC 9112, section 9.3).
    pub ends: bool,
    /// Another protocol is asked for (RFC 9110, section 7.8). `Upgrade` without its option is not.
    pub upgrade: bool,
}

/// Where a field is in the bytes of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: Range<usize>,
    /// Its value, without the white space around it.
    pub value: Range<usize>,
}

/// As much of a refused head as was understood; what was not has something in its place that any parser takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Understood<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its path and query.
    pub target: &'a [u8],
    /// Whom it is for.
    pub host: Option<&'a [u8]>,
    /// Which form of an answer its client accepts.
    pub accept: Option<&'a [u8]>,
}

/// Reads one head from bytes that may arrive in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where the line that is being read begins.
    line: usize,
    /// Up to here there is no line end that was not dealt with.
    searched: usize,
    method: Option<Range<usize>>,
    request: Option<RequestLine>,
    fields: Vec<Place>,
    host: Option<Range<usize>>,
    accept: Option<Range<usize>>,
    length: Option<u64>,
    coding: Option<Coding>,
    options: Options,
}

/// What the fields of the connection say.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// There is an `Upgrade`.
    protocol: bool,
}

#[derive(Debug)]
struct RequestLine {
    target: Range<usize>,
    form: Form,
    /// HTTP/1.0, which knows no chunks and need not name a host.
    old: bool,
}

/// What a target consists of (RFC 9112, section 3.2).
#[derive(Debug)]
enum Form {
    /// A path, or `*`.
    Origin,
    /// A whole URI, whose authority stands here.
    Absolute(Scheme, Range<usize>),
}

/// The target as whoever is behind us must have it: a path, perhaps with a query, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It stands in the head.
    Here(Range<usize>),
    /// What stands in the head has only a query (RFC 9112, section 3.2.1).
    Root(Range<usize>),
    /// `*`, which does not stand in the head (RFC 9112, section 3.2.4).
    Asterisk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// A list that ends in `chunked`: understood, but not served.
    Others,
}

impl Reader {
    /// Reads on. `bytes` are all that have arrived of the head, and perhaps more, from its beginning. None: it is
    /// not complete yet.
    ///
    /// # Errors
    /// The reason to refuse the request for. Its connection must then be closed: where it ends is in doubt.
    pub fn read(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Head>, Reason> {
        loop {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', rest) else {
                self.searched = bytes.len();
                self.check_beginning(bytes)?;
                self.check_size(bytes.len(), limits)?;
                return Ok(None);
            };
            let end = self.searched + found;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r") else { return Err(Reason::BadRequest) };
            let start = std::mem::replace(&mut self.line, end + 1);
            self.searched = end + 1;
            match (&self.request, line.is_empty()) {
                // RFC 9112, section 2.2: an empty line before the request line is passed over.
                (None, true) => self.check_size(self.line, limits)?,
                (None, false) => {
                    self.check_size(self.line, limits)?;
                    self.request_line(line, start)?;
                }
                (Some(_), true) => {
                    self.check_size(self.line, limits)?;
                    return self.complete(bytes).map(Some);
                }
                (Some(_), false) => {
                    if self.fields.len() >= limits.fields {
                        return Err(Reason::HeaderTooLarge);
                    }
                    self.field(line, start)?;
                }
            }
        }
    }

    /// Whether nothing but empty lines has arrived, which some clients send after a body.
    pub fn has_begun(&self, bytes: &[u8]) -> bool {
        self.request.is_some() || bytes.get(self.line..).is_some_and(|line| !matches!(line, [] | [b'\r']))
    }

    /// The method of a head, once its line was read.
    pub fn method<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.method.clone()?)
    }

    /// The target of a complete head: of a whole URI the path alone (RFC 9112, section 3.2.1).
    pub fn target(&self, bytes: &[u8]) -> Option<Target> {
        let request = self.request.as_ref()?;
        let range = match &request.form {
            Form::Origin => request.target.clone(),
            Form::Absolute(_, authority) => authority.end..request.target.end,
        };
        Some(match bytes.get(range.clone())? {
            [] if self.method(bytes) == Some(b"OPTIONS") => Target::Asterisk,
            [b'/' | b'*', ..] => Target::Here(range),
            _ => Target::Root(range),
        })
    }

    /// Whether a head is one of HTTP/1.0. Every other is taken for one of HTTP/1.1.
    pub fn is_old(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.old)
    }

    /// Where the fields are, in their order.
    pub fn fields(&self) -> &[Place] {
        &self.fields
    }

    /// The host of a target that is a whole URI, where no field names one: in HTTP/1.0 alone.
    pub fn host_of_target(&self) -> Option<Range<usize>> {
        match &self.request.as_ref()?.form {
            Form::Absolute(_, authority) if self.host.is_none() => Some(authority.clone()),
            Form::Absolute(..) | Form::Origin => None,
        }
    }

    /// What was understood of a head that is refused, to be answered and logged as its own.
    pub fn understood<'a>(&self, bytes: &'a [u8]) -> Understood<'a> {
        let get = |range: &Range<usize>| bytes.get(range.clone());
        let line = self.request.as_ref().filter(|line| matches!(line.form, Form::Origin));
        let target = line.and_then(|line| get(&line.target)).filter(|target| target.starts_with(b"/"));
        Understood {
            method: self.method(bytes).unwrap_or(b"-"),
            target: target.unwrap_or(b"/"),
            host: self.host.as_ref().and_then(get),
            accept: self.accept.as_ref().and_then(get),
        }
    }

    /// What cannot become a request is not waited for: a TLS handshake on a plain port, for one.
    fn check_beginning(&self, bytes: &[u8]) -> Result<(), Reason> {
        let first = bytes.get(self.line).filter(|_| self.request.is_none());
        if first.is_some_and(|first| *first != b'\r' && !is_token(*first)) { Err(Reason::BadRequest) } else { Ok(()) }
    }

    fn check_size(&self, bytes: usize, limits: Limits) -> Result<(), Reason> {
        match &self.request {
            _ if bytes <= limits.bytes => Ok(()),
            None => Err(Reason::UriTooLong),
            Some(_) => Err(Reason::HeaderTooLarge),
        }
    }

    /// `method SP request-target SP HTTP-version` (RFC 9112, section 3), single spaces.
    fn request_line(&mut self, line: &[u8], start: usize) -> Result<(), Reason> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::BadRequest);
        };
        if !are_token(method) {
            return Err(Reason::BadRequest);
        }
        let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version else {
            return Err(Reason::BadRequest);
        };
        self.method = Some(start..start + method.len());
        if *major != b'1' {
            return Err(Reason::VersionNotSupported);
        }
        // A tunnel is not what this proxy is for, and an echo of what it adds helps only an attacker.
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Reason::MethodNotAllowed);
        }
        if target.len() > LONGEST_TARGET {
            return Err(Reason::UriTooLong);
        }
        let from = start + method.len() + 1;
        self.request = Some(RequestLine {
            target: from..from + target.len(),
            form: form(method, target, from).ok_or(Reason::BadRequest)?,
            old: *minor == b'0',
        });
        Ok(())
    }

    fn field(&mut self, line: &[u8], start: usize) -> Result<(), Reason> {
        // A line that begins with white space has no name: folding (RFC 9112, section 5.2) is refused by this too.
        let colon = line.iter().position(|byte| !is_token(*byte)).filter(|colon| *colon > 0);
        let (name, rest) = colon.and_then(|colon| line.split_at_checked(colon)).ok_or(Reason::BadRequest)?;
        let [b':', written @ ..] = rest else { return Err(Reason::BadRequest) };
        if !are_value(written) {
            return Err(Reason::BadRequest);
        }
        let value = trimmed(written);
        let blanks = written.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let from = start + name.len() + 1 + if value.is_empty() { 0 } else { blanks };
        let place = Place { name: start..start + name.len(), value: from..from + value.len() };
        match name.len() {
            4 if is(name, b"host") => {
                if self.host.is_some() || Authority::parse(value).is_none() {
                    return Err(Reason::BadRequest);
                }
                self.host = Some(place.value.clone());
            }
            6 if self.accept.is_none() && is(name, b"accept") => self.accept = Some(place.value.clone()),
            7 if is(name, b"upgrade") => self.options.protocol = true,
            10 if is(name, b"connection") => self.options.read(value),
            14 if is(name, b"content-length") => {
                if self.length.is_some() {
                    return Err(Reason::BadRequest);
                }
                self.length = Some(content_length(value).ok_or(Reason::BadRequest)?);
            }
            17 if is(name, b"transfer-encoding") => {
                if self.coding.is_some() {
                    return Err(Reason::BadRequest);
                }
                self.coding = Some(transfer_coding(value).ok_or(Reason::BadRequest)?);
            }
            14 | 17 if is_framing_in_disguise(name) => return Err(Reason::BadRequest),
            _ => {}
        }
        if self.fields.capacity() == 0 {
            self.fields.reserve(USUAL_FIELDS);
        }
        self.fields.push(place);
        Ok(())
    }

    /// All lines are here: what they say together.
    fn complete(&self, bytes: &[u8]) -> Result<Head, Reason> {
        let Some(request) = &self.request else { return Err(Reason::BadRequest) };
        if let Form::Absolute(scheme, authority) = &request.form {
            let asked = bytes.get(authority.clone()).and_then(Authority::parse).ok_or(Reason::BadRequest)?;
            let host = self.host.clone().and_then(|host| Authority::parse(bytes.get(host)?));
            // RFC 9112, section 3.2.2, would have the field ignored; who wrote two names may have meant either.
            if host.is_some_and(|host| !asked.is_same(&host, *scheme)) {
                return Err(Reason::BadRequest);
            }
        }
        if self.host.is_none() && !request.old {
            return Err(Reason::BadRequest);
        }
        let body = match (self.coding, self.length) {
            (None, None) => Body::Complete,
            (None, Some(length)) => Body::of_length(length),
            (Some(_), Some(_)) => return Err(Reason::BadRequest),
            (Some(_), None) if request.old => return Err(Reason::BadRequest),
            (Some(Coding::Others), None) => return Err(Reason::UnknownCoding),
            (Some(Coding::Chunked), None) => Body::in_chunks(),
        };
        let Options { close, keep_alive, upgrade, protocol } = self.options;
        let connection =
            Connection { ends: close || (request.old && !keep_alive), upgrade: upgrade && protocol && !request.old };
        Ok(Head { length: self.line, body, connection })
    }
}

impl Options {
    /// One `Connection`, of which there may be several (RFC 9110, section 7.6.1).
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(trimmed) {
            match option.len() {
                5 => self.close |= is(option, b"close"),
                7 => self.upgrade |= is(option, b"upgrade"),
                10 => self.keep_alive |= is(option, b"keep-alive"),
                _ => {}
            }
        }
    }
}

/// The form of a target that begins at `from`; none if it is none that is served.
fn form(method: &[u8], target: &[u8], from: usize) -> Option<Form> {
    if !are_target(target) {
        return None;
    }
    // A backtick in a path is one that the type of URIs does not take.
    if target.iter().take_while(|byte| **byte != b'?').any(|byte| *byte == b'`') {
        return None;
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        return Some(Form::Origin);
    }
    let colon = memchr::memchr(b':', target)?;
    let (scheme, rest) = target.split_at_checked(colon)?;
    let scheme = match scheme.to_ascii_lowercase().as_slice() {
        b"http" => Scheme::Http,
        b"https" => Scheme::Https,
        _ => return None,
    };
    let rest = rest.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Authority::parse(rest.get(..end)?)?;
    let from = from + colon + 3;
    Some(Form::Absolute(scheme, from..from + end))
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

/// One number that everybody can count to (RFC 9110, section 8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    i64::try_from(length).ok()?;
    Some(length)
}

/// RFC 9112, section 6.1; none where it is not even clear that the body is in chunks.
fn transfer_coding(value: &[u8]) -> Option<Coding> {
    if is(value, b"chunked") {
        return Some(Coding::Chunked);
    }
    let mut codings = value.split(|byte| *byte == b',').map(trimmed).rev();
    let last = codings.next()?;
    let others = codings.all(|coding| are_token(coding) && !is(coding, b"chunked") && !is(coding, b"identity"));
    (is(last, b"chunked") && others).then_some(Coding::Others)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 2000, fields: 10 };

    fn read(head: &[u8]) -> Result<Option<Head>, Reason> {
        Reader::default().read(head, LIMITS)
    }

    #[test]
    fn a_head_says_where_it_ends_and_what_body_follows() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Body::Complete),
            ("\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n", Body::Complete),
            ("GET / HTTP/1.0\r\n\r\n", Body::Complete),
            ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", Body::Complete),
            ("get /{|}^\\%?` HTTP/1.1\r\nhost: a\r\nx:\r\ny: \t z \t\r\n\r\n", Body::Complete),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", Body::Complete),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 007\r\n\r\n", Body::Length(7)),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: \tChunked \r\nhost: a\r\n\r\n", Body::in_chunks()),
            ("GET HTTP://A:80/x HTTP/1.1\r\nhost: a\r\n\r\n", Body::Complete),
            ("GET http://a?x HTTP/1.1\r\nhost: a\r\n\r\n", Body::Complete),
        ] {
            let connection = Connection { ends: head.contains("HTTP/1.0"), upgrade: false };
            let expected = Head { length: head.len(), body, connection };
            let with_more = [head.as_bytes(), b"more"].concat();
            assert_eq!(read(&with_more), Ok(Some(expected)), "{}", head.escape_debug());
            for end in 0..head.len() {
                assert_eq!(read(&head.as_bytes()[..end]), Ok(None), "{}", head[..end].escape_debug());
            }
        }
    }

    #[test]
    fn what_is_in_doubt_is_refused() {
        use Reason::{BadRequest, MethodNotAllowed, UnknownCoding, VersionNotSupported};
        for (line, fields, reason) in [
            ("GET / HTTP/1.1", "", BadRequest),
            ("GET / HTTP/1.1", "host:\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nHost: a\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a b\r\n", BadRequest),
            ("GET / HTTP/1.1", " x: 1\r\nhost: a\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nx: 1\r\n y\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nx : 1\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nx\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\n: x\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nx: \0\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\r\nx: a\rb\r\n", BadRequest),
            ("GET / HTTP/1.1", "host: a\nx: 1\r\n", BadRequest),
            ("GET / HTTP/1.1\n", "host: a\r\n", BadRequest),
            ("GET  / HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET\t/ HTTP/1.1", "host: a\r\n", BadRequest),
            (" GET / HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET / HTTP/1.1 ", "host: a\r\n", BadRequest),
            ("GET / http/1.1", "host: a\r\n", BadRequest),
            ("GET /", "host: a\r\n", BadRequest),
            ("GET / HTTP/2.0", "host: a\r\n", VersionNotSupported),
            ("CONNECT a:443 HTTP/1.1", "host: a\r\n", MethodNotAllowed),
            ("TRACE / HTTP/1.1", "host: a\r\n", MethodNotAllowed),
            ("GET * HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET x HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET a:443 HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET /`?x HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET /#x HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET /\u{e4} HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET ftp://a/ HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET http://u@a/ HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET http:///x HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET http://b/ HTTP/1.1", "host: a\r\n", BadRequest),
            ("GET http://a/ HTTP/1.1", "", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent-length: 5, 5\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent-length: +5\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent-length: \r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent-length: 9223372036854775808\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ncontent_length: 5\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: identity\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: chunked, chunked\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: chunked, gzip\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: , chunked\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: \u{b}chunked\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n", BadRequest),
            ("POST / HTTP/1.1", "host: a\r\ntransfer-encoding: gzip, chunked\r\n", UnknownCoding),
            ("POST / HTTP/1.0", "host: a\r\ntransfer-encoding: chunked\r\n", BadRequest),
        ] {
            let head = format!("{line}\r\n{fields}\r\n");
            assert_eq!(read(head.as_bytes()), Err(reason), "{}", head.escape_debug());
        }
    }

    #[test]
    fn of_a_whole_uri_the_path_is_what_counts() {
        for (line, fields, expected) in [
            ("GET http://A:80/x?y HTTP/1.1", "host: a\r\n", "/x?y"),
            ("GET https://a?y HTTP/1.1", "host: a:443\r\nx:\r\n", "/?y"),
            ("OPTIONS http://a HTTP/1.1", "host: a\r\n", "*"),
            ("GET http://a HTTP/1.0", "", "/"),
            ("GET http://a/ HTTP/1.9", "host: a\r\n", "/"),
            ("OPTIONS * HTTP/1.2", "host: a\r\n", "*"),
            ("GET /http://a HTTP/1.1", "host: a\r\n", "/http://a"),
        ] {
            let head = format!("{line}\r\n{fields}\r\nmore");
            let mut reader = Reader::default();
            assert!(reader.read(head.as_bytes(), LIMITS).unwrap().is_some(), "{line}");
            let target = match reader.target(head.as_bytes()).unwrap() {
                Target::Here(range) => head[range].to_owned(),
                Target::Root(range) => format!("/{}", &head[range]),
                Target::Asterisk => "*".to_owned(),
            };
            assert_eq!(target, expected, "{line}");
            assert_eq!(reader.host_of_target().map(|host| &head[host]), fields.is_empty().then_some("a"), "{line}");
        }
    }

    #[test]
    fn fields_are_where_they_are() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost:a\r\nx:\r\nY: \t z z \t\r\n\t";
        let mut reader = Reader::default();
        assert!(reader.read(&head[..head.len() - 1], LIMITS).unwrap().is_none());
        let text = |range: &Range<usize>| std::str::from_utf8(&head[range.clone()]).unwrap();
        let fields: Vec<_> = reader.fields().iter().map(|place| (text(&place.name), text(&place.value))).collect();
        assert_eq!(fields, [("Host", "a"), ("x", ""), ("Y", "z z")]);
    }

    #[test]
    fn the_end_of_a_connection_and_another_protocol_may_be_asked_for_in_any_of_its_fields() {
        for (version, fields, ends, upgrade) in [
            ("1.1", "", false, false),
            ("1.1", "connection: x\r\nconnection: Close\r\n", true, false),
            ("1.1", "connection: keep-alive, \tclose\r\n", true, false),
            ("1.1", "connection: closed\r\n", false, false),
            ("1.0", "", true, false),
            ("1.0", "connection: Keep-Alive\r\n", false, false),
            ("1.0", "connection: upgrade\r\nupgrade: x\r\n", true, false),
            ("1.1", "upgrade: x\r\n", false, false),
            ("1.1", "upgrade: x\r\nconnection: keep-alive\r\nconnection: Upgrade\r\n", false, true),
            ("1.1", "connection: x-upgrade\r\nupgrade: x\r\n", false, false),
            ("1.1", "connection: upgrade\r\n", false, false),
        ] {
            let head = format!("GET / HTTP/{version}\r\nhost: a\r\n{fields}\r\n");
            let connection = read(head.as_bytes()).unwrap().unwrap().connection;
            assert_eq!(connection, Connection { ends, upgrade }, "{head:?}");
        }
    }

    #[test]
    fn what_grows_beyond_its_limit_is_refused_before_it_ends() {
        let line = format!("GET /{}", "a".repeat(LIMITS.bytes));
        assert_eq!(read(line.as_bytes()), Err(Reason::UriTooLong));
        let field = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(LIMITS.bytes));
        assert_eq!(read(field.as_bytes()), Err(Reason::HeaderTooLarge));
        let fields = format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "x: 1\r\n".repeat(LIMITS.fields));
        assert_eq!(read(fields.as_bytes()), Err(Reason::HeaderTooLarge));
        assert_eq!(read(&b"\r\n".repeat(LIMITS.bytes)), Err(Reason::UriTooLong));
    }

    #[test]
    fn what_cannot_become_a_request_is_not_waited_for() {
        assert_eq!(read(b"\x16\x03\x01"), Err(Reason::BadRequest));
        assert_eq!(read(b"\r\n\0"), Err(Reason::BadRequest));
        assert_eq!(read(b" "), Err(Reason::BadRequest));
    }

    #[test]
    fn of_a_refused_head_what_was_understood_is_told_and_no_more() {
        let understood =
            |method, target, host, accept| Understood { method, target, host: Some(host), accept: Some(accept) };
        for (head, expected) in [
            (
                "GET /x HTTP/1.1\r\naccept: text/html\r\nhost: a\r\nhost: b\r\n",
                understood(b"GET", b"/x", b"a", b"text/html"),
            ),
            ("CONNECT a:443 HTTP/1.1\r\n", Understood { method: b"CONNECT", target: b"/", host: None, accept: None }),
            ("GET /a b HTTP/1.1\r\n", Understood { method: b"-", target: b"/", host: None, accept: None }),
            ("OPTIONS * HTTP/1.1\r\n\r\n", Understood { method: b"OPTIONS", target: b"/", host: None, accept: None }),
            ("GET http://a/x HTTP/1.1\r\n\r\n", Understood { method: b"GET", target: b"/", host: None, accept: None }),
        ] {
            let mut reader = Reader::default();
            assert!(reader.read(head.as_bytes(), LIMITS).is_err(), "{head:?}");
            assert_eq!(reader.understood(head.as_bytes()), expected, "{head:?}");
        }
    }
}
