//! A way round a race of pingora 0.9.1 that tears upgraded connections down.
//!
//! If the backend's 101 is read before the request side has finished its (empty) body, the proxy takes the
//! end of that body for the end of the tunnel (pingora issue 946; 2 to 40 % of upgrades, by the eagerness of
//! the backend). The stream made here yields once between the first write and the first read after it, so
//! the request side comes first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::{ConnectError, OrErr, Result};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Connects streams that let the request side come first.
#[derive(Debug)]
pub struct PoliteConnect;

#[async_trait]
impl L4Connect for PoliteConnect {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let stream = TcpStream::connect(address).await.or_err(ConnectError, "connecting for an upgrade")?;
                stream.set_nodelay(true).or_err(ConnectError, "setting up a connection for an upgrade")?;
                Box::new(Polite::new(stream))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
                Box::new(Polite::new(
                    UnixStream::connect(path).await.or_err(ConnectError, "connecting for an upgrade")?,
                ))
            }
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
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
