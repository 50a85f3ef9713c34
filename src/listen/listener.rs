//! A listener while it runs: its settings, which may change under it, and what it counts.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::wire::Limits;

use super::household::{Household, Households};
use crate::config::ProxyProtocol;

/// Whether a listener speaks HTTP/2: by ALPN over TLS, by prior knowledge without (RFC 9113, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    /// HTTP/1.1 and HTTP/2.
    On,
    /// HTTP/1.1 only.
    Off,
}

/// What the edge itself needs to know of a listener. What a request needs is in the snapshot.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the first byte (on a new connection: from accept) to the end of the head; also the TLS handshake.
    pub request_header: Duration,
    /// How long a client may take nothing of its answer.
    pub response_write_idle: Duration,
    /// How long a kept connection may be idle.
    pub keep_alive: Duration,
    /// The most bytes of a head, or of a decoded HTTP/2 header list.
    pub header_bytes: u32,
    /// The most fields of an HTTP/1.1 head.
    pub header_fields: usize,
    /// The most connections at a time; those beyond are closed at once and counted.
    pub connections: Option<u64>,
    /// The most connections of one client at a time; those beyond are closed at once and counted.
    pub connections_per_client: Option<u64>,
    /// Protocols.
    pub http2: Http2,
    /// Whether a connection says first who has connected.
    pub proxy_protocol: ProxyProtocol,
    /// TLS, if the listener terminates it.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Settings {
    /// How large a head of HTTP/1.1 may be.
    pub fn head_limits(&self) -> Limits {
        Limits { bytes: self.header_bytes as usize, fields: self.header_fields }
    }
}

/// What a listener counts. All but the gauges only grow.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Connections open now.
    pub connections: AtomicUsize,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once, being over the ceiling.
    pub refused: AtomicU64,
    /// Connections closed at once, being more than their client may have.
    pub clients_refused: AtomicU64,
    /// Connections closed at once, descriptors being nearly used up.
    pub descriptors_refused: AtomicU64,
    /// Connections that did not begin with a PROXY protocol header, or not in time.
    pub proxy_headers_refused: AtomicU64,
    /// Connections whose TLS handshake failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections that were silent when a head was due.
    pub heads_timed_out: AtomicU64,
    /// Connections that were ended for more frames than a client may send.
    pub floods: AtomicU64,
    /// Failures of `accept` itself (mostly: out of descriptors).
    pub accept_errors: AtomicU64,
    /// Requests being served now.
    pub requests: AtomicUsize,
    /// Bytes of request bodies.
    pub bytes_received: AtomicU64,
    /// Bytes of response bodies.
    pub bytes_sent: AtomicU64,
}

/// An address that is accepted on. Its identity is its number; its settings may be replaced.
#[derive(Debug)]
pub struct Listener {
    /// Number within this process, never given twice.
    pub id: usize,
    /// Name in the configuration.
    pub name: String,
    /// Address in the configuration.
    pub address: crate::config::Address,
    /// Counters and gauges.
    pub counters: ListenerCounters,
    settings: ArcSwap<Settings>,
    households: Households,
}

impl Listener {
    /// A listener that has counted nothing yet.
    pub fn new(id: usize, name: String, address: crate::config::Address, settings: Settings) -> Listener {
        Listener {
            id,
            name,
            address,
            counters: ListenerCounters::default(),
            settings: ArcSwap::from_pointee(settings),
            households: Households::default(),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Replaces the settings; connections that are open see them at their next request.
    pub fn change(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Admits one more connection, or refuses it because the ceiling is reached.
    pub(super) fn admit(self: &Arc<Listener>) -> Option<Live> {
        let before = self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let live = Live { listener: self.clone(), household: None };
        if self.settings.load().connections.is_some_and(|most| before as u64 >= most) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        Some(live)
    }
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Live {
    listener: Arc<Listener>,
    /// Whose it is, if that is counted.
    household: Option<Household>,
}

impl Live {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Admits the connection as one of this client's, or refuses it because the client has as many as it may.
    pub(super) fn admit_client(&mut self, address: Option<IpAddr>) -> bool {
        let most = self.listener.settings.load().connections_per_client;
        let Some((most, address)) = most.zip(address) else { return true };
        let household = Household::of(address);
        if !self.listener.households.enter(household, most) {
            self.listener.counters.clients_refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.household = Some(household);
        true
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(household) = self.household {
            self.listener.households.leave(household);
        }
        self.listener.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
