//! A program that serves: workers with a line before them, and the ways in which programs fail.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;

/// What a server that fails at once, or breaks a connection, needs for it.
const AT_ONCE: Duration = Duration::from_millis(1);

/// One attempt at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub request: u64,
    pub attempt: u32,
}

/// What a server does with requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Its workers serve them.
    Well,
    /// It keeps each waiting for so long, however many there are: it waits itself, for a database say.
    Slow(Duration),
    /// It answers 503 at once, in so many of a hundred cases; the others are served.
    Failing(u8),
    /// It accepts connections and answers nothing.
    Hanging,
    /// It accepts connections and breaks them.
    Breaking,
    /// Nobody listens: connections are refused, and those that were there are broken.
    Down,
    /// Packets to it get lost; those on their way back too.
    Lost,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Served,
    Failed,
    Broken,
}

/// An answer that is to come.
#[derive(Clone, Copy, Debug)]
pub struct Coming {
    pub after: Duration,
    pub ticket: Ticket,
    pub answer: Answer,
    /// Of which life of the server it is: those of former lives do not come.
    pub life: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Server {
    pub mode: Mode,
    pub workers: usize,
    /// What serving takes on average; single times are distributed exponentially.
    pub service: Duration,
    life: u32,
    working: BTreeSet<Ticket>,
    line: VecDeque<Ticket>,
    /// Those whose answer is on its way without a worker.
    others: BTreeSet<Ticket>,
    hanging: Vec<Ticket>,
}

impl Server {
    pub fn new(workers: usize, service: Duration) -> Server {
        Server {
            mode: Mode::Well,
            workers,
            service,
            life: 0,
            working: BTreeSet::new(),
            line: VecDeque::new(),
            others: BTreeSet::new(),
            hanging: Vec::new(),
        }
    }

    /// A request has come; says when it will be answered, if that is known already.
    pub fn take(&mut self, ticket: Ticket, rng: &mut Rng) -> Option<Coming> {
        let (after, answer) = match self.mode {
            Mode::Failing(share) if rng.u8(0..100) < share => (AT_ONCE, Answer::Failed),
            Mode::Well | Mode::Failing(_) => {
                self.line.push_back(ticket);
                return self.work(rng);
            }
            Mode::Slow(time) => (time, Answer::Served),
            Mode::Breaking => (AT_ONCE, Answer::Broken),
            Mode::Hanging | Mode::Lost | Mode::Down => {
                self.hanging.push(ticket);
                return None;
            }
        };
        self.others.insert(ticket);
        Some(Coming { after, ticket, answer, life: self.life })
    }

    /// An answer is due. Says whether it comes, and which is the next.
    pub fn finish(&mut self, coming: Coming, rng: &mut Rng) -> (bool, Option<Coming>) {
        if coming.life != self.life {
            return (false, None);
        }
        if self.others.remove(&coming.ticket) {
            return (true, None);
        }
        (self.working.remove(&coming.ticket), self.work(rng))
    }

    /// Nobody waits for this answer any more. Work that was begun goes on.
    pub fn forget(&mut self, ticket: Ticket) {
        self.line.retain(|one| *one != ticket);
        self.hanging.retain(|one| *one != ticket);
    }

    /// Another life begins, if it does: says which connections break, and which answers come now.
    pub fn turn(&mut self, mode: Mode, rng: &mut Rng) -> (Vec<Ticket>, Vec<Coming>) {
        let former = std::mem::replace(&mut self.mode, mode);
        if former == mode {
            return (Vec::new(), Vec::new());
        }
        match mode {
            Mode::Down | Mode::Hanging | Mode::Lost => {
                self.life += 1;
                let mut all = std::mem::take(&mut self.hanging);
                all.extend(std::mem::take(&mut self.working));
                all.extend(std::mem::take(&mut self.line));
                all.extend(std::mem::take(&mut self.others));
                if mode == Mode::Down {
                    return (all, Vec::new());
                }
                self.hanging = all;
                (Vec::new(), Vec::new())
            }
            Mode::Well | Mode::Slow(_) | Mode::Failing(_) | Mode::Breaking => {
                let waiting = std::mem::take(&mut self.hanging);
                (Vec::new(), waiting.into_iter().filter_map(|ticket| self.take(ticket, rng)).collect())
            }
        }
    }

    /// Gives the next in the line to a worker, if one is free.
    fn work(&mut self, rng: &mut Rng) -> Option<Coming> {
        if self.working.len() >= self.workers {
            return None;
        }
        let ticket = self.line.pop_front()?;
        self.working.insert(ticket);
        let after = self.service.mul_f64(-(1.0 - rng.f64()).ln());
        Some(Coming { after, ticket, answer: Answer::Served, life: self.life })
    }
}
