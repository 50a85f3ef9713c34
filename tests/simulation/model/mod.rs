//! A balancer and its backends in virtual time: a list of events, each of which happens at once.
//!
//! What decides is the product's own: [`Upstream`] with its picks, guards, line, ejections, health and budget, and
//! `forward::retry`. What is modelled is what is around: traffic, servers, connections, time-outs, the timers of checks.
//! All chance comes from the seed, so a seed replays everything.

#![allow(
    dead_code,
    missing_docs,
    clippy::indexing_slicing,
    reason = "tests and plots use a part each, names speak for themselves, and places are those of the model"
)]

mod agenda;
pub mod figures;
pub mod request;
pub mod scenarios;
pub mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::balance::Key;
use evenkeel::balance::tiers::Serving;
use evenkeel::config;
use evenkeel::failure::Reason;
use evenkeel::forward::retry::{self, Progress, Saw};
use evenkeel::upstream::backend::{Backend, State};
use evenkeel::upstream::health::Verdict;
use evenkeel::upstream::in_flight::InFlight;
use evenkeel::upstream::outcome::Outcome;
use evenkeel::upstream::queue::{Asked, Refused};
use evenkeel::upstream::resolve::resolve;
use evenkeel::upstream::standing::Against;
use evenkeel::upstream::sticky::Affinity;
use evenkeel::upstream::{Ceilings, TICK, Tried, Upstream};
use fastrand::Rng;
use http::StatusCode;

use self::agenda::Agenda;
use self::figures::Figures;
use self::request::{Attempt, End, Request, Stage};
use self::server::{Answer, Coming, Mode, Server, Ticket};

/// The port of the first server; the others follow.
const FIRST_PORT: u16 = 9000;
/// How long it takes to be refused a connection.
const REFUSED_AFTER: Duration = Duration::from_micros(200);
/// Keys of clients that there are.
const KEYS: u32 = 10_000;

/// See the module's documentation.
pub struct World {
    /// Since the beginning.
    pub now: Duration,
    pub rng: Rng,
    /// What is in force.
    pub upstream: Arc<Upstream>,
    /// All there ever were.
    pub servers: Vec<Server>,
    /// Those that have not ended, by number.
    pub requests: BTreeMap<u64, Request>,
    pub figures: Figures,
    /// What was picked since somebody looked, if that is written down.
    pub picks: Vec<Pick>,
    pub records: bool,
    pub traffic: Traffic,
    began: Instant,
    agenda: Agenda<Event>,
    waiting: BTreeSet<u64>,
    arrived: u64,
    checks: BTreeMap<usize, Check>,
    checks_begun: u64,
}

/// Requests that come whether earlier ones were answered or not.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub per_second: f64,
    pub until: Duration,
    /// Of a hundred: those that may be repeated, those that become tunnels, those whose client leaves early.
    pub idempotent: u8,
    pub tunnels: u8,
    pub impatient: u8,
    /// Those whose client stays at a backend.
    pub sticky: u8,
}

/// What somebody does to the world.
#[derive(Clone, Debug)]
pub enum Change {
    Mode(usize, Mode),
    /// The time that serving takes on average.
    Service(usize, Duration),
    PerSecond(f64),
    Drain(usize),
    Enable(usize),
    Reload(Box<config::Upstream>),
}

/// One pick, with what was to be seen before it.
#[derive(Debug)]
pub struct Pick {
    pub upstream: Arc<Upstream>,
    pub before: Vec<Seen>,
    pub serving: Serving,
    pub probe_is_due: bool,
    /// Those in force, whatever the request's own rules say.
    pub ceilings: Ceilings,
    pub tried: Vec<usize>,
    pub result: Result<usize, Refused>,
}

/// One backend before a pick.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub weight: u32,
    pub is_fit: bool,
    pub is_reachable: bool,
    pub has_room: bool,
}

#[derive(Debug)]
enum Event {
    Arrival,
    Answer(usize, Coming),
    Expiry(Ticket, Expiry),
    /// The pause before another attempt is over.
    Again(Ticket),
    /// A request has waited in the line for as long as it may.
    Waited(Ticket),
    ClientLeaves(u64),
    Tick(u32),
    Check(usize, u64),
    Change(Change),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Refused,
    Connect,
    FirstByte,
    Tunnel,
}

/// The task that asks one backend on a timer.
struct Check {
    state: Arc<State>,
    number: u64,
}

/// A backend of the configuration that stands for a server.
pub fn backend(server: usize) -> config::Backend {
    let port = FIRST_PORT + u16::try_from(server).unwrap_or(0);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    config::Backend::new(config::BackendAddress::Tcp(address))
}

