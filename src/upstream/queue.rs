//! Waiting for room where all backends are at their ceiling.
//!
//! Nothing here is touched while there is room, but for one atomic. Each request that ends lets one that waits try again,
//! in the order in which they came, and nobody who comes later overtakes them.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::in_flight::InFlight;
use super::pick::{Arrival, NoPick, Tried};
use super::sticky::Affinity;
use super::{Upstream, UpstreamState};
use crate::balance::queue::Line;
use crate::config::Queue as Rules;

/// Why a request is not sent to any backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No backend can be asked.
    Nobody,
    /// All are at their ceiling, and nobody may wait.
    Overloaded,
    /// All are at their ceiling, and too many wait.
    QueueFull,
    /// It waited, and no room came.
    QueueTimeout,
    /// Any of these three, since as many are in flight as the backends are found to carry.
    AdaptiveLimit,
}

/// Those who wait for room at an upstream.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those who wait, and those whose turn it is.
    pending: AtomicUsize,
    line: Mutex<Line<Arc<Waiter>>>,
    /// Since when somebody has waited all the time, if anybody does.
    in_use_since: Mutex<Option<Instant>>,
    waited: AtomicU64,
    shed: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiter {
    turn: AtomicU8,
    called: Notify,
}

/// Nothing yet.
const WAITS: u8 = 0;
/// It may try again.
const CALLED: u8 = 1;
/// It must go: others have come.
const SHED: u8 = 2;

impl Queue {
    /// Whether anybody waits.
    pub fn is_in_use(&self) -> bool {
        self.pending.load(Ordering::Acquire) > 0
    }

    /// How many wait now.
    pub fn length(&self) -> usize {
        self.lock().len()
    }

    /// Requests that have waited.
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Requests that were refused for want of room.
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// There may be room: calls the first.
    pub fn call(&self) {
        if self.is_in_use()
            && let Some(first) = self.lock().first()
        {
            first.tell(CALLED);
        }
    }

    /// The same, unless somebody is called already: whoever that is calls the next.
    fn call_unless_called(&self) {
        let mut line = self.lock();
        if self.pending.load(Ordering::Acquire) == line.len()
            && let Some(first) = line.first()
        {
            first.tell(CALLED);
        }
    }

    /// A place in the line; none if it is full.
    fn enter(&self, rules: Rules, now: Instant) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter::default());
        let mut line = self.lock();
        let shed = line.enter(waiter.clone(), rules.length, rules.shed);
        if shed.as_ref().is_some_and(|shed| Arc::ptr_eq(shed, &waiter)) {
            return None;
        }
        // Whoever is shed is counted until it has gone.
        if self.pending.fetch_add(1, Ordering::AcqRel) == 0 {
            *self.since() = Some(now);
        }
        self.waited.fetch_add(1, Ordering::Relaxed);
        drop(line);
        if let Some(shed) = shed {
            shed.tell(SHED);
        }
        Some(waiter)
    }

    /// For how long somebody has waited all the time.
    fn in_use_for(&self, now: Instant) -> Duration {
        self.since().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.in_use_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Line<Arc<Waiter>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn tell(&self, turn: u8) {
        self.turn.store(turn, Ordering::Release);
        self.called.notify_one();
    }
}

/// A place in the line, until dropped.
#[derive(Debug)]
pub struct Waiting {
    group: Arc<UpstreamState>,
    waiter: Arc<Waiter>,
    /// No longer than this.
    pub until: Instant,
    /// What there was no room under when it came.
    pub bound: Bound,
}

/// What bounds the requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A ceiling of the file.
    OfFile,
    /// The limit that was found.
    Found,
}

/// What has come of asking for a backend.
#[derive(Debug)]
pub enum Asked {
    /// There is room.
    Placed(InFlight),
    /// There is none, and others wait for it too.
    Waits(Waiting),
}

impl Waiting {
    /// Ends when there may be something to do for [`Upstream::take_turn`].
    async fn told(&self) {
        self.waiter.called.notified().await;
    }

    /// There was no room after all: it stays the first.
    fn stay(&self) {
        self.waiter.turn.store(WAITS, Ordering::Release);
        self.group.queue.lock().put_back(self.waiter.clone());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let queue = &self.group.queue;
        queue.lock().leave(|one| Arc::ptr_eq(one, &self.waiter));
        queue.pending.fetch_sub(1, Ordering::AcqRel);
        // Whoever gives up may have been called just now, and whoever got a place leaves it to the next to find out whether
        // there is another.
        if self.waiter.turn.load(Ordering::Acquire) == CALLED {
            queue.call();
        }
    }
}

