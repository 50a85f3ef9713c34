//! What the process is doing: starting, serving or draining. Every part that behaves differently then asks here.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

/// See the module's documentation. It only moves forward.
#[derive(Default)]
pub struct Lifecycle {
    stage: AtomicU8,
    waiting: Mutex<Vec<(Stage, Call)>>,
}

type Call = Box<dyn FnOnce() + Send>;

/// One stage of the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Not serving yet.
    Starting = 0,
    /// Serving.
    Serving = 1,
    /// About to end: not ready for more, every answer asks the client to close.
    Draining = 2,
}

impl Lifecycle {
    /// The stage now.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Serving,
            _ => Stage::Draining,
        }
    }

    /// Moves forward to a stage; going back has no effect.
    pub fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let reached: Vec<_> = waiting.extract_if(.., |(awaited, _)| *awaited <= stage).collect();
        drop(waiting);
        for (_, call) in reached {
            call();
        }
    }

    /// Calls once when the stage is reached. To be set up before the process starts.
    pub fn when(&self, stage: Stage, call: impl FnOnce() + Send + 'static) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((stage, Box::new(call)));
    }

    /// Whether kept connections are to be closed after their answer.
    pub fn draining(&self) -> bool {
        self.stage() == Stage::Draining
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stage().fmt(formatter)
    }
}
