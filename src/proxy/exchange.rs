//! A request and its answer: the loop between pingora's session, which speaks with the client, and a call to the backend, over
//! HTTP/1.1 or HTTP/2.
//!
//! What became of an attempt that failed is asked of the context (`attempt`), and it is made again with another backend if that
//! says so.
//!
//! Both directions go on at a time, each one piece after another: the next is read when the former was taken, so that a slow
//! side costs no memory. One timer watches over whatever is waited for.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::context::Context;
use super::delivery::{Patience, Sending, Timer, Undelivered, deliver};
use super::{Proxy, hedge, tunnel};
use crate::failure::Reason;
use crate::forward::call::{Asked, Body, Call, Follows, Outgoing as _, Part, ended_early};
use crate::forward::deadline::Phase;
use crate::forward::fields::Trailers;
use crate::forward::{hops, trailers};
use crate::listen;
use crate::upstream::backend::Backend;

/// Makes attempts until one of them has answered, or none may be made any more.
///
/// # Errors
/// Why the request was not served, or not to its end.
pub(super) async fn serve(proxy: &Proxy, session: &mut Session, context: &mut Context) -> Result<()> {
    // What is in doubt must not cost a backend a connection.
    hops::check(session.req_header())?;
    loop {
        context.begin_attempt(session).await?;
        let attempted = match context.hedge_due(session) {
            // Boxed, so that requests that are not hedged carry none of it.
            Some(due) => Box::pin(hedge::attempt(proxy, session, context, due)).await,
            None => attempt(proxy, session, context).await,
        };
        match attempted {
            Ok(()) => return Ok(()),
            Err(error) if error.retry() => {}
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(proxy: &Proxy, session: &mut Session, context: &mut Context) -> Result<()> {
    let Some(backend) = context.backend() else { return Err(Error::new(ErrorType::InternalError)) };
    let (protocol, asked) = (context.protocol(), asked(session));
    loop {
        let call = match proxy.connections.take(protocol, backend.connections, asked, context.attempt_began()) {
            Some(call) => call,
            // In a box: it is rare, and so large that every request would be moved with it.
            None => Box::pin(connect(proxy, session, context, &backend)).await?,
        };
        let mut exchange = Exchange::over(call);
        let ended = match exchange.ask(session, context).await {
            Ok(()) => exchange.run(proxy, session, context, &backend).await,
            Err(error) => Err(Ended::Failed(error)),
        };
        match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Stale) => {}
            Err(Ended::Failed(error)) => return Err(context.attempt_failed(session, error)),
        }
    }
}

async fn connect(proxy: &Proxy, session: &mut Session, context: &mut Context, backend: &Arc<Backend>) -> Result<Call> {
    let (peer, keep) = (context.peer()?, backend.keep(context.keep_alive()));
    match proxy.connections.connect(context.protocol(), &peer, keep, asked(session)).await {
        Ok(call) => Ok(call),
        Err(error) => Err(context.connect_failed(session, error)),
    }
}

/// What the answer is to.
pub(super) fn asked(session: &Session) -> Asked {
    if session.req_header().method == Method::HEAD { Asked::Head } else { Asked::Other }
}

/// How an attempt ended that did not end well.
pub(super) enum Ended {
    /// The connection had been kept, and nothing could be sent over it: another one takes its place.
    Stale,
    Failed(Box<Error>),
}

impl From<Box<Error>> for Ended {
    fn from(error: Box<Error>) -> Ended {
        Ended::Failed(error)
    }
}

/// How far the request's body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    /// There is more of it.
    Coming,
    /// All of it has come.
    Whole,
    /// The backend takes no more of it. What it answers counts all the same.
    Broken,
}

/// What has happened.
enum Event {
    /// All that waited was sent.
    Sent,
    /// What waits cannot be sent.
    Unsent(io::Error),
    /// Something of the backend, or its end.
    Came(Result<()>),
    /// A piece of the request's body, or the client is gone.
    Client(Result<Option<Bytes>>),
    /// The time of the wait is over.
    Late,
}

