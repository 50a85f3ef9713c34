//! What an HTTP/2 client may send, frame by frame, and what becomes of the rest (RFC 9113): a table.
//!
//! The rule: of a malformed request nothing reaches a backend, which is asked in HTTP/1.1 and would read some of it
//! differently; its stream ends, and the connection goes on. What puts the connection in doubt ends the connection.

use std::time::Duration;

use crate::support::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request,
};
use crate::support::{Answer, Balancer, Origin};

/// What the client must see of stream 1, and of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// 200, and the backend was asked once.
    Served,
    /// This status, and the backend was not asked.
    Status(u16),
    /// 400 or a reset with PROTOCOL_ERROR (RFC 9113, section 8.1.1), and the backend was not asked.
    Malformed,
    /// A reset with this code; the backend may have been asked what was whole before.
    Reset(u32),
    /// The same, or the end of the connection: it is the decoder that refuses it.
    Unreadable,
    /// The end of the connection with an error. Which, the library does not always tell as section 7 has it.
    Ended,
}
use Sees::{Ended, Malformed, Reset, Served, Status, Unreadable};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;

struct Case {
    /// Section of RFC 9113, unless another is named.
    rfc: &'static str,
    what: &'static str,
    sends: Vec<u8>,
    sees: Sees,
}

/// Raw frames.
fn raw(rfc: &'static str, what: &'static str, frames: &[Vec<u8>], sees: Sees) -> Case {
    Case { rfc, what, sends: frames.concat(), sees }
}

/// A request of these fields and no body.
fn fields(rfc: &'static str, what: &'static str, fields: &[(&str, &str)], sees: Sees) -> Case {
    raw(rfc, what, &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &wire(fields))], sees)
}

/// A request with these fields after the pseudo-fields, and no body.
fn with(rfc: &'static str, what: &'static str, more: &[(&str, &str)], sees: Sees) -> Case {
    fields(rfc, what, &[&request("GET", "/case"), more].concat(), sees)
}

/// A request whose pseudo-field of this name has another value, or none.
fn changed(rfc: &'static str, what: &'static str, name: &str, value: Option<&str>, sees: Sees) -> Case {
    let of = |field: &(&'static str, &'static str)| {
        if field.0 == name { value.map(|value| (field.0, value)) } else { Some(*field) }
    };
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "story.example"), (":path", "/case")];
    fields(rfc, what, &base.iter().filter_map(of).collect::<Vec<_>>(), sees)
}

/// A POST with these fields and pieces of a body, the last of which ends it.
fn body(rfc: &'static str, what: &'static str, more: &[(&str, &str)], pieces: &[&str], sees: Sees) -> Case {
    let head = wire(&[&request("POST", "/case"), more].concat());
    let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &head)];
    for (index, piece) in pieces.iter().enumerate() {
        frames.push(frame(DATA, if index + 1 == pieces.len() { END_STREAM } else { 0 }, 1, piece.as_bytes()));
    }
    raw(rfc, what, &frames, sees)
}

/// A header block, each character as the byte of its number.
fn wire(fields: &[(&str, &str)]) -> Vec<u8> {
    let bytes =
        |text: &str| text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect::<Vec<_>>();
    block(&fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect::<Vec<_>>())
}

fn post() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/case")))
}

fn get() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&request("GET", "/case")))
}

