//! A request of which no answer has come for long is given to a second backend too; the first head that comes is passed on,
//! and the other attempt is ended.
//!
//! While two attempts run, the one that is dealt with is the request's, as the phases know it, and the other is its [`Rival`]:
//! whatever ends one of them, or decides between them, finds the one in its place and the other beside it. The race is over with
//! the first head that is passed on, or with the last failure.
//!
//! Only requests without a body come here: all of the request is sent with its head, and can be sent twice.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::Proxy;
use super::attempt::Attempt;
use super::context::Context;
use super::delivery::Timer;
use super::exchange::{Ended, Exchange, asked};
use crate::config::Hedge;
use crate::forward::call::Call;
use crate::listen;
use crate::observe::Hedged;
use crate::upstream::backend::Backend;
use crate::upstream::outcome::Outcome;

/// What is kept of a request for its hedge.
#[derive(Debug, Default)]
pub struct Race {
    /// When the first attempt began, if its time counts for others.
    timed: Option<Instant>,
    /// The attempt that runs beside the request's own.
    rival: Option<Box<Rival>>,
    /// What became of it; none if there was no hedge.
    pub hedged: Option<Hedged>,
}

/// An attempt beside that of the request. What is counted for it, and its connection, end with it.
struct Rival {
    attempt: Attempt,
    /// Never locked: contexts are shared between threads in name.
    runner: Mutex<Runner>,
}

impl std::fmt::Debug for Rival {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rival").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// How far an attempt has come on its way to a head.
struct Runner {
    backend: Arc<Backend>,
    stage: Stage,
}

enum Stage {
    Connecting(Pin<Box<dyn Future<Output = Result<Call>> + Send>>),
    /// Until that has been said.
    Connected(Option<Call>),
    Asked(Exchange),
}

/// What has happened to an attempt.
#[expect(clippy::large_enum_variant, reason = "it is dealt with at once")]
enum Said {
    Connected(Result<Call>),
    /// A head has come.
    Head,
    /// There will be none.
    Ended(Ended),
}

/// What has happened.
#[expect(clippy::large_enum_variant, reason = "it is dealt with at once")]
enum Event {
    Said(Which, Said),
    ClientGone(Box<Error>),
    /// Something that was waited for is due.
    Due,
}

/// Which of the two attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// That of the request.
    Own,
    Rival,
}

/// Makes the first attempt of a request, and from `hedge_at` on another beside it.
///
/// # Errors
/// Those of the last attempt that failed; whether another may be made is said with it.
pub(super) async fn attempt(
    proxy: &Proxy,
    session: &mut Session,
    context: &mut Context,
    hedge_at: Instant,
) -> Result<()> {
    let served = race(proxy, session, context, hedge_at).await;
    context.race.rival = None;
    served
}

async fn race(proxy: &Proxy, session: &mut Session, context: &mut Context, hedge_at: Instant) -> Result<()> {
    let mut runner = Runner::start(proxy, session, context)?;
    let mut timer = Timer::default();
    let mut hedge_at = Some(hedge_at);
    loop {
        let due = [hedge_at, context.due(), context.race.rival_due()].into_iter().flatten().min();
        let step = match event(&mut runner, &mut context.race, session, due, &mut timer).await {
            Event::Said(which, said) => {
                if which == Which::Rival {
                    context.change_places(&mut runner);
                }
                runner.deal_with(said, proxy, session, context, &mut timer).await
            }
            Event::ClientGone(error) => Err(context.attempt_failed(session, error.into_down())),
            Event::Due if hedge_at.take_if(|at| *at <= Instant::now()).is_some() => {
                if let Some(attempt) = context.begin_hedge(session) {
                    context.set_aside(attempt, runner);
                    runner = Runner::start(proxy, session, context)?;
                }
                Ok(Step::GoOn)
            }
            Event::Due => {
                if context.due().is_none_or(|due| due > Instant::now()) {
                    context.change_places(&mut runner);
                }
                let error = context.expire();
                Err(context.attempt_failed(session, error))
            }
        };
        match step {
            Ok(Step::GoOn) => {}
            Ok(Step::Served) => return Ok(()),
            Err(error) => match context.leave_to_rival(&error) {
                Some(rival) => runner = rival,
                None => return Err(error),
            },
        }
    }
}

