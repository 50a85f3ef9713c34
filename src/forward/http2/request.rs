//! The head of a request as HTTP/2 has it: whom and what it asks stands in pseudo-fields (RFC 9113, section 8.3.1).

use http::header::{HOST, HeaderValue};
use http::uri::Scheme;
use pingora::{Error, ErrorType, Result};

use crate::forward::request_head::RequestHead;
use crate::http2::hpack::Encoder;
use crate::wire::Authority;

/// Whom it asks: what `Host` says, or else its target.
fn authority<'a>(head: &'a RequestHead<'_>) -> Option<&'a [u8]> {
    let host = head.first(&HOST).map(HeaderValue::as_bytes);
    host.or_else(|| Some(head.uri.authority()?.as_str().as_bytes()))
}

/// Whether it can be sent.
///
/// # Errors
/// Of the client: there is no host, or it is none.
pub fn check(head: &RequestHead<'_>) -> Result<()> {
    let wrong = match authority(head).map(Authority::parse) {
        Some(Some(_)) => return Ok(()),
        Some(None) => "a host that is none",
        None => "a request without a host",
    };
    Error::e_explain(ErrorType::InvalidHTTPHeader, wrong).map_err(Error::into_down)
}

/// Writes one that can be sent.
pub fn write(head: &RequestHead<'_>, scheme: &Scheme, encoder: &mut Encoder, out: &mut Vec<u8>) {
    encoder.method(out, &head.method);
    encoder.scheme(out, scheme);
    encoder.authority(out, authority(head).unwrap_or_default());
    encoder.path(out, head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    for (name, value) in head.fields().filter(|(name, _)| **name != HOST) {
        encoder.field(out, name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::hpack::{Decoder, Name};
    use http::{Request, Version};
    use pingora::http::RequestHeader;

    fn sent(target: &str, host: Option<&str>) -> Option<String> {
        let mut request = RequestHeader::from(Request::builder().uri(target).body(()).unwrap().into_parts().0);
        if let Some(host) = host {
            request.append_header("host", host).unwrap();
        }
        let head = RequestHead::of(&request, Version::HTTP_2, |_| true);
        check(&head).ok()?;
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        encoder.begin(&mut out);
        write(&head, &Scheme::HTTP, &mut encoder, &mut out);
        let (mut authority, mut path) = (String::new(), String::new());
        let read = Decoder::new(4096).decode(&out, 10_000, |name, value| match name {
            Name::Authority => authority = value.to_str().unwrap().to_owned(),
            Name::Path => path = value.to_str().unwrap().to_owned(),
            Name::Method | Name::Scheme | Name::Status | Name::Protocol => {}
            Name::Field(name) => assert_ne!(name, HOST),
        });
        assert!(read.is_ok());
        Some(format!("{authority}{path}"))
    }

    #[test]
    fn the_host_becomes_the_authority_and_is_no_field_any_more() {
        assert_eq!(sent("/a?b", Some("a.example:81")).unwrap(), "a.example:81/a?b");
        assert_eq!(sent("https://old.example/a", Some("new.example")).unwrap(), "new.example/a");
        assert_eq!(sent("https://same.example/", None).unwrap(), "same.example/");
        assert_eq!(sent("https://same.example", None).unwrap(), "same.example/");
        assert_eq!(sent("*", Some("a")).unwrap(), "a*");
    }

    #[test]
    fn who_asks_nobody_is_refused() {
        for host in [None, Some("a b"), Some("user@a"), Some("")] {
            assert_eq!(sent("/", host), None, "{host:?}");
        }
    }
}
