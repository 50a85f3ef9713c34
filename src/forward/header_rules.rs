//! Fields of a head that a route sets, adds and removes.
//!
//! Invariant: the fields that say where a message ends, and those for one connection alone, are never touched (see
//! [`REQUEST_FIELDS`] and [`RESPONSE_FIELDS`]). First fields are removed, then set, then added. A field whose value
//! turns out empty, because the request has no such value, is left out.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::ResponseHeader;

use super::request_head::RequestHead;
use super::template::{Template, Values};

/// Fields of a connection or of the framing: no rule may name them.
const COMMON_FIELDS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Fields that no rule for requests may name besides: the host is a matter of `rewrite`, and the others of the connection.
pub const REQUEST_FIELDS: [HeaderName; 3] = [header::HOST, HeaderName::from_static("http2-settings"), header::EXPECT];

/// Fields that no rule for answers may name besides: it is overwritten on the way.
pub const RESPONSE_FIELDS: [HeaderName; 1] = [header::DATE];

/// Whether no rule may name this field; `besides` are those of requests or of answers.
pub fn is_untouchable(name: &HeaderName, besides: &[HeaderName]) -> bool {
    COMMON_FIELDS.contains(name) || besides.contains(name)
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRules {
    /// These go.
    pub remove: Vec<HeaderName>,
    /// These have this value and no other.
    pub set: Vec<(HeaderName, Value)>,
    /// These have this value besides those that they have.
    pub add: Vec<(HeaderName, Value)>,
}

/// The value that a rule gives a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The same for every request.
    Fixed(HeaderValue),
    /// Made for each.
    Made(Template),
}

impl Value {
    /// None where a request has no such value.
    fn of(&self, values: &Values<'_>) -> Option<HeaderValue> {
        match self {
            Value::Fixed(value) => Some(value.clone()),
            Value::Made(template) => {
                let bytes = Bytes::from(template.render(values));
                HeaderValue::from_maybe_shared(bytes).ok().filter(|value| !value.is_empty())
            }
        }
    }
}

impl HeaderRules {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether nothing is left of what a message says in a field of this name, which is written with hyphens alone.
    pub fn replaces(&self, name: &str) -> bool {
        let mut names = self.remove.iter().chain(self.set.iter().map(|(name, _)| name));
        names.any(|replaced| replaced.as_str().replace('_', "-") == name)
    }

    /// Changes a head.
    ///
    /// # Errors
    /// pingora's, if a field cannot be set.
    pub fn apply(&self, head: &mut impl Head, values: &Values<'_>) -> Result<()> {
        for name in &self.remove {
            head.remove(name);
        }
        for (name, value) in &self.set {
            match value.of(values) {
                Some(value) => head.set(name.clone(), value)?,
                None => head.remove(name),
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.of(values) {
                head.add(name.clone(), value)?;
            }
        }
        Ok(())
    }
}

/// The head of a message, be it a request or an answer.
pub trait Head {
    /// The field has this value and no other.
    ///
    /// # Errors
    /// If there is no room for it.
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;

    /// The field has this value too.
    ///
    /// # Errors
    /// If there is no room for it.
    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()>;

    /// The field goes.
    fn remove(&mut self, name: &HeaderName);
}

impl Head for RequestHead<'_> {
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        RequestHead::set(self, name, value);
        Ok(())
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        RequestHead::add(self, name, value);
        Ok(())
    }

    fn remove(&mut self, name: &HeaderName) {
        RequestHead::remove(self, name);
    }
}

impl Head for ResponseHeader {
    fn set(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.insert_header(name, value)
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        self.append_header(name, value).map(drop)
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}