/// What follows from what has happened.
enum Step {
    GoOn,
    Served,
}

impl Runner {
    /// Begins the attempt of the context.
    fn start(proxy: &Proxy, session: &Session, context: &Context) -> Result<Runner> {
        let backend = context.backend().ok_or_else(|| Error::new(ErrorType::InternalError))?;
        let stage = match proxy.connections.take(
            context.protocol(),
            backend.connections,
            asked(session),
            context.attempt_began(),
        ) {
            Some(call) => Stage::Connected(Some(call)),
            None => Stage::connecting(proxy, session, context, &backend)?,
        };
        Ok(Runner { backend, stage })
    }

    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Said> {
        match &mut self.stage {
            Stage::Connecting(connecting) => connecting.as_mut().poll(task).map(Said::Connected),
            Stage::Connected(call) => match call.take() {
                Some(call) => Poll::Ready(Said::Connected(Ok(call))),
                None => Poll::Pending,
            },
            Stage::Asked(exchange) => exchange.poll_head(task).map(|came| match came {
                Ok(()) => Said::Head,
                Err(ended) => Said::Ended(ended),
            }),
        }
    }

    /// Its errors have been through the phases.
    async fn deal_with(
        &mut self,
        said: Said,
        proxy: &Proxy,
        session: &mut Session,
        context: &mut Context,
        timer: &mut Timer,
    ) -> Result<Step> {
        let error = match said {
            Said::Connected(Ok(call)) => {
                let mut exchange = Exchange::over(call);
                match exchange.ask(session, context).await {
                    Ok(()) => {
                        self.stage = Stage::Asked(exchange);
                        return Ok(Step::GoOn);
                    }
                    Err(error) => error,
                }
            }
            Said::Connected(Err(error)) => return Err(context.connect_failed(session, error)),
            Said::Ended(Ended::Stale) => {
                self.stage = Stage::connecting(proxy, session, context, &self.backend)?;
                return Ok(Step::GoOn);
            }
            Said::Ended(Ended::Failed(error)) => error,
            Said::Head => {
                let Stage::Asked(mut exchange) = std::mem::replace(&mut self.stage, Stage::Connected(None)) else {
                    return Ok(Step::GoOn);
                };
                let timer = std::mem::take(timer);
                match exchange.go_on_from_head(proxy, session, context, &self.backend, timer).await {
                    Ok(()) => return Ok(Step::Served),
                    Err(error) => error,
                }
            }
        };
        Err(context.attempt_failed(session, error))
    }
}

impl Stage {
    fn connecting(proxy: &Proxy, session: &Session, context: &Context, backend: &Arc<Backend>) -> Result<Stage> {
        let (connections, backend, peer) = (proxy.connections.clone(), backend.clone(), context.peer()?);
        let (protocol, asked, limit) = (context.protocol(), asked(session), context.keep_alive());
        Ok(Stage::Connecting(Box::pin(async move {
            connections.connect(protocol, &peer, backend.keep(limit), asked).await
        })))
    }
}

/// Waits for whatever happens first.
async fn event(
    own: &mut Runner,
    race: &mut Race,
    session: &mut Session,
    due: Option<Instant>,
    timer: &mut Timer,
) -> Event {
    let mut client = pin!(async { listen::within(session)?.read_body_or_idle(true).await });
    let mut rival = race.rival.as_deref_mut().map(Rival::runner);
    poll_fn(|task| {
        if let Poll::Ready(said) = own.poll(task) {
            return Poll::Ready(Event::Said(Which::Own, said));
        }
        if let Some(Poll::Ready(said)) = rival.as_mut().map(|rival| rival.poll(task)) {
            return Poll::Ready(Event::Said(Which::Rival, said));
        }
        // After its request a client has nothing to say but that it goes.
        if let Poll::Ready(Err(error)) = client.as_mut().poll(task) {
            return Poll::Ready(Event::ClientGone(error));
        }
        timer.poll(task, due).map(|()| Event::Due)
    })
    .await
}

