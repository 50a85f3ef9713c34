//! Handing the listening sockets over to a successor without losing a connection.
//!
//! The successor (`evenkeel -u`) listens on `upgrade_sock`. On QUIT the running process connects, sends each
//! socket with the address it listens on, and waits until the successor says that it serves. Only then does
//! it drain. Whatever goes wrong before (nobody waits, the successor dies, it takes too long), it goes on
//! serving as if nothing had happened.
//!
//! pingora's own hand-over ends the old process whatever becomes of the new one, carries at most 32 sockets,
//! and opens its socket to everybody; that is why this one is ours. The messages are those of a
//! SEQPACKET socket, which keeps their borders: one message per socket, an empty name for the end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with,
};

use super::account::Account;
use crate::listen::Acceptor;
use crate::upstream::operator::Decision;
use crate::upstream::sticky::Secret;

/// How long a successor waits to be given the sockets.
const WAIT_FOR_SOCKETS: Duration = Duration::from_secs(60);

/// How long the running process waits for its successor to serve.
const WAIT_FOR_READY: Duration = Duration::from_secs(60);

/// The longest message: a decision names an upstream (64 bytes) and a backend (a UNIX path has at most 108 bytes, each of
/// which JSON may need six for).
const LONGEST_NAME: usize = 1024;

const READY: &[u8] = b"ready";

/// Sockets by the address they listen on, as it is written in the configuration.
pub type Sockets = Vec<(String, Acceptor)>;

/// What a successor is given.
#[derive(Debug, Default)]
pub struct Estate {
    /// What it listens on.
    pub sockets: Sockets,
    /// What operators have decided about backends.
    pub decisions: Vec<Decision>,
    /// What cookies were signed with.
    pub secret: Option<Secret>,
}

/// The successor's end, once it has the sockets: its predecessor waits to hear that it serves.
#[derive(Debug)]
pub struct Predecessor(OwnedFd);

