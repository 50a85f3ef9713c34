//! The head of a request on its way to a backend: what of the client's goes on, and what is ours.
//!
//! Its fields are a list: it is made once and written once, from one end to the other, and to make a map of some ten fields costs
//! more than all that is done with it. What is the client's is borrowed from its request.

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use pingora::http::RequestHeader;

/// Fields for which there is room besides the client's.
const OURS: usize = 8;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// As the client has asked.
    pub method: Cow<'a, Method>,
    /// What is asked for.
    pub uri: Cow<'a, Uri>,
    /// What is spoken with the backend.
    pub version: Version,
    fields: Vec<(Cow<'a, HeaderName>, Cow<'a, HeaderValue>)>,
}

impl<'a> RequestHead<'a> {
    /// The client's, with those of its fields that go on.
    pub fn of(request: &'a RequestHeader, version: Version, goes_on: impl Fn(&HeaderName) -> bool) -> RequestHead<'a> {
        let mut fields = Vec::with_capacity(request.headers.len() + OURS);
        let going_on = request.headers.iter().filter(|(name, _)| goes_on(name));
        fields.extend(going_on.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))));
        RequestHead { method: Cow::Borrowed(&request.method), uri: Cow::Borrowed(&request.uri), version, fields }
    }

    /// The same, for as long as it is wanted.
    pub fn into_owned(self) -> RequestHead<'static> {
        let own = |(name, value): (Cow<'a, HeaderName>, Cow<'a, HeaderValue>)| {
            (Cow::Owned(name.into_owned()), Cow::Owned(value.into_owned()))
        };
        RequestHead {
            method: Cow::Owned(self.method.into_owned()),
            uri: Cow::Owned(self.uri.into_owned()),
            version: self.version,
            fields: self.fields.into_iter().map(own).collect(),
        }
    }

    /// All fields, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The values of the fields of this name.
    pub fn all<'b>(&'b self, name: &'b HeaderName) -> impl Iterator<Item = &'b HeaderValue> {
        self.fields().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The first of them.
    pub fn first(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.fields().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The field has this value and no other.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        let mut value = Some(value);
        self.fields.retain_mut(|(other, old)| {
            if **other != name {
                return true;
            }
            match value.take() {
                Some(value) => {
                    *old = Cow::Owned(value);
                    true
                }
                None => false,
            }
        });
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// The field has this value too.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((Cow::Owned(name), Cow::Owned(value)));
    }

    /// Fields whose names are not wanted go.
    pub fn retain(&mut self, is_wanted: impl Fn(&HeaderName) -> bool) {
        self.fields.retain(|(name, _)| is_wanted(name));
    }

    /// The field goes.
    pub fn remove(&mut self, name: &HeaderName) {
        self.retain(|other| other != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: u8) -> HeaderName {
        HeaderName::from_bytes(&[b'a' + number]).unwrap()
    }

    proptest! {
        /// What is done to a head, compared with a map of the same.
        #[test]
        fn a_list_holds_what_a_map_would(steps in prop::collection::vec((0..4_u8, 0..4_u8, 0..100_u64), 0..40)) {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.append_header("a", "client's").unwrap();
            request.append_header("b", "gone").unwrap();
            let mut head = RequestHead::of(&request, Version::HTTP_11, |name| name != "b");
            let mut map = request.headers.clone();
            map.remove("b");
            for (what, of, value) in steps {
                let value = HeaderValue::from(value);
                match what {
                    0 => { head.set(name(of), value.clone()); map.insert(name(of), value); }
                    1 => { head.remove(&name(of)); map.remove(name(of)); }
                    _ => { head.add(name(of), value.clone()); map.append(name(of), value); }
                }
                for each in (0..4).map(name) {
                    prop_assert_eq!(head.first(&each), map.get(&each));
                    let all: Vec<_> = head.all(&each).collect();
                    prop_assert_eq!(all, map.get_all(&each).iter().collect::<Vec<_>>());
                }
                prop_assert_eq!(head.fields().len(), map.len());
            }
        }
    }
}
