//! A connection that has switched protocols: bytes both ways, until both sides have said all they had to say, or one of them
//! is gone.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::context::Context;
use super::delivery::{Patience, Sending, Timer, Undelivered, deliver};
use super::exchange::Turn;
use crate::failure::Reason;
use crate::forward::call::{Follows, Outgoing as _};
use crate::forward::deadline::Phase;
use crate::forward::http1::Connection;
use crate::forward::http1::connection::Framing;
use crate::listen;

/// Which sides still speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speak {
    Both,
    /// The client has ended its side, and may still listen.
    Backend,
    /// The backend has ended its side, and may still listen.
    Client,
}

/// What has happened.
enum Event {
    Sent(io::Result<()>),
    Came(io::Result<Bytes>),
    Client(Result<Option<Bytes>>),
    Late,
}

/// Carries bytes until the tunnel ends.
///
/// # Errors
/// The client is gone, or both sides were silent for too long.
pub(super) async fn run(
    session: &mut Session,
    context: &mut Context,
    mut connection: Connection,
    mut timer: Timer,
) -> Result<()> {
    let (mut speak, mut turn) = (Speak::Both, Turn::Backend);
    context.waits_for(Phase::Body);
    loop {
        let event = event(&mut connection, speak, turn, session, context, &mut timer).await;
        turn = match event {
            Event::Came(_) => Turn::Client,
            Event::Sent(_) | Event::Client(_) | Event::Late => Turn::Backend,
        };
        match event {
            Event::Sent(Ok(())) => context.waits_for(Phase::Body),
            // It has left; what it has said, the client has.
            Event::Sent(Err(_)) if speak == Speak::Client => break,
            Event::Sent(Err(_)) => connection.give_up(),
            Event::Client(piece) => {
                let piece = piece.map_err(Error::into_down)?;
                let ended = piece.is_none();
                context.body_came(session, ended)?;
                let queued = connection.queue_body(&mut Framing::Raw, piece.unwrap_or_default(), Follows::More);
                debug_assert!(queued.is_ok(), "whatever comes fits");
                if ended && speak == Speak::Client {
                    break;
                }
                if ended {
                    speak = Speak::Backend;
                    connection.queue_end();
                }
            }
            Event::Came(Ok(bytes)) if !bytes.is_empty() => {
                context.waits_for(Phase::Body);
                let tasks = vec![HttpTask::UpgradedBody(Some(bytes), false)];
                match deliver(session, Some(&mut connection), Patience::NONE, &mut timer, tasks).await {
                    Ok(Sending::Fine | Sending::Broken) => context.waits_for(Phase::Body),
                    Err(Undelivered::Failed(error)) => return Err(error),
                    Err(Undelivered::Late | Undelivered::InTheWay) => {
                        return Err(context.expire_for(Reason::TotalTimeout));
                    }
                }
            }
            Event::Came(Ok(_)) if speak == Speak::Both => {
                speak = Speak::Client;
                session.downstream_session.shutdown().await;
            }
            Event::Came(Ok(_) | Err(_)) => break,
            Event::Late => return Err(context.expire()),
        }
    }
    context.over();
    Ok(())
}

async fn event(
    connection: &mut Connection,
    speak: Speak,
    turn: Turn,
    session: &mut Session,
    context: &mut Context,
    timer: &mut Timer,
) -> Event {
    let listens = speak != Speak::Backend && !connection.has_unsent();
    let mut client =
        pin!(async { if listens { listen::within(session)?.read_body_or_idle(false).await } else { pending().await } });
    poll_fn(|task| {
        if connection.has_unsent()
            && let Poll::Ready(sent) = connection.poll_send(task)
        {
            return Poll::Ready(Event::Sent(sent));
        }
        if turn == Turn::Client
            && let Poll::Ready(piece) = client.as_mut().poll(task)
        {
            return Poll::Ready(Event::Client(piece));
        }
        if speak != Speak::Client
            && let Poll::Ready(came) = connection.poll_receive(task)
        {
            return Poll::Ready(Event::Came(came));
        }
        if turn == Turn::Backend
            && let Poll::Ready(piece) = client.as_mut().poll(task)
        {
            return Poll::Ready(Event::Client(piece));
        }
        timer.poll(task, context.due()).map(|()| Event::Late)
    })
    .await
}
