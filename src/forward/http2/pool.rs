//! Connections to backends of one core that speak HTTP/2: each is shared, and kept for as long as it is used.
//!
//! The first that has a place is used first, so that requests travel together and those which are too many grow old and go.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use http::uri::Scheme;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_core::connectors::TransportConnector;

use super::connection::{Connection, Place};
use crate::forward::kept::{Owner, Swept, keep_sweeping};

/// See the module's documentation.
pub struct Connections {
    connector: Arc<TransportConnector>,
    /// The most that wait without a request.
    most: usize,
    /// Nobody but this core's requests takes it.
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    of: HashMap<u64, Group, FixedState>,
    swept: bool,
}

/// Those of one backend.
struct Group {
    owner: Weak<dyn Owner>,
    members: Vec<Member>,
}

struct Member {
    connection: Arc<Connection>,
    /// How long it may be without a request.
    limit: Duration,
}

impl Member {
    fn may_stay(&self) -> bool {
        !self.connection.signs().closed() && self.connection.idle().is_none_or(|idle| idle < self.limit)
    }
}

impl Connections {
    /// None yet, and never more than `most` that wait.
    pub fn new(connector: Arc<TransportConnector>, most: usize) -> Connections {
        Connections { connector, most, shared: Mutex::default() }
    }

    /// A place on a connection that is there. `key` tells connections apart of which one cannot stand for the other.
    pub fn take(&self, key: u64) -> Option<Place> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let members = &shared.of.get(&key)?.members;
        members.iter().filter(|member| member.may_stay()).find_map(|member| member.connection.place(true))
    }

    /// A place on a new connection, which nobody else knows yet.
    ///
    /// # Errors
    /// pingora's, of the backend.
    pub async fn connect(&self, peer: &HttpPeer) -> Result<Place> {
        let stream = self.connector.new_stream(peer).await.map_err(Error::into_up)?;
        let agreed = stream.selected_alpn_proto();
        if peer.is_tls() && agreed != Some(ALPN::H2) {
            return Error::e_explain(ErrorType::HandshakeError, "the backend does not speak HTTP/2")
                .map_err(Error::into_up);
        }
        let scheme = if peer.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let connection = Connection::begin(stream, scheme).await.map_err(Error::into_up)?;
        let full = || Error::explain(ErrorType::ConnectionClosed, "a new connection without a place").into_up();
        connection.place(false).ok_or_else(full)
    }

    /// Lets others have places on the connection too, for as long as it is not without a request for longer than `limit`.
    pub fn share<O: Owner + 'static>(self: &Arc<Self>, key: u64, owner: &Arc<O>, place: &Place, limit: Duration) {
        if limit.is_zero() || !owner.keeps_connections() {
            return;
        }
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let group = shared.of.entry(key).or_insert_with(|| {
            let owner: Arc<dyn Owner> = owner.clone();
            Group { owner: Arc::downgrade(&owner), members: Vec::new() }
        });
        group.members.push(Member { connection: place.connection.clone(), limit });
        if !std::mem::replace(&mut shared.swept, true) {
            keep_sweeping(self);
        }
    }
}

impl Swept for Connections {
    fn sweep(&self) -> bool {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = 0;
        shared.of.retain(|_, group| {
            if !group.owner.upgrade().is_some_and(|owner| owner.keeps_connections()) {
                return false;
            }
            group.members.retain(|member| {
                idle += usize::from(member.connection.idle().is_some());
                member.may_stay() && idle <= self.most
            });
            !group.members.is_empty()
        });
        shared.swept = !shared.of.is_empty();
        shared.swept
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").finish_non_exhaustive()
    }
}
