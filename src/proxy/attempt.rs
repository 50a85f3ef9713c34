//! The attempts of a request: each picks a backend, connects, waits for the answer, and may be made again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{EXPECT, UPGRADE};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::context::Context;
use crate::config::{Protocol, Retry};
use crate::failure::Reason;
use crate::forward::answer::Doubt;
use crate::forward::call::Body;
use crate::forward::deadline::{Limits, Phase};
use crate::forward::http2::OfAnother;
use crate::forward::{answer, peer, retry};
use crate::http2::Fault;
use crate::upstream::UnderWay;
use crate::upstream::backend::Backend;
use crate::upstream::health::Verdict;
use crate::upstream::in_flight::InFlight;
use crate::upstream::outcome::Outcome;
use crate::upstream::queue::{Queue, Refused};

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// The backend, counted as in flight.
    pub in_flight: InFlight,
    /// How long the connection took; none while there is none, or when it was there already.
    pub connect: Option<Duration>,
    /// From the request's arrival to the head of the answer.
    pub first_byte: Option<Duration>,
    began: Instant,
    /// What is spoken with the backend.
    protocol: Protocol,
    /// Whether it may become a tunnel.
    upgrade: bool,
    /// Whether the request had a body when the attempt began, which takes the client's time to send.
    body: Body,
    limits: Limits,
    /// What is waited for.
    wait: Wait,
    /// What has come of a wait that was not over in time.
    expired: Option<Reason>,
    /// Interim answers so far.
    interim: u32,
    /// Whether the backend has switched protocols.
    switched: bool,
    /// Whether its answer is left for that of another backend.
    left: bool,
    /// What is counted for it if it is made beside another.
    hedge: Option<UnderWay>,
}

impl Attempt {
    /// It is made beside another.
    pub fn hedging(self, under_way: UnderWay) -> Attempt {
        Attempt { hedge: Some(under_way), ..self }
    }

    /// Whether it is made beside another, and was not decided for.
    pub fn is_hedge(&self) -> bool {
        self.hedge.is_some()
    }

    /// What is counted for it as a hedge; no more from now on.
    pub fn take_hedge(&mut self) -> Option<UnderWay> {
        self.hedge.take()
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When its wait must be over. It begins when this is asked for the first time.
    pub fn due(&mut self) -> Option<Instant> {
        Some(self.wait_ends()?.0)
    }
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// It has not begun: most are over before anybody has to ask the clock.
    For(Phase),
    /// It must be over by then, if ever, and this is what it means if it is not.
    Until(Option<(Instant, Reason)>),
}

impl Attempt {
    /// When its wait must be over, and what it means if it is not.
    fn wait_ends(&mut self) -> Option<(Instant, Reason)> {
        if let Wait::For(phase) = self.wait {
            self.wait = Wait::Until(self.limits.due(phase, Instant::now()));
        }
        match self.wait {
            Wait::Until(due) => due,
            Wait::For(_) => None,
        }
    }
}

impl Context {
    /// Picks a backend for the first attempt, waiting for room if there is none.
    ///
    /// # Errors
    /// Why the request goes to no backend. Its connection is as good as before: an overload or an outage must not cost
    /// everybody a handshake per request.
    pub(super) async fn reserve(&mut self, session: &Session) -> std::result::Result<(), Reason> {
        self.affinity = self.affinity_of(session.req_header());
        // Nothing has been waited for since the head was there.
        self.reserved = Some(self.seek(self.began).await?);
        Ok(())
    }

    async fn seek(&self, now: Instant) -> std::result::Result<InFlight, Reason> {
        let destination = self.route.as_ref().and_then(|route| route.destination(self.destination));
        let destination = destination.ok_or(Reason::NoBackend)?;
        let left = Limits::left(&destination.timeouts, self.began);
        let deadline = left.map(|left| now + left);
        Ok(destination.upstream.seek(&self.tried, self.affinity, deadline, now).await?)
    }