#[rustfmt::skip] // One case, one line.
fn pseudo_fields() -> Vec<Case> {
    let [method, scheme, authority, path] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/case")];
    vec![
        fields("8.3.1", "all four", &[method, scheme, authority, path], Served),
        fields("8.3", "in another order", &[path, authority, scheme, method], Served),
        fields("8.3", "after a field", &[method, scheme, authority, ("x", "1"), path], Malformed),
        fields("8.3", "two methods", &[method, method, scheme, authority, path], Malformed),
        fields("8.3", "two paths", &[method, scheme, authority, path, (":path", "/other")], Malformed),
        fields("8.3", "two schemes", &[method, scheme, scheme, authority, path], Malformed),
        fields("8.3", "two authorities", &[method, scheme, authority, (":authority", "b"), path], Malformed),
        fields("8.3", "one that is unknown", &[method, scheme, authority, path, (":odd", "1")], Unreadable),
        fields("8.3", "one of an answer", &[method, scheme, authority, path, (":status", "200")], Malformed),
        fields("8.3", "an empty name behind the colon", &[method, scheme, authority, path, (":", "1")], Unreadable),
        fields("8.3.1", "no method", &[scheme, authority, path], Malformed),
        fields("8.3.1", "no scheme", &[method, authority, path], Malformed),
        fields("8.3.1", "no path", &[method, scheme, authority], Malformed),
        fields("8.3.1", "a host instead of the authority", &[method, scheme, path, ("host", "a")], Served),
        fields("8.3.1", "no authority and no host", &[method, scheme, path], Malformed),
        fields("8.3.1", "no fields at all", &[], Malformed),
        // The method.
        changed("RFC 9110 9.1", "a method in small letters, which is another", ":method", Some("get"), Served),
        changed("RFC 9110 9.1", "a method that nobody knows", ":method", Some("BREW"), Served),
        changed("RFC 9110 9.1", "an empty method", ":method", Some(""), Unreadable),
        changed("RFC 9110 9.1", "a space in the method", ":method", Some("GET /admin HTTP/1.1"), Unreadable),
        changed("RFC 9110 9.1", "a line end in the method", ":method", Some("GET / HTTP/1.1\r\nx: y\r\n"), Unreadable),
        changed("RFC 9110 9.1", "a colon in the method", ":method", Some("G:T"), Unreadable),
        changed("RFC 9110 9.3.8", "TRACE", ":method", Some("TRACE"), Status(405)),
        fields("8.5", "CONNECT", &[(":method", "CONNECT"), (":authority", "a:443")], Status(405)),
        fields("8.5", "CONNECT with a path", &[(":method", "CONNECT"), scheme, authority, path], Malformed),
        fields("RFC 8441 4", "CONNECT to a protocol", &[(":method", "CONNECT"), (":protocol", "websocket"), scheme, authority, path], Malformed),
        // The scheme.
        changed("8.3.1", "https over a connection without TLS", ":scheme", Some("https"), Served),
        changed("RFC 9110 4.2", "another scheme", ":scheme", Some("ftp"), Malformed),
        changed("RFC 3986 3.1", "an empty scheme", ":scheme", Some(""), Malformed),
        changed("RFC 3986 3.1", "a scheme with a line end", ":scheme", Some("http\r\nx: y"), Malformed),
        changed("RFC 3986 3.1", "a scheme with a URI in it", ":scheme", Some("http://other/"), Malformed),
        // The authority.
        changed("8.3.1", "a user in the authority", ":authority", Some("user@a"), Malformed),
        changed("RFC 3986 3.2", "a space in the authority", ":authority", Some("a b"), Malformed),
        changed("RFC 3986 3.2", "a path in the authority", ":authority", Some("a/b"), Malformed),
        changed("RFC 3986 3.2", "a query in the authority", ":authority", Some("a?b"), Malformed),
        changed("RFC 3986 3.2", "a line end in the authority", ":authority", Some("a\r\nx: y"), Malformed),
        changed("RFC 3986 3.2", "an empty authority", ":authority", Some(""), Malformed),
        changed("RFC 3986 3.2", "a port alone", ":authority", Some(":80"), Malformed),
        changed("RFC 3986 3.2", "a port that is none", ":authority", Some("a:b"), Malformed),
        changed("RFC 3986 3.2", "a port beyond all ports", ":authority", Some("a:65536"), Malformed),
        changed("RFC 3986 3.2", "two ports", ":authority", Some("a:80:81"), Malformed),
        changed("RFC 3986 3.2", "an address and a port", ":authority", Some("[::1]:8080"), Served),
        changed("RFC 3986 3.2", "half an address", ":authority", Some("[::1"), Malformed),
        with("8.3.1", "the same host again", &[("host", "story.example")], Served),
        with("8.3.1", "another host", &[("host", "other.example")], Malformed),
        with("8.3.1", "an empty host", &[("host", "")], Malformed),
        with("RFC 9110 7.2", "two hosts", &[("host", "story.example"), ("host", "story.example")], Malformed),
        fields("RFC 9110 7.2", "a host with a space", &[method, scheme, path, ("host", "a b")], Malformed),
        // The path.
        changed("8.3.1", "an empty path", ":path", Some(""), Malformed),
        changed("8.3.1", "a path without a slash", ":path", Some("case"), Malformed),
        changed("8.3.1", "a query without a path", ":path", Some("?case"), Malformed),
        changed("8.3.1", "the star of a GET", ":path", Some("*"), Malformed),
        fields("8.3.1", "the star of OPTIONS", &[(":method", "OPTIONS"), scheme, authority, (":path", "*")], Served),
        changed("8.3.1", "a whole URI", ":path", Some("http://other/case"), Malformed),
        changed("RFC 3986 3.5", "a fragment, which goes", ":path", Some("/case#part"), Served),
        changed("RFC 3986 3.3", "a space in the path", ":path", Some("/case HTTP/1.1"), Malformed),
        changed("RFC 3986 3.3", "a line end in the path", ":path", Some("/case HTTP/1.1\r\nx: y\r\n\r\n"), Malformed),
        changed("RFC 3986 3.3", "NUL in the path", ":path", Some("/ca\0se"), Malformed),
        changed("RFC 3986 3.3", "a tab in the path", ":path", Some("/ca\tse"), Malformed),
        changed("RFC 3986 3.3", "DEL in the path", ":path", Some("/ca\x7fse"), Malformed),
        changed("RFC 3986 3.3", "two slashes, which are no authority", ":path", Some("//other/case"), Served),
    ]
}

