//! The thread that carries lines from the shards to the output.
//!
//! Invariant: the only thread that waits for a disk or a reader. It ends after one last round once the log is closing,
//! and earlier only if it is told to give up.
//!
//! Deliberately absent: a retry of lines that failed, which would need a second bound and would bring old news.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::output::{Output, Unwritten};
use super::{Destination, Shared};

/// How long a line waits at most when there is little traffic: too short to notice in `tail -f`, long enough that an
/// idle process wakes ten times a second and not more.
const ROUND: Duration = Duration::from_millis(100);

/// What a buffer keeps of its memory after a burst: twice the length at which the writer is woken.
const KEPT_CAPACITY: usize = 64 << 10;

/// Writes round after round until the log is closed.
pub(super) fn run(shared: &Shared, mut output: Output) {
    let mut batch = Vec::new();
    let mut spares = Vec::new();
    let mut health = Health::Fine;
    loop {
        let closing = shared.closing.load(Ordering::Acquire);
        if let Some(file) = shared.take_reopened() {
            output = Output::file(file);
        }
        shared.shards.fetch(&mut batch, &mut spares);
        if !batch.is_empty() {
            let written = output.write(&batch, || !shared.abandoned.load(Ordering::Acquire));
            if let Err(Unwritten { records, .. }) = &written {
                shared.count_dropped(*records);
            }
            if let Some(turned) = health.observe(written) {
                turned.log(&shared.destination);
            }
            spares.extend(batch.drain(..).map(emptied));
        }
        if closing {
            return;
        }
        thread::park_timeout(ROUND);
    }
}

fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(KEPT_CAPACITY);
    buffer
}

/// Whether lines get out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Fine,
    Failing { lost: u64 },
}

/// A change of health, to be logged once.
#[derive(Debug)]
enum Turned {
    Failing(io::Error),
    Fine { lost: u64 },
}

impl Health {
    fn observe(&mut self, written: Result<(), Unwritten>) -> Option<Turned> {
        let (next, turned) = match (*self, written) {
            (Self::Fine, Ok(())) => (Self::Fine, None),
            (Self::Failing { lost }, Ok(())) => (Self::Fine, Some(Turned::Fine { lost })),
            (Self::Fine, Err(Unwritten { records, error })) => {
                (Self::Failing { lost: records }, Some(Turned::Failing(error)))
            }
            (Self::Failing { lost }, Err(Unwritten { records, error: _ })) => {
                (Self::Failing { lost: lost.saturating_add(records) }, None)
            }
        };
        *self = next;
        turned
    }
}

impl Turned {
    fn log(&self, destination: &Destination) {
        match self {
            Self::Failing(error) => {
                log::warn!(destination:%, error:%; "access log could not be written, records are dropped");
            }
            Self::Fine { lost } => {
                log::info!(destination:%, lost; "access log written again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_is_told_once_and_so_is_its_recovery() {
        let failed = |records| Err(Unwritten { records, error: io::ErrorKind::StorageFull.into() });
        let mut health = Health::Fine;
        assert!(health.observe(Ok(())).is_none());
        assert!(matches!(health.observe(failed(3)), Some(Turned::Failing(_))));
        assert!(health.observe(failed(4)).is_none());
        assert!(matches!(health.observe(Ok(())), Some(Turned::Fine { lost: 7 })));
        assert!(health.observe(Ok(())).is_none());
    }
}
