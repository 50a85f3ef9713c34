//! What pingora connects to for a backend.

use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr;

use super::tls::ClientTls;
use crate::config::{Protocol, Upstream, UpstreamTimeouts};

/// Connections in HTTP/2 are kept apart from all others.
const HTTP2_GROUP: u64 = 2;

/// Requests at a time on one connection to a backend that allows as many; pingora's own is one.
const HTTP2_STREAMS: usize = 100;

/// What a backend may send on one stream before its client has read it: the library holds that much. A stream of
/// 100 ms round trip gets 80 Mbit/s.
const HTTP2_STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for all streams of a connection.
const HTTP2_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// How often a connection is asked whether it lives; it has 5 s to say so. Requests could share a dead one for long.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// A peer with every time-out that pingora knows set; cloned for each attempt.
///
/// pingora has one time-out for all reads: it is the longer of `first_byte` and `idle`, and goes where
/// [`deadline`](super::deadline) keeps them. Of HTTP/1.1 only those of connecting are pingora's.
///
/// With TLS the name that is verified is the configured one, or else the host of the backend's address. It is never
/// empty: pingora would verify nothing then.
pub fn template(address: &SocketAddr, upstream: &Upstream, tls: Option<(&ClientTls, &str)>) -> HttpPeer {
    let timeouts = &upstream.timeouts;
    let mut peer = HttpPeer::new("0.0.0.0:0", false, String::new());
    peer._address = address.clone();
    if let Some((tls, host)) = tls {
        tls.apply(&mut peer, host);
    }
    if upstream.protocol == Protocol::Http2 {
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = HTTP2_STREAMS;
        peer.options.h2_stream_window_size = Some(HTTP2_STREAM_WINDOW);
        peer.options.h2_connection_window_size = Some(HTTP2_CONNECTION_WINDOW);
        peer.options.h2_ping_interval = Some(HTTP2_PING);
        // pingora's key for reuse knows nothing of the protocol.
        peer.group_key ^= HTTP2_GROUP;
    }
    peer.options.idle_timeout = Some(timeouts.keep_alive);
    with_timeouts(peer, timeouts)
}

/// The same peer with these time-outs, but for how long it is kept.
pub fn with_timeouts(mut peer: HttpPeer, timeouts: &UpstreamTimeouts) -> HttpPeer {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle));
    peer.options.write_timeout = Some(timeouts.idle);
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
