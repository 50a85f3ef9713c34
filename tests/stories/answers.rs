//! What backends may answer, and what becomes of the rest: a table of bytes that a backend sends, and of what a
//! client of each protocol must see then.
//!
//! The rule: a bad answer is 502; once its head has been passed on, it is a connection that the client sees broken.
//! Never is it a body that looks whole and is not, and never is what is left of one answer taken for another.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::{Client, Response};
use crate::support::frames::{END_STREAM, End, Http2};
use crate::support::{Answer, Balancer, Origin, eventually};

/// What a client must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// A whole answer with this status and body.
    Whole(u16, &'static str),
    /// 502, and why.
    Refused(&'static str),
    /// The head of an answer with this status, and then an end that cannot be taken for the end of the answer.
    Broken(u16),
}
use Sees::{Broken, Refused, Whole};

/// What becomes of the connection to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request goes over it.
    Reused,
    /// It is closed, and the next request gets another.
    Closed,
}
use After::{Closed, Reused};

#[derive(Clone, Copy, Debug)]
struct Case {
    /// RFC and section.
    rfc: &'static str,
    what: &'static str,
    method: &'static str,
    /// What the backend sends, with pauses between the pieces.
    pieces: &'static [&'static str],
    /// Whether it closes then.
    ends: bool,
    sees: Sees,
    after: After,
}

/// A backend that answers a GET with these bytes and keeps its connection open.
const fn keeps(
    rfc: &'static str,
    what: &'static str,
    pieces: &'static [&'static str],
    sees: Sees,
    after: After,
) -> Case {
    Case { rfc, what, method: "GET", pieces, ends: false, sees, after }
}

/// A backend that closes its connection then.
const fn closes(rfc: &'static str, what: &'static str, pieces: &'static [&'static str], sees: Sees) -> Case {
    Case { rfc, what, method: "GET", pieces, ends: true, sees, after: Closed }
}

/// The same as `case` for another method.
const fn asked(method: &'static str, case: Case) -> Case {
    Case { method, ..case }
}

const BAD: Sees = Refused("bad_response");
const OK: Sees = Whole(200, "hello");

