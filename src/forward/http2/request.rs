//! The head of a request as HTTP/2 has it: whom and what it asks stands in pseudo-fields (RFC 9113, section 8.3.1).

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version, header};
use pingora::{Error, ErrorType, OrErr, Result};

use crate::forward::request_head::RequestHead;

/// The head for the library. What `Host` says is the authority.
///
/// # Errors
/// Of the client: there is no host, or it is none; or there are more fields than a head can have.
pub fn with_authority(head: &RequestHead<'_>, scheme: &Scheme) -> Result<Request<()>> {
    let mut uri = head.uri.clone().into_owned().into_parts();
    if let Some(host) = head.first(&header::HOST)
        && uri.authority.as_ref().is_none_or(|authority| authority.as_str().as_bytes() != host.as_bytes())
    {
        let authority = Authority::try_from(host.as_bytes());
        let authority = authority.or_err(ErrorType::InvalidHTTPHeader, "a host that is none");
        uri.authority = Some(authority.map_err(Error::into_down)?);
    }
    if uri.authority.as_ref().is_none_or(|authority| authority.as_str().contains('@')) {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "a request without a host").map_err(Error::into_down);
    }
    uri.scheme = Some(scheme.clone());
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).or_err(ErrorType::InvalidHTTPHeader, "a target that cannot be sent")?;
    *request.version_mut() = Version::HTTP_2;
    let mut fields = HeaderMap::with_capacity(head.fields().len());
    for (name, value) in head.fields().filter(|(name, _)| **name != header::HOST) {
        let added = fields.try_append(name, value.clone());
        added.or_err(ErrorType::InvalidHTTPHeader, "more fields than a head can have").map_err(Error::into_down)?;
    }
    *request.headers_mut() = fields;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::http::RequestHeader;

    fn sent(target: &str, host: Option<&str>) -> Option<String> {
        let mut request = RequestHeader::from(Request::builder().uri(target).body(()).unwrap().into_parts().0);
        if let Some(host) = host {
            request.append_header("host", host).unwrap();
        }
        let head = RequestHead::of(&request, Version::HTTP_2, |_| true);
        let request = with_authority(&head, &Scheme::HTTP).ok()?;
        assert!(!request.headers().contains_key("host"));
        Some(request.uri().to_string())
    }

    #[test]
    fn the_host_becomes_the_authority_and_is_no_field_any_more() {
        assert_eq!(sent("/a?b", Some("a.example:81")).unwrap(), "http://a.example:81/a?b");
        assert_eq!(sent("https://old.example/a", Some("new.example")).unwrap(), "http://new.example/a");
        assert_eq!(sent("https://same.example/", None).unwrap(), "http://same.example/");
        assert_eq!(sent("*", Some("a")).unwrap(), "http://a*");
    }

    #[test]
    fn who_asks_nobody_is_refused() {
        for host in [None, Some("a b"), Some("user@a"), Some("")] {
            assert_eq!(sent("/", host), None, "{host:?}");
        }
    }
}
