//! Who asks: the address of the client, also where proxies stand between it and us.
//!
//! The peer of a connection is who it says, since it has an address. What else a request says of its client is
//! believed only of a peer that the operator trusts, and then only as far as those who wrote it are trusted: the
//! list is walked from its end, and the first that is not trusted is the client. Nothing to the left of that is
//! looked at, for the client itself may have written it. An entry that is no address ends the walk too: the client
//! is then whoever wrote it, the last address that was found.
//!
//! Deliberately absent: looking up names, and any opinion on what the client may do.

pub mod forwarded;
mod forwarded_for;
pub mod text;

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::network::Network;

/// The address of the client.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longer is no host: a name of 255 bytes and a port.
const LONGEST_HOST: usize = 261;

/// Whom to believe, and what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The peers that are believed; nobody by default.
    pub trusted: Trusted,
    /// Which field they write.
    pub field: Field,
    /// Whether backends are told in `Forwarded` too.
    pub forwarded: Forwarded,
}

/// The peers that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted {
    /// By their addresses.
    pub networks: Vec<Network>,
    /// Those that connect over a UNIX socket.
    pub unix: UnixPeers,
}

/// Whether those who connect over a UNIX socket are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnixPeers {
    /// They are not.
    #[default]
    Doubted,
    /// They are.
    Trusted,
}

/// Where trusted proxies write what they know. Only the one that all of them write can be believed: in the other
/// one stands what a client wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Field {
    /// `X-Forwarded-For`, `-Proto` and `-Host`: nearly everybody.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Whether backends are told in `Forwarded` too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// The field never reaches a backend.
    #[default]
    Removed,
    /// It tells what `X-Forwarded-*` tell.
    Sent,
}

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URI.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// Those of WebSockets say the same: some proxies write them.
    fn read(text: &[u8]) -> Option<Scheme> {
        let is = |word: &str| text.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
        if is("https") || is("wss") {
            Some(Scheme::Https)
        } else if is("http") || is("ws") {
            Some(Scheme::Http)
        } else {
            None
        }
    }
}

/// The other end of the connection: what needs no belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// None over a UNIX socket.
    pub address: Option<IpAddr>,
    /// How it speaks to us.
    pub scheme: Scheme,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The other end of the connection.
    pub peer: Peer,
    /// Whether it is believed.
    pub believed: Believed,
    /// The client's address; none where nobody who is believed knows it.
    pub address: Option<IpAddr>,
    /// How the client speaks, as far as it is known.
    pub scheme: Scheme,
    /// The host that the client asked the first proxy for, if that was told.
    pub host: Option<HeaderValue>,
}

/// Whether the peer's word on its client counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Believed {
    /// The peer is the client, whatever it says.
    No,
    /// The peer is a trusted proxy.
    Yes,
}

impl Identity {
    /// A client without proxies.
    pub fn of(peer: Peer) -> Identity {
        Identity { peer, believed: Believed::No, address: peer.address, scheme: peer.scheme, host: None }
    }
}

impl Trusted {
    /// Whether this peer is believed; none is one over a UNIX socket.
    fn includes(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix == UnixPeers::Trusted,
        }
    }
}

impl Rules {
    /// Who asks, by the connection and the fields of the request. Allocates nothing where no proxy is trusted.
    pub fn identify(&self, peer: Peer, fields: &HeaderMap) -> Identity {
        let mut identity = Identity::of(peer);
        if !self.trusted.includes(peer.address) {
            return identity;
        }
        identity.believed = Believed::Yes;
        match self.field {
            Field::XForwardedFor => self.walk_forwarded_for(&mut identity, fields),
            Field::Forwarded => self.walk_forwarded(&mut identity, fields),
        }
        identity
    }

    fn walk_forwarded_for(&self, identity: &mut Identity, fields: &HeaderMap) {
        for entry in forwarded_for::entries(fields.get_all(X_FORWARDED_FOR).iter()) {
            let Some(address) = entry else { break };
            identity.address = Some(address);
            if !self.trusted.includes(identity.address) {
                break;
            }
        }
        // Of several values the last is the one that the trusted peer itself wrote.
        let last = |name| fields.get_all(name).iter().next_back().and_then(|value| last_of(value.as_bytes()));
        identity.scheme = last(X_FORWARDED_PROTO).and_then(Scheme::read).unwrap_or(identity.scheme);
        identity.host = last(X_FORWARDED_HOST).and_then(host);
    }

