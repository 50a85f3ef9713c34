//! The fields that tell a backend who asked.
//!
//! What a client wrote into them is replaced. What a trusted proxy wrote is passed on, and the proxy's own address
//! appended, so that the backend sees the whole way. `Forwarded` goes, or tells the same.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{FORWARDED, HeaderName, HeaderValue};

use super::fields::X_REQUEST_ID;
use super::request_head::RequestHead;
use crate::identity::text::Text;
use crate::identity::{
    self, Believed, Field, Forwarded, Identity, Rules, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO,
};
use crate::request_id::RequestId;

/// Who asked, and how that is told.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Who asked.
    pub identity: &'a Identity,
    /// Which fields tell it.
    pub rules: &'a Rules,
    /// The host that we were asked for.
    pub host: Option<&'a HeaderValue>,
    /// The request's identifier.
    pub id: RequestId,
    /// Whether the client has said that it reads trailers. The field was one of its connection, and is gone; gRPC depends on it.
    pub trailers: bool,
}

impl Origin<'_> {
    /// Sets the fields.
    pub fn tell(&self, request: &mut RequestHead<'_>) {
        remove_claims(request, self.identity.believed);
        match self.rules.forwarded {
            Forwarded::Removed => request.remove(&FORWARDED),
            Forwarded::Sent => {
                let value = self.forwarded(request);
                request.set(FORWARDED, value);
            }
        }
        match self.forwarded_for(request) {
            Some(value) => request.set(X_FORWARDED_FOR, value),
            None => request.remove(&X_FORWARDED_FOR),
        }
        request.set(X_FORWARDED_PROTO, HeaderValue::from_static(self.identity.scheme.as_str()));
        match self.identity.host.as_ref().or(self.host) {
            Some(host) => request.set(X_FORWARDED_HOST, host.clone()),
            None => request.remove(&X_FORWARDED_HOST),
        }
        request.set(X_REQUEST_ID, self.id.value());
    }

    fn forwarded_for(&self, request: &RequestHead<'_>) -> Option<HeaderValue> {
        let peer = self.identity.peer.address.map(Text::of);
        let mut list = self.received(request, Field::XForwardedFor, &X_FORWARDED_FOR);
        if let Some(client) = self.client_behind_the_peer().filter(|_| list.is_empty()) {
            list.extend_from_slice(Text::of(client).as_str().as_bytes());
        }
        match peer {
            Some(peer) if list.is_empty() => list = peer.as_str().into(),
            Some(peer) => {
                list.extend_from_slice(b", ");
                list.extend_from_slice(peer.as_str().as_bytes());
            }
            None => {}
        }
        if list.is_empty() { None } else { Some(value(list)) }
    }

    fn forwarded(&self, request: &RequestHead<'_>) -> HeaderValue {
        let Identity { peer, scheme, .. } = self.identity;
        let mut list = self.received(request, Field::Forwarded, &FORWARDED);
        let asked = self.host.map(HeaderValue::as_bytes);
        if let Some(client) = self.client_behind_the_peer().filter(|_| list.is_empty()) {
            let host = self.identity.host.as_ref().map(HeaderValue::as_bytes);
            identity::forwarded::append(&mut list, Some(client), Some(scheme.as_str()), host);
        }
        identity::forwarded::append(&mut list, peer.address, Some(peer.scheme.as_str()), asked);
        value(list)
    }

    /// What trusted proxies wrote into this field, if it is the one that they write.
    fn received(&self, request: &RequestHead<'_>, field: Field, name: &HeaderName) -> Vec<u8> {
        let mut list = Vec::new();
        if self.identity.believed == Believed::No || self.rules.field != field {
            return list;
        }
        for value in request.all(name) {
            if !list.is_empty() {
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(value.as_bytes());
        }
        list
    }

    /// The client, where it is another than the peer.
    fn client_behind_the_peer(&self) -> Option<IpAddr> {
        self.identity.address.filter(|client| Some(*client) != self.identity.peer.address)
    }
}

/// Removes what claims to tell who asked and is none of the fields that are set here: everything of the kind from a
/// client that is not believed, and from anybody what a backend would mistake for the fields that are set.
fn remove_claims(request: &mut RequestHead<'_>, believed: Believed) {
    let is_claim = |name: &HeaderName| {
        let name = name.as_str();
        // Many backends read an underscore as the hyphen.
        let disguised = name.contains('_') && is_of_origin(&name.replace('_', "-"));
        disguised || (believed == Believed::No && is_of_origin(name))
    };
    request.retain(|name| !is_claim(name));
}

