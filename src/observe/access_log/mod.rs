//! The access log: one line per finished request, written behind the request's back.
//!
//! ```text
//!   serving thread ── line ──▶ its shard ─┐
//!   serving thread ── line ──▶ its shard ─┼── every 100 ms, or when 32 KiB wait ──▶ writer ──▶ file, stdout, stderr
//!   serving thread ── line ──▶ its shard ─┘
//! ```
//!
//! Invariant: [`AccessLog::write`] never waits for anything but a swap of two buffers and never fails; a record is
//! written whole, or dropped and counted. Memory is bounded by twice `shard::BOUND` per serving thread.
//!
//! Deliberately absent: rotation and compression (rename the file and send USR1), changing a log that is open (a reload
//! makes a new one), sampling.

mod combined;
mod format;
mod json;
mod output;
#[cfg(test)]
pub(super) mod sample;
mod shard;
mod template;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use self::output::Output;
use self::shard::{Append, Shards};

pub use self::format::{Destination, Field, Format, Piece};
use super::record::Record;

/// How long [`AccessLog::close`] waits for a slow disk or reader. A stop has its own deadline, which this must not eat.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// An open access log. Dropping it closes it.
#[derive(Debug)]
pub struct AccessLog {
    format: Format,
    shared: Arc<Shared>,
    stage: Mutex<Stage>,
}

/// What the log, its writer and the seats of the threads have in common.
#[derive(Debug)]
struct Shared {
    destination: Destination,
    shards: Shards,
    dropped: AtomicU64,
    /// The file that a reopening made; the writer takes it before it writes again.
    reopened: Mutex<Option<File>>,
    writer: OnceLock<Thread>,
    /// The shards are closed and the writer shall make one last round.
    closing: AtomicBool,
    /// Nobody waits for the writer any more.
    abandoned: AtomicBool,
}

#[derive(Debug)]
enum Stage {
    /// Opened; lines gather, nobody writes.
    Open(Output),
    /// The writer runs; its end of the channel goes when it ends.
    Running(Receiver<Infallible>),
    Closed,
}

impl AccessLog {
    /// Opens the destination, and makes the file if it is not there. No thread is started yet, since the process may
    /// fork between this and [`start`](Self::start).
    pub fn open(destination: Destination, format: Format) -> io::Result<Self> {
        let output = Output::open(&destination)?;
        Ok(Self::over(output, destination, format))
    }

    fn over(output: Output, destination: Destination, format: Format) -> Self {
        Self {
            format,
            shared: Arc::new(Shared {
                destination,
                shards: Shards::default(),
                dropped: AtomicU64::new(0),
                reopened: Mutex::new(None),
                writer: OnceLock::new(),
                closing: AtomicBool::new(false),
                abandoned: AtomicBool::new(false),
            }),
            stage: Mutex::new(Stage::Open(output)),
        }
    }

    /// Starts the thread that writes. Again, or after closing, it does nothing. If no thread can be had the log is
    /// closed.
    pub fn start(&self) -> io::Result<()> {
        let mut stage = self.lock_stage();
        let output = match mem::replace(&mut *stage, Stage::Closed) {
            Stage::Open(output) => output,
            other @ (Stage::Running(_) | Stage::Closed) => {
                *stage = other;
                return Ok(());
            }
        };
        let shared = Arc::clone(&self.shared);
        let (ends, ended) = mpsc::channel();
        let handle = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writer::run(&shared, output);
                drop(ends);
            })
            .inspect_err(|_| self.shared.shards.close())?;
        // Cannot be set already: a log is started once.
        self.shared.writer.get_or_init(|| handle.thread().clone());
        *stage = Stage::Running(ended);
        Ok(())
    }

    /// Leaves the record for the writer. Called on the request path: it formats into the buffer of this thread and
    /// returns. Beyond the bound, or when the log is closed, the record is dropped and counted.
    pub fn write(&self, record: &Record<'_>) {
        let appended = shard::append(&self.shared, |out| match &self.format {
            Format::Json => json::write(out, record),
            Format::Combined => combined::write(out, record),
            Format::Template(pieces) => template::write(out, pieces, record),
        });
        match appended {
            Append::Kept => {}
            Append::Pressing => self.shared.wake_writer(),
            Append::Refused => self.shared.count_dropped(1),
        }
    }

    /// How many records were not written since the log was opened.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Opens the path again, after a rotation has renamed the file. Lines that wait go to the new file; a write that is
    /// under way still goes to the old one. If the path cannot be opened the old file stays, and a warning says so.
    /// Standard output and error stay as they are.
    pub fn reopen(&self) -> io::Result<()> {
        let destination = &self.shared.destination;
        let Destination::File(path) = destination else {
            return Ok(());
        };
        let file = output::open(path).inspect_err(
            |error| log::warn!(destination:%, error:%; "access log could not be reopened, the old file is kept"),
        )?;
        *self.shared.lock_reopened() = Some(file);
        self.shared.wake_writer();
        log::info!(destination:%; "access log reopened");
        Ok(())
    }

    /// Writes what waits and ends the writer; returns when that is done, or after [`CLOSE_WITHIN`]. Records that come
    /// later are dropped and counted. Closing twice does nothing.
    pub fn close(&self) {
        // What was left before the start shall be written too, and never by this thread, which a pipe could hold up.
        if let Err(error) = self.start() {
            log::warn!(error:%; "access log could not be started");
        }
        let Stage::Running(ended) = mem::replace(&mut *self.lock_stage(), Stage::Closed) else {
            return;
        };
        self.shared.shards.close();
        self.shared.closing.store(true, Ordering::Release);
        self.shared.wake_writer();
        match ended.recv_timeout(CLOSE_WITHIN) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => {
                self.shared.abandoned.store(true, Ordering::Release);
                self.shared.count_dropped(self.shared.shards.discard());
                let destination = &self.shared.destination;
                log::warn!(destination:%; "access log closed before all was written, nobody reads it");
            }
        }
    }

    fn lock_stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn count_dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    fn take_reopened(&self) -> Option<File> {
        self.lock_reopened().take()
    }

    fn lock_reopened(&self) -> MutexGuard<'_, Option<File>> {
        self.reopened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