#[rustfmt::skip] // One case, one line.
fn other_fields() -> Vec<Case> {
    let many: Vec<(String, String)> = (0..101).map(|number| (format!("x-{number}"), "1".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let long = "y".repeat(15_000);
    let large: Vec<(&str, &str)> = ["a", "b", "c", "d", "e"].iter().map(|name| (*name, long.as_str())).collect();
    let large = wire(&[&request("GET", "/case"), &large[..]].concat());
    let pieces: Vec<&[u8]> = large.chunks(16_000).collect();
    let mut continued = vec![frame(HEADERS, END_STREAM, 1, pieces[0])];
    for (index, piece) in pieces.iter().enumerate().skip(1) {
        continued.push(frame(CONTINUATION, if index + 1 == pieces.len() { END_HEADERS } else { 0 }, 1, piece));
    }
    vec![
        with("8.2.3", "cookies in pieces", &[("cookie", "a=1"), ("cookie", "b=2")], Served),
        with("8.2.1", "a name with capitals", &[("X-Odd", "1")], Unreadable),
        with("8.2.1", "an empty name", &[("", "1")], Unreadable),
        with("8.2.1", "a space in a name", &[("x odd", "1")], Unreadable),
        with("8.2.1", "a colon in a name", &[("x:odd", "1")], Unreadable),
        with("8.2.1", "a line end in a name", &[("x\r\ny", "1")], Unreadable),
        with("8.2.1", "NUL in a name", &[("x\0y", "1")], Unreadable),
        with("8.2.1", "a byte above 127 in a name", &[("x\u{e9}", "1")], Unreadable),
        with("8.2.1", "a line end in a value", &[("x", "1\r\ny: 2")], Unreadable),
        with("8.2.1", "LF in a value", &[("x", "1\ny: 2")], Unreadable),
        with("8.2.1", "CR in a value", &[("x", "1\ry: 2")], Unreadable),
        with("8.2.1", "NUL in a value", &[("x", "1\x002")], Unreadable),
        with("8.2.1", "a space before a value", &[("x", " 1")], Malformed),
        with("8.2.1", "a space after a value", &[("x", "1 ")], Malformed),
        with("8.2.1", "a tab before a value", &[("x", "\t1")], Malformed),
        with("8.2.1", "a value of a space", &[("x", " ")], Malformed),
        with("8.2.1", "an empty value", &[("x", "")], Served),
        with("RFC 9110 5.5", "a byte above 127 in a value", &[("x", "\u{e9}")], Served),
        with("8.2.2", "connection", &[("connection", "close")], Malformed),
        with("8.2.2", "keep-alive", &[("keep-alive", "timeout=5")], Malformed),
        with("8.2.2", "proxy-connection", &[("proxy-connection", "keep-alive")], Malformed),
        with("8.2.2", "transfer-encoding", &[("transfer-encoding", "chunked")], Malformed),
        with("8.2.2", "upgrade", &[("upgrade", "websocket")], Malformed),
        with("8.2.2", "te: trailers", &[("te", "trailers")], Served),
        with("8.2.2", "te: gzip", &[("te", "gzip")], Malformed),
        with("8.2.2", "te: trailers and more", &[("te", "trailers, gzip")], Malformed),
        with("RFC 6585 5", "more fields than the limit", &many, Status(431)),
        raw("RFC 6585 5", "more bytes of fields than the limit", &continued, Status(431)),
        // The length.
        body("8.1.1", "the length of the body", &[("content-length", "5")], &["he", "llo"], Served),
        body("8.1.1", "no length", &[], &["he", "llo"], Served),
        body("8.1.1", "a length of nothing, and nothing", &[("content-length", "0")], &[""], Served),
        with("8.1.1", "a length of nothing and no body", &[("content-length", "0")], Served),
        body("8.1.1", "less than the length", &[("content-length", "5")], &["hell"], Malformed),
        body("8.1.1", "nothing of the length", &[("content-length", "5")], &[""], Malformed),
        with("8.1.1", "a length and no body", &[("content-length", "5")], Malformed),
        body("8.1.1", "more than the length", &[("content-length", "5")], &["hello", "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"], Malformed),
        body("8.1.1", "more than the length at once", &[("content-length", "5")], &["helloGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"], Malformed),
        body("8.1.1", "a length of nothing, and something", &[("content-length", "0")], &["GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"], Reset(PROTOCOL_ERROR)),
        body("RFC 9110 8.6", "two lengths", &[("content-length", "5"), ("content-length", "4")], &["hello"], Malformed),
        body("RFC 9110 8.6", "two lengths in one field", &[("content-length", "5, 4")], &["hello"], Malformed),
        body("RFC 9110 8.6", "a signed length", &[("content-length", "+5")], &["hello"], Malformed),
        body("RFC 9110 8.6", "a negative length", &[("content-length", "-5")], &["hello"], Malformed),
        body("RFC 9110 8.6", "an empty length", &[("content-length", "")], &["hello"], Malformed),
        body("RFC 9110 8.6", "a hexadecimal length", &[("content-length", "0x5")], &["hello"], Malformed),
        body("RFC 9110 8.6", "a length of 2^64 and 5", &[("content-length", "18446744073709551621")], &["hello"], Malformed),
        // Trailers.
        raw("8.1", "trailers", &[post(), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1")]))], Served),
        raw("8.1", "trailers that are not the end", &[post(), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS, 1, &block(&[("x-sum", "1")]))], Malformed),
        raw("8.1", "trailers with capitals", &[post(), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("X-Sum", "1")]))], Unreadable),
        raw("8.1", "trailers with a pseudo-field", &[post(), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":path", "/smuggled")]))], Malformed),
        raw("8.1", "trailers with a field of a connection", &[post(), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("transfer-encoding", "chunked")]))], Malformed),
        raw("8.1", "trailers short of the length", &[frame(HEADERS, END_HEADERS, 1, &wire(&[&request("POST", "/case"), &[("content-length", "9")][..]].concat())), frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1")]))], Malformed),
    ]
}

