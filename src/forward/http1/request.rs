//! The head of a request on its way to a backend of HTTP/1.1: which of the client's fields go on, and how it is written.
//!
//! Names are written as HTTP/2 has them, or as everybody writes them; what the client wrote is not kept (RFC 9110, section
//! 5.1: it makes no difference), since a second map of names is most of what a head costs.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::connection::Framing;

/// The most fields that `Connection` may name.
const MOST_NOMINATED: usize = 9;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields of the connection before (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HTTP2_SETTINGS,
];

/// Fields that no client can have removed by naming them.
const PROTECTED: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The client's head without what was meant for us alone, as one of HTTP/1.1. Whoever asks for a WebSocket still does.
///
/// # Errors
/// Of the client: its `Connection` names what it must not, or too much.
pub fn without_hops(request: &RequestHeader) -> Result<RequestHeader> {
    let websocket = request.version == Version::HTTP_11
        && request.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut parts = request.as_owned_parts();
    parts.version = Version::HTTP_11;
    if request.headers.contains_key(header::CONNECTION) {
        for name in nominated(&request.headers)? {
            parts.headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        if parts.headers.contains_key(name) {
            parts.headers.remove(name);
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
    Ok(RequestHeader::from(parts))
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
/// pingora's, if a field cannot be set.
pub fn announce(request: &mut RequestHeader, has_body: bool) -> Result<Framing> {
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.trim().parse().ok());
    match length {
        // What was announced and does not come is found out at its end.
        Some(length) => Ok(Framing::Length(length)),
        None if !has_body => Ok(Framing::Length(0)),
        None => {
            request.remove_header(&header::CONTENT_LENGTH);
            request.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            Ok(Framing::Chunked)
        }
    }
}

/// The head as bytes.
///
/// # Errors
/// A fault of ours: the target has bytes that would end its line.
pub fn on_the_wire(request: &RequestHeader) -> Result<Vec<u8>> {
    let target = request.raw_path();
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "a target that cannot be sent").map_err(Error::into_in);
    }
    let fields: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = Vec::with_capacity(request.method.as_str().len() + target.len() + fields + 16);
    for part in [request.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"] {
        head.extend_from_slice(part);
    }
    request.header_to_h1_wire(&mut head);
    head.extend_from_slice(b"\r\n");
    Ok(head)
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
        let mut known = request(&[("Content-Length", "5")]);
        assert_eq!(announce(&mut known, true).unwrap(), Framing::Length(5));
        let mut unknown = request(&[]);
        assert_eq!(announce(&mut unknown, true).unwrap(), Framing::Chunked);
        assert_eq!(unknown.headers.get("transfer-encoding").unwrap(), "chunked");
        assert_eq!(announce(&mut request(&[]), false).unwrap(), Framing::Length(0));
        assert_eq!(announce(&mut known, false).unwrap(), Framing::Length(5), "which never comes");
    }
}
