//! What pingora connects to for a backend.

use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr;

use super::tls::ClientTls;
use crate::config::{Protocol, Upstream, UpstreamTimeouts};

/// A peer, cloned for each connection. Of the time-outs only those of connecting are pingora's.
///
/// With TLS the name that is verified is the configured one, or else the host of the backend's address. It is never
/// empty: pingora would verify nothing then.
pub fn template(address: &SocketAddr, upstream: &Upstream, tls: Option<(&ClientTls, &str)>) -> HttpPeer {
    let mut peer = HttpPeer::new("0.0.0.0:0", false, String::new());
    peer._address = address.clone();
    if let Some((tls, host)) = tls {
        tls.apply(&mut peer, host);
    }
    if upstream.protocol == Protocol::Http2 {
        peer.options.set_http_version(2, 2);
    }
    with_timeouts(peer, &upstream.timeouts)
}

/// The same peer with these time-outs.
pub fn with_timeouts(mut peer: HttpPeer, timeouts: &UpstreamTimeouts) -> HttpPeer {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer
}

/// The same peer, connected to within what is `left` of the request's time at most.
pub fn within(mut peer: HttpPeer, left: Option<Duration>) -> HttpPeer {
    if let Some(left) = left {
        peer.options.connection_timeout = peer.options.connection_timeout.map(|limit| limit.min(left));
        peer.options.total_connection_timeout = peer.options.total_connection_timeout.map(|limit| limit.min(left));
    }
    peer
}

/// The same peer in HTTP/1.1: an upgrade is one of that (RFC 9113, section 8.6).
pub fn for_upgrade(mut peer: HttpPeer) -> HttpPeer {
    peer.options.set_http_version(1, 1);
    peer
}