#[rustfmt::skip] // One case, one line.
fn frames() -> Vec<Case> {
    let window = |stream: u32, size: u32| frame(WINDOW_UPDATE, 0, stream, &size.to_be_bytes());
    let setting = |key: u16, value: u32| frame(SETTINGS, 0, 0, &[&key.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let head = block(&request("GET", "/case"));
    let (first, rest) = head.split_at(20);
    vec![
        raw("4.1", "a reserved bit, which says nothing", &[frame(HEADERS, END_HEADERS | END_STREAM, 1 | 1 << 31, &head)], Served),
        raw("4.1", "a frame of an unknown kind, which says nothing", &[frame(0x42, 0xff, 1, b"odd"), frame(0x42, 0, 0, b"odd"), get()], Served),
        raw("4.1", "unknown flags, which say nothing", &[frame(HEADERS, END_HEADERS | END_STREAM | 0x40, 1, &head)], Served),
        raw("4.2", "a frame larger than was allowed", &[post(), frame(DATA, END_STREAM, 1, &vec![b'x'; 16_385])], Ended),
        raw("4.3", "a field that is in no table", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x80, 0x01])], Ended),
        raw("RFC 7541 6.1", "a field of index 0", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])], Ended),
        raw("RFC 7541 5.1", "a number without end", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])], Ended),
        raw("RFC 7541 6.3", "a table larger than was allowed", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &head].concat())], Ended),
        raw("4.3", "half a field", &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &head[..head.len() - 3])], Ended),
        raw("5.1", "a body before the head", &[frame(DATA, END_STREAM, 1, b"hello")], Ended),
        raw("5.1", "a body after the end", &[get(), frame(DATA, END_STREAM, 1, b"hello")], Ended),
        raw("5.1", "a reset of a stream that never was", &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])], Ended),
        raw("5.1", "a window for a stream that never was", &[window(1, 1)], Ended),
        raw("5.1.1", "an even number", &[frame(HEADERS, END_HEADERS | END_STREAM, 2, &head)], Ended),
        raw("5.1.1", "a number below the last", &[frame(HEADERS, END_HEADERS | END_STREAM, 5, &head), frame(HEADERS, END_HEADERS | END_STREAM, 3, &head)], Ended),
        raw("5.3.1", "a head that depends on itself", &[frame(HEADERS, END_HEADERS | END_STREAM | 0x20, 1, &[&[0, 0, 0, 1, 16][..], &head].concat())], Reset(PROTOCOL_ERROR)),
        raw("5.3.2", "a priority, which says nothing", &[frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]), get()], Served),
        raw("6.1", "a body on stream 0", &[frame(DATA, END_STREAM, 0, b"hello")], Ended),
        raw("6.1", "a padded body", &[post(), frame(DATA, END_STREAM | PADDED, 1, b"\x02hello\0\0")], Served),
        raw("6.1", "more padding than body", &[post(), frame(DATA, END_STREAM | PADDED, 1, b"\x09hello")], Ended),
        raw("6.2", "a head on stream 0", &[frame(HEADERS, END_HEADERS | END_STREAM, 0, &head)], Ended),
        raw("6.2", "a padded head", &[frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[&[2][..], &head, &[0, 0]].concat())], Served),
        raw("6.2", "more padding than head", &[frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, &[&[255][..], &head].concat())], Ended),
        raw("6.3", "a priority on stream 0", &[frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 16])], Ended),
        raw("6.3", "a priority of four bytes", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1])], Ended),
        raw("6.4", "a reset on stream 0", &[frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])], Ended),
        raw("6.4", "a reset of three bytes", &[post(), frame(RST_STREAM, 0, 1, &[0, 0, 8])], Ended),
        raw("6.5", "settings on a stream", &[frame(SETTINGS, 0, 1, &[])], Ended),
        raw("6.5", "settings of five bytes", &[frame(SETTINGS, 0, 0, &[0; 5])], Ended),
        raw("6.5", "settings acknowledged with settings", &[frame(SETTINGS, ACK, 0, &[0; 6])], Ended),
        raw("6.5.2", "an unknown setting, which says nothing", &[setting(0x42, 1), get()], Served),
        raw("6.5.2", "half a push", &[setting(2, 2)], Ended),
        raw("6.5.2", "a window beyond all windows", &[setting(4, 1 << 31)], Ended),
        raw("6.5.2", "frames smaller than the smallest", &[setting(5, 16_383)], Ended),
        raw("6.6", "a push by a client", &[post(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &head].concat())], Ended),
        raw("6.7", "a ping of seven bytes", &[frame(PING, 0, 0, &[0; 7])], Ended),
        raw("6.7", "a ping on a stream", &[frame(PING, 0, 1, &[0; 8])], Ended),
        raw("6.8", "a farewell on a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], Ended),
        raw("6.9", "a window of nothing for the connection", &[window(0, 0)], Ended),
        raw("6.9", "a window of nothing for a stream", &[post(), window(1, 0)], Ended),
        raw("6.9", "a window of three bytes", &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], Ended),
        raw("6.9.1", "windows beyond all windows for the connection", &[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)], Ended),
        raw("6.9.1", "windows beyond all windows for a stream", &[post(), window(1, 0x7fff_ffff), window(1, 0x7fff_ffff)], Reset(FLOW_CONTROL_ERROR)),
        raw("6.10", "a head in two frames", &[frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)], Served),
        raw("6.10", "the rest of a head without its beginning", &[frame(CONTINUATION, END_HEADERS, 1, rest)], Ended),
        raw("6.10", "the rest of a head after its end", &[get(), frame(CONTINUATION, END_HEADERS, 1, rest)], Ended),
        raw("6.10", "something between the pieces of a head", &[frame(HEADERS, END_STREAM, 1, first), frame(PING, 0, 0, &[0; 8]), frame(CONTINUATION, END_HEADERS, 1, rest)], Ended),
        raw("6.10", "the head of another stream between the pieces of one", &[frame(HEADERS, END_STREAM, 1, first), frame(HEADERS, END_HEADERS | END_STREAM, 3, &head)], Ended),
        raw("6.10", "the rest of a head on another stream", &[frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 3, rest)], Ended),
    ]
}