fn is_of_origin(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "x-request-id")
}

/// Made of addresses and of what were values before: always a value.
fn value(text: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Peer, Scheme};
    use http::Version;
    use pingora::http::RequestHeader;

    #[test]
    fn no_spelling_of_a_claim_comes_through() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in
            ["x-real-ip", "x-forwarded-port", "X_Forwarded_For", "x-forwarded_host", "x_request_id", "x-other_name"]
        {
            request.append_header(name, "1.2.3.4").unwrap();
        }
        let mut request = RequestHead::of(&request, Version::HTTP_11, |_| true);
        let left = |request: &RequestHead<'_>| {
            let mut names: Vec<_> = request.fields().map(|(name, _)| name.as_str().to_owned()).collect();
            names.sort();
            names
        };
        let mut trusted = request.clone();
        remove_claims(&mut request, Believed::No);
        assert_eq!(left(&request), ["x-other_name"]);
        remove_claims(&mut trusted, Believed::Yes);
        assert_eq!(left(&trusted), ["x-forwarded-port", "x-other_name", "x-real-ip"]);
    }

    /// What a backend is told of a request with these fields that came from 10.0.0.1 for `inner.example`.
    fn told(rules: &str, fields: &[(&'static str, &str)]) -> Vec<String> {
        let mut rules_of = Rules::default();
        for word in rules.split_whitespace() {
            match word {
                "field=forwarded" => rules_of.field = Field::Forwarded,
                "forwarded" => rules_of.forwarded = Forwarded::Sent,
                network => rules_of.trusted.networks.push(network.parse().unwrap()),
            }
        }
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        let peer = Peer { address: Some([10, 0, 0, 1].into()), scheme: Scheme::Http };
        let identity = rules_of.identify(peer, &request.headers);
        let host = HeaderValue::from_static("inner.example:8080");
        let id = RequestId::new();
        let origin = Origin { identity: &identity, rules: &rules_of, host: Some(&host), id, trailers: false };
        let mut head = RequestHead::of(&request, Version::HTTP_11, |_| true);
        origin.tell(&mut head);
        let all = |name: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let values = head.all(&name).map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join(" | ")
        };
        assert_eq!(all("x-request-id"), id.as_str());
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"].map(all).to_vec()
    }

    #[test]
    fn what_a_client_says_of_itself_is_replaced() {
        let spoofed = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-request-id", "mine"),
            ("forwarded", "for=1.2.3.4"),
        ];
        assert_eq!(told("", &spoofed), ["10.0.0.1", "http", "inner.example:8080", ""]);
        let element = "for=10.0.0.1;host=\"inner.example:8080\";proto=http";
        assert_eq!(told("forwarded", &spoofed), ["10.0.0.1", "http", "inner.example:8080", element]);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_passed_on_with_its_own_address() {
        let fields = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=6.6.6.6"),
        ];
        let list = "1.2.3.4, 192.0.2.1, 10.0.0.2, 10.0.0.1";
        assert_eq!(told("10.0.0.0/8", &fields), [list, "https", "shop.example", ""]);
        let elements = "for=192.0.2.1;host=shop.example;proto=https, \
                        for=10.0.0.1;host=\"inner.example:8080\";proto=http";
        assert_eq!(told("10.0.0.0/8 forwarded", &fields), [list, "https", "shop.example", elements]);
    }

    #[test]
    fn where_proxies_write_forwarded_nothing_is_taken_from_the_other_fields() {
        let written = "for=1.2.3.4, for=\"[2001:db8::1]\";proto=https;host=shop.example";
        let fields = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-host", "evil.example"), ("forwarded", written)];
        let own = "for=10.0.0.1;host=\"inner.example:8080\";proto=http";
        assert_eq!(
            told("10.0.0.0/8 field=forwarded forwarded", &fields),
            ["2001:db8::1, 10.0.0.1", "https", "shop.example", &format!("{written}, {own}")]
        );
        assert_eq!(told("10.0.0.0/8 field=forwarded", &fields)[3], "");
        // A stranger's is not passed on either.
        assert_eq!(told("field=forwarded forwarded", &fields), ["10.0.0.1", "http", "inner.example:8080", own]);
    }
}
