//! One attempt in flight: what begins with the pick ends with the guard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::concurrency::Began;
use super::outcome::Outcome;
use super::pick::Ceilings;

/// One attempt in flight at a backend, until dropped.
#[derive(Debug)]
pub struct InFlight {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its place in the upstream.
    pub index: usize,
    purpose: Purpose,
    picked: Instant,
    /// When the backend's time began.
    began: Instant,
    /// Whom it found in flight.
    found: Began,
    /// Whether it is counted among those that wait for the head of an answer.
    waits: bool,
    /// Whether it has been said how it went.
    judged: bool,
    course: Course,
}

/// How far an attempt has come, as the ceilings see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Running,
    Tunnel,
    /// The backend is through with it.
    Over,
}

/// What an attempt is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve a request.
    Serve,
    /// To serve a request, and to find out whether an ejected backend is well again.
    Probe,
}

impl InFlight {
    /// Begins an attempt, if the ceilings leave room; a probe needs none.
    pub fn begin(
        backend: &Arc<Backend>,
        index: usize,
        purpose: Purpose,
        ceilings: Ceilings,
        now: Instant,
    ) -> Option<InFlight> {
        let ceilings = match purpose {
            Purpose::Serve => ceilings,
            Purpose::Probe => Ceilings::NONE,
        };
        let begun = backend.state.begin_attempt(ceilings);
        begun.then(|| InFlight {
            backend: backend.clone(),
            index,
            purpose,
            picked: now,
            began: now,
            found: backend.state.group().began(),
            waits: false,
            judged: false,
            course: Course::Running,
        })
    }

    /// When it was picked.
    pub fn picked(&self) -> Instant {
        self.picked
    }

    /// The backend has switched protocols: what follows may last for days, and takes no place under the ceilings.
    pub fn becomes_tunnel(&mut self) {
        if self.course == Course::Running {
            self.course = Course::Tunnel;
            self.backend.state.begin_tunnel();
        }
    }

    /// The whole request was sent, so it is the backend's turn. If it had a body, the time until its end was the
    /// client's.
    pub fn sent(&mut self, body_ended: Option<Instant>, now: Instant) {
        self.began = body_ended.unwrap_or(self.began);
        if !self.judged && !std::mem::replace(&mut self.waits, true) {
            self.backend.state.conduct.wait(&self.backend.state, now);
        }
    }

    /// Says how it went: with the head of the answer, or when it is clear that there will be none. A second word counts
    /// only if the answer broke off after its head.
    pub fn judge(&mut self, outcome: Outcome, now: Instant) {
        let backend = &self.backend;
        if std::mem::replace(&mut self.judged, true) {
            if outcome == Outcome::Broken {
                backend.state.conduct.observe(backend, outcome, Duration::ZERO, now);
            }
            return;
        }
        if let Outcome::Declined { retry_after: Some(time) } | Outcome::Failed { retry_after: Some(time) } = outcome {
            backend.state.rest(time, now);
        }
        let waited = now.saturating_duration_since(self.began);
        backend.state.latency.observe(outcome, waited, backend.state.group().tick(now));
        backend.state.group().observe(Some(outcome), waited, self.found);
        backend.state.conduct.observe(backend, outcome, waited, now);
        self.wait_no_more(Some(outcome), waited, now);
    }

    /// Whether it takes a place under the ceilings.
    pub fn holds_a_place(&self) -> bool {
        self.course == Course::Running
    }

    /// The backend is through with it, though the client may still be reading: it is in flight no more.
    pub fn end(&mut self) {
        match std::mem::replace(&mut self.course, Course::Over) {
            Course::Running => {}
            Course::Tunnel => self.backend.state.end_tunnel(),
            Course::Over => return,
        }
        self.backend.state.end_attempt();
    }

    /// Nobody waits for it any more, whether it has been answered or not: it is over.
    pub fn leave(&mut self, now: Instant) {
        self.end_unanswered(None, now);
    }

    /// Another attempt of the same request was quicker: it is over. That says nothing against its backend, unless this was to find
    /// out whether the backend is well again: whoever is must keep up, and would be probed for ever if nothing came of it.
    pub fn overtaken(&mut self, now: Instant) {
        self.end_unanswered(Some(Outcome::Broken), now);
    }

    /// `as_probe` is what it comes to if it was one.
    fn end_unanswered(&mut self, as_probe: Option<Outcome>, now: Instant) {
        if !std::mem::replace(&mut self.judged, true) {
            let waited = now.saturating_duration_since(self.began);
            self.backend.state.latency.took_more_than(waited, self.backend.state.group().tick(now));
            self.backend.state.group().observe(None, waited, self.found);
            self.wait_no_more(as_probe, waited, now);
        }
        self.end();
    }

    fn wait_no_more(&mut self, as_probe: Option<Outcome>, waited: Duration, now: Instant) {
        let conduct = &self.backend.state.conduct;
        if std::mem::replace(&mut self.waits, false) {
            conduct.wait_no_more();
        }
        if self.purpose == Purpose::Probe {
            conduct.probed(&self.backend, as_probe, waited, now);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.judged {
            self.leave(Instant::now());
        }
        self.end();
    }
}
