//! A whole request on one page: pingora's phases, each one call into one stage.
//!
//! ```text
//!  head read ── request_filter         who asks? time-outs of the listener      identity, listen
//!            │                         understood? which route? is there room?  admit, route, upstream
//!        ┌──▶── begin_attempt          which backend?                           upstream
//!        │   ── connect_failed         no connection: another one?              forward::retry
//!        │   ── connected              deadlines of the attempt begin           forward::deadline
//!        │   ── make_ours              head made ours, and the route's          forward::{hops, fields, rewrite, header_rules}
//!        │   ── body_came              (each piece) within its limit?
//!        │   ── take_answer            the backend has answered                 forward::answer
//!        │   ── give_answer            head made ours, and the route's          forward::{fields, header_rules}
//!        └──◀── attempt_failed         failed: another one?                     forward::retry
//!            ── fail_to_proxy          an answer from the table of failures     failure
//!            ── logging                access log, metrics                      observe
//! ```
//!
//! The attempts, from `begin_attempt` to `attempt_failed`, are made by [`exchange`] within `request_filter`. Whoever calls the phases
//! (`listen::phases`) goes from there to the end.

mod answer;
mod attempt;
mod context;
mod delivery;
mod direct;
mod disclosure;
mod exchange;
mod heads;
mod hedge;
mod record;
mod routing;
mod sticky;
mod tunnel;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use crate::admin::Gate;
use crate::failure::Reason;
use crate::forward::connections::Connections;
use crate::forward::max_forwards;
use crate::lifecycle::Lifecycle;
use crate::listen;
use crate::observe::Counters;
use crate::snapshot::Current;

pub use context::Context;
use routing::Next;
pub use routing::{location_of, rewritten};

/// The balancer as its phases see it; one for each core, all with the same parts.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// The rules.
    pub current: Arc<Current>,
    /// What the process is doing.
    pub lifecycle: Arc<Lifecycle>,
    /// What is counted for the whole process.
    pub counters: Arc<Counters>,
    /// Who may know how requests are decided.
    pub gate: Arc<ArcSwap<Gate>>,
    /// Connections to backends; of this core alone.
    pub connections: Connections,
}

/// Answers a request that goes to no backend.
async fn turn_away(session: &mut Session, context: &mut Context, reason: Reason) -> Result<bool> {
    context.fail(reason);
    answer::failure(session, context, reason).await?;
    Ok(true)
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// In a box: it is large, and the future that holds it is moved.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(self.current.load()))
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Box<Context>) -> Result<bool> {
        context.disclosure = self.gate.load().discloses(&session.req_header().headers);
        context.arrive(session);
        // What is not forwarded is answered from a box, so that what is forwarded is moved without it.
        match context.admit(session) {
            Ok(Next::Forward) if max_forwards::ends_here(session.req_header()) => {
                Box::pin(answer::options(session, context)).await?;
                Ok(true)
            }
            Ok(Next::Forward) => match context.reserve(session).await {
                Ok(()) => exchange::serve(self, session, context).await.map(|()| true),
                Err(reason) => Box::pin(turn_away(session, context, reason)).await,
            },
            Ok(Next::Answer) => {
                Box::pin(direct::answer(session, context, &self.lifecycle)).await?;
                Ok(true)
            }
            Err(reason) => Box::pin(turn_away(session, context, reason)).await,
        }
    }

    /// What pingora's own loops would ask for an attempt. [`exchange`] does the same, and connects only where no connection is kept.
    async fn upstream_peer(&self, session: &mut Session, context: &mut Box<Context>) -> Result<Box<HttpPeer>> {
        context.begin_attempt(session).await?;
        context.peer().map(Box::new)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Box<Context>) -> FailToProxy {
        if context.is_only_unasked(session, error) {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let reason = listen::refusal_of(session).or_else(|| context.failed());
        let reason = reason.unwrap_or_else(|| attempt::reason(error, false));
        context.fail(reason);
        let error_code = answer::failure_if_possible(session, context, reason).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Box<Context>) {
        if let Some(error) = error {
            context.end_with(session, error);
            log::debug!(id = context.id.as_str(), error:%; "request failed");
        }
        record::write(session, context, &self.counters);
    }
}

impl Context {
    /// Whether a request is understood, and its route.
    fn admit(&mut self, session: &Session) -> Result<Next, Reason> {
        // None: a kept connection of a listener that a reload has removed.
        let rules = self.rules().ok_or(Reason::NoRoute)?;
        let limits =
            crate::admit::http2::Limits { header_bytes: rules.header_bytes, header_fields: rules.header_fields };
        let listener = rules.listener.id;
        match listen::refusal_of(session) {
            Some(reason) => return Err(reason),
            None if session.req_header().version == http::Version::HTTP_2 => {
                crate::admit::http2::check(session.req_header(), limits)?
            }
            // The connection has let nothing else pass.
            None => {}
        }
        self.find_route(session, listener)
    }
}
