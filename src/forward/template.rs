//! Texts with values of the request in them: `https://{host}{path_and_query}`.
//!
//! Invariant: names are resolved when the configuration is read, and a rendered text has no control character but the
//! tab, so no value can begin another line. Deliberately absent: conditions and arithmetic.

use std::io::Write as _;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::cookies;

/// A text with values in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands as it is.
    Text(String),
    /// A value; empty where there is none.
    Value(Variable),
}

/// A value of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The address of the client.
    ClientAddress,
    /// The request's identifier.
    RequestId,
    /// The host that was asked for: without port, in lower case.
    Host,
    /// The path in its one form.
    Path,
    /// The same with `?` and the query, if there is one.
    PathAndQuery,
    /// The query as it came, without `?`.
    Query,
    /// `http` or `https`.
    Scheme,
    /// The method.
    Method,
    /// The name of the listener.
    Listener,
    /// The name of the route.
    Route,
    /// The name of the upstream; empty where none is asked.
    Upstream,
    /// The first field of this name, as the client sent it.
    Header(HeaderName),
    /// The first cookie of this name.
    Cookie(String),
}

impl Variable {
    /// All names, as they are written.
    pub const NAMES: [&str; 13] = [
        "client_address",
        "request_id",
        "host",
        "path",
        "path_and_query",
        "query",
        "scheme",
        "method",
        "listener",
        "route",
        "upstream",
        "header:NAME",
        "cookie:NAME",
    ];

    /// The value of that name.
    pub fn from_name(name: &str) -> Option<Variable> {
        Some(match name {
            "client_address" => Variable::ClientAddress,
            "request_id" => Variable::RequestId,
            "host" => Variable::Host,
            "path" => Variable::Path,
            "path_and_query" => Variable::PathAndQuery,
            "query" => Variable::Query,
            "scheme" => Variable::Scheme,
            "method" => Variable::Method,
            "listener" => Variable::Listener,
            "route" => Variable::Route,
            "upstream" => Variable::Upstream,
            _ => match name.split_once(':')? {
                ("header", name) => Variable::Header(HeaderName::from_bytes(name.as_bytes()).ok()?),
                ("cookie", name) if !name.is_empty() => Variable::Cookie(name.to_owned()),
                _ => return None,
            },
        })
    }
}

/// What variables stand for in one request.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// None over a UNIX socket.
    pub client: Option<IpAddr>,
    /// The request's identifier.
    pub request_id: &'a str,
    /// Without port, in lower case.
    pub host: &'a str,
    /// The path in its one form.
    pub path: &'a str,
    /// As it came, without `?`; none if there is no `?`.
    pub query: Option<&'a [u8]>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The method.
    pub method: &'a str,
    /// The name of the listener.
    pub listener: &'a str,
    /// The name of the route.
    pub route: &'a str,
    /// The name of the upstream, or empty.
    pub upstream: &'a str,
    /// The client's fields.
    pub headers: &'a HeaderMap,
}

impl Template {
    /// The text, if there is no value in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with the values in it.
    pub fn render(&self, values: &Values<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Value(variable) => variable.write(&mut out, values),
            }
        }
        out.retain(|byte| !byte.is_ascii_control() || *byte == b'\t');
        out
    }
}

impl Variable {
    fn write(&self, out: &mut Vec<u8>, values: &Values<'_>) {
        let bytes = match self {
            Variable::ClientAddress => {
                if let Some(address) = values.client {
                    let written = write!(out, "{address}");
                    debug_assert!(written.is_ok(), "memory takes what is written");
                }
                return;
            }
            Variable::RequestId => values.request_id.as_bytes(),
            Variable::Host => values.host.as_bytes(),
            Variable::Path => values.path.as_bytes(),
            Variable::PathAndQuery => {
                out.extend_from_slice(values.path.as_bytes());
                if let Some(query) = values.query {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
                return;
            }
            Variable::Query => values.query.unwrap_or_default(),
            Variable::Scheme => values.scheme.as_bytes(),
            Variable::Method => values.method.as_bytes(),
            Variable::Listener => values.listener.as_bytes(),
            Variable::Route => values.route.as_bytes(),
            Variable::Upstream => values.upstream.as_bytes(),
            Variable::Header(name) => values.headers.get(name).map_or(&[][..], HeaderValue::as_bytes),
            Variable::Cookie(name) => cookies::values(values.headers, name).next().unwrap_or_default(),
        };
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn values(headers: &HeaderMap) -> Values<'_> {
        Values {
            client: Some([192, 0, 2, 7].into()),
            request_id: "0123",
            host: "shop.example",
            path: "/a%20b",
            query: Some(b"c=1"),
            scheme: "https",
            method: "GET",
            listener: "web",
            route: "shop",
            upstream: "app",
            headers,
        }
    }

    #[test]
    fn every_name_stands_for_its_value() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("first"));
        headers.append("x-a", HeaderValue::from_static("second"));
        headers.append(COOKIE, HeaderValue::from_static("ab=1; a=2"));
        let one = |name: &str| {
            let variable = Variable::from_name(name).unwrap_or_else(|| panic!("{name}"));
            String::from_utf8(Template(vec![Piece::Value(variable)]).render(&values(&headers))).unwrap()
        };
        for (name, value) in [
            ("client_address", "192.0.2.7"),
            ("request_id", "0123"),
            ("host", "shop.example"),
            ("path", "/a%20b"),
            ("path_and_query", "/a%20b?c=1"),
            ("query", "c=1"),
            ("scheme", "https"),
            ("method", "GET"),
            ("listener", "web"),
            ("route", "shop"),
            ("upstream", "app"),
            ("header:X-A", "first"),
            ("header:x-none", ""),
            ("cookie:a", "2"),
            ("cookie:b", ""),
        ] {
            assert_eq!(one(name), value, "{name}");
        }
        for name in ["", "hosts", "header:", "header:a b", "cookie:", "Host"] {
            assert_eq!(Variable::from_name(name), None, "{name}");
        }
        for name in Variable::NAMES {
            assert!(Variable::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn no_value_begins_another_line() {
        let headers = HeaderMap::new();
        let hostile = Values { host: "a\r\nx: 1\0\x7f", query: Some(b"\r\n\tb\xff"), ..values(&headers) };
        let both = Template(vec![Piece::Value(Variable::Host), Piece::Value(Variable::Query)]);
        assert_eq!(both.render(&hostile), b"ax: 1\tb\xff");
    }
}