fn tell(cases: &[Case]) {
    let origin = Origin::start(|_| Answer::Ok("fine".to_owned()));
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .upstream("retry: off, health_check: off")
        .listener("timeouts: { request_body_idle: 2s }")
        .start();
    let mut wrong = Vec::new();
    for case in cases {
        let before = origin.count();
        let mut client = Http2::connect(balancer.address);
        client.send(&case.sends);
        let outcome = client.outcome(1);
        let asked: Vec<_> = origin.requests().split_off(before).into_iter().map(|request| request.line).collect();
        let (right, lives) = match case.sees {
            Served => (outcome.status == Some(200) && outcome.end == End::Whole && asked.len() == 1, true),
            Status(status) => (outcome.status == Some(status) && asked.is_empty(), true),
            Malformed => {
                let refused = outcome.status == Some(400) && outcome.end != End::Closed;
                ((refused || outcome.end == End::Reset(PROTOCOL_ERROR)) && asked.is_empty(), true)
            }
            Reset(code) => (outcome.end == End::Reset(code), true),
            Unreadable => {
                (matches!(outcome.end, End::GoAway(_) | End::Reset(PROTOCOL_ERROR)) && asked.is_empty(), false)
            }
            Ended => (ends_in_error(&mut client, &outcome.end), false),
        };
        let named = format!("RFC 9113 {}: {}", case.rfc, case.what);
        if !right {
            wrong.push(format!(
                "{named}: {:?} expected, seen {outcome:?} {:?}, asked: {asked:?}",
                case.sees,
                outcome.text()
            ));
        }
        if lives {
            client.get(9, "/after");
            let after = client.outcome(9);
            if after.text() != "fine" {
                wrong.push(format!("{named}: the connection does not live: {after:?}"));
            }
        }
    }
    assert!(!origin.requests().iter().any(|request| request.line.contains("smuggled")));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Whether the connection ends with an error; a stream may have been answered before.
fn ends_in_error(client: &mut Http2, seen: &End) -> bool {
    matches!(seen, End::GoAway(_)) || matches!(client.end_of_connection(Duration::from_secs(5)), End::GoAway(_))
}

#[test]
fn pseudo_fields_are_whole_single_first_and_right_or_nothing_is_forwarded() {
    tell(&pseudo_fields());
}

#[test]
fn fields_lengths_and_trailers_are_right_or_nothing_is_forwarded() {
    tell(&other_fields());
}

#[test]
fn frames_are_where_they_belong_or_the_stream_or_the_connection_ends() {
    tell(&frames());
}
