//! What is kept of one request while it is served.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use pingora::proxy::Session;

use super::attempt::Attempt;
use super::hedge::Race;
use super::routing::Paths;
use crate::admin::Disclosure;
use crate::failure::Reason;
use crate::forward::fields::{Trailers, X_REQUEST_ID};
use crate::forward::origin::Origin;
use crate::identity::{Believed, Identity, Peer, Scheme};
use crate::listen::{self, Client, Listener};
use crate::request_id::RequestId;
use crate::snapshot::{ListenerRules, Route, Snapshot};
use crate::upstream::sticky::Affinity;
use crate::upstream::{self, Tried};

/// How long the rest of a body that nobody wants may take to arrive before the connection is closed instead
/// of kept.
const DRAIN_BODY: std::time::Duration = std::time::Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub struct Context {
    /// The rules that this request is served by, to its end.
    pub snapshot: Arc<Snapshot>,
    /// Its identifier.
    pub id: RequestId,
    /// When its head had arrived.
    pub began: Instant,
    /// Its route, once found.
    pub route: Option<Arc<Route>>,
    /// Which of its destinations.
    pub(super) destination: usize,
    pub(super) paths: Paths,
    /// Attempts begun.
    pub attempts: u32,
    pub(super) tried: Tried,
    /// How long it waits before the next attempt.
    pub(super) pause: Duration,
    /// What ties it to a backend.
    pub(super) affinity: Affinity,
    /// The backend of the first attempt, until that begins.
    pub(super) reserved: Option<upstream::in_flight::InFlight>,
    pub(super) attempt: Option<Attempt>,
    /// What runs beside it.
    pub(super) race: Race,
    pub(super) client: Option<Client>,
    pub(super) host: Option<HeaderValue>,
    pub(super) identity: Identity,
    /// Whether the client has said that it reads trailers.
    trailers: bool,
    failure: Option<Reason>,
    /// Whether the client is told how its request was decided.
    pub(super) disclosure: Disclosure,
    /// The client was told to go on with its body.
    pub(super) continued: bool,
    /// The client has its whole answer, and may still send what nobody waits for.
    pub(super) told: bool,
    counted: Option<InFlight>,
}

impl Context {
    /// A request that is served by these rules.
    pub fn new(snapshot: Arc<Snapshot>) -> Context {
        Context {
            snapshot,
            id: RequestId::new(),
            began: Instant::now(),
            route: None,
            destination: 0,
            paths: Paths::default(),
            attempts: 0,
            tried: Tried::default(),
            pause: Duration::ZERO,
            affinity: Affinity::default(),
            reserved: None,
            attempt: None,
            race: Race::default(),
            client: None,
            host: None,
            identity: Identity::of(Peer { address: None, scheme: Scheme::Http }),
            trailers: false,
            failure: None,
            disclosure: Disclosure::NotAsked,
            continued: false,
            told: false,
            counted: None,
        }
    }

    /// The head is here: who asks, and the limits of what follows.
    pub(super) fn arrive(&mut self, session: &mut Session) {
        self.client = listen::client_of(session).cloned();
        crate::admit::connection::only_if_asked_for(session.req_header_mut());
        self.host = crate::admit::host_of(session.req_header());
        self.identify(&session.req_header().headers);
        self.trailers = crate::admit::reads_trailers(session.req_header());
        let Some(rules) = self.rules() else { return listen::close_after(session) };
        session.set_read_timeout(Some(rules.request_body_idle));
        session.set_write_timeout(Some(rules.response_write_idle));
        session.set_total_drain_timeout(Some(DRAIN_BODY));
        self.counted = Some(InFlight::begin(rules.listener.clone()));
    }

    /// The rules of the listener that the request came through.
    pub(super) fn rules(&self) -> Option<&ListenerRules> {
        let listener = &self.client.as_ref()?.listener;
        let listeners = &self.snapshot.listeners;
        listeners.get(listener.id)?.as_ref().or_else(|| {
            // A reload has renamed it under its connections: the address is what they were made to.
            listeners.iter().flatten().find(|rules| rules.listener.address == listener.address)
        })
    }

    /// Who asks, for the fields that tell the backend.
    pub(super) fn origin(&self) -> Origin<'_> {
        let rules = &self.snapshot.client_address;
        Origin { identity: &self.identity, rules, host: self.host.as_ref(), id: self.id, trailers: self.trailers }
    }

    /// What becomes of the trailers of an answer. Who speaks HTTP/2 reads them in any case.
    pub(super) fn trailers_of_answer(&self, session: &Session) -> Trailers {
        let reads = self.trailers || session.req_header().version == http::Version::HTTP_2;
        if reads { Trailers::Passed } else { Trailers::Dropped }
    }

    /// The address of the client, behind all proxies that are believed; none over a UNIX socket.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.identity.address
    }

    /// How the client speaks, as far as it is known.
    pub fn scheme(&self) -> Scheme {
        self.identity.scheme
    }

    /// Finds out who asks; of a proxy that is believed its name for the request is taken on.
    fn identify(&mut self, fields: &HeaderMap) {
        let Some(client) = &self.client else { return };
        let scheme = if client.tls { Scheme::Https } else { Scheme::Http };
        let peer = Peer { address: client.address, scheme };
        self.identity = self.snapshot.client_address.identify(peer, fields);
        if self.identity.believed == Believed::Yes
            && let Some(given) = fields.get(X_REQUEST_ID)
        {
            self.id = RequestId::given(given.as_bytes()).unwrap_or(self.id);
        }
    }

    /// Remembers why the request was not served; the first reason stays.
    pub(super) fn fail(&mut self, reason: Reason) {
        self.failure.get_or_insert(reason);
    }

    /// Forgets the reason of an attempt that is made again.
    pub(super) fn forgive(&mut self) {
        self.failure = None;
    }

    /// Why the request was not served.
    pub(super) fn failed(&self) -> Option<Reason> {
        self.failure
    }
}

/// Counts one request in flight at its listener.
#[derive(Debug)]
struct InFlight(Arc<Listener>);

impl InFlight {
    fn begin(listener: Arc<Listener>) -> InFlight {
        listener.counters.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(listener)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.counters.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