    /// Picks a backend for another attempt, unless one is reserved.
    pub(super) async fn begin_attempt(&mut self, session: &mut Session) -> Result<()> {
        // Ends the former attempt first: it is in flight no more.
        self.attempt = None;
        self.wait_before_retry().await;
        let destination = self.route.as_ref().and_then(|route| route.destination(self.destination));
        let left = destination.and_then(|destination| Limits::left(&destination.timeouts, self.began));
        if left.is_some_and(|left| left.is_zero()) {
            self.fail(Reason::TotalTimeout);
            return Err(Error::new(ErrorType::HTTPStatus(StatusCode::GATEWAY_TIMEOUT.as_u16())));
        }
        let in_flight = match self.reserved.take() {
            Some(reserved) => Ok(reserved),
            None => self.seek(Instant::now()).await,
        };
        let in_flight = match in_flight {
            Ok(in_flight) => in_flight,
            Err(reason) => {
                self.fail(reason);
                return Err(Error::new(ErrorType::HTTPStatus(StatusCode::SERVICE_UNAVAILABLE.as_u16())));
            }
        };
        self.attempts += 1;
        self.tried.add(in_flight.index);
        self.attempt = self.attempt_at(session, in_flight);
        Ok(())
    }

    /// An attempt that begins now; none without a destination.
    pub(super) fn attempt_at(&self, session: &mut Session, in_flight: InFlight) -> Option<Attempt> {
        let destination = self.destination()?;
        let per_try = destination.retry.and_then(|retry| retry.per_try_timeout);
        // A session of HTTP/2 times no body.
        let rules = self.rules().filter(|_| session.req_header().version == http::Version::HTTP_2);
        let request_body_idle = rules.map(|rules| rules.request_body_idle);
        let upgrade = session.is_upgrade_req();
        Some(Attempt {
            connect: None,
            first_byte: None,
            began: in_flight.picked(),
            in_flight,
            // An upgrade is one of HTTP/1.1 (RFC 9113, section 8.6).
            protocol: if upgrade { Protocol::Http1 } else { destination.upstream.config.protocol },
            upgrade,
            body: if session.is_body_empty() { Body::None } else { Body::Follows },
            limits: Limits::new(&destination.timeouts, per_try, self.began, request_body_idle),
            wait: Wait::For(Phase::Over),
            expired: None,
            interim: 0,
            switched: false,
            left: false,
            hedge: None,
        })
    }

    /// When the attempt began.
    pub(super) fn attempt_began(&self) -> Instant {
        self.attempt.as_ref().map_or(self.began, |attempt| attempt.began)
    }

    /// The backend of the attempt.
    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        self.attempt.as_ref().map(|attempt| attempt.in_flight.backend.clone())
    }

    /// What is connected to for the attempt.
    pub(super) fn peer(&self) -> Result<HttpPeer> {
        let (Some(attempt), Some(destination)) = (&self.attempt, self.destination()) else {
            debug_assert!(false, "an attempt has begun");
            return Err(Error::new(ErrorType::InternalError));
        };
        let peer = peer::with_timeouts(attempt.in_flight.backend.peer.clone(), &destination.timeouts);
        let peer = if attempt.upgrade { peer::for_upgrade(peer) } else { peer };
        let per_try = destination.retry.and_then(|retry| retry.per_try_timeout);
        Ok(peer::within(peer::within(peer, Limits::left(&destination.timeouts, self.began)), per_try))
    }

    /// What is spoken with the backend of the attempt.
    pub(super) fn protocol(&self) -> Protocol {
        self.attempt.as_ref().map_or(Protocol::Http1, |attempt| attempt.protocol)
    }

    /// How long the connection of the attempt is kept for others.
    pub(super) fn keep_alive(&self) -> Duration {
        self.destination().map_or(Duration::ZERO, |destination| destination.upstream.config.timeouts.keep_alive)
    }

    /// A pause before the next attempt, which ends with the time of the whole request.
    async fn wait_before_retry(&mut self) {
        let pause = std::mem::take(&mut self.pause);
        let left = self.destination().and_then(|destination| Limits::left(&destination.timeouts, self.began));
        if !pause.is_zero() {
            tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
        }
    }

    /// There is a connection.
    pub(super) fn connected(&mut self, reused: bool) {
        let destination = self.route.as_ref().and_then(|route| route.destination(self.destination));
        let (Some(attempt), Some(destination)) = (&mut self.attempt, destination) else { return };
        if !reused {
            attempt.connect = Some(attempt.began.elapsed());
        }
        let state = &attempt.in_flight.backend.state;
        if state.suspected()
            && let Some(thresholds) = destination.upstream.thresholds()
        {
            state.observe(Verdict::Passed, thresholds, "", Instant::now());
        }
        // What has no body has no end of it that would tell that it is the backend's turn.
        let phase = match attempt.body {
            Body::None => Phase::FirstByte,
            Body::Follows => Phase::Request,
        };
        self.waits_for(phase);
    }

