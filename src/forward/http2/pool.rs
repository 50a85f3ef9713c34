//! Connections to backends of one core that speak HTTP/2: each is shared, and kept for as long as it is used.
//!
//! The first that has a place is used first, so that requests travel together and those which are too many grow old and go.
//! Requests that begin at the same moment, before the first connection is there, wait for one to open it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use http::uri::Scheme;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_core::connectors::TransportConnector;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, Pings, Place, STREAMS, Since};
use crate::forward::kept::{Keep, Owner, Swept, keep_sweeping};

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
    /// What becomes of the one that was begun last.
    opening: Option<watch::Receiver<Opening>>,
    /// How many wait for it.
    waiting: usize,
}

/// What has become of a connection that somebody opens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Opening {
    NotYet,
    Open,
    Failed(ErrorType),
}

/// Whose turn it is where there is no connection with a place.
enum Turn {
    /// One's own, and others may wait for it.
    Open(watch::Sender<Opening>),
    /// Somebody else's.
    Wait(watch::Receiver<Opening>),
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

impl Group {
    /// The connection that somebody opens now. Whoever was to may have left.
    fn under_way(&self) -> Option<&watch::Receiver<Opening>> {
        self.opening.as_ref().filter(|opening| opening.has_changed().is_ok())
    }
}

impl Connections {
    /// None yet, and never more than `most` that wait.
    pub fn new(connector: Arc<TransportConnector>, most: usize) -> Connections {
        Connections { connector, most, shared: Mutex::default() }
    }

    /// A place on a connection that is there. `key` tells connections apart of which one cannot stand for the other.
    pub fn take(&self, key: u64) -> Option<Place> {
        self.place(key, Since::Before)
    }

    fn place(&self, key: u64, since: Since) -> Option<Place> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let members = &shared.of.get(&key)?.members;
        members.iter().filter(|member| member.may_stay()).find_map(|member| member.connection.place(since))
    }

    /// A place on a new connection, on which others have theirs too, for as long as it is kept.
    ///
    /// # Errors
    /// pingora's, of the backend.
    pub async fn connect<O: Owner + 'static>(self: &Arc<Self>, peer: &HttpPeer, keep: &Keep<'_, O>) -> Result<Place> {
        if !keep.is_wanted() {
            return self.open(peer).await;
        }
        let due = peer.options.total_connection_timeout.map(|limit| Instant::now() + limit);
        loop {
            match self.turn(keep) {
                Turn::Open(opening) => {
                    let opened = self.open(peer).await;
                    match &opened {
                        Ok(place) => {
                            self.share(place, keep);
                            // Others have their places when it is known how many there are.
                            let connection = place.connection.clone();
                            tokio::spawn(async move {
                                poll_fn(|task| connection.client().poll_greeted(task)).await;
                                opening.send_replace(Opening::Open);
                            });
                        }
                        // It was the time of one request that was over. Others have more, and go on by themselves.
                        Err(error) if is_late(error) => drop(opening),
                        Err(error) => drop(opening.send_replace(Opening::Failed(error.etype().clone()))),
                    }
                    return opened;
                }
                Turn::Wait(opening) => {
                    wait(opening, due).await?;
                    if let Some(place) = self.place(keep.key, Since::New) {
                        return Ok(place);
                    }
                    if due.is_some_and(|due| due <= Instant::now()) {
                        return Err(failed(ErrorType::ConnectTimedout));
                    }
                }
            }
        }
    }

    fn turn<O: Owner + 'static>(self: &Arc<Self>, keep: &Keep<'_, O>) -> Turn {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let group = shared.group(keep);
        // The first of the places is that of whoever opens it.
        if let Some(opening) = group.under_way().cloned()
            && group.waiting < STREAMS - 1
        {
            group.waiting += 1;
            return Turn::Wait(opening);
        }
        let (sender, opening) = watch::channel(Opening::NotYet);
        (group.opening, group.waiting) = (Some(opening), 0);
        if !std::mem::replace(&mut shared.swept, true) {
            keep_sweeping(self);
        }
        Turn::Open(sender)
    }

    async fn open(&self, peer: &HttpPeer) -> Result<Place> {
        let stream = self.connector.new_stream(peer).await.map_err(Error::into_up)?;
        if peer.is_tls() && stream.selected_alpn_proto() != Some(ALPN::H2) {
            let what = "the backend does not speak HTTP/2";
            return Error::e_explain(ErrorType::HandshakeError, what).map_err(Error::into_up);
        }
        let scheme = if peer.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let connection = Connection::begin(stream, scheme, Pings::USUAL);
        let full = || Error::explain(ErrorType::ConnectionClosed, "a new connection without a place").into_up();
        connection.place(Since::New).ok_or_else(full)
    }

    fn share<O: Owner + 'static>(&self, place: &Place, keep: &Keep<'_, O>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.group(keep).members.push(Member { connection: place.connection.clone(), limit: keep.limit });
    }
}

impl Shared {
    fn group<O: Owner + 'static>(&mut self, keep: &Keep<'_, O>) -> &mut Group {
        self.of.entry(keep.key).or_insert_with(|| {
            let owner: Arc<dyn Owner> = keep.owner.clone();
            Group { owner: Arc::downgrade(&owner), members: Vec::new(), opening: None, waiting: 0 }
        })
    }
}

/// Waits for a connection that somebody else opens.
async fn wait(mut opening: watch::Receiver<Opening>, due: Option<Instant>) -> Result<()> {
    let became = opening.wait_for(|opening| *opening != Opening::NotYet);
    let became = match due {
        None => became.await,
        Some(due) => tokio::time::timeout_at(due, became).await.map_err(|_| failed(ErrorType::ConnectTimedout))?,
    };
    match became.as_deref() {
        Ok(Opening::Failed(kind)) => Err(failed(kind.clone())),
        // Whoever was to open it has left: somebody else does.
        Ok(Opening::Open | Opening::NotYet) | Err(_) => Ok(()),
    }
}

fn is_late(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout)
}

fn failed(kind: ErrorType) -> Box<Error> {
    Error::because(kind, "waiting for a connection", OfAnother).into_up()
}

/// What a connection has failed of was another request's, which tells of it.
#[derive(Debug)]
pub struct OfAnother;

impl std::fmt::Display for OfAnother {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("another request was to open it")
    }
}

impl std::error::Error for OfAnother {}

impl Swept for Connections {
    fn sweep(&self) -> bool {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = 0;
        shared.of.retain(|_, group| {
            if !group.owner.upgrade().is_some_and(|owner| owner.keeps_connections()) {
                return false;
            }
            group.members.retain(|member| {
                let waits = member.connection.idle().is_some();
                idle += usize::from(waits);
                member.may_stay() && !(waits && idle > self.most)
            });
            !group.members.is_empty() || group.under_way().is_some()
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
