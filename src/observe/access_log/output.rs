//! Where the lines end up: a descriptor, written to by the writer alone.
//!
//! Invariant: a line that was torn by a full disk is ended before the next one begins, so that a reader loses one line
//! and not two. What could not be written is said in whole records.
//!
//! Deliberately absent: std's buffer for standard output, which would split lines where it likes, and a duplicate of
//! that descriptor: a daemon turns it elsewhere after the log was opened, and must not keep a terminal open.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use super::Destination;

/// How long to wait when a pipe is full and does not block; a reader that is behind has a tenth of a round to read.
const PIPE_IS_FULL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    /// The last byte that was written is not the end of a line.
    torn: bool,
}

#[derive(Debug)]
enum Target {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    File(File),
}

/// Lines that did not get out, and why.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) records: u64,
    pub(super) error: io::Error,
}

impl Output {
    pub(super) fn open(destination: &Destination) -> io::Result<Self> {
        Ok(match destination {
            Destination::Stdout => Self::from(Target::Stdout(io::stdout())),
            Destination::Stderr => Self::from(Target::Stderr(io::stderr())),
            Destination::File(path) => Self::file(open(path)?),
        })
    }

    pub(super) fn file(file: File) -> Self {
        Self::from(Target::File(file))
    }

    const fn from(target: Target) -> Self {
        Self { target, torn: false }
    }

    /// Writes the buffers in order, in as few calls as the system allows. While the other end is full it waits for as
    /// long as `patience` says yes.
    pub(super) fn write(&mut self, batch: &[Vec<u8>], patience: impl Fn() -> bool) -> Result<(), Unwritten> {
        let mended: &[u8] = if self.torn { b"\n" } else { b"" };
        let slices = || std::iter::once(mended).chain(batch.iter().map(Vec::as_slice));
        let (done, outcome) = write_all(self.target.as_fd(), slices(), patience);
        let bytes = || slices().flatten();
        if let Some(last) = done.checked_sub(1) {
            self.torn = bytes().nth(last).is_some_and(|byte| *byte != b'\n');
        }
        outcome.map_err(|error| {
            let begun = done.max(mended.len()); // the mending newline ends no record of this batch
            let records = bytes().skip(begun).filter(|byte| **byte == b'\n').count();
            Unwritten { records: records as u64, error }
        })
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(stdout) => stdout.as_fd(),
            Self::Stderr(stderr) => stderr.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

/// Opens a file to append to. A named pipe that nobody reads is an error here, and not a wait.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Returns how many bytes got out, also when it fails.
fn write_all<'a>(
    target: BorrowedFd<'_>,
    slices: impl Iterator<Item = &'a [u8]>,
    patience: impl Fn() -> bool,
) -> (usize, io::Result<()>) {
    let mut slices: Vec<_> = slices.filter(|slice| !slice.is_empty()).map(IoSlice::new).collect();
    let mut rest = slices.as_mut_slice();
    let mut done = 0;
    while !rest.is_empty() {
        match rustix::io::writev(target, rest) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                done += written;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) if patience() => thread::park_timeout(PIPE_IS_FULL),
            Err(error) => return (done, Err(error.into())),
        }
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::PermissionsExt;

    fn buffers(lines: &[&str]) -> Vec<Vec<u8>> {
        lines.iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn buffers_are_written_in_their_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::file(File::from(OwnedFd::from(writer)));
        output.write(&buffers(&["a\nb\n", "", "c\n"]), || true).unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\nb\nc\n");
    }

    #[test]
    fn a_full_disk_is_told_in_records() {
        let mut output = Output::open(&Destination::File("/dev/full".into())).unwrap();
        let unwritten = output.write(&buffers(&["a\nb\n", "c\n"]), || true).unwrap_err();
        assert_eq!(unwritten.records, 3);
        assert_eq!(unwritten.error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_reader_that_went_away_is_an_error_and_no_signal() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut output = Output::file(File::from(OwnedFd::from(writer)));
        let unwritten = output.write(&buffers(&["a\n"]), || true).unwrap_err();
        assert_eq!(unwritten.error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next_one_begins() {
        let (mut reader, writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let mut output = Output::open(&Destination::File(path.into())).unwrap();
        let long = format!("{}\n", "x".repeat(200_000));
        let unwritten = output.write(&buffers(&["first\n", &long, "never\n"]), || false).unwrap_err();
        assert_eq!(unwritten.records, 2, "the torn one and the one behind it");

        let mut full = vec![0; 1 << 20];
        let length = reader.read(&mut full).unwrap();
        assert!(full[..length].starts_with(b"first\nxxx"));
        assert_eq!(full[length - 1], b'x');
        output.write(&buffers(&["next\n"]), || false).unwrap();
        output.write(&buffers(&["last\n"]), || false).unwrap();
        drop((output, writer));
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "\nnext\nlast\n");
    }

    #[test]
    fn a_new_file_is_not_readable_by_everyone() {
        let folder = tempfile::tempdir().unwrap();
        let file = open(&folder.path().join("access.log")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(open(&path).unwrap_err().raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()));
    }
}
