//! The head of a request on its way to a backend of HTTP/1.1: how its body is announced, and how it is written.
//!
//! Names are written as HTTP/2 has them, or as everybody writes them; what the client wrote is not kept (RFC 9110, section
//! 5.1: it makes no difference), since a second map of names is most of what a head costs.

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use pingora::{Error, ErrorType, Result};

use super::connection::Framing;
use crate::forward::call::{Body, announced};
use crate::forward::request_head::RequestHead;

/// Announces the body, if there is one, and says how it will be framed.
pub fn announce(request: &mut RequestHead<'_>, body: Body) -> Framing {
    match announced(request, body) {
        // What was announced and does not come is found out at its end.
        Some(length) => Framing::Length(length),
        None => {
            request.remove(&header::CONTENT_LENGTH);
            request.set(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            Framing::Chunked
        }
    }
}

/// The head as bytes.
///
/// # Errors
/// A fault of ours: the target has bytes that would end its line.
pub fn on_the_wire(request: &RequestHead<'_>) -> Result<Vec<u8>> {
    let target = request.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes();
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "a target that cannot be sent").map_err(Error::into_in);
    }
    let fields: usize = request.fields().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = Vec::with_capacity(request.method.as_str().len() + target.len() + fields + 16);
    for part in [request.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        head.extend_from_slice(part);
    }
    for (name, value) in request.fields() {
        for part in [written(name).as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    Ok(head)
}

/// A name as everybody writes it; all others as HTTP/2 has them.
fn written(name: &HeaderName) -> &str {
    match name.as_str() {
        "accept-ranges" => "Accept-Ranges",
        "age" => "Age",
        "cache-control" => "Cache-Control",
        "connection" => "Connection",
        "content-encoding" => "Content-Encoding",
        "content-length" => "Content-Length",
        "content-type" => "Content-Type",
        "date" => "Date",
        "host" => "Host",
        "server" => "Server",
        "set-cookie" => "Set-Cookie",
        "transfer-encoding" => "Transfer-Encoding",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::hops::without_hops;
    use http::Version;
    use pingora::http::RequestHeader;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/a?b", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn sent(fields: &[(&'static str, &'static str)]) -> String {
        let request = request(fields);
        let request = without_hops(&request, Version::HTTP_11, Body::None).unwrap();
        String::from_utf8(on_the_wire(&request).unwrap()).unwrap()
    }

    #[test]
    fn what_was_meant_for_us_alone_does_not_go_on() {
        let fields = [
            ("Host", "a"),
            ("Connection", "keep-alive, X-Mine"),
            ("Keep-Alive", "5"),
            ("X-Mine", "1"),
            ("TE", "trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Proxy-Authorization", "x"),
            ("Upgrade", "h2c"),
            ("X-Kept", "1"),
            ("X-Kept", "2"),
        ];
        assert_eq!(sent(&fields), "GET /a?b HTTP/1.1\r\nHost: a\r\nx-kept: 1\r\nx-kept: 2\r\n\r\n");
        let upgrade = [("Host", "a"), ("Upgrade", "WebSocket"), ("Connection", "x, upgrade")];
        assert_eq!(sent(&upgrade), "GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    }

    #[test]
    fn a_body_is_announced_by_its_length_or_as_chunks() {
        let (known, unknown) = (request(&[("Content-Length", "5")]), request(&[]));
        let mut known = without_hops(&known, Version::HTTP_11, Body::Follows).unwrap();
        assert_eq!(announce(&mut known, Body::Follows), Framing::Length(5));
        assert_eq!(announce(&mut known, Body::None), Framing::Length(5), "which never comes");
        let mut unknown = without_hops(&unknown, Version::HTTP_11, Body::Follows).unwrap();
        assert_eq!(announce(&mut unknown, Body::None), Framing::Length(0));
        assert_eq!(announce(&mut unknown, Body::Follows), Framing::Chunked);
        assert_eq!(unknown.first(&header::TRANSFER_ENCODING).unwrap(), "chunked");
    }
}