    fn walk_forwarded(&self, identity: &mut Identity, fields: &HeaderMap) {
        for element in forwarded::elements(fields.get_all(FORWARDED).iter()) {
            let Some(element) = element else { break };
            let Some(address) = element.address else { break };
            identity.address = Some(address);
            // Whoever wrote where the request came from wrote there too how it came.
            identity.scheme = element.proto.as_deref().and_then(Scheme::read).unwrap_or(identity.scheme);
            identity.host = element.host.as_deref().and_then(host).or(identity.host.take());
            if !self.trusted.includes(identity.address) {
                break;
            }
        }
    }
}

fn last_of(list: &[u8]) -> Option<&[u8]> {
    list.rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
}

/// A host and perhaps a port, by their characters (RFC 3986, section 3.2.2).
fn host(text: &[u8]) -> Option<HeaderValue> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(byte);
    if text.is_empty() || text.len() > LONGEST_HOST || !text.iter().all(fine) {
        return None;
    }
    HeaderValue::from_bytes(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(trusted: &[&str], field: Field) -> Rules {
        let networks = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Rules { trusted: Trusted { networks, unix: UnixPeers::Doubted }, field, forwarded: Forwarded::Removed }
    }

    fn fields(written: &[(HeaderName, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in written {
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    fn peer(address: &str) -> Peer {
        Peer { address: Some(address.parse().unwrap()), scheme: Scheme::Http }
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
        let rules = rules(&["10.0.0.0/8", "2001:db8::/32"], Field::XForwardedFor);
        let cases: &[(&str, &[&str], &str)] = &[
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.9", "192.0.2.1", "10.0.0.2,10.0.0.3"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711, [2001:db8::1]:80"], "192.0.2.1"),
            // All are trusted: the farthest.
            ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            // What is no address ends the walk at whoever wrote it.
            ("10.0.0.1", &["192.0.2.1, garbage, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.1, "], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1", ""], "10.0.0.1"),
            // Nobody asked this one.
            ("192.0.2.7", &["192.0.2.1"], "192.0.2.7"),
            ("11.0.0.1", &["10.0.0.1"], "11.0.0.1"),
        ];
        for (from, written, expected) in cases {
            let written: Vec<_> = written.iter().map(|value| (X_FORWARDED_FOR, *value)).collect();
            let found = rules.identify(peer(from), &fields(&written));
            assert_eq!(found.address, Some(expected.parse().unwrap()), "{from} {written:?}");
        }
    }

    #[test]
    fn only_the_field_that_trusted_proxies_write_is_walked() {
        let both = fields(&[(X_FORWARDED_FOR, "192.0.2.1"), (FORWARDED, "for=192.0.2.2;proto=https;host=a.example")]);
        let by = |field| rules(&["10.0.0.0/8"], field).identify(peer("10.0.0.1"), &both);
        let found = by(Field::XForwardedFor);
        assert_eq!((found.address, found.scheme), (Some([192, 0, 2, 1].into()), Scheme::Http));
        let found = by(Field::Forwarded);
        assert_eq!((found.address, found.scheme), (Some([192, 0, 2, 2].into()), Scheme::Https));
        assert_eq!(found.host.unwrap(), "a.example");
    }

    #[test]
    fn the_scheme_and_the_host_are_those_of_the_element_that_names_the_client() {
        let rules = rules(&["10.0.0.0/8"], Field::Forwarded);
        let chain = "for=198.51.100.1;proto=http;host=evil, for=192.0.2.2;proto=https;host=a.example, for=10.0.0.2;proto=http;host=b";
        let found = rules.identify(peer("10.0.0.1"), &fields(&[(FORWARDED, chain)]));
        assert_eq!((found.address, found.scheme), (Some([192, 0, 2, 2].into()), Scheme::Https));
        assert_eq!(found.host.unwrap(), "a.example");
        for hidden in ["for=unknown", "for=_x", "for=192.0.2.2, for=unknown", "for=192.0.2.2, for=\"x"] {
            let found = rules.identify(peer("10.0.0.1"), &fields(&[(FORWARDED, hidden)]));
            assert_eq!(found.address, Some([10, 0, 0, 1].into()), "{hidden}");
        }
    }

    #[test]
    fn the_last_scheme_and_host_count_if_they_can_be_any() {
        let rules = rules(&["10.0.0.0/8"], Field::XForwardedFor);
        for (proto, host, expected) in [
            ("https", "a.example", (Scheme::Https, Some("a.example"))),
            ("http, HTTPS", "evil, a.example:80", (Scheme::Https, Some("a.example:80"))),
            ("wss", "[::1]", (Scheme::Https, Some("[::1]"))),
            ("gopher", "a b", (Scheme::Http, None)),
            ("", "a\"<b>", (Scheme::Http, None)),
        ] {
            let written = fields(&[(X_FORWARDED_PROTO, proto), (X_FORWARDED_HOST, host)]);
            let found = rules.identify(peer("10.0.0.1"), &written);
            let host = found.host.as_ref().map(|host| host.to_str().unwrap());
            assert_eq!((found.scheme, host), expected, "{proto} {host:?}");
            let stranger = rules.identify(peer("192.0.2.1"), &written);
            assert_eq!(stranger, Identity::of(peer("192.0.2.1")));
        }
    }

    #[test]
    fn peers_over_unix_sockets_are_believed_only_if_that_was_said() {
        let mut rules = rules(&["0.0.0.0/0"], Field::XForwardedFor);
        let unix = Peer { address: None, scheme: Scheme::Http };
        let written = fields(&[(X_FORWARDED_FOR, "192.0.2.1")]);
        assert_eq!(rules.identify(unix, &written).address, None);
        rules.trusted = Trusted { networks: Vec::new(), unix: UnixPeers::Trusted };
        assert_eq!(rules.identify(unix, &written).address, Some([192, 0, 2, 1].into()));
        assert_eq!(rules.identify(unix, &fields(&[(X_FORWARDED_FOR, "x")])).address, None);
    }

    /// What the walk must find, from the peer at the end to the left, said slowly.
    fn model(chain: &[Option<IpAddr>], trusted: &[Network]) -> IpAddr {
        let trust = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
        let mut at = chain.len() - 1;
        while trust(&chain[at].unwrap()) && at > 0 && chain[at - 1].is_some() {
            at -= 1;
        }
        chain[at].unwrap()
    }

    /// Few addresses, of which many are trusted, and now and then none.
    fn entry() -> impl Strategy<Value = Option<IpAddr>> {
        proptest::option::weighted(0.8, (0..2u8, 0..3u8).prop_map(|(a, b)| IpAddr::from([10 + a, 0, 0, b])))
    }

    proptest! {
        #[test]
        fn nothing_to_the_left_of_an_untrusted_entry_is_ever_the_client(
            entries in proptest::collection::vec(entry(), 0..6),
            last in 0..2u8,
            split in 0..6usize,
        ) {
            let peer_address = IpAddr::from([10 + last, 0, 0, 1]);
            let mut chain = entries.clone();
            chain.push(Some(peer_address));
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let expected = model(&chain, &trusted);
            let peer = Peer { address: Some(peer_address), scheme: Scheme::Http };
            let text = |entry: &Option<IpAddr>| entry.map_or("?".to_owned(), |address| address.to_string());
            let (first, second) = entries.split_at(split.min(entries.len()));
            let of = |name: HeaderName, prefix: &str| {
                let lists = [first, second].into_iter().filter(|entries| !entries.is_empty());
                let lines = lists.map(|entries| {
                    entries.iter().map(|entry| format!("{prefix}{}", text(entry))).collect::<Vec<_>>().join(", ")
                });
                lines.map(|line| (name.clone(), HeaderValue::from_str(&line).unwrap())).fold(
                    HeaderMap::new(),
                    |mut fields, (name, value)| { fields.append(name, value); fields },
                )
            };
            let found = rules(&["10.0.0.0/8"], Field::XForwardedFor).identify(peer, &of(X_FORWARDED_FOR, ""));
            prop_assert_eq!(found.address, Some(expected));
            let found = rules(&["10.0.0.0/8"], Field::Forwarded).identify(peer, &of(FORWARDED, "for="));
            prop_assert_eq!(found.address, Some(expected));
        }

        #[test]
        fn no_bytes_make_it_panic_or_invent_an_address(value: Vec<u8>, other in any::<Vec<u8>>()) {
            let mut fields = HeaderMap::new();
            for (name, value) in [(X_FORWARDED_FOR, &value), (FORWARDED, &value), (X_FORWARDED_PROTO, &other), (X_FORWARDED_HOST, &other)] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    fields.append(name, value);
                }
            }
            for field in [Field::XForwardedFor, Field::Forwarded] {
                let trusting = rules(&["10.0.0.0/8"], field).identify(peer("10.0.0.1"), &fields);
                let text = String::from_utf8_lossy(&value).into_owned();
                let known = trusting.address == Some([10, 0, 0, 1].into())
                    || text.contains('.') || text.contains(':');
                prop_assert!(known, "{text} {trusting:?}");
                let doubting = rules(&[], field).identify(peer("10.0.0.1"), &fields);
                prop_assert_eq!(doubting, Identity::of(peer("10.0.0.1")));
            }
        }
    }
}
