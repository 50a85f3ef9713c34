//! A request and its answer over HTTP/1.1: the loop between pingora's session, which speaks with the client, and our
//! connection to the backend.
//!
//! What the phases of `proxy/mod.rs` do is done here by the same functions, in pingora's order and with its meaning; what fails is
//! asked of `error_while_proxy`, and is made again with another backend if that says so.
//!
//! Both directions go on at a time, each one piece after another: the next is read when the former was taken, so that a slow
//! side costs no memory. One timer watches over whatever is waited for.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType, Result};

use super::context::Context;
use super::delivery::{Patience, Sending, Timer, Undelivered, deliver};
use super::{Proxy, hedge, tunnel};
use crate::failure::Reason;
use crate::forward::deadline::Phase;
use crate::forward::fields::Trailers;
use crate::forward::http1::connection::{Follows, Framing, Misfit};
use crate::forward::http1::response::{Asked, Part};
use crate::forward::http1::{Answers, Connection, request, trailers};
use crate::listen;
use crate::upstream::backend::Backend;
use crate::wire::answer::Fault;

/// Makes attempts until one of them has answered, or none may be made any more.
///
/// # Errors
/// Why the request was not served, or not to its end.
pub(super) async fn serve(proxy: &Proxy, session: &mut Session, context: &mut Context) -> Result<()> {
    // What is in doubt must not cost a backend a connection.
    request::check(session.req_header())?;
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
    loop {
        let connection = match proxy.connections.take(backend.connections) {
            Some(connection) => connection,
            // In a box: it is rare, and so large that every request would be moved with it.
            None => Box::pin(connect(proxy, session, context)).await?,
        };
        let reused = connection.reused;
        let ended = match ask(session, context, connection).await {
            Ok(exchange) => exchange.run(proxy, session, context, &backend).await,
            Err(error) => Err(Ended::Failed(error)),
        };
        match ended {
            Ok(()) => return Ok(()),
            Err(Ended::Stale) => {}
            Err(Ended::Failed(error)) => {
                return Err(proxy.error_while_proxy(&backend.peer, session, error, context, reused));
            }
        }
    }
}

