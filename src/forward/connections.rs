//! The connections of one core to backends, in whatever is spoken over them.

use std::sync::Arc;
use std::time::Duration;

use pingora::Result;
use pingora::upstreams::peer::HttpPeer;
use pingora_core::connectors::TransportConnector;

use super::call::{Asked, Call};
use super::kept::Owner;
use super::{http1, http2};
use crate::config::Protocol;

/// See the module's documentation. A `key` tells connections apart of which one cannot stand for the other.
#[derive(Clone, Debug)]
pub struct Connections {
    http1: Arc<http1::Connections>,
    http2: Arc<http2::Connections>,
}

impl Connections {
    /// None yet, and never more than `most` of each kind that wait.
    pub fn new(connector: Arc<TransportConnector>, most: usize) -> Connections {
        Connections {
            http1: Arc::new(http1::Connections::new(connector.clone(), most)),
            http2: Arc::new(http2::Connections::new(connector, most)),
        }
    }

    /// A call over a connection that is there.
    pub fn take(&self, protocol: Protocol, key: u64, asked: Asked) -> Option<Call> {
        match protocol {
            Protocol::Http1 => Some(Call::Http1(http1::Call::new(self.http1.take(key)?, asked))),
            Protocol::Http2 => Some(Call::Http2(http2::Call::new(self.http2.take(key)?, asked))),
        }
    }

    /// A call over a new connection.
    ///
    /// # Errors
    /// pingora's, of the backend.
    pub async fn connect(&self, protocol: Protocol, peer: &HttpPeer, asked: Asked) -> Result<Call> {
        match protocol {
            Protocol::Http1 => Ok(Call::Http1(http1::Call::new(self.http1.connect(peer).await?, asked))),
            Protocol::Http2 => Ok(Call::Http2(http2::Call::new(self.http2.connect(peer).await?, asked))),
        }
    }

    /// Lets others go over the new connection of this call too, if it can be shared.
    pub fn share<O: Owner + 'static>(&self, key: u64, owner: &Arc<O>, call: &Call, limit: Duration) {
        match call {
            Call::Http1(_) => {}
            Call::Http2(call) => self.http2.share(key, owner, call.place(), limit),
        }
    }

    /// Keeps the connection of a call that [leaves it reusable](Call::leaves_reusable), for `limit` at most.
    pub fn keep<O: Owner + 'static>(&self, key: u64, owner: &Arc<O>, call: Call, limit: Duration) {
        match call {
            Call::Http1(call) => self.http1.keep(key, owner, call.into_connection(), limit),
            // It was shared all the while.
            Call::Http2(_) => {}
        }
    }
}