/// How it goes on after a part of an answer.
enum Came {
    /// With more of the answer, or after its end.
    More,
    /// With another protocol.
    Switched,
    /// Not at all, once the client has what came before.
    Fault(Box<Error>),
}

/// A call, and how far it has come.
pub(super) struct Exchange {
    /// None once its connection was given away for others.
    call: Option<Call>,
    upload: Upload,
    turn: Turn,
    timer: Timer,
}

/// Who is listened to first. Whoever has just spoken is not: one who never pauses would silence the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Backend,
    Client,
}

impl Exchange {
    /// Nothing has been asked yet.
    pub(super) fn over(call: Call) -> Exchange {
        Exchange { call: Some(call), upload: Upload::Coming, turn: Turn::Backend, timer: Timer::default() }
    }

    /// Has everything ready to be sent: what is at hand of the body leaves with the head.
    pub(super) async fn ask(&mut self, session: &mut Session, context: &mut Context) -> Result<()> {
        let Some(call) = &mut self.call else { return Err(ended_early()) };
        context.connected(call.reused());
        let at_hand = at_hand(session).await?;
        // A frame without data may end a request of HTTP/2, some time after its head; trailers need a body to follow.
        let is_none = session.is_body_empty() && !listen::has_trailers(session);
        let body = if is_none { Body::None } else { Body::Follows };
        let mut head = hops::without_hops(session.req_header(), call.version(), body)?;
        context.make_ours(session, &mut head)?;
        call.queue_head(head, body)?;
        match at_hand {
            Poll::Ready(piece) => self.pass_on(session, context, piece),
            Poll::Pending => Ok(()),
        }
    }

    /// Sends what waits, and reads until a whole head is held. All of the request is in what waits.
    pub(super) fn poll_head(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Ended>> {
        let Some(call) = &mut self.call else { return Poll::Ready(Err(ended_early().into())) };
        if call.has_unsent()
            && let Poll::Ready(Err(error)) = call.poll_send(task)
        {
            if call.is_stale() {
                return Poll::Ready(Err(Ended::Stale));
            }
            log::debug!(error:%; "backend takes no more of a request");
            call.give_up();
            self.upload = Upload::Broken;
        }
        call.poll_head(task).map_err(|error| if call.is_stale() { Ended::Stale } else { error.into() })
    }

    /// The rest, once a head is held.
    pub(super) async fn go_on_from_head(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
        timer: Timer,
    ) -> Result<()> {
        self.timer = timer;
        let switched = self.answer(proxy, session, context, backend).await?;
        debug_assert!(!switched, "nobody has asked for that");
        match self.run(proxy, session, context, backend).await {
            Ok(()) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Stale) => Err(ended_early()),
        }
    }

    async fn run(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
    ) -> Result<(), Ended> {
        loop {
            let Some(call) = &mut self.call else { return Ok(()) };
            let answered = call.is_complete();
            if answered && (self.upload == Upload::Broken || self.upload == Upload::Whole && !call.has_unsent()) {
                return Ok(());
            }
            let event = event(call, self.upload, self.turn, session, context, &mut self.timer).await;
            self.turn = match event {
                Event::Came(_) => Turn::Client,
                Event::Sent | Event::Unsent(_) | Event::Client(_) | Event::Late => Turn::Backend,
            };
            match event {
                Event::Sent => {}
                Event::Unsent(_) | Event::Came(Err(_)) if call.is_stale() && !session.retry_buffer_truncated() => {
                    return Err(Ended::Stale);
                }
                Event::Unsent(error) => {
                    log::debug!(error:%; "backend takes no more of a request");
                    call.give_up();
                    self.upload = Upload::Broken;
                    if !answered {
                        context.waits_for(Phase::FirstByte);
                    }
                }
                // Nothing more is expected: it is over with this connection, or the backend needs no more of the request.
                Event::Came(_) if answered => self.upload = Upload::Broken,
                Event::Came(Ok(())) => {
                    if self.answer(proxy, session, context, backend).await? {
                        let Some(Call::Http1(call)) = self.call.take() else { return Ok(()) };
                        let timer = std::mem::take(&mut self.timer);
                        let tunnel = tunnel::run(session, context, call.into_connection(), timer);
                        return Ok(Box::pin(tunnel).await?);
                    }
                }
                Event::Came(Err(error)) => return Err(error.into()),
                Event::Client(piece) => {
                    let piece = piece.map_err(Error::into_down)?;
                    if self.upload == Upload::Coming {
                        self.pass_on(session, context, piece)?;
                    } else {
                        debug_assert!(false, "a client has nothing to say after its request");
                        self.upload = Upload::Broken;
                    }
                }
                // The client has its answer, and the backend needs nothing more.
                Event::Late if answered => return Ok(()),
                Event::Late => return Err(context.expire().into()),
            }
            self.wait_for_upload(context);
        }
    }