async fn connect(proxy: &Proxy, session: &mut Session, context: &mut Context) -> Result<Connection> {
    let peer = context.peer()?;
    match proxy.connections.connect(&peer).await {
        Ok(connection) => Ok(connection),
        Err(error) => Err(proxy.fail_to_connect(session, &peer, context, error).into_up()),
    }
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

/// Has everything ready to be sent over this connection.
pub(super) async fn ask(session: &mut Session, context: &mut Context, mut connection: Connection) -> Result<Exchange> {
    context.connected(session, connection.reused);
    let has_body = !session.is_body_empty();
    let (head, framing) = head(session, context, has_body)?;
    connection.queue_head(head);
    let asked = if session.req_header().method == Method::HEAD { Asked::Head } else { Asked::Other };
    let mut exchange = Exchange {
        connection: Some(connection),
        answers: Answers::new(asked),
        framing,
        upload: Upload::Coming,
        turn: Turn::Backend,
        timer: Timer(None),
    };
    exchange.first_piece(session, context, has_body).await?;
    Ok(exchange)
}

/// The head of the request for the backend, and how its body is framed.
fn head(session: &Session, context: &Context, has_body: bool) -> Result<(Vec<u8>, Framing)> {
    let mut head = request::without_hops(session.req_header())?;
    context.make_ours(session, &mut head)?;
    let framing = request::announce(&mut head, has_body)?;
    Ok((request::on_the_wire(&head)?, framing))
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
    /// Bytes of the backend; none where it says no more.
    Came(io::Result<Bytes>),
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

/// A request over a connection, and its answer.
pub(super) struct Exchange {
    /// None once it was given away for others.
    connection: Option<Connection>,
    answers: Answers,
    framing: Framing,
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
    /// What is at hand of the body leaves with the head.
    async fn first_piece(&mut self, session: &mut Session, context: &mut Context, has_body: bool) -> Result<()> {
        if !has_body {
            return self.pass_on(session, context, None);
        }
        session.as_mut().enable_retry_buffering();
        // What a former attempt has read already.
        let kept = session.get_retry_buffer();
        if kept.is_some() || session.is_body_done() {
            return self.pass_on(session, context, kept);
        }
        let at_hand = {
            let mut read = pin!(session.downstream_session.read_body_or_idle(false));
            poll_fn(|task| Poll::Ready(read.as_mut().poll(task))).await
        };
        match at_hand {
            Poll::Ready(piece) => {
                let piece = piece.map_err(Error::into_down)?;
                self.pass_on(session, context, piece)
            }
            Poll::Pending => Ok(()),
        }
    }

    /// Sends what waits, and reads until a whole head is held. All of the request is in what waits.
    pub(super) fn poll_head(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Ended>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(ended_early().into())) };
        if connection.has_unsent()
            && let Poll::Ready(Err(error)) = connection.poll_send(task)
        {
            if connection.reused && !connection.touched {
                return Poll::Ready(Err(Ended::Stale));
            }
            log::debug!(error:%; "backend takes no more of a request");
            connection.give_up();
            self.upload = Upload::Broken;
        }
        loop {
            let bytes = ready!(connection.poll_receive(task)).map_err(unread)?;
            if bytes.is_empty() {
                return Poll::Ready(Err(ended_early().into()));
            }
            self.answers.take(bytes);
            if self.answers.hold_head().map_err(unintelligible)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The rest, once a head is held.
    pub(super) async fn go_on_from_head(
        mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
        timer: Timer,
    ) -> Result<()> {
        self.timer = timer;
        let switched = self.answer(proxy, session, context, backend, None).await?;
        debug_assert!(!switched, "nobody has asked for that");
        match self.run(proxy, session, context, backend).await {
            Ok(()) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
            Err(Ended::Stale) => Err(ended_early()),
        }
    }

    async fn run(
        mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
    ) -> Result<(), Ended> {
        loop {
            let answered = self.answers.is_complete();
            let Some(connection) = &mut self.connection else { return Ok(()) };
            if answered && (self.upload == Upload::Broken || self.upload == Upload::Whole && !connection.has_unsent()) {
                return Ok(());
            }
            let event =
                event(connection, self.upload, self.turn, &self.answers, session, context, &mut self.timer).await;
            self.turn = match event {
                Event::Came(_) => Turn::Client,
                Event::Sent | Event::Unsent(_) | Event::Client(_) | Event::Late => Turn::Backend,
            };
            match event {
                Event::Sent => {}
                Event::Unsent(_) if connection.reused && !connection.touched && !session.retry_buffer_truncated() => {
                    return Err(Ended::Stale);
                }
                Event::Unsent(error) => {
                    log::debug!(error:%; "backend takes no more of a request");
                    connection.give_up();
                    self.upload = Upload::Broken;
                    if !answered {
                        context.waits_for(Phase::FirstByte);
                    }
                }
                // Nothing more is expected, so it is over with this connection.
                Event::Came(_) if answered => self.upload = Upload::Broken,
                Event::Came(Ok(bytes)) => {
                    let switched = self.answer(proxy, session, context, backend, Some(bytes)).await?;
                    if switched {
                        let Some(connection) = self.connection else { return Ok(()) };
                        let tunnel = tunnel::run(proxy, session, context, connection, self.timer);
                        return Ok(Box::pin(tunnel).await?);
                    }
                }
                Event::Came(Err(error)) => {
                    return Err(unread(error).into());
                }
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

    /// While the request is still on its way it is that which is waited for.
    fn wait_for_upload(&self, context: &mut Context) {
        if self.upload == Upload::Coming
            && let Some(connection) = &self.connection
            && (context.awaits_head() || self.answers.is_complete())
        {
            context.waits_for(if connection.has_unsent() { Phase::Sending } else { Phase::Request });
        }
    }

    /// Gives a piece of the request's body to the backend.
    fn pass_on(&mut self, session: &mut Session, context: &mut Context, piece: Option<Bytes>) -> Result<()> {
        let ended = piece.is_none() || session.is_body_done();
        context.body_came(session, ended)?;
        if ended {
            self.upload = Upload::Whole;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let rules = context.request_rules();
        let trailers = || listen::trailers_of(session).and_then(|all| trailers::lines(&all, rules));
        let follows = match self.framing {
            _ if !ended => Follows::More,
            Framing::Chunked => trailers().map_or(Follows::End, Follows::Trailers),
            Framing::Length(_) | Framing::Raw => Follows::End,
        };
        connection.queue_body(&mut self.framing, piece.unwrap_or_default(), follows).map_err(|misfit| match misfit {
            Misfit::Long => Error::explain(ErrorType::InvalidHTTPHeader, "more of a body than announced").into_down(),
            Misfit::Short => Error::explain(ErrorType::ConnectionClosed, "less of a body than announced").into_down(),
        })
    }

    /// Passes on what is held of the answer, and what has come now. True: the backend has switched protocols.
    async fn answer(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
        came: Option<Bytes>,
    ) -> Result<bool> {
        let mut tasks = Vec::with_capacity(2);
        let came = self.parts(proxy, session, context, came, &mut tasks)?;
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
        came: Option<Bytes>,
        tasks: &mut Vec<HttpTask>,
    ) -> Result<Came> {
        let ended = came.as_ref().is_some_and(Bytes::is_empty);
        self.answers.take(came.unwrap_or_default());
        let mut switched = false;
        loop {
            let part = match self.answers.part() {
                Ok(Some(part)) => part,
                Ok(None) if ended && self.answers.ends() => Part::End(None),
                Ok(None) if ended => return Ok(Came::Fault(ended_early())),
                Ok(None) => return Ok(if switched { Came::Switched } else { Came::More }),
                Err(fault) => return Ok(Came::Fault(unintelligible(fault))),
            };
            match part {
                Part::Head(mut head) => {
                    switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
                    self.filter(proxy, session, context, &mut head)?;
                    tasks.push(HttpTask::Header(head, false));
                }
                Part::Body(piece) => {
                    let mut piece = Some(piece);
                    proxy.upstream_response_body_filter(session, &mut piece, false, context)?;
                    let task = if switched { HttpTask::UpgradedBody } else { HttpTask::Body };
                    tasks.push(task(piece, false));
                }
                Part::End(trailers) => {
                    proxy.upstream_response_body_filter(session, &mut None, true, context)?;
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

    /// The phases of a head.
    fn filter(
        &self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        head: &mut ResponseHeader,
    ) -> Result<()> {
        context.take_answer(session, head)?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if session.is_upgrade(head) != Some(true) {
                return Err(
                    Error::explain(ErrorType::InvalidHTTPHeader, "a switch of protocols that is none").into_up()
                );
            }
        } else if !head.status.is_informational() && !self.answers.is_complete() {
            // What ends with its connection ends with a chunk for the client, whose connection goes on.
            let framed = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
            if !framed {
                head.set_version(Version::HTTP_11);
                head.insert_header(TRANSFER_ENCODING, "chunked")?;
            }
        }
        proxy.give_answer(session, head, context)
    }

    /// Lets others have the connection, before the client has taken the answer, if nothing more is to come over it.
    fn release(&mut self, proxy: &Proxy, context: &Context, backend: &Arc<Backend>) {
        let reusable = self.upload == Upload::Whole && self.answers.leaves_reusable();
        if let Some(connection) = self.connection.take_if(|connection| reusable && !connection.has_unsent()) {
            proxy.connections.keep(backend.connections, &backend.state, connection, context.keep_alive());
        }
    }

    /// Gives the client what there is for it; meanwhile the request goes on to the backend.
    async fn deliver(&mut self, session: &mut Session, context: &mut Context, tasks: Vec<HttpTask>) -> Result<()> {
        let patience = Patience { due: context.client_due(), line: context.line() };
        match deliver(session, self.connection.as_mut(), patience, &mut self.timer, tasks).await {
            Ok(Sending::Fine) => {}
            Ok(Sending::Broken) => self.upload = Upload::Broken,
            Err(Undelivered::Failed(error)) => return Err(error),
            Err(Undelivered::Late) => return Err(context.expire_for(Reason::TotalTimeout)),
            Err(Undelivered::InTheWay) => return Err(context.expire_for(Reason::Overloaded)),
        }
        // The time that the client took is not the backend's.
        if !context.awaits_head() && !self.answers.is_complete() {
            context.waits_for(Phase::Body);
        }
        Ok(())
    }
}

fn unread(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ReadError, "reading an answer", error).into_up()
}

fn unintelligible(Fault(what): Fault) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

fn ended_early() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the connection ended before the answer").into_up()
}

/// Waits for whatever happens first.
async fn event(
    connection: &mut Connection,
    upload: Upload,
    turn: Turn,
    answers: &Answers,
    session: &mut Session,
    context: &mut Context,
    timer: &mut Timer,
) -> Event {
    let listens = match upload {
        Upload::Coming => !connection.has_unsent(),
        Upload::Whole => true,
        Upload::Broken => false,
    };
    // Whoever has sent all of it has nothing to say.
    let client_first = turn == Turn::Client && upload == Upload::Coming;
    let mut client = pin!(async {
        if listens {
            session.downstream_session.read_body_or_idle(upload == Upload::Whole).await
        } else {
            pending().await
        }
    });
    poll_fn(|task| {
        if connection.has_unsent() {
            match connection.poll_send(task) {
                // Whoever waits for nothing but an answer goes on to that at once.
                Poll::Ready(Ok(())) if upload == Upload::Coming || answers.is_complete() => {
                    return Poll::Ready(Event::Sent);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Unsent(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if client_first && let Poll::Ready(piece) = client.as_mut().poll(task) {
            return Poll::Ready(Event::Client(piece));
        }
        if let Poll::Ready(came) = connection.poll_receive(task) {
            return Poll::Ready(Event::Came(came));
        }
        if !client_first && let Poll::Ready(piece) = client.as_mut().poll(task) {
            return Poll::Ready(Event::Client(piece));
        }
        timer.poll(task, context.due()).map(|()| Event::Late)
    })
    .await
}
