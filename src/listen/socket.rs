//! Listening sockets: bound before anything is promised, shared by all cores.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::Address;

/// Connections that the kernel completes before we accept them; capped by `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// What the kernel holds of an answer besides what is on its way: it would take some megabytes for each client that does not
/// read, until it has no memory left for anybody's connections. What is on its way is as much as ever.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Who may connect to a UNIX socket: the file's owner and group.
const UNIX_MODE: u32 = 0o660;

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub struct Acceptor(Socket);

/// A connection that was accepted, with the address of the client where there is one.
#[derive(Debug)]
pub enum Accepted {
    /// Over TCP.
    Tcp(tokio::net::TcpStream, SocketAddr),
    /// Over a UNIX socket.
    Unix(tokio::net::UnixStream),
}

impl Accepted {
    /// The number of its descriptor.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Accepted::Tcp(stream, _) => stream.as_raw_fd(),
            Accepted::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl Acceptor {
    /// Binds and listens.
    ///
    /// # Errors
    /// The system's: the port is taken, not ours to take, or not of this machine.
    pub fn bind(address: &Address) -> io::Result<Acceptor> {
        let socket = match address {
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                // Inherited by accepted sockets on Linux: no system call per connection.
                socket.set_tcp_nodelay(true)?;
                #[cfg(target_os = "linux")]
                socket.set_tcp_notsent_lowat(UNSENT)?;
                if address.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                socket.bind(&SockAddr::from(*address))?;
                socket
            }
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                remove_stale(path)?;
                socket.bind(&SockAddr::unix(path)?)?;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(UNIX_MODE))?;
                socket
            }
        };
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Acceptor(socket))
    }

    /// Takes a listening socket over from another process.
    ///
    /// # Errors
    /// If the descriptor is not a listening socket.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Acceptor> {
        let socket = Socket::from(descriptor);
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket"));
        }
        socket.set_nonblocking(true)?;
        Ok(Acceptor(socket))
    }

    /// Another handle of the same socket: every core has its own.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn share(&self) -> io::Result<Acceptor> {
        self.0.try_clone().map(Acceptor)
    }

    /// The address in use: with the port that the kernel chose, where 0 was asked for.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()?.as_socket()
    }

    /// Registers the socket with the runtime of this thread.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub(crate) fn watch(self) -> io::Result<Watched> {
        if self.0.domain()? == Domain::UNIX {
            tokio::net::UnixListener::from_std(self.0.into()).map(Watched::Unix)
        } else {
            tokio::net::TcpListener::from_std(self.0.into()).map(Watched::Tcp)
        }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A listening socket under a runtime.
#[derive(Debug)]
pub(crate) enum Watched {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Watched {
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Watched::Tcp(listener) => listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from)),
            Watched::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Removes the file of a UNIX socket that nobody listens on any more; anything else is left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is not a socket is in the way"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_at_once() {
        let first = Acceptor::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let taken = first.local_address().unwrap();
        let error = Acceptor::bind(&Address::Tcp(taken)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let address = Address::Unix(path.clone());
        let first = Acceptor::bind(&address).unwrap();
        assert_eq!(Acceptor::bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(Acceptor::bind(&address).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Acceptor::bind(&address).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn only_a_listening_socket_is_adopted() {
        let listening = Acceptor::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let descriptor = listening.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(Acceptor::adopt(descriptor).unwrap().local_address(), listening.local_address());
        let plain = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Acceptor::adopt(plain.into()).is_err());
    }
}
