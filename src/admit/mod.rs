//! Whether a request is one that can be understood without doubt.
//!
//! One of HTTP/1.1 that reaches here is: the edge has read it on the wire. One of HTTP/2 has frames instead, but is
//! asked what a parser of HTTP/1.1 behind us would make of its fields.

pub mod connection;
pub mod http2;

use http::header::{CONTENT_LENGTH, HOST, TE};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;

use crate::failure::Reason;

/// Whether the body that an understood request announces is one of at most so many bytes.
///
/// # Errors
/// [`Reason::BodyTooLarge`]. A body of unknown length is counted when it comes.
pub fn body(request: &RequestHeader, most: Option<u64>) -> Result<(), Reason> {
    let Some((most, length)) = most.zip(request.headers.get(CONTENT_LENGTH)) else { return Ok(()) };
    let announced = length.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > most) { Err(Reason::BodyTooLarge) } else { Ok(()) }
}

/// The host that the client asks for: the authority in HTTP/2, the field in HTTP/1.
pub fn host_of(request: &RequestHeader) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers.get(HOST).cloned(),
    }
}

/// Whether the client says that it reads trailers (RFC 9110, section 10.1.4); in HTTP/2 it can say nothing else.
pub fn reads_trailers(request: &RequestHeader) -> bool {
    let mut said = request.headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    match request.version {
        Version::HTTP_2 => said.next().is_some(),
        Version::HTTP_11 => said.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_says_it_is_too_large_is_refused() {
        let request = |name: &'static str, value| {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            request.append_header(name, value).unwrap();
            request
        };
        let length = |length| request("content-length", length);
        assert_eq!(body(&length("11"), Some(10)), Err(Reason::BodyTooLarge));
        assert_eq!(body(&length("10"), Some(10)), Ok(()));
        assert_eq!(body(&length("11"), None), Ok(()));
        assert_eq!(body(&request("transfer-encoding", "chunked"), Some(10)), Ok(()));
    }
}
