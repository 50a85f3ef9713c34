//! The head of a request as HTTP/2 has it: whom and what it asks stands in pseudo-fields (RFC 9113, section 8.3.1).

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, header};
use pingora::{Error, ErrorType, OrErr, Result};

/// The head for the library. What `Host` says is the authority.
///
/// # Errors
/// Of the client: there is no host, or it is none.
pub fn with_authority(mut head: Parts, scheme: &Scheme) -> Result<Request<()>> {
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    if let Some(host) = head.headers.remove(header::HOST)
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
    head.uri = Uri::from_parts(uri).or_err(ErrorType::InvalidHTTPHeader, "a target that cannot be sent")?;
    Ok(Request::from_parts(head, ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(target: &str, host: Option<&str>) -> Option<String> {
        let mut head = Request::builder().uri(target);
        if let Some(host) = host {
            head = head.header("host", host);
        }
        let head = head.body(()).unwrap().into_parts().0;
        let request = with_authority(head, &Scheme::HTTP).ok()?;
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
