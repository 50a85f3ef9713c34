//! What is changed in the head of a message on its way, in both directions.
//!
//! Requests: the hop-by-hop fields (RFC 9110, section 7.6.1) are gone already ([`hops`](super::hops)); here cookies that HTTP/2
//! split become one field (RFC 9113, section 8.2.3), and the fields that tell who asked are set ([`Origin`]).
//! Responses: hop-by-hop fields go; the rest, `Date` and `Server` among it, is passed on.

use bytes::Bytes;
use http::Version;
use http::header::{self, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;

use super::origin::Origin;
use super::request_head::RequestHead;

/// The identifier of the request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes a client's request one of ours.
pub fn to_backend(request: &mut RequestHead<'_>, origin: Origin<'_>) {
    joined_cookies(request);
    if origin.trailers && request.version == Version::HTTP_2 {
        request.set(header::TE, HeaderValue::from_static("trailers"));
    }
    origin.tell(request);
}

/// What becomes of the trailers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// The client gets them.
    Passed,
    /// The client has not said that it reads any.
    Dropped,
}

/// Removes from a backend's response what was meant for us alone, or announces what this client does not get. A 101 passes
/// as it came.
pub fn to_client(response: &mut ResponseHeader, trailers: Trailers) {
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if let Some(connection) = response.headers.get(header::CONNECTION)
        && !connection.as_bytes().eq_ignore_ascii_case(b"keep-alive")
        && !connection.as_bytes().eq_ignore_ascii_case(b"close")
    {
        for name in nominated(response) {
            response.remove_header(&name);
        }
    }
    let upgrade_required = response.status == http::StatusCode::UPGRADE_REQUIRED;
    let is_ours = |name: &HeaderName| match name.as_str() {
        "keep-alive" | "proxy-authenticate" | "proxy-connection" | "te" => true,
        // What does not come is not announced.
        "trailer" => trailers == Trailers::Dropped,
        "upgrade" => !upgrade_required,
        _ => false,
    };
    // Hardly any answer has one: to look through its names once is cheaper than to look for each of these.
    while let Some(name) = response.headers.keys().find(|name| is_ours(name)).cloned() {
        response.remove_header(&name);
    }
}

/// The fields that `Connection` names, but for those that frame or identify the message.
fn nominated(response: &ResponseHeader) -> Vec<HeaderName> {
    let values = response.headers.get_all(header::CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok());
    let kept = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONTENT_TYPE, header::CONNECTION];
    names.filter(|name| !kept.contains(name)).collect()
}

fn joined_cookies(request: &mut RequestHead<'_>) {
    if request.all(&header::COOKIE).nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = request.all(&header::COOKIE).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(cookies.join(&b"; "[..]))) {
        request.set(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use pingora::http::RequestHeader;

    fn response(fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    fn names(response: &ResponseHeader) -> Vec<&str> {
        response.headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn hop_by_hop_fields_of_a_response_go_and_all_others_stay() {
        let mut response = response(&[
            ("date", "Mon, 23 Nov 2026 13:44:05 GMT"),
            ("server", "gunicorn"),
            ("connection", "keep-alive, x-internal"),
            ("keep-alive", "timeout=5"),
            ("x-internal", "1"),
            ("proxy-connection", "close"),
            ("upgrade", "h2c"),
            ("content-length", "2"),
        ]);
        to_client(&mut response, Trailers::Dropped);
        assert_eq!(names(&response), ["date", "server", "connection", "content-length"]);
    }

    #[test]
    fn a_response_cannot_nominate_its_framing_away() {
        let mut response = response(&[("connection", "content-length, transfer-encoding"), ("content-length", "2")]);
        to_client(&mut response, Trailers::Dropped);
        assert_eq!(response.headers.get("content-length").unwrap(), "2");
    }

    #[test]
    fn cookies_that_http2_split_are_joined() {
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        let mut request = RequestHead::of(&request, Version::HTTP_11, |_| true);
        for cookie in ["a=1", "b=2"] {
            request.add(header::COOKIE, HeaderValue::from_static(cookie));
        }
        joined_cookies(&mut request);
        let cookies: Vec<_> = request.all(&header::COOKIE).collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }
}
