//! What an HTTP/1.1 client may send, byte by byte, and what becomes of the rest (RFC 9110, RFC 9112): a table.
//!
//! The rule: a request that two readers could read differently reaches no backend, is refused with a reason, and its
//! connection ends. Every other request reaches a backend as it was meant, and nothing else does: what the backend
//! reads strictly must be exactly what the table says, request by request.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Response};
use crate::support::recorder::{Recorder, Seen, State};
use crate::support::{Balancer, eventually};

/// How long an answer, an end, or a request at the backend may take.
const SOON: Duration = Duration::from_secs(5);

/// What the backend gets over and above what the client sent; looked at for every request, and left out of the table.
const OURS: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request on it is served.
    Kept,
    /// It is closed.
    Closed,
}
use After::{Closed, Kept};

struct Case {
    /// RFC and section.
    rfc: &'static str,
    what: &'static str,
    /// What the client sends; each piece once the backend has seen the one before, or had the time to.
    pieces: Vec<Vec<u8>>,
    /// Whether the client closes its side then.
    ends: bool,
    /// The answers, interim ones too.
    statuses: Vec<u16>,
    /// The reason in the last of them, if it is a refusal.
    reason: Option<&'static str>,
    after: After,
    /// The requests that the backend sees, as [`crate::support::strict::Request::told`] has them; with `part of ` before
    /// those that must not become whole, of which only method and target are looked at.
    backend: Vec<String>,
}

impl Case {
    /// What is served, and keeps its connection.
    fn new(rfc: &'static str, what: &'static str, bytes: &str) -> Case {
        let pieces = vec![wire(bytes)];
        Case { rfc, what, pieces, ends: false, statuses: vec![200], reason: None, after: Kept, backend: Vec::new() }
    }

    /// Each of these requests is seen by the backend.
    fn seen(mut self, requests: &[&str]) -> Case {
        self.backend = requests.iter().map(|request| (*request).to_owned()).collect();
        self.answered(&vec![200; requests.len()])
    }

    fn answered(mut self, statuses: &[u16]) -> Case {
        self.statuses = statuses.to_vec();
        self
    }

    /// The last request is refused for this reason.
    fn refused(mut self, status: u16, reason: &'static str) -> Case {
        self.statuses = vec![200; self.backend.len()];
        self.statuses.push(status);
        self.reason = Some(reason);
        self.closed()
    }

    fn closed(mut self) -> Case {
        self.after = Closed;
        self
    }

    /// The client sends this later.
    fn then(mut self, bytes: &str) -> Case {
        self.pieces.push(wire(bytes));
        self
    }

    /// The client closes its side when it has sent everything.
    fn ends(mut self) -> Case {
        self.ends = true;
        self.closed()
    }
}

/// Each character as the byte of its number.
fn wire(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("a byte")).collect()
}

/// What a laxer reader would find behind a request in doubt.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn bad(rfc: &'static str, what: &'static str, bytes: &str) -> Case {
    Case::new(rfc, what, bytes).refused(400, "bad_request")
}

/// A request with this line, refused.
fn line(rfc: &'static str, what: &'static str, line: &str) -> Case {
    bad(rfc, what, &format!("{line}\r\nHost: a\r\n\r\n"))
}

/// A request with this target, refused.
fn target(rfc: &'static str, what: &'static str, target: &str) -> Case {
    line(rfc, what, &format!("GET {target} HTTP/1.1"))
}

