//! Giving the client what there is for it, and how long it may take.
//!
//! Whoever takes nothing holds a place at the backend. While there is room for all that is nobody's matter but the
//! listener's (`response_write_idle`); where others wait in line for a place it has to go soon.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::{Duration, Instant};

use pingora::Error;
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;
use tokio::time::Sleep;

use crate::forward::call::Outgoing;
use crate::listen::{self, Awaited, Tick, Ticket};
use crate::upstream::queue::Queue;

/// How long a client may take nothing while others wait for a place: a piece of an answer, at most 56 KiB, that is under
/// way for longer is none of a client that is merely far away.
const IN_THE_WAY: Duration = Duration::from_secs(1);

/// How often it is looked whether others wait, so that they are served before their own time is over.
const LOOK: Duration = Duration::from_millis(250);

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
    /// It took nothing while others waited for its place.
    InTheWay,
}

/// How long a client may take.
pub(super) struct Patience<'a> {
    /// Until then at most.
    pub due: Option<Instant>,
    /// Who waits for its place at the backend, if it has one.
    pub line: Option<&'a Queue>,
}

impl Patience<'_> {
    /// No limit but the listener's.
    pub const NONE: Patience<'static> = Patience { due: None, line: None };

    /// When to look again at a wait that began at `began`, or why it is over.
    fn look(&self, began: Instant, now: Instant) -> Result<Option<Instant>, Undelivered> {
        if self.due.is_some_and(|due| due <= now) {
            return Err(Undelivered::Late);
        }
        let Some(line) = self.line else { return Ok(self.due) };
        let soon = began + IN_THE_WAY;
        if soon <= now && line.is_in_use() {
            return Err(Undelivered::InTheWay);
        }
        let next = soon.max(now + LOOK);
        Ok(Some(self.due.map_or(next, |due| due.min(next))))
    }
}

/// Gives the client what there is for it; meanwhile what waits is sent to the backend.
pub(super) async fn deliver(
    session: &mut Session,
    mut outgoing: Option<&mut impl Outgoing>,
    patience: Patience<'_>,
    timer: &mut Timer,
    tasks: Vec<HttpTask>,
) -> Result<Sending, Undelivered> {
    let mut sending = Sending::Fine;
    let mut began = None;
    let mut writing = listen::within(session).map_err(Undelivered::Failed)?.response_duplex_vec(tasks);
    poll_fn(|task| {
        if let Poll::Ready(written) = writing.as_mut().poll(task) {
            return Poll::Ready(written.map(drop).map_err(Undelivered::Failed));
        }
        if let Some(outgoing) = outgoing.as_mut().filter(|outgoing| outgoing.has_unsent())
            && let Poll::Ready(Err(_)) = outgoing.poll_send(task)
        {
            outgoing.give_up();
            sending = Sending::Broken;
        }
        loop {
            let now = Instant::now();
            match patience.look(*began.get_or_insert(now), now) {
                Ok(next) => ready!(timer.poll(task, next)),
                Err(undelivered) => return Poll::Ready(Err(undelivered)),
            }
        }
    })
    .await?;
    Ok(sending)
}

/// The one timer of an attempt. It is set when something really waits, and not set anew when a wait ends: it goes off too
/// early then, and is set for what is waited for by that time.
#[derive(Default)]
pub(super) struct Timer(Option<Alarm>);

/// What goes off.
enum Alarm {
    /// Some time before this moment, by the coarse clock of the core, which costs next to nothing: most waits are over long before.
    Coarse(Ticket, Instant),
    /// To the millisecond.
    Exact(Pin<Box<Sleep>>),
}

/// What is left of a wait that is timed exactly. While more is left, half of that goes by the coarse clock, so that it does not
/// matter how late a busy core ticks.
const NEAR: Duration = Duration::from_secs(2);

impl Alarm {
    fn set(task: &task::Context<'_>, due: Instant) -> Alarm {
        let left = due.saturating_duration_since(Instant::now());
        if left > NEAR {
            Alarm::Coarse(Ticket::new(task.waker(), Tick::after(left / 2), Awaited::Progress), due)
        } else {
            Alarm::Exact(Box::pin(tokio::time::sleep_until(due.into())))
        }
    }
}

impl Timer {
    /// Ready when `due` has passed. To be asked by one task.
    pub(super) fn poll(&mut self, task: &mut task::Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        loop {
            match &mut self.0 {
                Some(Alarm::Coarse(ticket, until)) if *until <= due && !ticket.expired() => return Poll::Pending,
                Some(Alarm::Exact(sleep)) if sleep.deadline() <= due.into() => {
                    ready!(sleep.as_mut().poll(task));
                    if Instant::now() >= due {
                        return Poll::Ready(());
                    }
                    self.0 = None;
                }
                Some(_) | None => self.0 = Some(Alarm::set(task, due)),
            }
        }
    }
}