#[rustfmt::skip] // One case, one line.
const CASES: &[Case] = &[
    // What is right, to begin with.
    keeps("9112 6.3", "a length", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 6.3", "a length of nothing", &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], Whole(200, ""), Reused),
    keeps("9112 7.1", "chunks", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"], OK, Reused),
    keeps("9112 7.1", "chunks in pieces", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "2\r", "\nh", "e\r\n3\r\nll", "o\r\n0\r", "\n\r\n"], OK, Reused),
    keeps("9112 7.1.1", "extensions of chunks, which go", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;last\r\n\r\n"], OK, Reused),
    keeps("9112 7.1.2", "trailers", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"], OK, Reused),
    keeps("9112 7", "the coding in capitals", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], OK, Reused),
    closes("9112 6.3", "the end of the connection as the end", &["HTTP/1.1 200 OK\r\n\r\nhel", "lo"], OK),
    closes("9112 6.3", "nothing, and the end of the connection", &["HTTP/1.1 200 OK\r\n\r\n"], Whole(200, "")),
    keeps("9112 9.3", "an announced close, and the connection left open", &["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"], OK, Closed),
    keeps("9112 2.2", "a head whose lines end with LF", &["HTTP/1.1 200 OK\ncontent-length: 5\n\nhello"], OK, Reused),
    keeps("9112 5.1", "a space before the colon, which goes", &["HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 5.2", "a folded field, which is unfolded", &["HTTP/1.1 200 OK\r\nx-folded: a\r\n b\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9110 8.6", "the same length twice, which becomes one", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9110 8.6", "the same length twice in one field", &["HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 4", "no reason phrase", &["HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 4", "no space after the status", &["HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9110 15", "a status that is not registered", &["HTTP/1.1 299 Odd\r\ncontent-length: 5\r\n\r\nhello"], Whole(299, "hello"), Reused),
    keeps("9110 15", "the last status there can be", &["HTTP/1.1 599 Odd\r\ncontent-length: 5\r\n\r\nhello"], Whole(599, "hello"), Reused),
    keeps("9110 5.5", "bytes above 127 in a value", &["HTTP/1.1 200 OK\r\nx: \u{e9}\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9110 15.4.5", "304 with the length of what is not sent", &["HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"], Whole(304, ""), Reused),
    keeps("9110 15.3.5", "204", &["HTTP/1.1 204 No Content\r\n\r\n"], Whole(204, ""), Reused),
    keeps("9110 15.3.6", "205 with an empty body", &["HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n"], Whole(205, ""), Reused),
    asked("HEAD", keeps("9110 9.3.2", "HEAD with a length", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"], Whole(200, ""), Reused)),
    asked("HEAD", keeps("9110 9.3.2", "HEAD without a length", &["HTTP/1.1 200 OK\r\n\r\n"], Whole(200, ""), Reused)),
    asked("HEAD", keeps("9110 9.3.2", "HEAD with a coding", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"], Whole(200, ""), Reused)),
    // Backends of HTTP/1.0.
    closes("9112 9.3", "HTTP/1.0 and the end of the connection", &["HTTP/1.0 200 OK\r\n\r\nhello"], OK),
    keeps("9112 9.3", "HTTP/1.0 with a length does not last", &["HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Closed),
    keeps("9112 9.3", "HTTP/1.0 that is asked to last", &["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 6.1", "chunks in HTTP/1.0", &["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], BAD, Closed),
    // Interim answers.
    keeps("9110 15.2.1", "100 before the answer", &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("8297 2", "several 103 before the answer", &["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9110 15.2", "a length in an interim answer", &["HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    closes("9110 15.2", "an interim answer and the end", &["HTTP/1.1 103 Early Hints\r\n\r\n"], Refused("reset")),
    closes("9110 15.2", "an interim answer and garbage", &["HTTP/1.1 103 Early Hints\r\n\r\n", "garbage\r\n\r\n"], BAD),
    keeps("9110 15.2.2", "101 that nobody asked for", &["HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"], BAD, Closed),
    // Status lines.
    closes("9112 4", "no answer", &[""], Refused("reset")),
    closes("9112 4", "half a status line", &["HTTP/1.1 20"], Refused("reset")),
    closes("9112 5", "half a head", &["HTTP/1.1 200 OK\r\ncontent-len"], Refused("reset")),
    closes("9112 4", "an answer of HTTP/0.9", &["<html>hello</html>"], BAD),
    closes("9112 4", "another protocol", &["SSH-2.0-OpenSSH_9.2p1\r\n\r\n"], BAD),
    keeps("9112 4", "an empty line first, which is forgiven", &["\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 4", "a space first", &[" HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.3", "a minor version that there is not yet", &["HTTP/1.2 200 OK\r\ncontent-length: 5\r\n\r\nhello"], OK, Reused),
    keeps("9112 5.2", "a folded length", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.3", "HTTP/2.0", &["HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.3", "HTTP/3", &["HTTP/3 200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.3", "HTTP/0.9 in words", &["HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.3", "a small http", &["http/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "two spaces before the status", &["HTTP/1.1  200 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 15", "a status below 100", &["HTTP/1.1 099 Odd\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 15", "000", &["HTTP/1.1 000 Odd\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 15", "600", &["HTTP/1.1 600 Odd\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 15", "999", &["HTTP/1.1 999 Odd\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "two digits", &["HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "four digits", &["HTTP/1.1 2000 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "letters", &["HTTP/1.1 abc OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "a sign", &["HTTP/1.1 +20 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "no status", &["HTTP/1.1 OK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 4", "NUL in the reason phrase", &["HTTP/1.1 200 O\0K\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.2", "a bare CR in the reason phrase", &["HTTP/1.1 200 O\rK\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    // Fields.
    keeps("9110 5.1", "a name with a space in it", &["HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.1", "an empty name", &["HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.1", "no colon", &["HTTP/1.1 200 OK\r\nword\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 2.2", "a space before the first field", &["HTTP/1.1 200 OK\r\n x: y\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.5", "NUL in a value", &["HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.5", "a bare CR in a value", &["HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.5", "a control byte in a value", &["HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 5.5", "DEL in a value", &["HTTP/1.1 200 OK\r\nx: a\x7fb\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    // Lengths.
    keeps("9110 8.6", "two lengths", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "two lengths in one field", &["HTTP/1.1 200 OK\r\ncontent-length: 5, 4\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "an empty length", &["HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a negative length", &["HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a signed length", &["HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a hexadecimal length", &["HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a length with a fraction", &["HTTP/1.1 200 OK\r\ncontent-length: 5.0\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a length of 2^63", &["HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775808\r\n\r\nhello"], BAD, Closed),
    keeps("9110 8.6", "a length of 2^64 and 5", &["HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551621\r\n\r\nhello"], BAD, Closed),
    closes("9112 8", "less than the length", &["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello"], Broken(200)),
    closes("9112 8", "less than the length, later", &["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", "hello"], Broken(200)),
    closes("9112 8", "nothing of the length", &["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n"], Broken(200)),
    keeps("9112 6.3", "more than the length", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, and more"], OK, Closed),
    keeps("9112 6.3", "another answer behind the length", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake"], OK, Closed),
    keeps("9112 6.3", "another answer a little later", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake"], OK, Closed),
    keeps("9112 6.3", "another answer behind the chunks", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake"], OK, Closed),
    // Codings.
    keeps("9112 6.1", "another coding", &["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    closes("9112 6.1", "another coding and the end", &["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello"], BAD),
    keeps("9112 6.1", "another coding before chunked", &["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], BAD, Closed),
    keeps("9112 6.1", "another coding after chunked", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], BAD, Closed),
    keeps("9112 7.1", "chunked twice", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], BAD, Closed),
    keeps("9112 6.3", "a length beside chunks, which the chunks outdo", &["HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], OK, Closed),
    keeps("9112 6.1", "identity", &["HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    keeps("9112 6.1", "an empty coding", &["HTTP/1.1 200 OK\r\ntransfer-encoding:\r\ncontent-length: 5\r\n\r\nhello"], BAD, Closed),
    // Chunks.
    keeps("9112 7.1", "a size that is none", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "a size with 0x", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "an empty size", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n\r\n\r\n"], Broken(200), Closed),
    keeps("9110 6.5.1", "a length among the trailers", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "a negative size", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "a size that overflows", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "a size of nearly 2^64", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "no line end after a chunk", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n"], Broken(200), Closed),
    keeps("9112 7.1", "a chunk longer than its size", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello, and more\r\n0\r\n\r\n"], Broken(200), Closed),
    closes("9112 8", "no last chunk", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"], Broken(200)),
    closes("9112 8", "half a chunk", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\nhello"], Broken(200)),
    closes("9112 8", "half a size", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5"], Broken(200)),
    closes("9112 8", "no end of the trailers", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"], Broken(200)),
    // Answers without a body that have one.
    keeps("9110 8.6", "204 with a length of nothing", &["HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"], Whole(204, ""), Reused),
    keeps("9112 6.3", "204 with a body", &["HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"], Whole(204, ""), Closed),
    keeps("9112 6.3", "204 with a body a little later", &["HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "hello"], Whole(204, ""), Closed),
    keeps("9112 6.1", "204 with chunks", &["HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], Whole(204, ""), Closed),
    keeps("9112 6.3", "304 with a body", &["HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello"], Whole(304, ""), Closed),
    keeps("9112 6.3", "304 with chunks", &["HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], Whole(304, ""), Closed),
    asked("HEAD", keeps("9112 6.3", "HEAD with a body", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], Whole(200, ""), Closed)),
    asked("HEAD", keeps("9112 6.3", "HEAD with a body a little later", &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "hello"], Whole(200, ""), Closed)),
    asked("HEAD", keeps("9112 6.3", "HEAD with chunks and a body", &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], Whole(200, ""), Closed)),
];

/// Whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Http11,
    Http10,
    Http2,
}

/// Answers `/case/N` with the bytes of that case, and says `next` to everything else.
fn scripted(cases: &'static [Case]) -> Origin {
    Origin::start(move |request| {
        let number = request.line.split(['/', ' ']).nth(3).and_then(|number| number.parse::<usize>().ok());
        let Some(case) = number.and_then(|number| cases.get(number)) else { return Answer::Ok("next".to_owned()) };
        let whole = |pieces: &[&str]| wire(&pieces.concat());
        match (case.pieces, case.ends) {
            ([_], false) => Answer::Raw(whole(case.pieces)),
            ([_], true) => Answer::RawThenClose(whole(case.pieces)),
            (pieces, ends) => Answer::Pieces(pieces.iter().map(|piece| wire(piece)).collect(), ends),
        }
    })
}

/// Each character as the byte of its number.
fn wire(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("a byte")).collect()
}

/// Asks, and says what is seen.
fn ask(address: SocketAddr, asks: Asks, method: &str, path: &str) -> (Option<u16>, Vec<u8>, bool) {
    match asks {
        Asks::Http2 => {
            let mut client = Http2::connect(address);
            let fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
            client.headers(1, &fields, END_STREAM);
            let outcome = client.outcome(1);
            (outcome.status, outcome.body, outcome.end == End::Whole)
        }
        Asks::Http11 | Asks::Http10 => {
            let version = if asks == Asks::Http11 { "1.1" } else { "1.0" };
            let mut client = Client::connect(address).unwrap();
            client.send(format!("{method} {path} HTTP/{version}\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
            match client.seen(method == "HEAD") {
                Ok((response, whole)) => {
                    let allowed = asks == Asks::Http11 || response.field("transfer-encoding").is_none();
                    assert!(allowed, "chunks for a client of HTTP/1.0");
                    (Some(response.status), response.body, whole)
                }
                Err(_) => (None, Vec::new(), false),
            }
        }
    }
}

fn judge(sees: Sees, seen: &(Option<u16>, Vec<u8>, bool)) -> bool {
    let (status, body, whole) = seen;
    let text = String::from_utf8_lossy(body);
    match sees {
        Whole(expected, body) => (*status, &*text, *whole) == (Some(expected), body, true),
        Refused(reason) => *status == Some(502) && *whole && text.contains(&format!("reason: {reason}\n")),
        Broken(expected) => *status == Some(expected) && !whole,
    }
}

/// Tells every case to a client of this protocol, and gathers what is not as it should be.
fn tell(asks: Asks) {
    let origin = scripted(CASES);
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .upstream("retry: off, health_check: off, timeouts: { first_byte: 3s, idle: 3s }")
        .start();
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let seen = ask(balancer.address, asks, case.method, &format!("/case/{number}"));
        let of_case = origin.requests().last().unwrap().connection;
        if case.pieces.len() > 1 && case.after == Closed {
            std::thread::sleep(Duration::from_millis(100));
        }
        let next = ask(balancer.address, asks, "GET", "/next");
        let of_next = origin.requests().last().unwrap().connection;
        let after = if of_next == of_case { Reused } else { Closed };
        let named = format!("RFC {}: {}: {:?}", case.rfc, case.what, String::from_utf8_lossy(&seen.1));
        if !judge(case.sees, &seen) {
            wrong.push(format!("{named}: {:?} expected, seen {:?}, whole: {}", case.sees, seen.0, seen.2));
        }
        if after != case.after {
            wrong.push(format!("{named}: the connection should be {:?}", case.after));
        }
        if !judge(Whole(200, "next"), &next) {
            wrong.push(format!("{named}: the next request was answered {next:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn every_answer_in_the_table_is_passed_on_or_refused_for_a_client_of_http_1_1() {
    tell(Asks::Http11);
}

#[test]
fn every_answer_in_the_table_is_passed_on_or_refused_for_a_client_of_http_1_0() {
    tell(Asks::Http10);
}

#[test]
fn every_answer_in_the_table_is_passed_on_or_refused_for_a_client_of_http_2() {
    tell(Asks::Http2);
}

fn get(client: &mut Client, path: &str) -> Response {
    client.request("GET", path, &[], b"").unwrap()
}

#[test]
fn a_head_without_end_or_with_too_many_fields_is_502_in_bounded_memory() {
    let origin = Origin::start(|request| match request.line.split(' ').nth(1) {
        Some("/fields") => {
            let fields: String = (0..300).map(|number| format!("x-{number}: 1\r\n")).collect();
            Answer::Raw(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 5\r\n\r\nhello").into_bytes())
        }
        Some("/endless") => Answer::Take(Box::new(|mut stream| {
            use std::io::Write;
            let line = format!("x: {}\r\n", "y".repeat(8000));
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while sent.is_ok() {
                sent = stream.write_all(line.as_bytes());
            }
        })),
        _ => Answer::Ok("fine".to_owned()),
    });
    let balancer = Balancer::before([origin.address]).upstream("retry: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    for path in ["/fields", "/endless"] {
        for _ in 0..4 {
            let answer = balancer.get(path);
            assert!(answer.status == 502 && answer.text().contains("reason: bad_response"), "{path}: {answer:?}");
        }
    }
    assert_eq!(get(&mut client, "/").text(), "fine");
    assert!(balancer.memory() < 100 << 20, "{} bytes", balancer.memory());
}

#[test]
fn interim_answers_pass_to_a_client_of_http_1_1_and_only_to_it() {
    let origin = Origin::start(|_| {
        Answer::Raw(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
                .to_vec(),
        )
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let hints = client.any_response(false).unwrap();
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.any_response(false).unwrap().text(), "hello");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.any_response(false).unwrap().text(), "hello");
    // A client that does not read may be given any number; a backend has no more than 64.
    let endless = Origin::start(|_| Answer::Raw(b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)));
    let balancer = Balancer::before([endless.address]).upstream("retry: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let seen = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(seen.matches("HTTP/1.1 102 ").count() <= 64, "{seen}");
    assert!(seen.contains("HTTP/1.1 502 ") && seen.contains("reason: bad_response"), "{seen}");
}

#[test]
fn protocols_are_switched_only_to_the_one_that_was_asked_for() {
    for answered in ["upgrade: h2c\r\n", "upgrade: websocket, h2c\r\n", ""] {
        let odd = Origin::start(move |_| {
            Answer::Raw(
                format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{answered}\r\nhello").into(),
            )
        });
        let balancer = Balancer::before([odd.address]).upstream("retry: off").start();
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").unwrap();
        let answer = client.response(false).unwrap();
        assert!(answer.status == 502 && answer.text().contains("reason: bad_response"), "{answered:?}: {answer:?}");
    }
    // Asked for without `Connection: upgrade` it is not asked for (RFC 9110, section 7.8).
    let origin = Origin::start(|request| Answer::Ok(format!("{:?}", request.field("upgrade"))));
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(client.request("GET", "/", &[("upgrade", "websocket")], b"").unwrap().text(), "None");
    assert_eq!(
        client.request("GET", "/", &[("upgrade", "h2c"), ("connection", "upgrade")], b"").unwrap().text(),
        "None"
    );
}

#[test]
fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    // Reads the head alone, answers, and leaves.
    let origin = Origin::start_raw(|mut stream, head| {
        use std::io::{Read, Write};
        let close = if head.contains("/close") { "connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 413 Content Too Large\r\n{close}content-length: 8\r\n\r\ntoo much");
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let balancer = Balancer::before([origin]).start();
    for path in ["/", "/close"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
        // A client that waits for the answer, and one that sends on.
        for sent in [0, 500_000] {
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(head.as_bytes()).unwrap();
            client.send(&vec![b'x'; sent]).unwrap();
            let answer = client.response(false).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (413, "too much"), "{path}, {sent} bytes sent");
        }
        let mut client = Http2::connect(balancer.address);
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        client.headers(1, &fields, 0);
        let outcome = client.outcome(1);
        assert_eq!(
            (outcome.status, outcome.text().as_str(), outcome.end),
            (Some(413), "too much", End::Whole),
            "{path}"
        );
    }
}

#[test]
fn a_client_that_waits_for_100_and_is_refused_is_told_so() {
    let origin = Origin::start_raw(|mut stream, _| {
        use std::io::Write;
        stream.write_all(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno").unwrap();
    });
    let balancer = Balancer::before([origin]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").unwrap();
    let answer = client.any_response(false).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (417, "no"));
    assert_eq!(answer.field("connection"), Some("close"), "whether a body follows nobody can tell");
}

#[test]
fn pipelined_requests_are_answered_in_order_though_the_first_is_slow_or_fails() {
    let origin = Origin::start(|request| match request.line.split(' ').nth(1) {
        Some("/slow") => {
            std::thread::sleep(Duration::from_millis(300));
            Answer::Ok("slow".to_owned())
        }
        Some("/bad") => Answer::Raw(b"HTTP/1.1 999 Odd\r\n\r\n".to_vec()),
        _ => Answer::Ok("fast".to_owned()),
    });
    let balancer = Balancer::before([origin.address]).upstream("retry: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    let requests = ["/slow", "/fast", "/slow", "/fast"];
    let bytes: String = requests.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.send(bytes.as_bytes()).unwrap();
    for path in requests {
        assert_eq!(client.response(false).unwrap().text(), path[1..]);
    }
    // After a failure the rest is answered, or the connection ends: never is an answer given to another request.
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /bad HTTP/1.1\r\nhost: a\r\n\r\nGET /fast HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(client.response(false).unwrap().status, 502);
    if let Ok(answer) = client.response(false) {
        assert_eq!(answer.text(), "fast");
    }
}

#[test]
fn a_client_that_has_said_all_it_will_say_gets_its_answers() {
    let origin = Origin::start(|request| {
        std::thread::sleep(Duration::from_millis(200));
        Answer::Ok(format!("{} {}", request.line, String::from_utf8_lossy(&request.body)))
    });
    let balancer = Balancer::before([origin.address]).start();
    for (asks, answers) in [
        ("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n", &["GET /1 HTTP/1.1 "][..]),
        ("GET /1 HTTP/1.0\r\n\r\n", &["GET /1 HTTP/1.1 "]),
        ("POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", &["POST /1 HTTP/1.1 hi"]),
        (
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
            &["GET /1 HTTP/1.1 ", "GET /2 HTTP/1.1 "],
        ),
    ] {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(asks.as_bytes()).unwrap();
        client.stream().shutdown(std::net::Shutdown::Write).unwrap();
        for answer in answers {
            assert_eq!(client.response(false).unwrap().text(), *answer, "{asks:?}");
        }
        assert!(client.rest().is_empty());
    }
}

#[test]
fn the_fields_of_an_answer_are_the_backends_but_for_those_of_its_connection() {
    let origin = Origin::start(|request| {
        let server = if request.line.starts_with("GET /server") { "server: gunicorn\r\n" } else { "" };
        Answer::Raw(
            format!(
                "HTTP/1.0 200 Just Fine\r\n{server}connection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\n\
                 proxy-connection: keep-alive\r\nte: gzip\r\ntrailer: x\r\nupgrade: h2c\r\nproxy-authenticate: Basic\r\n\
                 x-kept: 1\r\nx-kept: 2\r\ncontent-length: 2\r\n\r\nok"
            )
            .into_bytes(),
        )
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /server HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let answer = client.response(false).unwrap();
    let mut names: Vec<&str> = answer.fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "date", "server", "x-kept", "x-kept"], "{answer:?}");
    assert_eq!(answer.field("server"), Some("gunicorn"));
    assert!(answer.field("date").is_some(), "added, since the backend sent none");
    assert_eq!(get(&mut client, "/").field("server"), None, "and nothing of our own");
    let head =
        crate::support::client::exchange(balancer.address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 Just Fine\r\n"), "our version, its reason: {head}");
}

#[test]
fn an_answer_that_an_idle_connection_brings_before_it_is_asked_is_nobodys() {
    // One connection after another answers its first request, and then says more, at a moment of its own.
    let streams: Arc<Mutex<HashMap<usize, std::net::TcpStream>>> = Arc::default();
    let kept = streams.clone();
    let origin = Origin::start_raw(move |mut stream, _| {
        use std::io::Write;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nreal").unwrap();
        let mut kept = kept.lock().unwrap();
        let number = kept.len();
        kept.insert(number, stream);
    });
    let balancer = Balancer::before([origin]).top("threads: 1").upstream("health_check: off").start();
    for round in 0..5 {
        assert_eq!(balancer.get("/").text(), "real", "{round}");
        use std::io::Write;
        eventually("a connection", || streams.lock().unwrap().len() == round + 1, String::new);
        let mut streams = streams.lock().unwrap();
        streams.get_mut(&round).unwrap().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake").unwrap();
        drop(streams);
        std::thread::sleep(Duration::from_millis(50));
    }
}
