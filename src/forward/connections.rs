//! The connections of one core to backends, in whatever is spoken over them.
//!
//! A `key` tells those apart of which one cannot stand for the other.

use std::sync::Arc;
use std::time::Instant;

use pingora::Result;
use pingora::upstreams::peer::HttpPeer;
use pingora_core::connectors::TransportConnector;

use super::call::{Asked, Call};
use super::kept::{Keep, Owner};
use super::{http1, http2};
use crate::config::Protocol;

/// See the module's documentation.
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
    pub fn take(&self, protocol: Protocol, key: u64, asked: Asked, now: Instant) -> Option<Call> {
        match protocol {
            Protocol::Http1 => Some(Call::Http1(http1::Call::new(self.http1.take(key, now)?, asked))),
            Protocol::Http2 => Some(Call::Http2(Box::new(http2::Call::new(self.http2.take(key)?, asked)))),
        }
    }

    /// A call over a new connection, which others may share where that can be.
    ///
    /// # Errors
    /// pingora's, of the backend.
    pub async fn connect<O: Owner + 'static>(
        &self,
        protocol: Protocol,
        peer: &HttpPeer,
        keep: Keep<'_, O>,
        asked: Asked,
    ) -> Result<Call> {
        match protocol {
            Protocol::Http1 => Ok(Call::Http1(http1::Call::new(self.http1.connect(peer).await?, asked))),
            Protocol::Http2 => {
                Ok(Call::Http2(Box::new(http2::Call::new(self.http2.connect(peer, &keep).await?, asked))))
            }
        }
    }

    /// Keeps the connection of a call that [leaves it reusable](Call::leaves_reusable).
    pub fn keep<O: Owner + 'static>(&self, call: Call, keep: &Keep<'_, O>) {
        match call {
            Call::Http1(call) => self.http1.keep(call.into_connection(), keep),
            // It was shared all the while.
            Call::Http2(_) => {}
        }
    }
}