/// A request with this line among its fields, refused.
fn field(rfc: &'static str, what: &'static str, field: &str) -> Case {
    bad(rfc, what, &format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\nX-Last: 1\r\n\r\n"))
}

/// A request with this value of `Host`, refused.
fn host(rfc: &'static str, what: &'static str, host: &str) -> Case {
    bad(rfc, what, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

/// A request with these lines on its length, with a body and what could be taken for a request behind it.
fn length(rfc: &'static str, what: &'static str, lines: &str) -> Case {
    let body = if lines.to_ascii_lowercase().contains("chunked") { "5\r\nhello\r\n0\r\n\r\n" } else { "hello" };
    bad(rfc, what, &format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{body}{SMUGGLED}"))
}

/// Of a request of this target, whose end never comes, the backend may see a part or nothing, and some time later.
const PERHAPS: &str = "POST /perhaps HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A body in these chunks, refused; nothing of it reaches the backend, since it came with its head.
fn chunks(rfc: &'static str, what: &'static str, body: &str) -> Case {
    bad(rfc, what, &format!("{CHUNKED}{body}{SMUGGLED}"))
}

/// The same, some time after the head: the backend has that, and must never take it for a whole request.
fn late_chunks(rfc: &'static str, what: &'static str, first: &str, rest: &str) -> Case {
    let mut case = bad(rfc, what, &format!("{CHUNKED}{first}")).then(&format!("{rest}{SMUGGLED}"));
    case.backend = vec!["part of POST /".to_owned()];
    case
}

/// A body in these chunks, which the backend gets as `body`.
fn taken_chunks(rfc: &'static str, what: &'static str, chunks: &str, body: &str) -> Case {
    let case = Case::new(rfc, what, &format!("{CHUNKED}{chunks}"));
    case.seen(&[&format!("POST / | host: a | transfer-encoding: chunked{body}")])
}

/// A GET with these lines beside its host, which the backend gets as these.
fn taken(rfc: &'static str, what: &'static str, lines: &str, seen: &str) -> Case {
    Case::new(rfc, what, &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).seen(&[&format!("GET / | {seen}")])
}

/// A GET of this target, whose path the backend gets in its one form.
fn normal_target(rfc: &'static str, what: &'static str, target: &str, forwarded: &str) -> Case {
    Case::new(rfc, what, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .seen(&[&format!("GET {forwarded} | host: a")])
}

/// A GET of this target, which the backend gets as it is.
fn taken_target(rfc: &'static str, what: &'static str, target: &str) -> Case {
    Case::new(rfc, what, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .seen(&[&format!("GET {target} | host: a")])
}

#[rustfmt::skip] // One case, one line.
fn lengths() -> Vec<Case> {
    vec![
        length("9112 6.3", "a length before chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        length("9112 6.3", "a length after chunks", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        length("9112 6.3", "a length of nothing beside chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        length("9112 6.3", "a length beside chunks, in odd letters", "cOnTeNt-lEnGtH: 5\r\ntRaNsFeR-eNcOdInG: cHuNkEd"),
        length("9112 6.3", "a length and chunks far from each other", "Content-Length: 5\r\nA: 1\r\nB: 2\r\nTransfer-Encoding: chunked"),
        length("9112 6.3", "a length beside another coding", "Content-Length: 5\r\nTransfer-Encoding: identity"),
        length("9110 8.6", "the same length twice", "Content-Length: 5\r\nContent-Length: 5"),
        length("9110 8.6", "two lengths, the right one first", "Content-Length: 5\r\nContent-Length: 42"),
        length("9110 8.6", "two lengths, the right one last", "Content-Length: 0\r\nContent-Length: 5"),
        length("9110 8.6", "two lengths, far from each other", "Content-Length: 5\r\nX: 1\r\ncontent-length: 0"),
        length("9110 8.6", "the same length twice in one field", "Content-Length: 5, 5"),
        length("9110 8.6", "two lengths in one field", "Content-Length: 5,6"),
        length("9110 8.6", "a comma behind the length", "Content-Length: 5,"),
        length("9110 8.6", "a comma before the length", "Content-Length: ,5"),
        length("9110 8.6", "a plus sign", "Content-Length: +5"),
        length("9110 8.6", "a negative length", "Content-Length: -5"),
        length("9110 8.6", "minus nothing", "Content-Length: -0"),
        length("9110 8.6", "a hexadecimal length", "Content-Length: 0x5"),
        length("9110 8.6", "hexadecimal digits", "Content-Length: 5a"),
        length("9110 8.6", "a length with a fraction", "Content-Length: 5.0"),
        length("9110 8.6", "a length with an exponent", "Content-Length: 5e0"),
        length("9110 8.6", "digits with an underscore", "Content-Length: 0_5"),
        length("9110 8.6", "a length with a space in it", "Content-Length: 5 5"),
        length("9110 8.6", "a length with a tab in it", "Content-Length: 5\t5"),
        length("9110 8.6", "an empty length", "Content-Length:"),
        length("9110 8.6", "a length of spaces", "Content-Length:   "),
        length("9110 8.6", "a quoted length", "Content-Length: \"5\""),
        length("9110 8.6", "a length with a parameter", "Content-Length: 5;a"),
        length("9110 8.6", "a word", "Content-Length: five"),
        length("9110 8.6", "full-width digits", "Content-Length: \u{ef}\u{bc}\u{95}"),
        length("9110 8.6", "a no-break space before the length", "Content-Length: \u{a0}5"),
        length("9110 8.6", "2^63", "Content-Length: 9223372036854775808"),
        length("9110 8.6", "2^64 and 5", "Content-Length: 18446744073709551621"),
        length("9110 8.6", "thirty digits", "Content-Length: 100000000000000000000000000005"),
        length("9112 5.1", "a vertical tab before the length", "Content-Length: \u{b}5"),
        length("9112 5.1", "a length with an underscore for the hyphen", "Content_Length: 5"),
        length("9112 5.1", "a length with a space before the colon", "Content-Length : 5"),
        length("9112 5.1", "an underscore beside a true length", "Content-Length: 5\r\nContent_Length: 0"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn codings() -> Vec<Case> {
    vec![
        length("9112 6.1", "identity", "Transfer-Encoding: identity"),
        length("9112 6.1", "identity before chunked", "Transfer-Encoding: identity, chunked"),
        length("9112 6.1", "gzip alone", "Transfer-Encoding: gzip"),
        length("9112 6.1", "a letter before chunked", "Transfer-Encoding: xchunked"),
        length("9112 6.1", "a letter behind chunked", "Transfer-Encoding: chunkedx"),
        length("9112 6.1", "chunked in two words", "Transfer-Encoding: chu nked"),
        length("9112 6.1", "chunked twice in one field", "Transfer-Encoding: chunked, chunked"),
        length("9112 6.1", "chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        length("9112 6.1", "chunked and identity in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        length("9112 6.1", "identity and chunked in two fields", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        length("9112 6.1", "gzip and chunked in two fields", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
        length("9112 6.1", "another coding after chunked", "Transfer-Encoding: chunked, gzip"),
        length("9112 6.1", "a comma before chunked", "Transfer-Encoding: , chunked"),
        length("9112 6.1", "a comma behind chunked", "Transfer-Encoding: chunked,"),
        length("9112 6.1", "no coding", "Transfer-Encoding:"),
        length("9112 6.1", "no coding in a second field", "Transfer-Encoding: chunked\r\nTransfer-Encoding:"),
        length("9112 7", "chunked with a parameter", "Transfer-Encoding: chunked;a=b"),
        length("9112 7", "chunked with an empty parameter", "Transfer-Encoding: chunked;"),
        length("9112 7", "chunked in quotes", "Transfer-Encoding: \"chunked\""),
        length("9112 7", "a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked"),
        length("9112 7", "a form feed behind chunked", "Transfer-Encoding: chunked\u{c}"),
        length("9112 7", "a no-break space before chunked", "Transfer-Encoding: \u{a0}chunked"),
        length("9112 7", "NUL behind chunked", "Transfer-Encoding: chunked\0"),
        length("9112 7", "DEL behind chunked", "Transfer-Encoding: chunked\u{7f}"),
        length("9112 5.1", "the coding with a space before the colon", "Transfer-Encoding : chunked"),
        length("9112 5.1", "the coding with a tab before the colon", "Transfer-Encoding\t: chunked"),
        length("9112 5.1", "the coding with an underscore for the hyphen", "Transfer_Encoding: chunked"),
        length("9112 5.1", "such a one beside a true length", "Content-Length: 5\r\nTransfer_Encoding: chunked"),
        length("9112 5.2", "the coding on a folded line", "Transfer-Encoding:\r\n chunked"),
        length("9112 5.2", "the coding folded into another field", "X: y\r\n Transfer-Encoding: chunked"),
        length("9112 2.2", "the coding behind a bare LF", "X: y\nTransfer-Encoding: chunked"),
        length("9112 2.2", "the coding behind a bare CR", "X: y\rTransfer-Encoding: chunked"),
        bad("9112 6.1", "chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        bad("9112 6.1", "chunks and a length in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        length("9112 6.1", "another coding before chunked", "Transfer-Encoding: gzip, chunked").refused(501, "unknown_coding"),
        length("9112 6.1", "two codings before chunked", "Transfer-Encoding: deflate , gzip,chunked").refused(501, "unknown_coding"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn lines_and_fields() -> Vec<Case> {
    vec![
        bad("9112 2.2", "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        bad("9112 2.2", "bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"),
        bad("9112 2.2", "bare LF for the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        bad("9112 2.2", "bare LF for every line", "GET / HTTP/1.1\nHost: a\n\n"),
        bad("9112 2.2", "bare LF before the request line", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("9112 2.2", "bare CR before the request line", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        bad("9112 2.2", "bare CR for a line end", "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n"),
        bad("9112 2.2", "bare CR for every line end", "GET / HTTP/1.1\rHost: a\r\r\n\r\n"),
        field("9112 2.2", "bare CR in a value", "X: a\rb"),
        field("9112 2.2", "bare CR at the end of a value", "X: a\r"),
        field("9112 2.2", "bare CR in a name", "X\rY: a"),
        field("9112 2.2", "LF and CR the wrong way round", "X: a\n\rY: b"),
        field("9110 5.5", "NUL in a value", "X: a\0b"),
        field("9110 5.5", "NUL at the end of a value", "X: a\0"),
        field("9110 5.5", "a byte of 1 in a value", "X: a\u{1}b"),
        field("9110 5.5", "a backspace in a value", "X: a\u{8}b"),
        field("9110 5.5", "a vertical tab in a value", "X: a\u{b}b"),
        field("9110 5.5", "a form feed in a value", "X: a\u{c}b"),
        field("9110 5.5", "an escape in a value", "X: a\u{1b}b"),
        field("9110 5.5", "a byte of 31 in a value", "X: a\u{1f}b"),
        field("9110 5.5", "DEL in a value", "X: a\u{7f}b"),
        field("9110 5.1", "NUL in a name", "X\0: a"),
        field("9110 5.1", "DEL in a name", "X\u{7f}: a"),
        field("9110 5.1", "a space in a name", "X Y: a"),
        field("9110 5.1", "a byte beyond ASCII in a name", "X\u{e4}: a"),
        field("9110 5.1", "a parenthesis in a name", "X(y): a"),
        field("9110 5.1", "a comma in a name", "X,Y: a"),
        field("9110 5.1", "a slash in a name", "X/Y: a"),
        field("9110 5.1", "a semicolon in a name", "X;Y: a"),
        field("9110 5.1", "an equals sign in a name", "X=Y: a"),
        field("9110 5.1", "an at sign in a name", "X@Y: a"),
        field("9110 5.1", "a bracket in a name", "X[0]: a"),
        field("9110 5.1", "a brace in a name", "{X}: a"),
        field("9110 5.1", "a quote in a name", "\"X\": a"),
        field("9110 5.1", "a question mark in a name", "X?: a"),
        field("9110 5.1", "a backslash in a name", "X\\: a"),
        field("9110 5.1", "an empty name", ": a"),
        field("9112 5.1", "a space before the colon", "X : a"),
        field("9112 5.1", "a tab before the colon", "X\t: a"),
        field("9112 5", "no colon", "word"),
        field("9112 5", "a request line among the fields", "GET /smuggled HTTP/1.1"),
        field("9112 5.2", "a value folded with a space", "X: a\r\n b"),
        field("9112 5.2", "a value folded with a tab", "X: a\r\n\tb"),
        field("9112 5.2", "a folded line of nothing", "X: a\r\n "),
        bad("9112 2.2", "white space before the first field", "GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n"),
        bad("9112 2.2", "a tab before the first field", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n"),
        bad("9112 2.2", "a line of white space before the first field", "GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn hosts() -> Vec<Case> {
    vec![
        bad("9112 3.2", "no host", "GET / HTTP/1.1\r\n\r\n"),
        bad("9112 3.2", "no host, but one in the target", "GET http://a/ HTTP/1.1\r\n\r\n"),
        bad("9112 3.2", "the same host twice", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        bad("9112 3.2", "two hosts", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nhost: b\r\n\r\n"),
        bad("9112 3.2", "a host and an empty one", "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n"),
        bad("9112 3.2", "two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        bad("9112 3.2", "a bad host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
        host("9112 3.2", "an empty host", ""),
        host("9112 3.2", "a host of spaces", "  "),
        host("9110 4.2.4", "user information", "user@a"),
        host("9110 4.2.4", "user and password", "user:secret@a"),
        host("9110 7.2", "a space in the host", "a b"),
        host("9110 7.2", "a tab in the host", "a\tb"),
        host("9110 7.2", "two hosts in one field", "a, b"),
        host("9110 7.2", "a comma and no space", "a,b"),
        host("9110 7.2", "a path behind the host", "a/b"),
        host("9110 7.2", "a query behind the host", "a?b"),
        host("9110 7.2", "a fragment behind the host", "a#b"),
        host("9110 7.2", "a whole URI", "http://a/"),
        host("9110 7.2", "a backslash in the host", "a\\b"),
        host("9110 7.2", "a quoted host", "\"a\""),
        host("9110 7.2", "angle brackets", "<a>"),
        host("3986 3.2.2", "percent-encoding in the host", "a%2eb"),
        host("3986 3.2.2", "bytes beyond ASCII in the host", "b\u{c3}\u{bc}cher.example"),
        host("3986 3.2.3", "a port without a host", ":80"),
        host("3986 3.2.3", "a port of letters", "a:http"),
        host("3986 3.2.3", "a hexadecimal port", "a:0x50"),
        host("3986 3.2.3", "a negative port", "a:-1"),
        host("3986 3.2.3", "a port above 65535", "a:65536"),
        host("3986 3.2.3", "two ports", "a:80:80"),
        host("3986 3.2.3", "a space before the port", "a: 80"),
        host("3986 3.2.2", "an IPv6 address without brackets", "::1"),
        host("3986 3.2.2", "an IPv6 address that does not end", "[::1"),
        host("3986 3.2.2", "an IPv6 address that does not begin", "::1]"),
        host("3986 3.2.2", "an IPv6 address that is none", "[::g]"),
        host("3986 3.2.2", "an IPv6 address with two gaps", "[1::2::3]"),
        host("3986 3.2.2", "an IPv4 address in brackets", "[127.0.0.1]"),
        host("3986 3.2.2", "empty brackets", "[]"),
        host("3986 3.2.2", "a name behind an IPv6 address", "[::1]a"),
        host("6874 2", "an IPv6 address with a zone", "[fe80::1%25eth0]"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn targets() -> Vec<Case> {
    vec![
        target("9112 3.2.2", "an absolute form with another host", "http://b/"),
        target("9112 3.2.2", "an absolute form with another port", "http://a:8080/"),
        target("9112 3.2.2", "an absolute form with the default port of another scheme", "https://a:80/"),
        target("9112 3.2.2", "an absolute form with a host that begins as the field does", "http://a.example/"),
        target("9110 4.2.4", "an absolute form with user information", "http://user@a/"),
        target("9110 4.2.4", "an absolute form whose user looks like the host", "http://a:80@b/"),
        target("9112 3.2.2", "another scheme", "ftp://a/"),
        target("9112 3.2.2", "a file", "file:///etc/passwd"),
        target("9112 3.2.2", "a script", "javascript:alert(1)"),
        target("9112 3.2.2", "an absolute form without a host", "http:///x"),
        target("9112 3.2.2", "an absolute form with a port alone", "http://:80/x"),
        target("9112 3.2.2", "an absolute form with one slash", "http:/a/x"),
        target("9112 3.2.2", "an absolute form without slashes", "http:a"),
        target("9112 3.2.2", "an absolute form with a bad port", "http://a:x/"),
        target("9112 3.2", "a word", "x"),
        target("9112 3.2", "a path without its slash", "x/y"),
        target("9112 3.2", "a query alone", "?x"),
        target("9112 3.2", "a backslash for the slash", "\\x"),
        target("9112 3.2", "a fragment", "/x#y"),
        target("9112 3.2", "an empty fragment", "/#"),
        target("9112 3.2.4", "the star of a GET", "*"),
        line("9112 3.2.4", "more than the star", "OPTIONS *x HTTP/1.1"),
        line("9112 3.2.4", "the star behind a slash, and a space", "OPTIONS / * HTTP/1.1"),
        target("9112 3.2.3", "an authority without CONNECT", "a:80"),
        target("9112 3.2.3", "a host without CONNECT", "a.example"),
        target("9112 3.2", "a space in the target", "/a b"),
        target("9112 3.2", "a tab in the target", "/a\tb"),
        target("9112 3.2", "a line end in the target", "/a\r\nX: 1\r\nY:"),
        target("9112 3.2", "a bare CR in the target", "/a\rb"),
        target("9112 3.2", "NUL in the target", "/a\0b"),
        target("9112 3.2", "a byte of 1 in the target", "/a\u{1}b"),
        target("9112 3.2", "DEL in the target", "/a\u{7f}b"),
        target("3986 3.3", "a quote in the target", "/a\"b"),
        target("3986 3.3", "angle brackets in the target", "/<script>"),
        target("3986 2", "UTF-8 in the target", "/\u{c3}\u{a4}"),
        target("3986 2", "a byte of 128 in the target", "/\u{80}"),
        target("3986 2", "a byte of 255 in the query", "/?\u{ff}"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn request_lines() -> Vec<Case> {
    vec![
        line("9112 3", "two spaces before the target", "GET  / HTTP/1.1"),
        line("9112 3", "two spaces before the version", "GET /  HTTP/1.1"),
        line("9112 3", "a tab before the target", "GET\t/ HTTP/1.1"),
        line("9112 3", "a tab before the version", "GET /\tHTTP/1.1"),
        line("9112 3", "a vertical tab for a space", "GET\u{b}/ HTTP/1.1"),
        line("9112 3", "a no-break space for a space", "GET\u{a0}/ HTTP/1.1"),
        line("9112 3", "a space behind the version", "GET / HTTP/1.1 "),
        line("9112 3", "a space before the method", " GET / HTTP/1.1"),
        line("9112 3", "a tab before the method", "\tGET / HTTP/1.1"),
        line("9112 3", "no target", "GET HTTP/1.1"),
        line("9112 3", "no method", "/ HTTP/1.1"),
        line("9112 3", "a fourth word", "GET / HTTP/1.1 x"),
        line("9112 3", "a request line twice", "GET / HTTP/1.1 GET / HTTP/1.1"),
        line("9110 9.1", "an at sign in the method", "G@T / HTTP/1.1"),
        line("9110 9.1", "a parenthesis in the method", "GET( / HTTP/1.1"),
        line("9110 9.1", "a slash in the method", "GET/POST / HTTP/1.1"),
        line("9110 9.1", "a colon in the method", "GET: / HTTP/1.1"),
        line("9110 9.1", "a quoted method", "\"GET\" / HTTP/1.1"),
        line("9110 9.1", "a byte beyond ASCII in the method", "G\u{cb}T / HTTP/1.1"),
        line("9110 9.1", "NUL in the method", "GE\0T / HTTP/1.1"),
        line("9112 2.3", "no version", "GET /"),
        line("9112 2.3", "an empty version", "GET / "),
        line("9112 2.3", "a version in small letters", "GET / http/1.1"),
        line("9112 2.3", "a version in mixed letters", "GET / Http/1.1"),
        line("9112 2.3", "another protocol", "GET / HTTPS/1.1"),
        line("9112 2.3", "a protocol misspelt", "GET / HTP/1.1"),
        line("9112 2.3", "a version without the name", "GET / 1.1"),
        line("9112 2.3", "a version without a point", "GET / HTTP/11"),
        line("9112 2.3", "a version without a minor one", "GET / HTTP/1."),
        line("9112 2.3", "a version with a major one alone", "GET / HTTP/1"),
        line("9112 2.3", "a version with a comma", "GET / HTTP/1,1"),
        line("9112 2.3", "a minor version of two digits", "GET / HTTP/1.10"),
        line("9112 2.3", "a major version of two digits", "GET / HTTP/01.1"),
        line("9112 2.3", "a negative version", "GET / HTTP/-1.1"),
        line("9112 2.3", "letters behind the version", "GET / HTTP/1.1x"),
        line("9112 2.3", "NUL behind the version", "GET / HTTP/1.1\0"),
        line("9112 2.3", "a space in the version", "GET / HTTP /1.1"),
        bad("1945 4.1", "a simple request of HTTP/0.9", "GET /\r\n"),
        bad("9112 2.1", "a handshake of TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}"),
        bad("9112 2.1", "a word of another protocol", "EHLO a.example\r\n"),
        bad("9112 2.1", "bytes of no sense", "\u{ff}\u{fe}\0\0\r\n\r\n"),
        line("9110 2.5", "HTTP/2.0", "GET / HTTP/2.0").refused(505, "version_not_supported"),
        line("9110 2.5", "HTTP/3.0", "GET / HTTP/3.0").refused(505, "version_not_supported"),
        line("9110 2.5", "HTTP/0.9 in words", "GET / HTTP/0.9").refused(505, "version_not_supported"),
        line("9110 2.5", "HTTP/9.9", "GET / HTTP/9.9").refused(505, "version_not_supported"),
        line("9110 9.3.6", "CONNECT", "CONNECT a:443 HTTP/1.1").refused(405, "method_not_allowed"),
        line("9110 9.3.6", "CONNECT to itself", "CONNECT a HTTP/1.1").refused(405, "method_not_allowed"),
        line("9110 9.3.6", "CONNECT of a path", "CONNECT / HTTP/1.1").refused(405, "method_not_allowed"),
        line("9110 9.3.8", "TRACE", "TRACE / HTTP/1.1").refused(405, "method_not_allowed"),
        line("9110 9.3.8", "TRACE in HTTP/1.0", "TRACE / HTTP/1.0").refused(405, "method_not_allowed"),
    ]
}

/// The listener's limits at their defaults.
const HEADER_BYTES: usize = 64 << 10;
const HEADER_FIELDS: usize = 100;
/// The longest target.
const TARGET_BYTES: usize = 65_000;

fn sizes() -> Vec<Case> {
    let of_target = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
    let asking = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let longest = of_target(TARGET_BYTES);
    // A head of so many bytes in all.
    let of_head = |bytes: usize| {
        let value = "x".repeat(bytes - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len());
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n"), value)
    };
    let (largest, value) = of_head(HEADER_BYTES);
    let of_fields = |count: usize| {
        let fields = "X: 1\r\n".repeat(count - 1);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    let all_fields = format!("GET / | host: a{}", " | x: 1".repeat(HEADER_FIELDS - 1));
    let long_name = "X".repeat(4000);
    vec![
        Case::new("9110 4.1", "the longest target", &asking(&longest)).seen(&[&format!("GET {longest} | host: a")]),
        Case::new("9110 15.5.15", "a longer target", &asking(&of_target(TARGET_BYTES + 1)))
            .refused(414, "uri_too_long"),
        Case::new("9110 15.5.15", "a target that does not end", &of_target(2 * HEADER_BYTES).replacen('/', "GET /", 1))
            .refused(414, "uri_too_long"),
        Case::new("9110 15.5.15", "empty lines that do not end", &"\r\n".repeat(HEADER_BYTES))
            .refused(414, "uri_too_long"),
        Case::new("9110 5.4", "the largest head", &largest).seen(&[&format!("GET / | host: a | x: {value}")]),
        Case::new("6585 5", "a larger head", &of_head(HEADER_BYTES + 1).0).refused(431, "header_too_large"),
        Case::new("6585 5", "a field that does not end", &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}{value}"))
            .refused(431, "header_too_large"),
        Case::new("6585 5", "a name that does not end", &format!("GET / HTTP/1.1\r\nHost: a\r\n{value}{value}"))
            .refused(431, "header_too_large"),
        Case::new("9110 5.4", "the most fields", &of_fields(HEADER_FIELDS)).seen(&[&all_fields]),
        Case::new("6585 5", "one more field", &of_fields(HEADER_FIELDS + 1)).refused(431, "header_too_large"),
        Case::new("6585 5", "fields that do not end", &"X: 1\r\n".repeat(5000).replacen("X: 1", "GET / HTTP/1.1", 1))
            .refused(431, "header_too_large"),
        taken("9110 5.1", "a long name", &format!("{long_name}: 1\r\n"), &format!("host: a | {}: 1", "x".repeat(4000))),
    ]
}

#[rustfmt::skip] // One case, one line.
fn bad_chunks() -> Vec<Case> {
    let overlong = format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(300));
    let endless = "X: 1\r\n".repeat(2000);
    vec![
        chunks("9112 7.1", "an empty size", "\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size with a plus sign", "+5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a space behind the size", "5 \r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a space in the size", "0 5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size that is no number", "five\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size with an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size with a point", "5.0\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size with a comma", "5,5\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "NUL behind the size", "5\0\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a vertical tab behind the size", "5\u{b}\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size of seventeen digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size of 2^64 and 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size of 2^63", "8000000000000000\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "a size of nearly 2^64", "fffffffffffffffb\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 2.2", "bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        chunks("9112 2.2", "bare CR behind the size", "5\rhello\r\n0\r\n\r\n"),
        chunks("9112 2.2", "two CR behind the size", "5\r\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1", "no line end behind the data", "5\r\nhello0\r\n\r\n"),
        chunks("9112 2.2", "bare LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        chunks("9112 2.2", "bare CR behind the data", "5\r\nhello\r0\r\n\r\n"),
        chunks("9112 7.1", "more data than the size", "5\r\nhello!\r\n0\r\n\r\n"),
        chunks("9112 7.1", "less data than the size", "6\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 2.2", "bare LF behind the last chunk", "5\r\nhello\r\n0\n\r\n"),
        chunks("9112 2.2", "bare LF at the very end", "5\r\nhello\r\n0\r\n\n"),
        chunks("9112 7.1.1", "a semicolon alone", "5;\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "two semicolons", "5;;a\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "an extension without a name", "5;=a\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "an extension without a value", "5;a=\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "an extension with two values", "5;a=b=c\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "two words in an extension", "5;a b\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "a quote that does not end", "5;a=\"b\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "a line end in quotes", "5;a=\"b\r\nc\"\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "white space behind an extension", "5;a=b \r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "letters behind a quoted value", "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "bare LF in an extension, data behind it", "2;\nxx\r\n4c\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "a control byte in a quoted value", "5;a=\"\u{1}\"\r\nhello\r\n0\r\n\r\n"),
        chunks("9112 7.1.1", "an extension of 300 bytes", &overlong),
        chunks("9112 7.1.2", "a trailer without a colon", "0\r\nword\r\n\r\n"),
        chunks("9112 7.1.2", "a trailer that is a request line", "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        chunks("9112 7.1.2", "a trailer with a space before the colon", "0\r\nX : 1\r\n\r\n"),
        chunks("9112 7.1.2", "a trailer without a name", "0\r\n: 1\r\n\r\n"),
        chunks("9112 7.1.2", "a trailer behind white space", "0\r\n X: 1\r\n\r\n"),
        chunks("9112 7.1.2", "a folded trailer", "0\r\nX: 1\r\n 2\r\n\r\n"),
        chunks("9112 7.1.2", "bare LF behind a trailer", "0\r\nX: 1\nY: 2\r\n\r\n"),
        chunks("9112 7.1.2", "bare CR in a trailer", "0\r\nX: 1\rY: 2\r\n\r\n"),
        chunks("9112 7.1.2", "NUL in a trailer", "0\r\nX: \0\r\n\r\n"),
        chunks("9110 6.5.1", "a length in a trailer", "0\r\nContent-Length: 5\r\n\r\n"),
        chunks("9110 6.5.1", "a coding in a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunks("9110 6.5.1", "a host in a trailer", "0\r\nhost: b\r\n\r\n"),
        late_chunks("9112 7.1.2", "trailers that do not end", "5\r\nhello\r\n0\r\n", &endless),
        late_chunks("9112 7.1", "an empty size, later", "", "\r\nhello\r\n0\r\n\r\n"),
        late_chunks("9112 7.1", "a size with 0x, later", "5\r\nhello\r\n", "0x0\r\n\r\n"),
        late_chunks("9112 7.1", "bare LF behind the size, later", "5\r\nhello\r\n", "0\n\r\n"),
        late_chunks("9112 7.1", "a size that overflows, later", "5\r\nhello\r\n", "fffffffffffffffff\r\n"),
        late_chunks("9112 7.1", "more data than the size, later", "5\r\nhello", "!\r\n0\r\n\r\n"),
        late_chunks("9112 7.1", "a line end cut in two, later", "5\r\nhello\r", "0\r\n\r\n"),
        late_chunks("9112 7.1.1", "an odd extension, later", "5\r\nhello\r\n", "5;a=\r\nhello\r\n0\r\n\r\n"),
        late_chunks("9112 7.1.2", "a trailer without a colon, later", "5\r\nhello\r\n0\r\n", "word\r\n\r\n"),
        late_chunks("9110 6.5.1", "a length in a trailer, later", "5\r\nhello\r\n0\r\nContent-", "Length: 5\r\n\r\n"),
    ]
}

#[rustfmt::skip] // One case, one line.
fn served() -> Vec<Case> {
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 5000, "x".repeat(5000));
    vec![
        taken("9112 3", "the least request", "", "host: a"),
        Case::new("9112 2.2", "an empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9112 2.2", "several empty lines first", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9112 2.2", "an empty line behind a body, as some clients send", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n").seen(&["POST / | content-length: 5 | host: a || hello"]),
        // Methods.
        Case::new("9110 9.3.2", "HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["HEAD / | host: a"]),
        Case::new("9110 9.3.5", "DELETE", "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["DELETE /x | host: a"]),
        Case::new("9110 9.3.5", "DELETE with a body", "DELETE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").seen(&["DELETE /x | content-length: 5 | host: a || hello"]),
        Case::new("9110 9.3.1", "GET with a body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").seen(&["GET / | content-length: 5 | host: a || hello"]),
        Case::new("9110 9.3.1", "GET in chunks", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").seen(&["GET / | host: a | transfer-encoding: chunked || hello"]),
        Case::new("9110 9.3.2", "HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").seen(&["HEAD / | content-length: 5 | host: a || hello"]),
        Case::new("9110 9.1", "a method that nobody knows", "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["BREW /pot | host: a"]),
        Case::new("9110 9.1", "a method in small letters, which is another", "get / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["get / | host: a"]),
        Case::new("9110 9.1", "every byte of a token in the method", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["!#$%&'*+-.^_`|~09azAZ / | host: a"]),
        Case::new("9110 9.3.7", "OPTIONS of everything", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["OPTIONS * | host: a"]),
        Case::new("9110 9.3.7", "OPTIONS of a path", "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["OPTIONS /x | host: a"]),
        Case::new("9110 9.3.6", "connect in small letters, which is another", "connect / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["connect / | host: a"]),
        // Versions.
        Case::new("9110 2.5", "HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9110 2.5", "HTTP/1.9", "GET / HTTP/1.9\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9112 3.2", "HTTP/1.0 without a host", "GET / HTTP/1.0\r\n\r\n").seen(&["GET / | host: THE BACKEND"]).closed(),
        Case::new("9112 9.3", "HTTP/1.0 with a host", "GET / HTTP/1.0\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]).closed(),
        Case::new("9112 9.3", "HTTP/1.0 that asks to be kept", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9112 6.3", "HTTP/1.0 with a body", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").seen(&["POST / | content-length: 5 | host: a || hello"]).closed(),
        // Targets.
        taken_target("3986 3.3", "whatever may stand in a path", "/a-._~!$&'()*+,;=:@/b%20%C3%A4/"),
        normal_target("3986 6.2.2.2", "escapes that need not be, which go", "/%7Euser/%61", "/~user/a"),
        normal_target("3986 6.2.2.1", "escapes in small letters, which become capitals", "/%c3%a4%3f", "/%C3%A4%3F"),
        normal_target("3986 6.2.2.3", "dot segments, which are resolved", "/a/../b/./c/%2e%2E/d", "/b/d"),
        normal_target("3986 6.2.3", "empty segments, which go", "//a///b/", "/a/b/"),
        normal_target("3986 6.2.3", "a URI in a path likewise", "/http://b/x", "/http:/b/x"),
        normal_target("3986 2.1", "what browsers send and no path has, which is escaped", "/{a|b}^c", "/%7Ba%7Cb%7D%5Ec"),
        normal_target("3986 2.1", "a backslash likewise", "/a\\b", "/a%5Cb"),
        target("3986 2.1", "a backtick in a path, which the type of URIs does not take", "/a`b"),
        target("3986 6.2.2.3", "what leaves the root", "/a/../../b"),
        target("3986 2.1", "a percent sign that encodes nothing", "/100%"),
        target("3986 2.1", "an escape of what are no digits", "/%zz"),
        target("3986 2.1", "an encoded NUL", "/a%00"),
        target("3629 3", "a slash in too many bytes", "/a/..%c0%afb"),
        taken_target("3986 3.4", "a query", "/x?a=b&c=[d]&e=;f:@,!$'()*+"),
        taken_target("3986 3.4", "a question mark in a query, and an empty one", "/?x?"),
        taken_target("3986 3.4", "a query is left alone, whatever it is", "/?%zz%00%61//../{a|b}^`c\\d"),
        taken_target("3986 2.1", "percent-encoding, of which what says nothing is left alone", "/%2F%20%FF?%23%zz%"),
        normal_target("3986 6.2.2", "percent-encoding that need not be", "/%61%2d%7e%ff?%61", "/a-~%FF?%61"),
        normal_target("3986 2", "braces, which no URI has and browsers send", "/{a}?{b}", "/%7Ba%7D?{b}"),
        normal_target("3986 2", "bars and circumflexes likewise", "/a|b^c?d|e^f", "/a%7Cb%5Ec?d|e^f"),
        normal_target("3986 2", "backslashes likewise", "/a\\b?c\\d", "/a%5Cb?c\\d"),
        taken_target("3986 2", "backticks in a query likewise", "/?a`b"),
        Case::new("9112 3.2.2", "an absolute form", "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET /x?y | host: a"]),
        Case::new("9112 3.2.2", "an absolute form in capitals", "GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET /x | host: a"]),
        Case::new("9110 4.2.1", "an absolute form with the default port", "GET http://a:80/x HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET /x | host: a"]),
        Case::new("9110 4.2.3", "an absolute form without a path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET / | host: a"]),
        Case::new("9110 4.2.3", "an absolute form with a query alone", "GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["GET /?x | host: a"]),
        Case::new("9112 3.2.4", "OPTIONS of a whole host", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["OPTIONS * | host: a"]),
        Case::new("9112 3.2.2", "an absolute form in HTTP/1.0 without a host", "GET http://a/x HTTP/1.0\r\n\r\n").seen(&["GET /x | host: a"]).closed(),
        // Hosts.
        Case::new("9110 7.2", "a host with a port", "GET / HTTP/1.1\r\nHost: A.example:8080\r\n\r\n").seen(&["GET / | host: A.example:8080"]),
        Case::new("9110 7.2", "an IPv6 address with a port", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n").seen(&["GET / | host: [2001:db8::1]:8080"]),
        Case::new("3986 3.2.3", "a colon without a port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n").seen(&["GET / | host: a:"]),
        Case::new("9110 7.2", "a name with an underscore", "GET / HTTP/1.1\r\nHost: my_app.a\r\n\r\n").seen(&["GET / | host: my_app.a"]),
        Case::new("9110 7.2", "the host last", "GET / HTTP/1.1\r\nX: 1\r\nhOST:a\r\n\r\n").seen(&["GET / | host: a | x: 1"]),
        // Fields.
        taken("9112 5.1", "white space around values, which goes", "X:a\r\nY: \t b \t\r\n", "host: a | x: a | y: b"),
        taken("9110 5.5", "an empty value", "X:\r\nY: \r\n", "host: a | x:  | y: "),
        taken("9110 5.5", "white space within a value", "X: a \t b\r\n", "host: a | x: a \t b"),
        taken("9110 5.5", "bytes beyond ASCII in a value", "X: \u{80}\u{ff}\u{c3}\u{a4}\r\n", "host: a | x: \u{80}\u{ff}\u{c3}\u{a4}"),
        taken("9110 5.5", "quotes, colons and commas in a value", "X: \"a, b\":c;d,\r\n", "host: a | x: \"a, b\":c;d,"),
        taken("9110 5.3", "a name repeated, in order", "X: 1\r\nx: 2\r\nX: 1\r\n", "host: a | x: 1 | x: 2 | x: 1"),
        taken("9110 5.1", "every byte of a token in a name", "!#$%&'*+-.^_`|~9z: 1\r\n", "!#$%&'*+-.^_`|~9z: 1 | host: a"),
        taken("9110 5.1", "an underscore in a name", "X_Y: 1\r\n", "host: a | x_y: 1"),
        taken("6265 5.4", "two cookies, which become one field", "Cookie: a=1\r\nCookie: b=2\r\n", "cookie: a=1; b=2 | host: a"),
        taken("9110 5.4", "a value of 8000 bytes", &format!("X: {}\r\n", "y".repeat(8000)), &format!("host: a | x: {}", "y".repeat(8000))),
        // Lengths and chunks.
        Case::new("9110 8.6", "a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").seen(&["POST / | content-length: 5 | host: a || hello"]),
        Case::new("9110 8.6", "a length of nothing", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").seen(&["POST / | content-length: 0 | host: a"]),
        Case::new("9110 8.6", "a length with zeros before it", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello").seen(&["POST / | content-length: 0005 | host: a || hello"]),
        Case::new("9112 5.1", "white space around a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t5 \t\r\n\r\nhello").seen(&["POST / | content-length: 5 | host: a || hello"]),
        Case::new("9110 8.6", "POST with neither", "POST / HTTP/1.1\r\nHost: a\r\n\r\n").seen(&["POST / | host: a"]),
        Case::new("9112 6.3", "a body later than its head", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").then("hello").then("world").seen(&["POST / | content-length: 10 | host: a || helloworld"]),
        Case::new("9112 6.3", "what looks like a request in a body", &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len())).seen(&[&format!("POST / | content-length: {} | host: a || {}", SMUGGLED.len(), SMUGGLED.escape_debug())]),
        taken_chunks("9112 7.1", "chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", " || hello"),
        taken_chunks("9112 7.1", "no chunk but the last", "0\r\n\r\n", ""),
        taken_chunks("9112 7.1", "a last chunk of several zeros", "5\r\nhello\r\n000\r\n\r\n", " || hello"),
        taken_chunks("9112 7.1", "sizes in both letters and with zeros before them", "00A\r\nhelloworld\r\na\r\nhelloworld\r\n0\r\n\r\n", " || helloworldhelloworld"),
        taken_chunks("9112 7.1", "a chunk larger than a segment", &chunk, &format!(" || {}", "x".repeat(5000))),
        taken_chunks("9112 7.1.1", "extensions, which go", "5;a;b=c;d=\"e\"\r\nhello\r\n0;last\r\n\r\n", " || hello"),
        taken_chunks("9112 7.1.1", "white space around the parts of an extension, which goes", "5 ; a = b\t;c\r\nhello\r\n0\r\n\r\n", " || hello"),
        taken_chunks("9112 7.1.1", "escapes in a quoted extension, which go", "5;a=\"\\\"\\\\;\"\r\nhello\r\n0\r\n\r\n", " || hello"),
        taken_chunks("9112 7.1.2", "trailers, which go", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", " || hello"),
        Case::new("9112 7", "the coding in capitals and white space", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \t CHUNKED \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n").seen(&["POST / | host: a | transfer-encoding: chunked || hello"]),
        Case::new("9112 7.1", "chunks cut in awkward places", &format!("{CHUNKED}5")).then("\r").then("\nhe").then("llo\r").then("\n0\r\n\r").then("\n").seen(&["POST / | host: a | transfer-encoding: chunked || hello"]),
    ]
}

#[rustfmt::skip] // One case, one line.
fn connections() -> Vec<Case> {
    const GET_A: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST_B: &str = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED_C: &str = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n";
    const SEEN_A: &str = "GET /a | host: a";
    const SEEN_B: &str = "POST /b | content-length: 5 | host: a || hello";
    const SEEN_C: &str = "POST /c | host: a | transfer-encoding: chunked || hello";
    vec![
        // One after the other.
        Case::new("9112 9.3.2", "pipelined requests", &format!("{GET_A}{POST_B}{CHUNKED_C}{GET_A}")).seen(&[SEEN_A, SEEN_B, SEEN_C, SEEN_A]),
        Case::new("9112 9.3.2", "twenty of them", &GET_A.repeat(20)).seen(&[SEEN_A; 20]),
        Case::new("9112 9.3.2", "pipelined, with empty lines between them", &format!("{POST_B}\r\n{GET_A}\r\n\r\n{GET_A}")).seen(&[SEEN_B, SEEN_A, SEEN_A]),
        Case::new("9112 9.3.2", "pipelined, cut in the middle of the second", &format!("{GET_A}GET /a HT")).then("TP/1.1\r\nHost: a\r\n\r\n").seen(&[SEEN_A, SEEN_A]),
        Case::new("9112 9.3.2", "a good one, then a bad one", &format!("{GET_A}GET / HTTP/1.1\r\nHost : a\r\n\r\n{SMUGGLED}")).seen(&[SEEN_A]).refused(400, "bad_request"),
        Case::new("9112 9.3.2", "good ones, then one with two lengths", &format!("{GET_A}{CHUNKED_C}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello{SMUGGLED}")).seen(&[SEEN_A, SEEN_C]).refused(400, "bad_request"),
        Case::new("9112 9.3.2", "a good one, then one that does not begin as one", &format!("{POST_B}hello")).seen(&[SEEN_B]).ends().answered(&[200]),
        Case::new("9112 9.3.2", "a good one, then bytes of no sense", &format!("{POST_B}\0\u{1}")).seen(&[SEEN_B]).refused(400, "bad_request"),
        Case::new("9112 9.3.2", "a good one, then CONNECT", &format!("{GET_A}CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}")).seen(&[SEEN_A]).refused(405, "method_not_allowed"),
        Case::new("9112 9.3.2", "a good one, then a bad chunk", &format!("{GET_A}{CHUNKED}5\r\nhello!\r\n")).seen(&[SEEN_A]).refused(400, "bad_request"),
        Case::new("9112 9.6", "nothing is read behind a close", &format!("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{SMUGGLED}")).seen(&[SEEN_A]).closed(),
        Case::new("9112 9.6", "nothing is read behind HTTP/1.0", &format!("GET /a HTTP/1.0\r\nHost: a\r\n\r\n{SMUGGLED}")).seen(&[SEEN_A]).closed(),
        // The end of a connection.
        Case::new("9112 9.6", "close", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").seen(&[SEEN_A]).closed(),
        Case::new("9112 9.6", "close in capitals, among others", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: x-y, CLOSE\r\n\r\n").seen(&[SEEN_A]).closed(),
        Case::new("9112 9.6", "close in a second field", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: x-y\r\nConnection: close\r\n\r\n").seen(&[SEEN_A]).closed(),
        Case::new("9112 9.3", "close outdoes keep-alive", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n").seen(&[SEEN_A]).closed(),
        Case::new("9112 9.3", "keep-alive, which goes without saying", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").seen(&[SEEN_A]),
        Case::new("9112 9.3", "a word that only begins as close", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n").seen(&[SEEN_A]),
        Case::new("9112 9.3", "an empty list of options", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: , ,\r\n\r\n").seen(&[SEEN_A]),
        Case::new("9112 9.6", "a client that closes its side gets its answer", GET_A).ends().seen(&[SEEN_A]),
        Case::new("9112 9.6", "and all of them if they were pipelined", &format!("{CHUNKED_C}{GET_A}{POST_B}")).ends().seen(&[SEEN_C, SEEN_A, SEEN_B]),
        Case::new("9112 8", "half a head and the end", "GET / HTTP/1.1\r\nHos").ends().answered(&[]),
        Case::new("9112 8", "half a body and the end", "POST /perhaps HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello").ends().answered(&[]),
        Case::new("9112 8", "half a chunked body and the end", &format!("{PERHAPS}5\r\nhello\r\n")).ends().answered(&[]),
        Case::new("9112 8", "no empty line behind the last chunk, and the end", &format!("{PERHAPS}5\r\nhello\r\n0\r\n")).ends().answered(&[]),
        // Fields of the connection.
        taken("9110 7.6.1", "fields of the connection go", "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X\r\n", "host: a"),
        taken("9110 7.6.1", "what Connection names goes", "Connection: X-Hop, x-other\r\nX-Hop: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n", "host: a | x-kept: 3"),
        taken("9110 11.7.1", "credentials for us go", "Proxy-Authorization: Basic eA==\r\nAuthorization: Basic eQ==\r\n", "authorization: Basic eQ== | host: a"),
        taken("9110 7.6.1", "Connection names away what is the client's own", "Connection: Authorization, Cookie\r\nAuthorization: Basic eQ==\r\nCookie: a=1\r\n", "host: a"),
        field("9110 7.6.1", "Connection cannot name away the host", "Connection: Host"),
        field("9110 7.6.1", "Connection cannot name away who the client is", "Connection: X-Forwarded-For"),
        taken("9110 7.6.1", "Connection cannot name away the id that we give", "Connection: X-Request-Id\r\nX-Request-Id: mine\r\n", "host: a"),
        Case::new("9110 7.6.1", "a length that Connection names away becomes chunks", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello").seen(&["POST / | host: a | transfer-encoding: chunked || hello"]),
        Case::new("9110 7.6.1", "Connection cannot name away the coding", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").seen(&["POST / | host: a | transfer-encoding: chunked || hello"]),
        taken("7239 4", "what a stranger says of the client is replaced", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nForwarded: for=1.2.3.4\r\nX-Request-Id: mine\r\n", "host: a"),
        // Upgrades.
        taken("9110 7.8", "Upgrade without Connection is none", "Upgrade: websocket\r\n", "host: a"),
        taken("9113 3.2", "an upgrade to HTTP/2 is not taken, nor passed on", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", "host: a"),
        Case::new("9110 7.8", "an upgrade in HTTP/1.0 is none", "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").seen(&["GET / | host: a"]).closed(),
        // Expectations.
        Case::new("9110 10.1.1", "a client that waits for 100", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").then("hello").seen(&["POST / | content-length: 5 | expect: 100-continue | host: a || hello"]).answered(&[100, 200]),
        Case::new("9110 10.1.1", "the same in chunks and odd letters", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n").then("5\r\nhello\r\n0\r\n\r\n").seen(&["POST / | expect: 100-Continue | host: a | transfer-encoding: chunked || hello"]).answered(&[100, 200]),
        Case::new("9110 10.1.1", "a client that does not wait after all", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello").seen(&["POST / | content-length: 5 | expect: 100-continue | host: a || hello"]),
        Case::new("9110 10.1.1", "an expectation without a body", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").seen(&["GET / | expect: 100-continue | host: a"]),
        Case::new("9110 10.1.1", "a backend that does not want the body", "POST /never HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").seen(&["part of POST /never"]).answered(&[417]).closed(),
        Case::new("9110 10.1.1", "an expectation that nobody knows", "GET / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n").seen(&["GET / | expect: a-miracle | host: a"]),
        Case::new("9112 9.3", "an answer before the body has ended", "POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").then("0\r\n\r\n").seen(&["POST /early | host: a | transfer-encoding: chunked || hello"]).answered(&[403]),
    ]
}

fn specification() -> Vec<Case> {
    [
        lengths(),
        codings(),
        lines_and_fields(),
        hosts(),
        targets(),
        request_lines(),
        sizes(),
        bad_chunks(),
        served(),
        connections(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is not as it should be, sentence by sentence.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn must(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        if !right {
            self.0.push(wrong());
        }
    }
}

/// Plays one case; gives what was wrong, and the request ids of the refusals.
fn play(case: &Case, balancer: &Balancer, backend: &Recorder) -> (Verdict, Vec<String>) {
    let mut verdict = Verdict::default();
    let mut ids = Vec::new();
    let before = backend.count();
    let mut client = Client::connect(balancer.address).unwrap();
    client.stream().set_read_timeout(Some(SOON)).unwrap();
    let mut arrived = before;
    for (index, piece) in case.pieces.iter().enumerate() {
        if index > 0 {
            // The first piece has been dealt with when the backend has seen it; more of it is not to be seen.
            backend.wait_for_more(arrived, Duration::from_millis(40));
            arrived = backend.count();
        }
        // What is refused may be closed before all of it is sent.
        drop(client.stream().write_all(piece));
    }
    if case.ends {
        drop(client.stream().shutdown(Shutdown::Write));
    }
    let head_only = case.pieces[0].starts_with(b"HEAD");
    let mut answers: Vec<Response> = Vec::new();
    for expected in &case.statuses {
        let answer = match expected {
            100..200 => client.any_response(head_only),
            // Interim answers may come where the table does not say so.
            _ => client.response(head_only),
        };
        match answer {
            Ok(answer) => {
                verdict.must(answer.status == *expected, || format!("answered {}, not {expected}", answer.status));
                answers.push(answer);
            }
            Err(error) => {
                verdict.0.push(format!("no answer where {expected} is due: {error}"));
                break;
            }
        }
    }
    if let (Some(reason), Some(answer)) = (case.reason, answers.last()) {
        refusal(&mut verdict, reason, answer);
        ids.extend(answer.field("x-request-id").map(str::to_owned));
    }
    let mut seen = backend.settled_since(before, SOON);
    let arrived = before + seen.len();
    seen.retain(|seen| !is_perhaps(seen));
    told(&mut verdict, case, backend, &seen);
    match case.after {
        Closed => match std::io::Read::read(client.stream(), &mut [0; 100]) {
            Ok(0) => {}
            Ok(_) => verdict.0.push("more than the answers was sent".to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset && case.reason.is_none() => {}
            Err(error) => verdict.0.push(format!("the connection was not closed: {error}")),
        },
        Kept => {
            let next = client.request("GET", "/next", &[], b"").map(|answer| answer.status);
            let mut seen = backend.since(arrived);
            seen.retain(|seen| !is_perhaps(seen));
            let target = seen.first().map(|seen| seen.request.target.as_str());
            verdict.must(matches!(next, Ok(200)) && target == Some("/next") && seen.len() == 1, || {
                format!("the connection was not kept: {next:?}, {seen:?}")
            });
        }
    }
    (verdict, ids)
}

/// A part of a request that may come or not.
fn is_perhaps(seen: &Seen) -> bool {
    seen.request.target == "/perhaps" && seen.state != State::Whole
}

/// What every refusal looks like.
fn refusal(verdict: &mut Verdict, reason: &str, answer: &Response) {
    let text = answer.text();
    let id = answer.field("x-request-id").unwrap_or("no id");
    for line in [format!("reason: {reason}\n"), format!("request id: {id}\n"), format!("{} ", answer.status)] {
        verdict.must(text.contains(&line), || format!("`{}` is not in {text:?}", line.trim_end()));
    }
    verdict.must(answer.field("content-type") == Some("text/plain; charset=utf-8"), || "not plain text".to_owned());
    verdict.must(answer.field("connection") == Some("close"), || "the close is not announced".to_owned());
    verdict.must(answer.field("date").is_some(), || "no date".to_owned());
    let allow = answer.field("allow").is_some_and(|methods| methods.contains("GET") && !methods.contains("TRACE"));
    verdict.must(allow == (answer.status == 405), || "Allow belongs to 405".to_owned());
    let whole = format!("{:?}{text}", answer.fields).to_lowercase();
    verdict.must(!whole.contains("pingora") && !whole.contains("127.0.0.1"), || format!("the inside shows: {whole}"));
}

/// What the backend has seen against what it must have seen.
fn told(verdict: &mut Verdict, case: &Case, backend: &Recorder, seen: &[Seen]) {
    let mut stories = Vec::new();
    for Seen { request, state } in seen {
        let line = format!("{} {}", request.method, request.target);
        stories.push(match state {
            State::Whole => request.told(&OURS),
            State::Begun => format!("{line}, still waited for"),
            State::Abandoned => format!("part of {line}"),
            State::Malformed => format!("malformed: {}", request.target),
        });
        if *state == State::Malformed {
            continue;
        }
        // A request of HTTP/1.0 that names no host goes to the backend's own, and nobody is told of another.
        let named = request.values("host");
        let host = if named == [backend.address.to_string()] { Vec::new() } else { named };
        for (name, expected) in
            [("x-forwarded-for", vec!["127.0.0.1"]), ("x-forwarded-proto", vec!["http"]), ("x-forwarded-host", host)]
        {
            verdict.must(request.values(name) == expected, || format!("{name}: {:?}", request.values(name)));
        }
        let ids = request.values("x-request-id");
        verdict.must(ids.len() == 1 && ids != ["mine"], || format!("x-request-id: {ids:?}"));
    }
    let address = backend.address.to_string();
    let expected: Vec<String> = case.backend.iter().map(|story| story.replace("THE BACKEND", &address)).collect();
    verdict
        .must(stories == expected, || format!("the backend saw {}, not {}", listed(&stories), listed(&case.backend)));
}

fn listed(stories: &[String]) -> String {
    let short = |story: &String| {
        let end = story.char_indices().nth(400).map_or(story.len(), |(end, _)| end);
        format!("`{}`", &story[..end])
    };
    if stories.is_empty() { "nothing".to_owned() } else { stories.iter().map(short).collect::<Vec<_>>().join(" and ") }
}

fn set_up() -> (Recorder, Balancer) {
    let backend = Recorder::start();
    let balancer = Balancer::before([backend.address]).upstream("retry: off, health_check: off").start();
    (backend, balancer)
}

#[test]
fn every_request_in_the_table_is_passed_on_as_it_was_meant_or_refused() {
    let cases = specification();
    let (backend, balancer) = set_up();
    let mut wrong = Vec::new();
    let mut refusals: Vec<(String, u16, &str)> = Vec::new();
    for case in &cases {
        let (verdict, ids) = play(case, &balancer, &backend);
        refusals.extend(ids.into_iter().map(|id| (id, *case.statuses.last().unwrap(), case.reason.unwrap())));
        if !verdict.0.is_empty() {
            let sent: Vec<String> =
                case.pieces.iter().map(|piece| piece[..piece.len().min(300)].escape_ascii().to_string()).collect();
            let faults = verdict.0.join("\n    ");
            wrong.push(format!("RFC {}: {}\n    {}\n    {faults}", case.rfc, case.what, sent.join(" … ")));
        }
    }
    println!("{} cases, {} of them refused", cases.len(), refusals.len());
    every_refusal_is_logged(&balancer, &refusals);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    every_refusal_is_counted(&balancer, &refusals);
}

/// One line of the access log for each.
fn every_refusal_is_logged(balancer: &Balancer, refusals: &[(String, u16, &str)]) {
    let logged = || -> HashMap<String, (u64, String)> {
        let text = std::fs::read_to_string(balancer.folder.path().join("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        lines
            .map(|line| (word(&line["request_id"]), (line["status"].as_u64().unwrap_or(0), word(&line["reason"]))))
            .collect()
    };
    let missing = || {
        let logged = logged();
        let is_there =
            |id: &str, status: u16, reason: &str| logged.get(id) == Some(&(status.into(), reason.to_owned()));
        let missing = refusals.iter().filter(|(id, status, reason)| !is_there(id, *status, reason));
        missing.map(|refusal| format!("{refusal:?} {:?}", logged.get(&refusal.0))).collect::<Vec<_>>()
    };
    eventually("a line for every refusal", || missing().is_empty(), || missing().join("\n"));
}

/// One count of its reason for each.
fn every_refusal_is_counted(balancer: &Balancer, refusals: &[(String, u16, &str)]) {
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for (_, _, reason) in refusals {
        *counts.entry(reason).or_default() += 1.0;
    }
    for (reason, count) in counts {
        let counted = || balancer.metric(&format!("evenkeel_failures_total{{reason=\"{reason}\"}}"));
        eventually(&format!("{count} of {reason}"), || counted() == count, || counted().to_string());
    }
}

const POST: &str = "POST /split HTTP/1.1\r\nHost: a.example\r\nX-Odd: \t a\u{e4} \r\nTransfer-Encoding: chunked\r\n\r\n\
    5;ext=\"q\"\r\nhello\r\nA\r\nhelloworld\r\n0\r\nX-Sum: 1\r\n\r\n";
const SEEN_POST: &str =
    "POST /split | host: a.example | transfer-encoding: chunked | x-odd: a\u{e4} || hellohelloworld";

/// RFC 9112, section 2.1: a message is bytes; where segments begin and end means nothing.
#[test]
fn a_request_may_be_cut_in_two_at_every_byte() {
    let (backend, balancer) = set_up();
    let bytes = wire(POST);
    for place in 1..bytes.len() {
        let (first, second) = bytes.split_at(place);
        let before = backend.count();
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(first).unwrap();
        // Nothing tells from outside that the first half has been read; most of the time this is long enough.
        std::thread::sleep(Duration::from_millis(2));
        client.send(second).unwrap();
        assert_eq!(client.response(false).unwrap().status, 200, "cut at {place}");
        let seen: Vec<String> = backend.since(before).iter().map(|seen| seen.request.told(&OURS)).collect();
        assert_eq!(seen, [SEEN_POST], "cut at {place}: {}", first.escape_ascii());
    }
}

#[test]
fn a_request_may_come_byte_by_byte_and_another_behind_it() {
    let (backend, balancer) = set_up();
    let mut client = Client::connect(balancer.address).unwrap();
    for byte in wire(POST).repeat(2) {
        client.send(&[byte]).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    for _ in 0..2 {
        assert_eq!(client.response(false).unwrap().status, 200);
    }
    let seen: Vec<String> = backend.since(0).iter().map(|seen| seen.request.told(&OURS)).collect();
    assert_eq!(seen, [SEEN_POST, SEEN_POST]);
}

/// RFC 9110, section 7.8: what a client sends behind its request to switch belongs to the other protocol, if the
/// backend agrees; if it does not, it is the next request.
#[test]
fn bytes_behind_an_upgrade_belong_to_whoever_the_backend_says() {
    let (backend, balancer) = set_up();
    let ask = |target: &str, behind: &str| {
        let mut client = Client::connect(balancer.address).unwrap();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n\r\n{behind}").as_bytes()).unwrap();
        client
    };
    let mut switched = ask("/switch", SMUGGLED);
    assert_eq!(switched.response(false).unwrap().status, 101);
    let mut echoed = vec![0; SMUGGLED.len()];
    switched.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, SMUGGLED.as_bytes());
    let targets = |from: usize| backend.since(from).into_iter().map(|seen| seen.request.target).collect::<Vec<_>>();
    assert_eq!(targets(0), ["/switch"], "what went through the tunnel was no request");
    let mut refused = ask("/plain", "GET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
    let began = Instant::now();
    assert_eq!(refused.response(false).unwrap().status, 200);
    assert!(began.elapsed() < SOON);
    let second = refused.response(false).map(|answer| answer.status);
    let seen = targets(1);
    let served = matches!(second, Ok(200)) && seen == ["/plain", "/behind"];
    let closed = second.is_err() && seen == ["/plain"];
    assert!(served || closed, "{second:?}: {seen:?}");
}
