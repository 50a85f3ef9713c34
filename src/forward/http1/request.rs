//! The head of a request on its way to a backend of HTTP/1.1: which of the client's fields go on, and how it is written.
//!
//! Names are written as HTTP/2 has them, or as everybody writes them; what the client wrote is not kept (RFC 9110, section
//! 5.1: it makes no difference), since a second map of names is most of what a head costs.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Version};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::connection::Framing;
use crate::forward::header_rules::Head as _;

/// The most fields that `Connection` may name.
const MOST_NOMINATED: usize = 9;

/// Fields for which there is room besides the client's.
const OURS: usize = 8;

/// Fields that no client can have removed by naming them.
const PROTECTED: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The client's head without what was meant for us alone, as one of HTTP/1.1. Whoever asks for a WebSocket still does.
///
/// # Errors
/// Of the client: its `Connection` names what it must not, or too much.
pub fn without_hops(request: &RequestHeader) -> Result<Parts> {
    let websocket = request.version == Version::HTTP_11
        && request.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let nominated = nominated(&request.headers)?;
    let mut parts = Request::new(()).into_parts().0;
    parts.method = request.method.clone();
    parts.uri = request.uri.clone();
    parts.version = Version::HTTP_11;
    parts.headers = HeaderMap::with_capacity(request.headers.len() + OURS);
    for (name, value) in &request.headers {
        if !is_of_connection(name) && !nominated.contains(name) {
            parts.add(name.clone(), value.clone())?;
        }
    }
    if websocket {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if request.version == Version::HTTP_2 && !parts.headers.contains_key(header::HOST) {
        let authority = parts.uri.authority().map_or("", |authority| authority.as_str());
        if let Ok(host) = HeaderValue::from_str(authority) {
            parts.headers.insert(header::HOST, host);
        }
    }
    Ok(parts)
}

/// Whether it is a field of the connection before (RFC 9110, section 7.6.1).
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether the head can be made ours.
///
/// # Errors
/// Of the client: its `Connection` names what it must not, or too much.
pub fn check(request: &RequestHeader) -> Result<()> {
    if request.headers.contains_key(header::CONNECTION) { nominated(&request.headers).map(drop) } else { Ok(()) }
}

/// The fields that `Connection` names.
fn nominated(fields: &HeaderMap) -> Result<Vec<HeaderName>> {
    let values = fields.get_all(header::CONNECTION).iter();
    let options =
        values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(|option| option.trim_ascii());
    let mut names = Vec::new();
    for option in options.filter(|option| !option.is_empty()) {
        let name = HeaderName::from_bytes(option).ok().filter(|_| crate::wire::are_token(option));
        match name.filter(|name| !PROTECTED.contains(&name.as_str()) && names.len() < MOST_NOMINATED) {
            Some(name) => names.push(name),
            None => {
                let what = "`connection` names what it must not";
                return Error::e_explain(ErrorType::InvalidHTTPHeader, what).map_err(Error::into_down);
            }
        }
    }
    Ok(names)
}

/// Announces the body, if there is one, and says how it will be framed.
///
/// # Errors
/// If a field cannot be set.
pub fn announce(request: &mut Parts, has_body: bool) -> Result<Framing> {
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.trim().parse().ok());
    match length {
        // What was announced and does not come is found out at its end.
        Some(length) => Ok(Framing::Length(length)),
        None if !has_body => Ok(Framing::Length(0)),
        None => {
            request.remove(&header::CONTENT_LENGTH);
            request.set(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
            Ok(Framing::Chunked)
        }
    }
}

/// The head as bytes.
///
/// # Errors
/// A fault of ours: the target has bytes that would end its line.
pub fn on_the_wire(request: &Parts) -> Result<Vec<u8>> {
    let target = request.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes();
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "a target that cannot be sent").map_err(Error::into_in);
    }
    let fields: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = Vec::with_capacity(request.method.as_str().len() + target.len() + fields + 16);
    for part in [request.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        head.extend_from_slice(part);
    }
    for (name, value) in &request.headers {
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

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/a?b", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn sent(fields: &[(&'static str, &'static str)]) -> String {
        let request = without_hops(&request(fields)).unwrap();
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
    fn a_connection_cannot_name_who_asks_nor_nonsense_nor_without_end() {
        let many = ["a,b,c,d,e,f,g,h,i,j"];
        for named in ["host", "X-Forwarded-For", ":authority", "\"x\"", "a b"].iter().chain(&many) {
            assert!(without_hops(&request(&[("Connection", named)])).is_err(), "{named}");
        }
    }

    #[test]
    fn a_body_is_announced_by_its_length_or_as_chunks() {
        let request = |fields: &[_]| without_hops(&request(fields)).unwrap();
        let mut known = request(&[("Content-Length", "5")]);
        assert_eq!(announce(&mut known, true).unwrap(), Framing::Length(5));
        let mut unknown = request(&[]);
        assert_eq!(announce(&mut unknown, true).unwrap(), Framing::Chunked);
        assert_eq!(unknown.headers.get("transfer-encoding").unwrap(), "chunked");
        assert_eq!(announce(&mut request(&[]), false).unwrap(), Framing::Length(0));
        assert_eq!(announce(&mut known, false).unwrap(), Framing::Length(5), "which never comes");
    }
}