/// The server that a backend stands for.
pub fn server_of(backend: &Backend) -> usize {
    let port = backend.name.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    usize::from(port.unwrap_or(FIRST_PORT) - FIRST_PORT)
}

fn built(config: config::Upstream, former: Option<&Upstream>, now: Instant) -> Arc<Upstream> {
    // Addresses need no resolution, so nothing can fail.
    let resolved = resolve(&config).unwrap_or_default();
    let upstream = Upstream::new(config, &resolved, None, former, now);
    upstream.take_effect(now);
    Arc::new(upstream)
}

impl World {
    pub fn new(
        config: config::Upstream,
        servers: Vec<Server>,
        traffic: Traffic,
        plan: Vec<(Duration, Change)>,
        seed: u64,
    ) -> World {
        // The picks' own chance.
        fastrand::seed(seed);
        let began = Instant::now();
        let mut world = World {
            now: Duration::ZERO,
            rng: Rng::with_seed(seed),
            upstream: built(config, None, began),
            servers,
            requests: BTreeMap::new(),
            figures: Figures::default(),
            picks: Vec::new(),
            records: false,
            traffic,
            began,
            agenda: Agenda::new(),
            waiting: BTreeSet::new(),
            arrived: 0,
            checks: BTreeMap::new(),
            checks_begun: 0,
        };
        for (at, change) in plan {
            world.agenda.plan(at, Event::Change(change));
        }
        world.agenda.plan(Duration::ZERO, Event::Arrival);
        world.agenda.plan(TICK, Event::Tick(1));
        world.follow_checks();
        world
    }

    /// The same moment as the product sees it.
    pub fn instant(&self) -> Instant {
        self.began + self.now
    }