impl Predecessor {
    /// Tells the predecessor that it may drain.
    ///
    /// # Errors
    /// If it is gone.
    pub fn release(self) -> io::Result<()> {
        rustix::net::send(&self.0, READY, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// Waits at `path` for the running process to hand its sockets over. `owner` is the user that it runs as, if it gave
/// up being root.
///
/// # Errors
/// If another successor waits there, nobody comes in a minute, or what comes is not a hand-over.
pub fn receive(path: &Path, account: Option<Account>) -> io::Result<(Estate, Predecessor)> {
    super::pid_file::private_folder(path)?;
    let waiting = seqpacket()?;
    let address = SocketAddrUnix::new(path)?;
    if path.exists() {
        if is_awaited(path) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process waits to take over"));
        }
        std::fs::remove_file(path)?;
    }
    // Only our user may connect: whoever can, can give us sockets. The mask is the process's: nothing else runs yet.
    let mask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let bound = bind(&waiting, &address);
    rustix::process::umask(mask);
    bound?;
    if let Some(account) = account {
        // The running process has taken it on already, and must be able to connect.
        account.give(path).map_err(io::Error::other)?;
    }
    listen(&waiting, 1)?;
    let given = accept_predecessor(&waiting);
    std::fs::remove_file(path)?;
    given
}

/// Whether a successor waits at `path`. It notices that we connect and say nothing, and waits on.
pub fn is_awaited(path: &Path) -> bool {
    let connected = seqpacket().and_then(|socket| Ok(connect(&socket, &SocketAddrUnix::new(path)?)?));
    connected.is_ok()
}

fn accept_predecessor(waiting: &OwnedFd) -> io::Result<(Estate, Predecessor)> {
    let end = Instant::now() + WAIT_FOR_SOCKETS;
    loop {
        wait_readable(waiting, end.saturating_duration_since(Instant::now()))?;
        let from = accept_with(waiting, SocketFlags::CLOEXEC)?;
        if let Some(estate) = receive_all(&from)? {
            return Ok((estate, Predecessor(from)));
        }
    }
}

/// Hands the estate to the successor that waits at `path`, and returns when it serves. Blocks.
///
/// # Errors
/// If nobody waits there, or the successor ends or does not serve in a minute: then nothing has changed.
pub fn send(path: &Path, estate: &Estate) -> io::Result<()> {
    let to = seqpacket()?;
    connect(&to, &SocketAddrUnix::new(path)?)?;
    for (name, acceptor) in &estate.sockets {
        let descriptors = [acceptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("a descriptor did not fit its message"));
        }
        sendmsg(&to, &[IoSlice::new(name.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    for decision in &estate.decisions {
        let message = [DECISION, &serde_json::to_vec(decision).map_err(io::Error::other)?].concat();
        rustix::net::send(&to, &message, SendFlags::NOSIGNAL)?;
    }
    if let Some(secret) = &estate.secret {
        rustix::net::send(&to, &[SECRET, secret.bytes()].concat(), SendFlags::NOSIGNAL)?;
    }
    // An empty message could not be told from the end of the connection.
    rustix::net::send(&to, END, SendFlags::NOSIGNAL)?;
    wait_readable(&to, WAIT_FOR_READY)?;
    let mut answer = [0; READY.len()];
    let (length, _) = rustix::net::recv(&to, &mut answer, RecvFlags::empty())?;
    if length == READY.len() && answer == READY {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the successor ended before it served"))
    }
}

const END: &[u8] = b"\0end";

/// What follows is a decision, as JSON.
const DECISION: &[u8] = b"\0decision ";

/// What follows is the secret.
const SECRET: &[u8] = b"\0secret ";

/// None if the other side left without a word: it only asked whether we wait.
fn receive_all(from: &OwnedFd) -> io::Result<Option<Estate>> {
    let mut estate = Estate::default();
    loop {
        wait_readable(from, WAIT_FOR_SOCKETS)?;
        let mut name = [0; LONGEST_NAME];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(from, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let name = name.get(..received.bytes).unwrap_or_default();
        if name == END {
            return Ok(Some(estate));
        }
        if name.is_empty() && estate.sockets.is_empty() {
            return Ok(None);
        }
        if let Some(decision) = name.strip_prefix(DECISION) {
            estate.decisions.push(serde_json::from_slice(decision).map_err(io::Error::other)?);
            continue;
        }
        if let Some(secret) = name.strip_prefix(SECRET) {
            estate.secret = Some(Secret::given(secret));
            continue;
        }
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let descriptor = ancillary.drain().find_map(|message| {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message { descriptors.next() } else { None }
        });
        let (Some(name), Some(descriptor)) = (name, descriptor) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the running process ended in the middle of the hand-over",
            ));
        };
        estate.sockets.push((name.to_owned(), Acceptor::adopt(descriptor)?));
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

fn wait_readable(descriptor: &OwnedFd, limit: Duration) -> io::Result<()> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let limit = rustix::event::Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn estate(count: usize) -> Estate {
        let decision = serde_json::json!({ "upstream": "app", "backend": "127.0.0.1:1", "drained": true, "weight": 3 });
        Estate {
            sockets: listening(count),
            decisions: vec![serde_json::from_value(decision).unwrap()],
            secret: Secret::random().ok(),
        }
    }

    fn listening(count: usize) -> Sockets {
        let any = || Acceptor::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        (0..count).map(|_| any()).map(|acceptor| (acceptor.local_address().unwrap().to_string(), acceptor)).collect()
    }

    fn wait_for(path: &Path) {
        let end = Instant::now() + Duration::from_secs(5);
        while !path.exists() {
            assert!(Instant::now() < end, "nobody waits at {}", path.display());
            std::thread::yield_now();
        }
    }

    /// `listen` follows `bind`: the file may be there a moment before anybody can connect.
    fn send_when_listening(path: &Path, estate: &Estate) -> io::Result<()> {
        wait_for(path);
        loop {
            match send(path, estate) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::thread::yield_now(),
                outcome => return outcome,
            }
        }
    }

    #[test]
    fn forty_sockets_change_hands_under_their_names_and_what_was_decided_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let given = estate(40);
        let names: Vec<String> = given.sockets.iter().map(|(name, _)| name.clone()).collect();
        let there = path.clone();
        let successor = std::thread::spawn(move || {
            let (received, predecessor) = receive(&there, None).unwrap();
            predecessor.release().unwrap();
            received
        });
        send_when_listening(&path, &given).unwrap();
        let Estate { sockets: received, decisions, secret } = successor.join().unwrap();
        assert!(secret.is_some() && secret == given.secret);
        assert_eq!(decisions, given.decisions);
        assert_eq!(received.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        for (name, acceptor) in received {
            assert_eq!(acceptor.local_address().unwrap().to_string(), name);
        }
        assert!(!path.exists());
    }

    #[test]
    fn who_only_asks_whether_a_successor_waits_does_not_disturb_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        assert!(!is_awaited(&path));
        let there = path.clone();
        let successor = std::thread::spawn(move || {
            let (received, predecessor) = receive(&there, None).unwrap();
            predecessor.release().unwrap();
            received.sockets.len()
        });
        wait_for(&path);
        while !is_awaited(&path) {
            std::thread::yield_now();
        }
        assert!(receive(&path, None).unwrap_err().to_string().contains("another process waits"));
        send(&path, &estate(2)).unwrap();
        assert_eq!(successor.join().unwrap(), 2);
    }

    #[test]
    fn without_a_successor_it_is_an_error_and_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let error = send(&folder.path().join("upgrade.sock"), &estate(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_successor_that_dies_with_the_sockets_in_hand_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let there = path.clone();
        let successor = std::thread::spawn(move || drop(receive(&there, None).unwrap()));
        let error = send_when_listening(&path, &estate(1)).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{error}");
        successor.join().unwrap();
    }
}
