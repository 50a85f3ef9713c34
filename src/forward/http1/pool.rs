//! Connections to backends of one core, and those of them that wait for their next request.
//!
//! The one that was used last is used first, so that those which are too many grow old and go. That a backend has closed
//! a connection is seen when it is taken, without a system call, and otherwise once in a second.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use pingora::Result;
use pingora::upstreams::peer::HttpPeer;
use pingora_core::connectors::TransportConnector;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::unconstrained;

use super::connection::Connection;
use crate::forward::kept::{Keep, Owner, Swept, keep_sweeping};

/// See the module's documentation.
pub struct Connections {
    connector: Arc<TransportConnector>,
    /// Nobody but this core's requests takes it.
    idle: Mutex<Idle>,
}

struct Idle {
    most: usize,
    count: usize,
    parked: HashMap<u64, Parked, FixedState>,
    swept: bool,
}

/// Those of one backend; the last was used last.
struct Parked {
    owner: Weak<dyn Owner>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    stream: Stream,
    since: Instant,
    /// How long it may wait.
    limit: Duration,
}

impl Connections {
    /// None yet, and never more than `most` that wait.
    pub fn new(connector: Arc<TransportConnector>, most: usize) -> Connections {
        let idle = Idle { most, count: 0, parked: HashMap::default(), swept: false };
        Connections { connector, idle: Mutex::new(idle) }
    }

    /// A new connection.
    ///
    /// # Errors
    /// pingora's, of the backend.
    pub async fn connect(&self, peer: &HttpPeer) -> Result<Connection> {
        let stream = self.connector.new_stream(peer).await.map_err(pingora::Error::into_up)?;
        Ok(Connection::new(stream, false))
    }

    /// One that waits and is still alive. `key` tells connections apart of which one cannot stand for the other.
    pub fn take(&self, key: u64, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let parked = idle.parked.get_mut(&key)?;
        let mut gone = 0;
        let stream = loop {
            let Some(Waiting { mut stream, since, limit }) = parked.waiting.pop_back() else { break None };
            gone += 1;
            if now.saturating_duration_since(since) < limit && is_silent(&mut stream) {
                break Some(stream);
            }
        };
        idle.count -= gone;
        stream.map(|stream| Connection::new(stream, true))
    }

    /// Keeps a connection on which everything that was asked has been answered, and nothing else.
    pub fn keep<O: Owner + 'static>(self: &Arc<Self>, connection: Connection, keep: &Keep<'_, O>) {
        if !keep.is_wanted() {
            return;
        }
        let stream = connection.into_stream();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.count >= idle.most && !idle.drop_oldest() {
            return;
        }
        let parked = idle.parked.entry(keep.key).or_insert_with(|| {
            let owner: Arc<dyn Owner> = keep.owner.clone();
            Parked { owner: Arc::downgrade(&owner), waiting: VecDeque::new() }
        });
        parked.waiting.push_back(Waiting { stream, since: Instant::now(), limit: keep.limit });
        idle.count += 1;
        if !std::mem::replace(&mut idle.swept, true) {
            keep_sweeping(self);
        }
    }
}

impl Swept for Connections {
    fn sweep(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.parked.retain(|_, parked| {
            if !parked.owner.upgrade().is_some_and(|owner| owner.keeps_connections()) {
                return false;
            }
            parked
                .waiting
                .retain_mut(|waiting| waiting.since.elapsed() < waiting.limit && is_silent(&mut waiting.stream));
            !parked.waiting.is_empty()
        });
        idle.count = idle.parked.values().map(|parked| parked.waiting.len()).sum();
        idle.swept = idle.count > 0;
        idle.swept
    }
}

impl Idle {
    /// Whether there was one. Few backends have any that wait where the pool is full, so all are looked at.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.parked.values_mut().filter_map(|parked| Some((parked.waiting.front()?.since, parked)));
        let Some((_, parked)) = oldest.min_by_key(|(since, _)| *since) else { return false };
        parked.waiting.pop_front();
        self.count -= 1;
        true
    }
}

/// Whether a backend that was asked for nothing has said nothing, not even that it closes. Without a system call where
/// nothing has come. Outside of the runtime's budget: a look that is put off would take what came for nothing.
fn is_silent(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let read = poll_fn(|task| Pin::new(&mut *stream).poll_read(task, &mut ReadBuf::new(&mut byte)));
    pin!(unconstrained(read)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connections").finish_non_exhaustive()
    }
}
