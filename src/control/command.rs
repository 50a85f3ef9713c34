//! What the running process can be told besides signals, each with a way to hear what came of it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::plan::Plan;
use crate::config::{self, LoadError};

/// More at a time than anybody means to give.
pub const WAITING: usize = 16;

/// One command. Whoever gave it may have stopped waiting for the answer.
#[derive(Debug)]
pub enum Command {
    /// Read the file again.
    Reload {
        /// Go back after this time unless confirmed.
        confirm_within: Option<Duration>,
        /// What came of it.
        answer: oneshot::Sender<Outcome>,
    },
    /// Keep what a reload brought. Answers whether anything waited for it.
    Confirm {
        /// What came of it.
        answer: oneshot::Sender<bool>,
    },
    /// Say what a file would change.
    Plan {
        /// None: the file of the process.
        file: Option<PathBuf>,
        /// What was found.
        answer: oneshot::Sender<Result<Plan, Refused>>,
    },
    /// Build the rules in force again, after an operator changed the weight of a backend.
    Rebuild {
        /// What came of it.
        answer: oneshot::Sender<Outcome>,
    },
}

/// Who asked for new rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// HUP.
    Signal,
    /// The admin address.
    Api,
    /// A change of the files.
    Watch,
    /// Nobody confirmed the last reload in time.
    Unconfirmed,
}

impl Cause {
    /// The word for it.
    pub const fn token(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::Api => "api",
            Cause::Watch => "watch",
            Cause::Unconfirmed => "unconfirmed",
        }
    }
}

/// What came of new rules.
pub type Outcome = Result<Applied, Refused>;

/// New rules are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Their number.
    pub generation: u64,
    /// Whether something changed that takes effect with an upgrade only.
    pub needs_upgrade: bool,
}

/// Why the former rules stay in force.
#[derive(Debug)]
pub enum Refused {
    /// What was read is wrong.
    File(LoadError),
    /// The machine said no: an address is taken, a certificate cannot be read.
    Machine(String),
}

impl Refused {
    /// The problems as data.
    pub fn listed(&self) -> Value {
        match self {
            Refused::File(error) => error.listed(),
            Refused::Machine(why) => json!([config::without_place(None, why)]),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::File(error) => error.fmt(formatter),
            Refused::Machine(why) => formatter.write_str(why),
        }
    }
}

/// The last time that new rules were asked for, and what waits to be confirmed.
#[derive(Debug, Default)]
pub struct Journal {
    /// None: the rules are those of the start.
    pub last: Option<Entry>,
    /// Until when the rules in force must be confirmed.
    pub confirm_until: Option<SystemTime>,
}

/// One time that new rules were asked for.
#[derive(Debug)]
pub struct Entry {
    /// When it was over.
    pub time: SystemTime,
    /// Who asked.
    pub cause: Cause,
    /// What came of it; the problems as data.
    pub outcome: Result<Applied, Value>,
}
