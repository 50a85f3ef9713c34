//! A way round a race of pingora 0.9.1 that tears upgraded connections down.
//!
//! If the backend's 101 is read before the request side has finished its (empty) body, the proxy takes the
//! end of that body for the end of the tunnel (pingora issue 946; 2 to 40 % of upgrades, by the eagerness of
//! the backend). The stream made here yields once between the first write and the first read after it, so
//! the request side comes first.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::ErrorType::{ConnectError, ConnectRefused, InternalError};
use pingora::{Error, OrErr, Result};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::source::SourceAddresses;

/// No descriptor has this number.
const NOT_CONNECTED: RawFd = -1;

/// Connects streams that let the request side come first; made for one attempt.
///
/// pingora sees no descriptor through such a stream, and the deadline of a tunnel needs it: it is kept here.
#[derive(Clone, Debug)]
pub struct PoliteConnect {
    descriptor: Arc<AtomicI32>,
    sources: Arc<SourceAddresses>,
}

impl PoliteConnect {
    /// For connections that come from one of these addresses.
    pub fn from(sources: &Arc<SourceAddresses>) -> PoliteConnect {
        PoliteConnect { descriptor: Arc::new(AtomicI32::new(NOT_CONNECTED)), sources: sources.clone() }
    }

    /// The descriptor of the connection, once there is one.
    pub fn descriptor(&self) -> Option<RawFd> {
        let descriptor = self.descriptor.load(Ordering::Relaxed);
        (descriptor != NOT_CONNECTED).then_some(descriptor)
    }

    async fn tcp(&self, address: std::net::SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.sources.towards(&address, fastrand::usize(..)) {
            socket.bind(source)?;
        }
        socket.connect(address).await
    }

    fn connected(&self, stream: &impl AsRawFd) {
        self.descriptor.store(stream.as_raw_fd(), Ordering::Relaxed);
    }
}

#[async_trait]
impl L4Connect for PoliteConnect {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let stream = self.tcp(*address).await.map_err(connect_error)?;
                stream.set_nodelay(true).or_err(ConnectError, "setting up a connection for an upgrade")?;
                self.connected(&stream);
                Box::new(Polite::new(stream))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
                let stream = UnixStream::connect(path).await.map_err(connect_error)?;
                self.connected(&stream);
                Box::new(Polite::new(stream))
            }
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
}

/// Tells what the backend did from what this machine could not do, as pingora's own connector does.
fn connect_error(error: io::Error) -> Box<Error> {
    let kind = if is_ours(&error) {
        InternalError
    } else if error.kind() == io::ErrorKind::ConnectionRefused {
        ConnectRefused
    } else {
        ConnectError
    };
    Error::because(kind, "connecting for an upgrade", error)
}

/// Out of descriptors, ports or memory.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

#[derive(Debug)]
struct Polite<S> {
    stream: S,
    wrote: bool,
    yielded: bool,
}

impl<S> Polite<S> {
    fn new(stream: S) -> Polite<S> {
        Polite { stream, wrote: false, yielded: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Polite<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.wrote && !self.yielded {
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Polite<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug> VirtualSocket for Polite<S> {
    /// Nothing is left to set: delays are off since the connect, keep-alive is not asked for.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
