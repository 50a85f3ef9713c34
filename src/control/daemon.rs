//! `-d`: starting a daemon and telling whoever started it how that went.
//!
//! pingora forks and its parent leaves at once, whatever becomes of the child. So the process that the user
//! started stays in front: it starts itself once more to become the daemon, listens for its notification
//! (sd_notify's protocol) and ends with the truth. A pipe that every descendant holds open and nobody writes
//! to says when the last of them is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Set for the process that is to fork.
const FORK: &str = "EVENKEEL_FORK";

/// How long a daemon may take to be ready: a hand-over waits a minute for its sockets.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Whether this process is the one that forks.
pub fn is_to_fork() -> bool {
    std::env::var_os(FORK).is_some()
}

/// Starts the daemon with our own arguments, and waits until it serves. `owner` is the user that it will run as, if
/// not ours.
///
/// # Errors
/// A sentence, with the daemon's exit code where it has ended with one.
pub fn launch() -> Result<(), (String, Option<i32>)> {
    let fault = |error: io::Error| (format!("the daemon could not be started: {error}"), None);
    let program = std::env::current_exe().map_err(fault)?;
    // In the abstract name space: the daemon may be another user by the time it writes.
    let name = format!("evenkeel-notify-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let address = SocketAddr::from_abstract_name(&name).map_err(fault)?;
    let socket = UnixDatagram::bind_addr(&address).map_err(fault)?;
    // Without CLOEXEC, so that it is inherited.
    let (alive, held) = rustix::pipe::pipe().map_err(|error| fault(error.into()))?;
    rustix::io::fcntl_setfd(&alive, rustix::io::FdFlags::CLOEXEC).map_err(|error| fault(error.into()))?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(FORK, "1")
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .spawn()
        .map_err(fault)?;
    drop(held);
    // The forking process ends as soon as it has forked.
    let status = child.wait().map_err(fault)?;
    if !status.success() {
        return Err(("the daemon could not be started".to_owned(), status.code()));
    }
    wait_ready(&socket, &alive).map_err(|why| (why, None))
}

fn wait_ready(socket: &UnixDatagram, alive: &OwnedFd) -> Result<(), String> {
    let end = Instant::now() + READY_WITHIN;
    let mut message = [0; 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).unwrap_or_default();
        let mut polled = [PollFd::new(socket, PollFlags::IN), PollFd::new(alive, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Ok(0) => return Err(format!("the daemon is not ready after {} s", READY_WITHIN.as_secs())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("waiting for the daemon failed: {error}")),
        }
        let [notified, ended] = polled.map(|polled| !polled.revents().is_empty());
        if notified {
            let length = socket.recv(&mut message).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default());
            if text.lines().any(|line| line == "READY=1") {
                // A supervisor of ours learns which process is the one now.
                super::notify::forward(&text);
                return Ok(());
            }
        } else if ended {
            return Err("the daemon ended before it was ready; its error log says why".to_owned());
        }
    }
}