    /// Until nothing happens any more.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// Lets the next event happen; says whether there was one.
    pub fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.next() else { return false };
        self.now = at;
        self.happen(event);
        self.call_who_waits();
        true
    }

    /// How many wait in the line.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many requests have come.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    fn in_time(&self) -> bool {
        self.now < self.traffic.until || !self.requests.is_empty()
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.agenda.plan(self.now + time, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Answer(server, coming) => {
                let Some(at) = self.servers.get_mut(server) else { return };
                let (comes, next) = at.finish(coming, &mut self.rng);
                self.expect(server, next);
                if comes {
                    self.answered(coming.ticket, coming.answer);
                }
            }
            Event::Expiry(ticket, expiry) => self.expired(ticket, expiry),
            Event::Again(ticket) => {
                if self.is_at(ticket, |stage| matches!(stage, Stage::Paused)) {
                    self.seek(ticket.request);
                }
            }
            Event::Waited(ticket) => {
                if self.is_at(ticket, |stage| matches!(stage, Stage::Waiting(_))) {
                    let refused = self.requests.get(&ticket.request).and_then(|one| match &one.stage {
                        Stage::Waiting(waiting) => Some(one.upstream.shed(Refused::QueueTimeout, waiting.bound)),
                        Stage::Arriving | Stage::Attempt(_) | Stage::Paused => None,
                    });
                    self.end(ticket.request, End::Failed(refused.map_or(Reason::Internal, Reason::from)));
                }
            }
            Event::ClientLeaves(request) => self.end(request, End::Failed(Reason::ClientGone)),
            Event::Tick(count) => {
                let chance = self.rng.f64();
                self.upstream.watch(count, self.instant(), chance);
                if self.in_time() {
                    self.after(TICK, Event::Tick(count + 1));
                }
            }
            Event::Check(server, number) => self.check(server, number),
            Event::Change(change) => self.change(change),
        }
    }

    fn arrive(&mut self) {
        if self.now >= self.traffic.until {
            return;
        }
        // Open loop: times between arrivals are distributed exponentially, whoever waits.
        let pause = -(1.0 - self.rng.f64()).ln() / self.traffic.per_second;
        self.after(Duration::from_secs_f64(pause), Event::Arrival);
        let number = self.arrived;
        self.arrived += 1;
        let mut one_of = |share: u8| share > 0 && self.rng.u8(0..100) < share;
        let (idempotent, becomes_tunnel) = (one_of(self.traffic.idempotent), one_of(self.traffic.tunnels));
        let (leaves, stays) = (one_of(self.traffic.impatient), one_of(self.traffic.sticky));
        let request = Request {
            arrived: self.now,
            upstream: self.upstream.clone(),
            affinity: Affinity {
                key: Some(Key::of_text(&self.rng.u32(0..KEYS))),
                place: stays.then(|| self.rng.usize(0..self.upstream.backends.len())),
            },
            idempotent,
            becomes_tunnel,
            tried: Tried::default(),
            places: Vec::new(),
            attempts: 0,
            stage: Stage::Arriving,
        };
        self.requests.insert(number, request);
        if leaves {
            let patience = Duration::from_millis(self.rng.u64(1..1500));
            self.after(patience, Event::ClientLeaves(number));
        }
        self.seek(number);
    }

    /// Asks for a backend.
    fn seek(&mut self, number: u64) {
        let now = self.instant();
        let Some(request) = self.requests.get_mut(&number) else { return };
        let seen = self.records.then(|| Pick::begin(request));
        let asked = request.upstream.ask(&request.tried, request.affinity, None, now);
        if let Some(seen) = seen {
            let result = match &asked {
                Ok(Asked::Placed(in_flight)) => Ok(in_flight.index),
                Ok(Asked::Waits(_)) => Err(Refused::QueueFull),
                Err(refused) => Err(*refused),
            };
            self.picks.push(Pick { result, ..seen });
        }
        match asked {
            Ok(Asked::Placed(in_flight)) => self.attempt(number, in_flight),
            Ok(Asked::Waits(waiting)) => {
                let ticket = Ticket { request: number, attempt: request.attempts };
                let left = waiting.until.saturating_duration_since(now);
                request.stage = Stage::Waiting(waiting);
                self.waiting.insert(number);
                self.after(left, Event::Waited(ticket));
            }
            Err(refused) => self.end(number, End::Failed(refused.into())),
        }
    }

    /// Whoever is called in the line has its turn, until nobody is.
    fn call_who_waits(&mut self) {
        let mut somebody = !self.waiting.is_empty();
        while std::mem::take(&mut somebody) {
            let now = self.instant();
            for number in self.waiting.clone() {
                let Some(request) = self.requests.get(&number) else { continue };
                let Stage::Waiting(waiting) = &request.stage else { continue };
                let seen = self.records.then(|| Pick::begin(request));
                let Some(turn) = request.upstream.take_turn(waiting, &request.tried, request.affinity, now) else {
                    continue;
                };
                somebody = true;
                let result = turn.as_ref().map(|in_flight| in_flight.index).map_err(|refused| *refused);
                self.picks.extend(seen.map(|seen| Pick { result, ..seen }));
                match turn {
                    Ok(in_flight) => self.attempt(number, in_flight),
                    Err(refused) => self.end(number, End::Failed(refused.into())),
                }
            }
        }
    }

    fn attempt(&mut self, number: u64, mut in_flight: InFlight) {
        let now = self.instant();
        self.waiting.remove(&number);
        let Some(request) = self.requests.get_mut(&number) else { return };
        request.attempts += 1;
        request.tried.add(in_flight.index);
        request.places.push(in_flight.index);
        let (server, timeouts) = (server_of(&in_flight.backend), request.upstream.config.timeouts);
        let ticket = Ticket { request: number, attempt: request.attempts };
        let Some(at) = self.servers.get_mut(server) else { return };
        let connected = match at.mode {
            Mode::Down => Err((REFUSED_AFTER, Expiry::Refused)),
            Mode::Lost => Err((timeouts.connect, Expiry::Connect)),
            Mode::Well | Mode::Slow(_) | Mode::Failing(_) | Mode::Hanging | Mode::Breaking => Ok(()),
        };
        let mut coming = None;
        if connected.is_ok() {
            self.figures.attempt(request.arrived);
            let state = &in_flight.backend.state;
            if state.suspected()
                && let Some(thresholds) = request.upstream.thresholds()
            {
                state.observe(Verdict::Passed, thresholds, "", now);
            }
            in_flight.sent(None, now);
            coming = at.take(ticket, &mut self.rng);
        }
        request.stage = Stage::Attempt(Attempt { in_flight, server, is_tunnel: false });
        self.expect(server, coming);
        let (time, expiry) = connected.err().unwrap_or((timeouts.first_byte, Expiry::FirstByte));
        self.after(time, Event::Expiry(ticket, expiry));
    }

    fn expect(&mut self, server: usize, coming: Option<Coming>) {
        if let Some(coming) = coming {
            self.after(coming.after, Event::Answer(server, coming));
        }
    }

    /// Whether the request is still where it was when something was planned for it.
    fn is_at(&self, ticket: Ticket, stage: impl Fn(&Stage) -> bool) -> bool {
        self.requests.get(&ticket.request).is_some_and(|one| one.attempts == ticket.attempt && stage(&one.stage))
    }

    fn attempt_of(&mut self, ticket: Ticket) -> Option<(&mut Attempt, bool)> {
        let request = self.requests.get_mut(&ticket.request).filter(|one| one.attempts == ticket.attempt)?;
        match &mut request.stage {
            Stage::Attempt(attempt) => Some((attempt, request.becomes_tunnel)),
            Stage::Arriving | Stage::Waiting(_) | Stage::Paused => None,
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let now = self.instant();
        let Some((attempt, becomes_tunnel)) = self.attempt_of(ticket) else { return };
        match answer {
            Answer::Served => {
                attempt.in_flight.judge(Outcome::Served, now);
                if becomes_tunnel {
                    attempt.is_tunnel = true;
                    attempt.in_flight.becomes_tunnel();
                    let lasts = Duration::from_millis(self.rng.u64(100..5_000));
                    self.after(lasts, Event::Expiry(ticket, Expiry::Tunnel));
                } else {
                    self.end(ticket.request, End::Served);
                }
            }
            Answer::Failed => {
                attempt.in_flight.judge(Outcome::Failed { retry_after: None }, now);
                self.declined(ticket.request);
            }
            Answer::Broken => self.failed(ticket.request, Reason::Reset, Progress::Sent),
        }
    }

    /// A backend has answered 503: another may have a better answer (`proxy/attempt.rs`).
    fn declined(&mut self, number: u64) {
        let now = self.instant();
        let Some(request) = self.requests.get(&number) else { return };
        let declined = retry::Declined {
            status: StatusCode::SERVICE_UNAVAILABLE,
            idempotent: request.idempotent,
            body_kept: true,
        };
        let rules = request.upstream.config.retry.filter(|rules| {
            request.attempts <= rules.attempts
                && retry::may_be_asked_elsewhere(declined, rules.on)
                && request.upstream.has_another(&request.tried, now)
                && request.upstream.take_retry(now)
        });
        match rules {
            Some(rules) => self.pause(number, rules, Saw::Something),
            None => self.end(number, End::Answered503),
        }
    }

    /// An attempt failed without an answer (`proxy/attempt.rs`).
    fn failed(&mut self, number: u64, reason: Reason, progress: Progress) {
        let now = self.instant();
        let Some(request) = self.requests.get_mut(&number) else { return };
        let Stage::Attempt(attempt) = &mut request.stage else { return };
        let state = attempt.in_flight.backend.state.clone();
        let outcome = match progress {
            Progress::NotConnected | Progress::NotAccepted => {
                if let Some(thresholds) = request.upstream.thresholds() {
                    state.observe(Verdict::Failed, thresholds, "not connected", now);
                }
                Outcome::Unreachable
            }
            Progress::Refused | Progress::Sent | Progress::Answered => Outcome::Broken,
        };
        state.count_failure(reason);
        attempt.in_flight.judge(outcome, now);
        let failed = retry::Failed { reason, progress, idempotent: request.idempotent, body_kept: true };
        let rules = request.upstream.config.retry.filter(|rules| {
            request.attempts <= rules.attempts
                && retry::may_be_repeated(failed, rules.on)
                && request.upstream.take_retry(now)
        });
        match rules {
            Some(rules) => self.pause(number, rules, progress.saw()),
            None => self.end(number, End::Failed(reason)),
        }
    }

    fn pause(&mut self, number: u64, rules: config::Retry, saw: Saw) {
        let now = self.instant();
        let chance = self.rng.f64();
        let Some(request) = self.requests.get_mut(&number) else { return };
        let ticket = Ticket { request: number, attempt: request.attempts };
        let pause =
            rules.backoff.map_or(Duration::ZERO, |backoff| retry::pause(backoff, request.attempts, saw, chance));
        if let Stage::Attempt(mut attempt) = std::mem::replace(&mut request.stage, Stage::Paused) {
            attempt.in_flight.leave(now);
        }
        self.after(pause, Event::Again(ticket));
    }

    fn expired(&mut self, ticket: Ticket, expiry: Expiry) {
        let Some((attempt, _)) = self.attempt_of(ticket) else { return };
        let (server, is_tunnel) = (attempt.server, attempt.is_tunnel);
        match expiry {
            Expiry::Tunnel => self.end(ticket.request, End::Served),
            Expiry::Refused | Expiry::Connect | Expiry::FirstByte if is_tunnel => {}
            Expiry::Refused => self.failed(ticket.request, Reason::ConnectFailed, Progress::NotAccepted),
            Expiry::Connect => self.failed(ticket.request, Reason::ConnectTimeout, Progress::NotConnected),
            Expiry::FirstByte => {
                if let Some(server) = self.servers.get_mut(server) {
                    server.forget(ticket);
                }
                self.failed(ticket.request, Reason::FirstByteTimeout, Progress::Sent);
            }
        }
    }

    fn end(&mut self, number: u64, end: End) {
        let now = self.instant();
        let Some(request) = self.requests.remove(&number) else { return };
        self.waiting.remove(&number);
        if let Stage::Attempt(mut attempt) = request.stage {
            if let Some(server) = self.servers.get_mut(attempt.server).filter(|_| end != End::Served) {
                server.forget(Ticket { request: number, attempt: request.attempts });
            }
            attempt.in_flight.leave(now);
        }
        self.figures.count(request.arrived, self.now, end);
    }

    fn change(&mut self, change: Change) {
        let now = self.instant();
        let states = |upstream: &Upstream, server: usize| {
            let backend = upstream.backends.iter().find(|backend| server_of(backend) == server);
            backend.map(|backend| backend.state.clone())
        };
        match change {
            Change::Mode(server, mode) => {
                let Some(at) = self.servers.get_mut(server) else { return };
                let (broken, coming) = at.turn(mode, &mut self.rng);
                for coming in coming {
                    self.expect(server, Some(coming));
                }
                for ticket in broken {
                    self.answered(ticket, Answer::Broken);
                }
            }
            Change::Service(server, time) => {
                if let Some(at) = self.servers.get_mut(server) {
                    at.service = time;
                }
            }
            Change::PerSecond(rate) => self.traffic.per_second = rate,
            Change::Drain(server) => {
                if let Some(state) = states(&self.upstream, server) {
                    state.hold(Against::Drained);
                }
            }
            Change::Enable(server) => {
                if let Some(state) = states(&self.upstream, server) {
                    state.forgive(Against::Drained, now);
                }
            }
            Change::Reload(config) => {
                self.upstream = built(*config, Some(&self.upstream), now);
                self.follow_checks();
            }
        }
    }

    /// One task for each backend, as `upstream/health_check.rs` keeps them.
    fn follow_checks(&mut self) {
        let now = self.instant();
        let mut former = std::mem::take(&mut self.checks);
        let is_checked = self.upstream.config.health_check.is_some();
        for backend in self.upstream.backends.clone().iter().filter(|_| is_checked) {
            let server = server_of(backend);
            let kept = former.remove(&server).filter(|check| Arc::ptr_eq(&check.state, &backend.state));
            let check = kept.unwrap_or_else(|| {
                self.checks_begun += 1;
                self.agenda.plan(self.now, Event::Check(server, self.checks_begun));
                Check { state: backend.state.clone(), number: self.checks_begun }
            });
            self.checks.insert(server, check);
        }
        for check in former.into_values() {
            check.state.forget_health(now);
        }
    }

    fn check(&mut self, server: usize, number: u64) {
        let (now, in_time) = (self.instant(), self.in_time());
        let Some(check) = self.checks.get(&server).filter(|check| check.number == number) else { return };
        let (Some(rules), Some(thresholds)) = (&self.upstream.config.health_check, self.upstream.thresholds()) else {
            return;
        };
        let verdict = match self.servers.get(server).map(|server| server.mode) {
            Some(Mode::Down | Mode::Lost) | None => Verdict::Failed,
            // A connection is accepted.
            Some(Mode::Well | Mode::Slow(_) | Mode::Failing(_) | Mode::Hanging | Mode::Breaking) => Verdict::Passed,
        };
        check.state.observe(verdict, thresholds, "not connected", now);
        let interval = rules.interval.mul_f64(1.0 + 0.1 * (self.rng.f64() * 2.0 - 1.0));
        if in_time {
            self.after(interval, Event::Check(server, number));
        }
    }
}

impl Pick {
    /// What is to be seen before it.
    fn begin(request: &Request) -> Pick {
        let upstream = &request.upstream;
        let seen = |backend: &Arc<Backend>| {
            let against = |what: Against| backend.state.standing.has(what);
            Seen {
                weight: backend.weight,
                is_fit: backend.state.is_fit(),
                is_reachable: !against(Against::Unreachable) && !against(Against::Drained),
                has_room: backend.state.has_room(upstream.state.ceilings()),
            }
        };
        Pick {
            before: upstream.backends.iter().map(seen).collect(),
            serving: upstream.serving(),
            ceilings: upstream.state.ceilings(),
            probe_is_due: upstream.state.conduct.has_probe(),
            tried: request.places.clone(),
            upstream: upstream.clone(),
            result: Err(Refused::Nobody),
        }
    }
}
