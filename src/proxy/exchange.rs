//! A request and its answer over HTTP/1.1: the loop between pingora's session, which speaks with the client, and our
//! connection to the backend.
//!
//! The phases are those of `proxy/mod.rs`, called in pingora's order and with its meaning; what fails is asked of
//! `error_while_proxy`, and is made again with another backend if that says so.
//!
//! Both directions go on at a time, each one piece after another: the next is read when the former was taken, so that a slow
//! side costs no memory. One timer watches over whatever is waited for.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::HttpTask;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType, Result};
use tokio::time::Sleep;

use super::context::Context;
use super::{Proxy, tunnel};
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
    loop {
        context.begin_attempt(session).await?;
        match attempt(proxy, session, context).await {
            Ok(()) => return Ok(()),
            Err(error) if error.retry() => {}
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(proxy: &Proxy, session: &mut Session, context: &mut Context) -> Result<()> {
    let Some(backend) = context.backend() else { return Err(Error::new(ErrorType::InternalError)) };
    loop {
        // What is in doubt must not cost the backend a connection.
        let head = request::without_hops(session.req_header())?;
        let connection = match proxy.connections.take(backend.connections) {
            Some(connection) => connection,
            None => {
                let peer = context.peer()?;
                match proxy.connections.connect(&peer).await {
                    Ok(connection) => connection,
                    Err(error) => return Err(proxy.fail_to_connect(session, &peer, context, error).into_up()),
                }
            }
        };
        let reused = connection.reused;
        match over(proxy, session, context, head, connection, &backend).await {
            Ok(()) => return Ok(()),
            Err(Ended::Stale) => {}
            Err(Ended::Failed(error)) => {
                return Err(proxy.error_while_proxy(&backend.peer, session, error, context, reused));
            }
        }
    }
}

/// How an attempt ended that did not end well.
enum Ended {
    /// The connection had been kept, and nothing could be sent over it: another one takes its place.
    Stale,
    Failed(Box<Error>),
}

impl From<Box<Error>> for Ended {
    fn from(error: Box<Error>) -> Ended {
        Ended::Failed(error)
    }
}

/// Asks over this connection.
async fn over(
    proxy: &Proxy,
    session: &mut Session,
    context: &mut Context,
    mut head: RequestHeader,
    mut connection: Connection,
    backend: &Arc<Backend>,
) -> Result<(), Ended> {
    let (reused, descriptor) = (connection.reused, connection.descriptor());
    proxy.connected_to_upstream(session, reused, &backend.peer, descriptor, None, context).await?;
    proxy.upstream_request_filter(session, &mut head, context).await?;
    let has_body = !session.is_body_empty();
    let framing = request::announce(&mut head, has_body)?;
    connection.queue_head(request::on_the_wire(&head)?);
    let asked = if head.method == Method::HEAD { Asked::Head } else { Asked::Other };
    let mut exchange = Exchange {
        connection: Some(connection),
        answers: Answers::new(asked),
        framing,
        upload: Upload::Coming,
        turn: Turn::Backend,
        timer: Timer(None),
    };
    exchange.first_piece(proxy, session, context, has_body).await?;
    exchange.run(proxy, session, context, backend).await
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

struct Exchange {
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
    async fn first_piece(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        has_body: bool,
    ) -> Result<()> {
        if !has_body {
            return self.pass_on(proxy, session, context, None).await;
        }
        session.as_mut().enable_retry_buffering();
        // What a former attempt has read already.
        let kept = session.get_retry_buffer();
        if kept.is_some() || session.is_body_done() {
            return self.pass_on(proxy, session, context, kept).await;
        }
        let at_hand = {
            let mut read = pin!(session.downstream_session.read_body_or_idle(false));
            poll_fn(|task| Poll::Ready(read.as_mut().poll(task))).await
        };
        match at_hand {
            Poll::Ready(piece) => {
                let piece = piece.map_err(Error::into_down)?;
                self.pass_on(proxy, session, context, piece).await
            }
            Poll::Pending => Ok(()),
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
            let due = context.due();
            let event = event(connection, self.upload, self.turn, &self.answers, session, due, &mut self.timer).await;
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
                    let switched = self.answer(proxy, session, context, backend, bytes).await?;
                    if switched {
                        let Some(connection) = self.connection else { return Ok(()) };
                        return Ok(tunnel::run(proxy, session, context, connection, self.timer).await?);
                    }
                }
                Event::Came(Err(error)) => {
                    return Err(Error::because(ErrorType::ReadError, "reading an answer", error).into_up().into());
                }
                Event::Client(piece) => {
                    let piece = piece.map_err(Error::into_down)?;
                    if self.upload == Upload::Coming {
                        self.pass_on(proxy, session, context, piece).await?;
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
    async fn pass_on(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        mut piece: Option<Bytes>,
    ) -> Result<()> {
        let ended = piece.is_none() || session.is_body_done();
        proxy.request_body_filter(session, &mut piece, ended, context).await?;
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

    /// Passes on what has come of the answer. True: the backend has switched protocols.
    async fn answer(
        &mut self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        backend: &Arc<Backend>,
        bytes: Bytes,
    ) -> Result<bool> {
        let ended = bytes.is_empty();
        self.answers.take(bytes);
        let mut tasks = Vec::with_capacity(2);
        let mut switched = false;
        let fault = loop {
            let part = match self.answers.part() {
                Ok(Some(part)) => part,
                Ok(None) if ended && self.answers.ends() => Part::End(None),
                Ok(None) if ended => break Some(ended_early()),
                Ok(None) => break None,
                Err(Fault(what)) => break Some(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()),
            };
            match part {
                Part::Head(mut head) => {
                    switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
                    self.filter(proxy, session, context, &mut head).await?;
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
                    break None;
                }
            }
        };
        self.release(proxy, context, backend);
        if !tasks.is_empty() {
            self.deliver(session, context, tasks).await?;
        }
        match fault {
            Some(fault) => Err(fault),
            None => Ok(switched),
        }
    }

    /// The phases of a head.
    async fn filter(
        &self,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        head: &mut ResponseHeader,
    ) -> Result<()> {
        proxy.upstream_response_filter(session, head, context).await?;
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
        proxy.response_filter(session, head, context).await
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
        let connection = self.connection.as_mut();
        match deliver(session, connection, context.client_due(), &mut self.timer, tasks).await {
            Ok(Sending::Fine) => {}
            Ok(Sending::Broken) => self.upload = Upload::Broken,
            Err(Undelivered::Failed(error)) => return Err(error),
            Err(Undelivered::Late) => return Err(context.expire_for(Reason::TotalTimeout)),
        }
        // The time that the client took is not the backend's.
        if !context.awaits_head() && !self.answers.is_complete() {
            context.waits_for(Phase::Body);
        }
        Ok(())
    }
}

fn ended_early() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the connection ended before the answer").into_up()
}

/// What became of the way to the backend while the client was given something.
pub(super) enum Sending {
    Fine,
    /// The backend takes no more.
    Broken,
}

/// Why the client was not given something.
pub(super) enum Undelivered {
    Failed(Box<Error>),
    /// The time of the whole request is over.
    Late,
}

/// Gives the client what there is for it; meanwhile what waits is sent to the backend.
pub(super) async fn deliver(
    session: &mut Session,
    mut connection: Option<&mut Connection>,
    due: Option<Instant>,
    timer: &mut Timer,
    tasks: Vec<HttpTask>,
) -> Result<Sending, Undelivered> {
    let mut sending = Sending::Fine;
    let mut writing = pin!(session.write_response_tasks(tasks));
    poll_fn(|task| {
        if let Poll::Ready(written) = writing.as_mut().poll(task) {
            return Poll::Ready(written.map(drop).map_err(Undelivered::Failed));
        }
        if let Some(connection) = connection.as_mut().filter(|connection| connection.has_unsent())
            && let Poll::Ready(Err(_)) = connection.poll_send(task)
        {
            connection.give_up();
            sending = Sending::Broken;
        }
        ready!(timer.poll(task, due));
        Poll::Ready(Err(Undelivered::Late))
    })
    .await?;
    Ok(sending)
}

/// Waits for whatever happens first.
async fn event(
    connection: &mut Connection,
    upload: Upload,
    turn: Turn,
    answers: &Answers,
    session: &mut Session,
    due: Option<Instant>,
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
        timer.poll(task, due).map(|()| Event::Late)
    })
    .await
}

/// The one timer of an attempt. It is set when something really waits, and not set anew when a wait ends: it goes off too
/// early then, and is set for what is waited for by that time.
pub(super) struct Timer(pub(super) Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `due` has passed.
    pub(super) fn poll(&mut self, task: &mut task::Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        loop {
            let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if sleep.deadline() > due.into() {
                sleep.as_mut().reset(due.into());
            }
            ready!(sleep.as_mut().poll(task));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due.into());
        }
    }
}