    /// The backend has answered with this head, interim or final.
    ///
    /// # Errors
    /// If it cannot be passed on without doubt.
    pub(super) fn answered(&mut self, session: &Session, response: &ResponseHeader) -> Result<()> {
        let Some(attempt) = &mut self.attempt else { return Ok(()) };
        let asked = session.req_header().headers.get(UPGRADE).filter(|_| attempt.upgrade);
        if let Err(Doubt(what)) = answer::check(response, attempt.interim, asked) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, what).map_err(Error::into_up);
        }
        attempt.interim += u32::from(response.status.is_informational());
        let status = response.status;
        if status == StatusCode::SWITCHING_PROTOCOLS || !status.is_informational() {
            let now = Instant::now();
            attempt.first_byte.get_or_insert(now.saturating_duration_since(self.began));
            let outcome = Outcome::of(status, &response.headers);
            attempt.in_flight.judge(outcome, now);
            attempt.switched = status == StatusCode::SWITCHING_PROTOCOLS;
            if attempt.switched {
                attempt.in_flight.becomes_tunnel();
            }
            if self.is_left(session, status, now) {
                return Error::e_explain(ErrorType::HTTPStatus(status.as_u16()), "another backend is asked")
                    .map_err(Error::into_up);
            }
            self.time_answer(outcome);
            self.waits_for(Phase::Body);
        }
        self.decide();
        Ok(())
    }

    /// Whether the answer of this status is left, since another backend may have a better one: one that was asked too, or one that
    /// may be, which takes a retry.
    fn is_left(&mut self, session: &Session, status: StatusCode, now: Instant) -> bool {
        let declined = retry::Declined {
            status,
            idempotent: session.req_header().method.is_idempotent(),
            body_kept: !session.as_ref().retry_buffer_truncated(),
        };
        let Some(destination) = self.destination() else { return false };
        let Some(rules) = destination.retry else { return false };
        let has_rival = self.race.has_rival();
        let is_left = session.response_written().is_none()
            && retry::may_be_asked_elsewhere(declined, rules.on)
            && (has_rival
                || self.attempts <= rules.attempts
                    && destination.upstream.has_another(&self.tried, now)
                    && destination.upstream.take_retry(now));
        if is_left && !has_rival {
            self.pause = self.pause_of(rules, retry::Saw::Something);
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.left = is_left;
        }
        is_left
    }

    fn pause_of(&self, rules: Retry, saw: retry::Saw) -> Duration {
        rules.backoff.map_or(Duration::ZERO, |backoff| retry::pause(backoff, self.attempts, saw, fastrand::f64()))
    }

    /// The whole request was sent: it is the backend's turn, unless it has answered already.
    fn sent(&mut self) {
        if let Some(attempt) = &mut self.attempt
            && attempt.first_byte.is_none()
        {
            // Over a kept connection a request without a body is sent at once.
            let at_once = attempt.body == Body::None && attempt.connect.is_none();
            let now = if at_once { attempt.began } else { Instant::now() };
            attempt.in_flight.sent((attempt.body == Body::Follows).then_some(now), now);
            self.waits_for(Phase::FirstByte);
        }
    }

    /// The backend has said all it had to say.
    pub(super) fn over(&mut self) {
        self.told = true;
        self.waits_for(Phase::Over);
        if let Some(attempt) = &mut self.attempt
            && !attempt.switched
        {
            attempt.in_flight.end();
        }
    }

    /// Bytes of the client's have come.
    fn received(&mut self, end_of_stream: bool) {
        match &self.attempt {
            Some(attempt) if attempt.switched => self.waits_for(Phase::Body),
            Some(_) if end_of_stream => self.sent(),
            Some(attempt) if attempt.first_byte.is_none() => self.waits_for(Phase::Request),
            Some(_) | None => {}
        }
    }

    /// A piece of the request has come, or its end. Ends the request if that is more of a body than its route takes; a tunnel
    /// has no body.
    pub(super) fn body_came(&mut self, session: &Session, end_of_stream: bool) -> Result<()> {
        self.received(end_of_stream);
        let read = session.body_bytes_read() as u64;
        let most = self.destination().and_then(|destination| destination.request_body);
        let is_tunnel = self.attempt.as_ref().is_some_and(|attempt| attempt.switched);
        if is_tunnel || most.is_none_or(|most| read <= most) {
            return Ok(());
        }
        self.fail(Reason::BodyTooLarge);
        Err(Error::new(ErrorType::HTTPStatus(StatusCode::PAYLOAD_TOO_LARGE.as_u16())))
    }

    /// What the attempt waits for from now on. What follows a switch of protocols is a tunnel, also where the
    /// first of it came with the head.
    pub(super) fn waits_for(&mut self, phase: Phase) {
        let Some(attempt) = &mut self.attempt else { return };
        let phase = if attempt.switched && phase == Phase::Body { Phase::Tunnel } else { phase };
        attempt.wait = Wait::For(phase);
    }

    /// When the wait that we are in must be over. It begins when this is asked for the first time.
    pub(super) fn due(&mut self) -> Option<Instant> {
        self.attempt.as_mut()?.due()
    }

    /// When the client must have taken what there is for it, as far as that is not the listener's matter.
    pub(super) fn client_due(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref().filter(|attempt| !attempt.switched)?;
        attempt.limits.total()
    }

    /// Who waits for the place that the attempt holds at its backend; none if it holds none.
    pub(super) fn line(&self) -> Option<&Queue> {
        self.attempt.as_ref().filter(|attempt| attempt.in_flight.holds_a_place())?;
        Some(&self.destination()?.upstream.state.queue)
    }

    /// Whether the head of the answer has not come yet.
    pub(super) fn awaits_head(&self) -> bool {
        self.attempt.as_ref().is_none_or(|attempt| attempt.first_byte.is_none())
    }

    /// The wait was not over in time.
    pub(super) fn expire(&mut self) -> Box<Error> {
        let due = self.attempt.as_mut().and_then(Attempt::wait_ends);
        self.expire_for(due.map_or(Reason::TotalTimeout, |(_, reason)| reason))
    }

    /// The request has taken as long as it may.
    pub(super) fn expire_for(&mut self, reason: Reason) -> Box<Error> {
        if let Some(attempt) = &mut self.attempt {
            attempt.expired = Some(reason);
        }
        Error::explain(ErrorType::ReadTimedout, "the time is over").into_up()
    }

    /// No connection. The request may go to another backend; the backend has one more verdict against it.
    pub(super) fn connect_failed(&mut self, session: &Session, error: Box<Error>) -> Box<Error> {
        let late = matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout);
        let reason = if matches!(error.etype(), ErrorType::InternalError) {
            Reason::Internal
        } else if late {
            Reason::ConnectTimeout
        } else if matches!(error.etype(), ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert) {
            Reason::TlsFailed
        } else {
            Reason::ConnectFailed
        };
        if let (Some(attempt), Some(destination)) = (&self.attempt, self.destination())
            && let Some(thresholds) = destination.upstream.thresholds()
            && reason != Reason::Internal
            // One connection that fails is one verdict, however many wait for it.
            && !error.root_cause().is::<OfAnother>()
        {
            let state = &attempt.in_flight.backend.state;
            state.observe(Verdict::Failed, thresholds, error.etype().as_str(), Instant::now());
        }
        let refused = matches!(error.etype(), ErrorType::ConnectRefused);
        let progress = if refused { retry::Progress::NotAccepted } else { retry::Progress::NotConnected };
        self.failed_at(session, error, reason, progress)
    }

    /// Whether all that is missing is a body whose client has its answer without it, and leaves it away as it may (RFC
    /// 9110, section 10.1.1).
    pub(super) fn is_only_unasked(&self, session: &Session, error: &Error) -> bool {
        let expected = session.req_header().headers.contains_key(EXPECT);
        let late = matches!(error.etype(), ErrorType::ReadTimedout) && *error.esource() == ErrorSource::Downstream;
        self.told && expected && late
    }

    /// The attempt failed after there was a connection.
    pub(super) fn attempt_failed(&mut self, session: &Session, mut error: Box<Error>) -> Box<Error> {
        if self.is_only_unasked(session, &error) {
            error.set_retry(false);
            return error;
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.left) {
            self.forgive();
            error.set_retry(true);
            return error;
        }
        let attempt = self.attempt.as_ref();
        let answered = attempt.is_some_and(|attempt| attempt.first_byte.is_some());
        let expired = attempt.and_then(|attempt| attempt.expired);
        // A body that turned out to be in doubt looks to pingora like one that could not be read.
        let refused = crate::listen::refusal_of(session).or_else(|| self.failed());
        let reason = refused.or(expired).unwrap_or_else(|| reason(&error, answered));
        let progress = if answered || session.response_written().is_some() {
            retry::Progress::Answered
        } else if is_refused(&error) {
            retry::Progress::Refused
        } else {
            retry::Progress::Sent
        };
        self.failed_at(session, error, reason, progress)
    }

    fn failed_at(
        &mut self,
        session: &Session,
        mut error: Box<Error>,
        reason: Reason,
        progress: retry::Progress,
    ) -> Box<Error> {
        if let Some(attempt) = &mut self.attempt
            && !matches!(reason, Reason::RequestTimeout | Reason::BadRequest | Reason::BodyTooLarge)
        {
            attempt.in_flight.backend.state.count_failure(reason);
            // A connection that ends in order, or fails, is no failure of each request that would have gone over it.
            let judged = progress != retry::Progress::Refused && !error.root_cause().is::<OfAnother>();
            if judged && !matches!(reason, Reason::ClientGone | Reason::Internal) {
                // That a port accepts connections without speaking TLS no health check over TCP sees.
                let unreachable = matches!(progress, retry::Progress::NotConnected | retry::Progress::NotAccepted)
                    && reason != Reason::TlsFailed;
                let outcome = if unreachable { Outcome::Unreachable } else { Outcome::Broken };
                attempt.in_flight.judge(outcome, Instant::now());
            }
        }
        if self.race.has_rival() && retry::leaves_others(reason) {
            error.set_retry(true);
            self.forgive();
            return error;
        }
        let failed = retry::Failed {
            reason,
            progress,
            idempotent: session.req_header().method.is_idempotent(),
            body_kept: !session.as_ref().retry_buffer_truncated(),
        };
        let again = self.destination().and_then(|destination| {
            destination.retry.filter(|retry| {
                self.attempts <= retry.attempts
                    && retry::may_be_repeated(failed, retry.on)
                    && destination.upstream.take_retry(Instant::now())
            })
        });
        error.set_retry(again.is_some());
        if let Some(rules) = again {
            self.pause = self.pause_of(rules, progress.saw());
            self.forgive();
        } else {
            self.fail(reason);
        }
        error
    }

    /// The request is over with this error; whatever could be said of it before stays.
    pub(super) fn end_with(&mut self, session: &Session, error: &Error) {
        if self.is_only_unasked(session, error) {
            return;
        }
        let answered = self.attempt.as_ref().is_some_and(|attempt| attempt.first_byte.is_some());
        self.fail(reason(error, answered));
    }
}

