//! What of a request was meant for us alone, and goes no further (RFC 9110, section 7.6.1).

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Version};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use super::call::Body;
use super::request_head::RequestHead;

/// The most fields that `Connection` may name.
const MOST_NOMINATED: usize = 9;

/// Fields that no client can have removed by naming them.
const PROTECTED: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The client's head without what was meant for us alone, as one of this version, which says in its own words what HTTP/2 says
/// otherwise. Whoever asks for a WebSocket still does, as far as that is known there.
///
/// # Errors
/// Of the client: its `Connection` names what it must not, or too much.
pub fn without_hops(request: &RequestHeader, version: Version, body: Body) -> Result<RequestHead<'_>> {
    let websocket = version == Version::HTTP_11
        && request.version == Version::HTTP_11
        && request.headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let nominated = nominated(&request.headers)?;
    let mut head = RequestHead::of(request, version, |name| !is_of_connection(name) && !nominated.contains(name));
    if websocket {
        head.add(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.add(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if request.version == Version::HTTP_2 && head.first(&header::HOST).is_none() {
        let authority = request.uri.authority().map_or("", |authority| authority.as_str());
        if let Ok(host) = HeaderValue::from_str(authority) {
            head.add(header::HOST, host);
        }
    }
    // That a stream has ended says it all; in HTTP/1.1 there are those who want to be told (411; RFC 9110, section 8.6).
    let expects_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    let is_told = version == Version::HTTP_11 && request.version == Version::HTTP_2;
    if expects_body && is_told && body == Body::None && head.first(&header::CONTENT_LENGTH).is_none() {
        head.add(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(head)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_cannot_name_who_asks_nor_nonsense_nor_without_end() {
        let many = ["a,b,c,d,e,f,g,h,i,j"];
        for named in ["host", "X-Forwarded-For", ":authority", "\"x\"", "a b"].iter().chain(&many) {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.append_header("Connection", *named).unwrap();
            assert!(without_hops(&request, Version::HTTP_11, Body::None).is_err(), "{named}");
        }
    }
}
