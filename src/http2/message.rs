//! Heads and trailers, put together of the fields that have come, or found to be none (RFC 9113, section 8).

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request, response};

use super::hpack::Name;

/// It is no message (section 8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The head of a message, of the kind that one side receives.
pub trait Head: Sized + Send + 'static {
    /// Whether it is that of a request, which a server receives.
    const IS_REQUEST: bool;

    /// What was read of it so far.
    type Draft: Default;

    /// The next of its fields.
    fn add(draft: &mut Self::Draft, name: Name, value: HeaderValue);

    /// The whole, and the length of the body that must follow it, where it says one.
    ///
    /// # Errors
    /// It is none.
    fn finish(draft: Self::Draft) -> Result<(Self, Option<u64>), Malformed>;

    /// Whether more heads follow: it is an interim answer.
    fn is_interim(&self) -> bool;
}

/// Fields that are no pseudo-fields.
#[derive(Debug, Default)]
struct Fields {
    map: HeaderMap,
    malformed: bool,
}

impl Fields {
    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.malformed |= is_of_connection(&name) || (name == header::TE && value != "trailers");
        self.malformed |= self.map.try_append(name, value).is_err();
    }
}

/// A length (RFC 9110, section 8.6).
fn length(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Whether it is a field that no message of HTTP/2 has (section 8.2.2).
pub fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade")
}

/// Something that may stand once.
fn once<T>(place: &mut Option<T>, malformed: &mut bool, value: Option<T>) {
    *malformed |= place.is_some() || value.is_none();
    *place = value;
}

/// What was read of the head of a request.
#[derive(Debug, Default)]
pub struct RequestDraft {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    length: Option<u64>,
    fields: Fields,
}

impl Head for request::Parts {
    const IS_REQUEST: bool = true;

    type Draft = RequestDraft;

    fn add(draft: &mut RequestDraft, name: Name, value: HeaderValue) {
        let RequestDraft { method, scheme, authority, path, length, fields } = draft;
        let name = match name {
            Name::Field(name) => {
                // Whether more than one is meant is asked of the whole head.
                if name == header::CONTENT_LENGTH && length.is_none() {
                    once(length, &mut fields.malformed, self::length(value.as_bytes()));
                }
                return fields.add(name, value);
            }
            name @ (Name::Method | Name::Scheme | Name::Authority | Name::Path | Name::Status | Name::Protocol) => name,
        };
        let malformed = &mut fields.malformed;
        // They stand before all fields (section 8.3).
        *malformed |= !fields.map.is_empty();
        match name {
            Name::Method => once(method, malformed, Method::from_bytes(value.as_bytes()).ok()),
            Name::Scheme => once(scheme, malformed, Scheme::try_from(value.as_bytes()).ok()),
            Name::Authority => once(authority, malformed, Authority::try_from(value.as_bytes()).ok()),
            Name::Path => once(path, malformed, self::path(value)),
            Name::Status | Name::Protocol | Name::Field(_) => *malformed = true,
        }
    }

    fn finish(draft: RequestDraft) -> Result<(request::Parts, Option<u64>), Malformed> {
        let RequestDraft { method, scheme, authority, path, length, fields } = draft;
        let method = method.filter(|_| !fields.malformed).ok_or(Malformed)?;
        let mut uri = http::uri::Parts::default();
        if method == Method::CONNECT {
            // Section 8.5.
            if scheme.is_some() || path.is_some() || authority.is_none() {
                return Err(Malformed);
            }
        } else {
            let (scheme, path) = scheme.zip(path).ok_or(Malformed)?;
            uri.scheme = authority.is_some().then_some(scheme);
            uri.path_and_query = Some(path);
        }
        uri.authority = authority;
        let mut head = http::Request::new(()).into_parts().0;
        head.method = method;
        head.uri = Uri::from_parts(uri).map_err(|_| Malformed)?;
        head.version = Version::HTTP_2;
        head.headers = fields.map;
        Ok((head, length))
    }

    fn is_interim(&self) -> bool {
        false
    }
}

fn path(value: HeaderValue) -> Option<PathAndQuery> {
    // An empty one the library would take for `/`.
    if value.is_empty() {
        return None;
    }
    PathAndQuery::try_from(value.as_bytes()).ok()
}

/// What was read of the head of an answer.
#[derive(Debug, Default)]
pub struct ResponseDraft {
    status: Option<StatusCode>,
    fields: Fields,
}

impl Head for response::Parts {
    const IS_REQUEST: bool = false;

    type Draft = ResponseDraft;

    fn add(draft: &mut ResponseDraft, name: Name, value: HeaderValue) {
        let ResponseDraft { status, fields } = draft;
        match name {
            Name::Field(name) => fields.add(name, value),
            Name::Status => {
                fields.malformed |= !fields.map.is_empty();
                once(status, &mut fields.malformed, StatusCode::from_bytes(value.as_bytes()).ok());
            }
            Name::Method | Name::Scheme | Name::Authority | Name::Path | Name::Protocol => fields.malformed = true,
        }
    }

    fn finish(draft: ResponseDraft) -> Result<(response::Parts, Option<u64>), Malformed> {
        let ResponseDraft { status, fields } = draft;
        let status = status.filter(|status| *status != StatusCode::SWITCHING_PROTOCOLS && !fields.malformed);
        let mut head = http::Response::new(()).into_parts().0;
        head.status = status.ok_or(Malformed)?;
        head.version = Version::HTTP_2;
        head.headers = fields.map;
        // Whether a body follows depends on what was asked, which is not known here.
        Ok((head, None))
    }

    fn is_interim(&self) -> bool {
        self.status.is_informational()
    }
}

/// Trailers, put together.
#[derive(Debug, Default)]
pub struct Trailers(Fields);

impl Trailers {
    /// The next of them.
    pub fn add(&mut self, name: Name, value: HeaderValue) {
        match name {
            Name::Field(name) => self.0.add(name, value),
            // Section 8.1.
            Name::Method | Name::Scheme | Name::Authority | Name::Path | Name::Status | Name::Protocol => {
                self.0.malformed = true;
            }
        }
    }

    /// The whole.
    ///
    /// # Errors
    /// They are none.
    pub fn finish(self) -> Result<HeaderMap, Malformed> {
        if self.0.malformed { Err(Malformed) } else { Ok(self.0.map) }
    }
}