/// Whether a backend of HTTP/2 has said that it did nothing with the request (RFC 9113, sections 6.8 and 8.7). Streams that it
/// has seen do not end with what it says when it goes.
fn is_refused(error: &Error) -> bool {
    fault_of(error).is_some_and(Fault::is_refusal)
}

/// Whether a backend of HTTP/2 has ended the stream or the connection, or the connection has ended by itself.
fn is_h2_end(error: &Error) -> bool {
    fault_of(error).is_some_and(Fault::is_of_peer)
}

fn fault_of(error: &Error) -> Option<Fault> {
    error.root_cause().downcast_ref().copied()
}

impl From<Refused> for Reason {
    fn from(refused: Refused) -> Reason {
        match refused {
            Refused::Nobody => Reason::NoBackend,
            Refused::Overloaded => Reason::Overloaded,
            Refused::QueueFull => Reason::QueueFull,
            Refused::QueueTimeout => Reason::QueueTimeout,
            Refused::AdaptiveLimit => Reason::AdaptiveLimit,
        }
    }
}

/// What an error of pingora's means for the request.
pub(super) fn reason(error: &Error, answered: bool) -> Reason {
    let kind = error.etype();
    let timed_out = matches!(kind, ErrorType::ReadTimedout | ErrorType::WriteTimedout);
    let broken = matches!(kind, ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError);
    match error.esource() {
        ErrorSource::Upstream if timed_out && answered => Reason::IdleTimeout,
        ErrorSource::Upstream if timed_out => Reason::FirstByteTimeout,
        ErrorSource::Upstream if broken || is_h2_end(error) => Reason::Reset,
        ErrorSource::Upstream => Reason::BadResponse,
        ErrorSource::Downstream if matches!(kind, ErrorType::ReadTimedout) => Reason::RequestTimeout,
        ErrorSource::Downstream if broken || timed_out || matches!(kind, ErrorType::H2Error) => Reason::ClientGone,
        ErrorSource::Downstream => Reason::BadRequest,
        ErrorSource::Internal | ErrorSource::Unset => Reason::Internal,
    }
}