impl Rival {
    fn runner(&mut self) -> &mut Runner {
        self.runner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Race {
    /// Whether another attempt runs beside that of the request.
    pub fn has_rival(&self) -> bool {
        self.rival.is_some()
    }

    fn rival_due(&mut self) -> Option<Instant> {
        self.rival.as_mut()?.attempt.due()
    }
}

impl Context {
    /// When the attempt that has just begun is hedged; none if it is not. Whether its time counts for others is noted.
    pub(super) fn hedge_due(&mut self, session: &mut Session) -> Option<Instant> {
        self.race.timed = None;
        let destination = self.route.as_ref().and_then(|route| route.destination(self.destination))?;
        let hedge = destination.retry.map_or(Hedge::Off, |retry| retry.hedge);
        if hedge == Hedge::Off {
            return None;
        }
        let may_be_hedged = self.attempts == 1
            && session.req_header().method.is_idempotent()
            && session.is_body_empty()
            && !session.is_upgrade_req()
            // What a client that stays has left at its backend no other one knows.
            && self.affinity.place.is_none();
        let began = self.attempt.as_ref().filter(|_| may_be_hedged)?.began();
        self.race.timed = match hedge {
            Hedge::Lately { .. } => Some(began),
            Hedge::Off | Hedge::Time(_) => None,
        };
        Some(began + destination.upstream.hedges_after(hedge)?)
    }

    /// Another attempt, beside the one that is made.
    fn begin_hedge(&mut self, session: &mut Session) -> Option<Attempt> {
        let destination = self.route.as_ref().and_then(|route| route.destination(self.destination))?;
        if self.attempts > destination.retry?.attempts {
            return None;
        }
        let (in_flight, under_way) = destination.upstream.begin_hedge(&self.tried, self.affinity, Instant::now())?;
        self.attempts += 1;
        self.tried.add(in_flight.index);
        self.race.hedged = Some(Hedged::Lost);
        let attempt = self.attempt_at(session, in_flight)?;
        Some(attempt.hedging(under_way))
    }

    /// The new attempt takes the place of the one that is made, which goes on beside it.
    fn set_aside(&mut self, attempt: Attempt, runner: Runner) {
        let former = self.attempt.replace(attempt);
        self.race.rival = former.map(|attempt| Box::new(Rival { attempt, runner: Mutex::new(runner) }));
    }

    /// The attempt of the request and its rival.
    fn change_places(&mut self, runner: &mut Runner) {
        if let (Some(own), Some(rival)) = (&mut self.attempt, &mut self.race.rival) {
            std::mem::swap(own, &mut rival.attempt);
            std::mem::swap(runner, rival.runner());
        }
    }

    /// After an attempt has failed its rival goes on, if there is one and the error allows it.
    fn leave_to_rival(&mut self, error: &Error) -> Option<Runner> {
        if !error.retry() {
            return None;
        }
        let Rival { attempt, runner } = *self.race.rival.take()?;
        let failed = self.attempt.replace(attempt)?;
        if !failed.is_hedge() {
            self.race.timed = None;
        }
        Some(runner.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// A head of the attempt is passed on: its rival is ended.
    pub(super) fn decide(&mut self) {
        if let Some(mut rival) = self.race.rival.take() {
            rival.attempt.in_flight.overtaken(Instant::now());
        }
        if let Some(under_way) = self.attempt.as_mut().and_then(Attempt::take_hedge) {
            under_way.won();
            self.race.hedged = Some(Hedged::Won);
        }
    }

    /// The answer has begun, with this outcome.
    pub(super) fn time_answer(&mut self, outcome: Outcome) {
        if let (Some(began), Some(destination)) = (self.race.timed.take(), self.destination())
            && outcome == Outcome::Served
        {
            destination.upstream.state.answer_times.observe(began.elapsed());
        }
    }
}