impl Upstream {
    /// Picks a backend, waiting for room if all are at their ceiling; no longer than until `deadline`, if there is one.
    ///
    /// # Errors
    /// Why no backend is asked.
    pub async fn seek(
        &self,
        tried: &Tried,
        affinity: Affinity,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<InFlight, Refused> {
        let waiting = match self.ask(tried, affinity, deadline, now)? {
            Asked::Placed(in_flight) => return Ok(in_flight),
            Asked::Waits(waiting) => waiting,
        };
        loop {
            if tokio::time::timeout_at(waiting.until.into(), waiting.told()).await.is_err() {
                return Err(self.shed(Refused::QueueTimeout, waiting.bound));
            }
            if let Some(placed) = self.take_turn(&waiting, tried, affinity, Instant::now()) {
                return placed;
            }
        }
    }

    /// Picks a backend, or takes a place in the line if all are at their ceiling.
    ///
    /// # Errors
    /// Why no backend is asked.
    pub fn ask(
        &self,
        tried: &Tried,
        affinity: Affinity,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Asked, Refused> {
        let picked = self.pick(tried, affinity, Arrival::New, now);
        self.note_limit(picked.is_ok());
        match picked {
            Ok(in_flight) => return Ok(Asked::Placed(in_flight)),
            Err(NoPick::Nobody) => return Err(Refused::Nobody),
            Err(NoPick::Full) => {}
        }
        let bound = if self.is_held_back() { Bound::Found } else { Bound::OfFile };
        let rules = self.config.circuit_breaker.and_then(|breaker| breaker.queue);
        let rules = rules.ok_or_else(|| self.shed(Refused::Overloaded, bound))?;
        let waiter = self.state.queue.enter(rules, now).ok_or_else(|| self.shed(Refused::QueueFull, bound))?;
        let patience = self.patience(self.state.queue.in_use_for(now));
        let until = now + patience.unwrap_or(rules.timeout).min(rules.timeout);
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let waiting = Waiting { group: self.state.clone(), waiter, until, bound };
        // The last request may have ended between the pick and the queue.
        self.call_if_room();
        Ok(Asked::Waits(waiting))
    }

    /// What has come of waiting: a place, or a reason to go. None if it is not its turn, or if there was no room after all.
    pub fn take_turn(
        &self,
        waiting: &Waiting,
        tried: &Tried,
        affinity: Affinity,
        now: Instant,
    ) -> Option<Result<InFlight, Refused>> {
        match waiting.waiter.turn.load(Ordering::Acquire) {
            CALLED => match self.pick(tried, affinity, Arrival::Called, now) {
                Ok(in_flight) => Some(Ok(in_flight)),
                Err(NoPick::Nobody) => Some(Err(Refused::Nobody)),
                Err(NoPick::Full) => {
                    waiting.stay();
                    None
                }
            },
            SHED => Some(Err(self.shed(Refused::QueueFull, waiting.bound))),
            _ => None,
        }
    }

    /// Counts who is refused for want of room, and names the bound if it is, or was, the one that was found.
    pub fn shed(&self, refused: Refused, bound: Bound) -> Refused {
        self.state.queue.shed.fetch_add(1, Ordering::Relaxed);
        if bound == Bound::OfFile && !self.is_held_back() {
            return refused;
        }
        self.count_held_back();
        Refused::AdaptiveLimit
    }

    /// Calls the first of those who wait if there is room: where it came by other ways than the end of a request.
    pub(super) fn call_if_room(&self) {
        if self.state.queue.is_in_use() && self.has_room() {
            self.state.queue.call_unless_called();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::queue::Shed;
    use crate::config::{self, CircuitBreaker};
    use crate::units::Limit;
    use crate::upstream::resolve::resolve;

    /// Two backends of two requests each, and a line of two.
    fn upstream(timeout: Duration, shed: Shed) -> Upstream {
        let backend = |port: u16| config::Backend::new(format!("127.0.0.1:{port}").parse().unwrap());
        let mut config = config::Upstream::new("app", vec![backend(9001), backend(9002)]);
        config.circuit_breaker = Some(CircuitBreaker {
            requests_per_backend: Limit::At(2),
            requests: Limit::Unlimited,
            queue: Some(config::Queue { length: 2, timeout, shed }),
        });
        in_force(config, None)
    }

    fn in_force(config: config::Upstream, former: Option<&Upstream>) -> Upstream {
        let resolved = resolve(&config).unwrap();
        let upstream = Upstream::new(config, &resolved, None, former, Instant::now());
        upstream.take_effect(Instant::now());
        upstream
    }

    async fn seek(upstream: &Upstream) -> Result<InFlight, Refused> {
        upstream.seek(&Tried::default(), Affinity::default(), None, Instant::now()).await
    }

    async fn fill(upstream: &Upstream) -> Vec<InFlight> {
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(seek(upstream).await.unwrap());
        }
        taken
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn whoever_comes_first_is_served_first_and_no_ceiling_is_ever_exceeded() {
        let upstream = upstream(LONG, Shed::Newest);
        let mut taken = fill(&upstream).await;
        let (first, second) = (seek(&upstream), seek(&upstream));
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        assert!(futures_are_pending(&mut first).await && futures_are_pending(&mut second).await);
        assert_eq!(upstream.state.queue.length(), 2);
        assert_eq!(seek(&upstream).await.err(), Some(Refused::QueueFull));
        taken.pop();
        let got = first.await.unwrap();
        assert!(futures_are_pending(&mut second).await, "one place, one request");
        assert!(upstream.backends.iter().all(|backend| backend.state.in_flight() == 2));
        drop(got);
        drop(second.await.unwrap());
        assert!(!upstream.state.queue.is_in_use());
        assert_eq!((upstream.state.queue.waited(), upstream.state.queue.shed()), (2, 1));
    }

    #[tokio::test]
    async fn whoever_has_just_come_does_not_overtake_those_who_wait() {
        let upstream = upstream(LONG, Shed::Newest);
        let mut taken = fill(&upstream).await;
        let mut first = Box::pin(seek(&upstream));
        assert!(futures_are_pending(&mut first).await);
        taken.pop();
        let mut late = Box::pin(seek(&upstream));
        assert!(futures_are_pending(&mut late).await, "the place is promised");
        let got = first.await.unwrap();
        drop(got);
        drop(late.await.unwrap());
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_time_out() {
        let upstream = upstream(Duration::from_millis(20), Shed::Newest);
        let taken = fill(&upstream).await;
        assert_eq!(seek(&upstream).await.err(), Some(Refused::QueueTimeout));
        let deadline = Some(Instant::now());
        assert_eq!(
            upstream.seek(&Tried::default(), Affinity::default(), deadline, Instant::now()).await.err(),
            Some(Refused::QueueTimeout)
        );
        assert!(!upstream.state.queue.is_in_use());
        drop(taken);
    }

    #[tokio::test]
    async fn the_oldest_goes_where_that_is_wanted() {
        let upstream = upstream(LONG, Shed::Oldest);
        let taken = fill(&upstream).await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(seek(&upstream))).collect();
        for one in &mut waiting {
            assert!(futures_are_pending(one).await);
        }
        drop(taken);
        let mut outcomes = Vec::new();
        for one in waiting {
            outcomes.push(one.await.err());
        }
        assert_eq!(outcomes, [Some(Refused::QueueFull), None, None]);
    }

    #[tokio::test]
    async fn whoever_leaves_while_it_is_called_calls_the_next() {
        let upstream = upstream(LONG, Shed::Newest);
        let mut taken = fill(&upstream).await;
        let (mut first, mut second) = (Box::pin(seek(&upstream)), Box::pin(seek(&upstream)));
        assert!(futures_are_pending(&mut first).await && futures_are_pending(&mut second).await);
        taken.pop();
        drop(first);
        drop(second.await.unwrap());
    }

    #[tokio::test]
    async fn whoever_waits_when_a_reload_raises_the_ceiling_is_let_in() {
        let before = upstream(LONG, Shed::Newest);
        let taken = fill(&before).await;
        let mut waiting = Box::pin(seek(&before));
        assert!(futures_are_pending(&mut waiting).await);
        let mut config = before.config.clone();
        config.circuit_breaker = Some(CircuitBreaker::default());
        let after = in_force(config, Some(&before));
        after.call_if_room();
        let got = waiting.await.unwrap();
        assert_eq!(after.state.in_flight(), 5);
        drop((got, taken));
    }

    #[tokio::test]
    async fn a_tunnel_takes_no_place() {
        let upstream = upstream(LONG, Shed::Newest);
        let mut taken = fill(&upstream).await;
        taken.iter_mut().for_each(InFlight::becomes_tunnel);
        let more = fill(&upstream).await;
        assert!(upstream.backends.iter().all(|backend| backend.state.in_flight() == 4));
        drop(taken);
        assert!(upstream.backends.iter().all(|backend| backend.state.in_flight() == 2));
        drop(more);
        assert_eq!(upstream.state.in_flight(), 0);
    }

    #[tokio::test]
    async fn without_a_line_the_answer_comes_at_once() {
        let mut config = upstream(LONG, Shed::Newest).config;
        config.circuit_breaker =
            Some(CircuitBreaker { requests_per_backend: Limit::Unlimited, requests: Limit::At(3), queue: None });
        let upstream = in_force(config, None);
        let taken = [seek(&upstream).await.unwrap(), seek(&upstream).await.unwrap(), seek(&upstream).await.unwrap()];
        assert_eq!(seek(&upstream).await.err(), Some(Refused::Overloaded));
        drop(taken);
        assert!(seek(&upstream).await.is_ok());
    }

    /// Whether it waits, after it was given the chance not to.
    async fn futures_are_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