    /// While the request is still on its way it is that which is waited for, before the answer and after it.
    fn wait_for_upload(&self, context: &mut Context) {
        let Some(call) = &self.call else { return };
        let is_waited_for = match self.upload {
            Upload::Coming => context.awaits_head() || call.is_complete(),
            Upload::Whole => call.is_complete() && call.has_unsent(),
            Upload::Broken => false,
        };
        if is_waited_for {
            context.waits_for(if call.has_unsent() { Phase::Sending } else { Phase::Request });
        }
    }

    /// Gives a piece of the request's body to the backend.
    fn pass_on(&mut self, session: &mut Session, context: &mut Context, piece: Option<Bytes>) -> Result<()> {
        let ended = piece.is_none() || session.is_body_done();
        context.body_came(session, ended)?;
        if ended {
            self.upload = Upload::Whole;
        }
        let Some(call) = &mut self.call else { return Ok(()) };
        let trailers = if ended && call.takes_trailers() { listen::trailers_of(session) } else { None };
        let follows = match trailers.and_then(|trailers| trailers::passing(&trailers, context.request_rules())) {
            Some(trailers) => Follows::Trailers(trailers),
            None if ended => Follows::End,
            None => Follows::More,
        };
        Ok(call.queue_body(piece.unwrap_or_default(), follows)?)
    }

    /// Passes on what has come of the answer. True: the backend has switched protocols.
    async fn answer(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
    ) -> Result<bool> {
        let mut tasks = Vec::with_capacity(3);
        let came = self.parts(proxy, session, context, &mut tasks)?;
        self.release(proxy, context, backend);
        if !tasks.is_empty() {
            self.deliver(session, context, tasks).await?;
        }
        match came {
            Came::More => Ok(false),
            Came::Switched => Ok(true),
            Came::Fault(error) => Err(error),
        }
    }

    /// What has come of the answer, as the client's session takes it.
    fn parts(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        tasks: &mut Vec<HttpTask>,
    ) -> Result<Came> {
        let Some(call) = &mut self.call else { return Ok(Came::More) };
        let mut switched = false;
        loop {
            let part = match call.part() {
                Ok(Some(part)) => part,
                Ok(None) => return Ok(if switched { Came::Switched } else { Came::More }),
                Err(fault) => return Ok(Came::Fault(fault)),
            };
            match part {
                Part::Head(mut head) => {
                    switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
                    filter(proxy, session, context, call, &mut head)?;
                    tasks.push(HttpTask::Header(head, false));
                }
                Part::Body(piece) => {
                    context.waits_for(Phase::Body);
                    let task = if switched { HttpTask::UpgradedBody } else { HttpTask::Body };
                    tasks.push(task(Some(piece), false));
                }
                Part::End(trailers) => {
                    context.over();
                    let trailers = trailers.filter(|_| context.trailers_of_answer(session) == Trailers::Passed);
                    match (trailers, tasks.last_mut()) {
                        (Some(trailers), _) => tasks.push(HttpTask::Trailer(Some(trailers))),
                        (None, Some(HttpTask::Header(_, end) | HttpTask::Body(_, end))) => *end = true,
                        (None, _) => tasks.push(HttpTask::Body(None, true)),
                    }
                    return Ok(if switched { Came::Switched } else { Came::More });
                }
            }
        }
    }

