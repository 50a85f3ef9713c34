//! A whole request on one page: pingora's phases, each one call into one stage.
//!
//! ```text
//!  head read ── early_request_filter   who asks? time-outs of the listener      identity, listen
//!            ── request_filter         understood? which route? is there room?  admit, route, upstream
//!        ┌──▶── upstream_peer          which backend?                           upstream
//!        │   ── fail_to_connect        no connection: another one?              forward::retry
//!        │   ── connected_to_upstream  deadlines of the attempt begin           forward::deadline
//!        │   ── upstream_request_filter  head made ours, and the route's        forward::{fields, rewrite, header_rules}
//!        │   ── request_body_filter    (each piece) within its limit?
//!        │   ── upstream_response_filter  the backend has answered           forward::answer
//!        │   ── response_filter        head made ours, and the route's          forward::{fields, header_rules}
//!        │   ── upstream_response_body_filter  (each piece)
//!        └──◀── error_while_proxy      failed: another one?                     forward::retry
//!            ── fail_to_proxy          an answer from the table of failures     failure
//!            ── logging                access log, metrics                      observe
//! ```
//!
//! Between `upstream_peer` and `logging` pingora calls them for upstreams of HTTP/2, and [`exchange`] for all others.

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

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use crate::admin::Gate;
use crate::failure::Reason;
use crate::forward::deadline::Phase;
use crate::forward::http1::Connections;
use crate::forward::max_forwards;
use crate::lifecycle::Lifecycle;
use crate::listen;
use crate::observe::Counters;
use crate::snapshot::Current;

use attempt::Speaker;
pub use context::Context;
use routing::Next;
pub use routing::{location_of, rewritten};

/// The balancer as pingora calls it; one for each core, all with the same parts.
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
    /// Connections to backends of HTTP/1.1; of this core alone.
    pub connections: Arc<Connections>,
}

/// Answers a request that goes to no backend.
async fn turn_away(session: &mut Session, context: &mut Context, reason: Reason) -> Result<bool> {
    context.fail(reason);
    answer::failure(session, context, reason).await?;
    Ok(true)
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.current.load())
    }

    /// None: pingora's compression module costs allocations even when it is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, context: &mut Context) -> Result<()> {
        context.disclosure = self.gate.load().discloses(&session.req_header().headers);
        context.arrive(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        match context.admit(session) {
            Ok(Next::Forward) if max_forwards::ends_here(session.req_header()) => {
                answer::options(session, context).await?;
                Ok(true)
            }
            Ok(Next::Forward) => match context.reserve(session).await {
                Ok(()) if context.speaker(session) == Speaker::Us => {
                    exchange::serve(self, session, context).await.map(|()| true)
                }
                Ok(()) => Ok(false),
                Err(reason) => turn_away(session, context, reason).await,
            },
            Ok(Next::Answer) => {
                direct::answer(session, context, &self.lifecycle).await?;
                Ok(true)
            }
            Err(reason) => turn_away(session, context, reason).await,
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        context.begin_attempt(session).await?;
        context.peer().map(Box::new)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        context.connect_failed(session, error)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _descriptor: RawFd,
        _digest: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.connected(session, reused);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let unused = RequestHeader::build_no_case(Method::GET, b"/", Some(0))?;
        let mut head = Parts::from(std::mem::replace(request, unused));
        context.make_ours(session, &mut head)?;
        *request = RequestHeader::from(head);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        context.body_came(session, end_of_stream)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        context.take_answer(session, response)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        self.give_answer(session, response, context)
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        if end_of_stream {
            context.over();
        } else {
            context.waits_for(Phase::Body);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        _client_reused: bool,
    ) -> Box<Error> {
        context.attempt_failed(session, error)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        if context.is_only_unasked(session, error) {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let reason = listen::refusal_of(session).or_else(|| context.failed());
        let reason = reason.unwrap_or_else(|| attempt::reason(error, false));
        context.fail(reason);
        let error_code = answer::failure_if_possible(session, context, reason).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        context.let_go();
        if let Some(error) = error {
            context.end_with(session, error);
            log::debug!(id = context.id.as_str(), error:%; "request failed");
        }
        record::write(session, context, &self.counters);
    }

    /// The access log and the metrics say it; a stranger could repeat a log line at will.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Context,
        _error: &Error,
        _situation: ProxyWarnLogContext,
    ) -> bool {
        true
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
