//! What pingora connects to for a backend.

use std::sync::Arc;
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;
use pingora_core::protocols::l4::socket::SocketAddr;

use super::tunnel::PoliteConnect;
use crate::config::UpstreamTimeouts;

/// Connections for upgrades are kept apart from all others.
const UPGRADE_GROUP: u64 = 1;

/// A peer with every time-out that pingora knows set; cloned for each attempt.
///
/// pingora has one time-out for all reads: it is the longer of `first_byte` and `idle`, and goes where
/// [`deadline`](super::deadline) keeps them.
pub fn template(address: &SocketAddr, timeouts: &UpstreamTimeouts) -> HttpPeer {
    let mut peer = HttpPeer::new("0.0.0.0:0", false, String::new());
    peer._address = address.clone();
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle));
    peer.options.write_timeout = Some(timeouts.idle);
    peer.options.idle_timeout = Some(timeouts.keep_alive);
    peer
}

/// The same peer with the time-outs of a route; those of a peer for an upgrade that are kept elsewhere stay so.
pub fn with_timeouts(mut peer: HttpPeer, timeouts: &UpstreamTimeouts) -> HttpPeer {
    peer.options.connection_timeout = Some(timeouts.connect);
    peer.options.total_connection_timeout = Some(timeouts.connect);
    peer.options.read_timeout = peer.options.read_timeout.map(|_| timeouts.first_byte.max(timeouts.idle));
    peer.options.write_timeout = peer.options.write_timeout.map(|_| timeouts.idle);
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

/// The peer for one attempt at an upgrade: reads are unbounded (`deadline` keeps their time), the stream is
/// `connect`'s, and it is never pooled.
pub fn for_upgrade(template: &HttpPeer, connect: PoliteConnect) -> HttpPeer {
    let mut peer = template.clone();
    peer.options.read_timeout = None;
    peer.options.write_timeout = None;
    peer.options.idle_timeout = Some(Duration::ZERO);
    peer.options.custom_l4 = Some(Arc::new(connect));
    peer.group_key = UPGRADE_GROUP;
    peer
}