    /// Lets others have the connection, before the client has taken the answer, if nothing more is to come over it.
    fn release(&mut self, proxy: &Proxy, context: &Context, backend: &Arc<Backend>) {
        let over = self.upload == Upload::Whole;
        if let Some(call) = self.call.take_if(|call| over && call.leaves_reusable()) {
            proxy.connections.keep(call, &backend.keep(context.keep_alive()));
        }
    }

    /// Gives the client what there is for it; meanwhile the request goes on to the backend.
    async fn deliver(&mut self, session: &mut Session, context: &mut Context, tasks: Vec<HttpTask>) -> Result<()> {
        let patience = Patience { due: context.client_due(), line: context.line() };
        match deliver(session, self.call.as_mut(), patience, &mut self.timer, tasks).await {
            Ok(Sending::Fine) => {}
            Ok(Sending::Broken) => self.upload = Upload::Broken,
            Err(Undelivered::Failed(error)) => return Err(error),
            Err(Undelivered::Late) => return Err(context.expire_for(Reason::TotalTimeout)),
            Err(Undelivered::InTheWay) => return Err(context.expire_for(Reason::Overloaded)),
        }
        // The time that the client took is not the backend's.
        if !context.awaits_head() && !self.call.as_ref().is_none_or(Call::is_complete) {
            context.waits_for(Phase::Body);
        }
        Ok(())
    }
}

/// What there is of a request's body without waiting for more of it; none: it has ended.
async fn at_hand(session: &mut Session) -> Result<Poll<Option<Bytes>>> {
    // What a former attempt has read already.
    let kept = session.get_retry_buffer();
    if kept.is_some() || session.is_body_done() {
        return Ok(Poll::Ready(kept));
    }
    session.as_mut().enable_retry_buffering();
    let mut read = listen::within(session)?.read_body_or_idle(false);
    match poll_fn(|task| Poll::Ready(read.as_mut().poll(task))).await {
        Poll::Ready(piece) => Ok(Poll::Ready(piece.map_err(Error::into_down)?)),
        Poll::Pending => Ok(Poll::Pending),
    }
}

/// A head, before the client gets it.
fn filter(
    proxy: &Proxy,
    session: &mut Session,
    context: &mut Context,
    call: &Call,
    head: &mut ResponseHeader,
) -> Result<()> {
    context.take_answer(session, head)?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        if session.is_upgrade(head) != Some(true) {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a switch of protocols that is none").into_up());
        }
    } else if !head.status.is_informational() && !call.is_bodiless() {
        // What ends with its stream or connection ends with a chunk for a client whose connection goes on.
        let framed = session.req_header().version == Version::HTTP_2
            || [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
        if !framed {
            head.set_version(Version::HTTP_11);
            head.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
    }
    proxy.give_answer(session, head, context)
}

/// Waits for whatever happens first.
async fn event(
    call: &mut Call,
    upload: Upload,
    turn: Turn,
    session: &mut Session,
    context: &mut Context,
    timer: &mut Timer,
) -> Event {
    let listens = match upload {
        Upload::Coming => !call.has_unsent(),
        Upload::Whole => true,
        Upload::Broken => false,
    };
    // Whoever has sent all of it has nothing to say.
    let client_first = turn == Turn::Client && upload == Upload::Coming;
    let mut client = pin!(async {
        if listens {
            listen::within(session)?.read_body_or_idle(upload == Upload::Whole).await
        } else {
            pending().await
        }
    });
    poll_fn(|task| {
        if call.has_unsent() {
            match call.poll_send(task) {
                // Whoever waits for nothing but an answer goes on to that at once.
                Poll::Ready(Ok(())) if upload == Upload::Coming || call.is_complete() => {
                    return Poll::Ready(Event::Sent);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Unsent(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if client_first && let Poll::Ready(piece) = client.as_mut().poll(task) {
            return Poll::Ready(Event::Client(piece));
        }
        if let Poll::Ready(came) = call.poll_receive(task) {
            return Poll::Ready(Event::Came(came));
        }
        if !client_first && let Poll::Ready(piece) = client.as_mut().poll(task) {
            return Poll::Ready(Event::Client(piece));
        }
        timer.poll(task, context.due()).map(|()| Event::Late)
    })
    .await
}
