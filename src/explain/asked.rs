//! A request that somebody asks about: written like curl's, sent by nobody.

use std::net::IpAddr;
use std::str::FromStr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// `http` or `https`.
    pub https: bool,
    /// As it would stand in the field `Host`.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// All fields, with `Host`.
    pub headers: HeaderMap,
    /// Where it comes from.
    pub client: IpAddr,
    /// The listener that it comes to; none: found by the address.
    pub listener: Option<String>,
}

impl Asked {
    /// A request from this machine, with no fields but `Host`.
    ///
    /// # Errors
    /// A sentence, if the method or the address is none.
    pub fn new(method: &str, url: &str) -> Result<Asked, String> {
        const HELP: &str = "write one such as `https://shop.example.com/api/x`";
        let method = Method::from_str(method).map_err(|_| format!("`{method}` is not a method"))?;
        // What a browser does not send either.
        let url = url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not an address of the web: {HELP}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(format!("`{url}` has no scheme `http` or `https`: {HELP}")),
        };
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default().to_owned();
        let host = HeaderValue::from_str(&authority).map_err(|_| format!("`{url}` has no host: {HELP}"))?;
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("`{url}` has no host: {HELP}"));
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let headers = HeaderMap::from_iter([(http::header::HOST, host)]);
        Ok(Asked { method, https, authority, target, headers, client: IpAddr::from([127, 0, 0, 1]), listener: None })
    }

    /// Adds a field, written as `name: value`.
    ///
    /// # Errors
    /// A sentence, if it is none.
    pub fn add_field(&mut self, field: &str) -> Result<(), String> {
        let wrong = || format!("`{field}` is not a header field: write `name: value`");
        let (name, value) = field.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_str(name.trim()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        if name == http::header::HOST {
            value.to_str().map_err(|_| wrong())?.clone_into(&mut self.authority);
            self.headers.insert(name, value);
        } else {
            self.headers.append(name, value);
        }
        Ok(())
    }

    /// The port that it goes to.
    pub fn port(&self) -> u16 {
        let written = self.authority.parse::<Authority>().ok().and_then(|authority| authority.port_u16());
        written.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_like_curls() {
        let mut asked = Asked::new("POST", "https://shop.example.com/api/x?a=1#part").unwrap();
        assert_eq!((asked.target.as_str(), asked.port(), asked.scheme()), ("/api/x?a=1", 443, "https"));
        asked.add_field("x-canary:1").unwrap();
        asked.add_field("Host: other.example:8443").unwrap();
        assert_eq!((asked.authority.as_str(), asked.port()), ("other.example:8443", 8443));
        assert_eq!(asked.headers["x-canary"], "1");
        assert_eq!(asked.headers.get_all("host").iter().count(), 1);
        for (method, url) in [
            ("G T", "http://a/"),
            ("GET", "/x"),
            ("GET", "ftp://a/"),
            ("GET", "http:///x"),
            ("GET", "http://u@a/"),
            ("GET", "http://a b/"),
        ] {
            assert!(Asked::new(method, url).is_err(), "{method} {url}");
        }
        assert!(asked.add_field("novalue").is_err() && asked.add_field("a b: c").is_err());
    }
}
