//! What a client connection is carried by: TCP or a UNIX socket, with or without TLS.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection without TLS.
#[derive(Debug)]
pub enum Plain {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a UNIX socket.
    Unix(UnixStream),
}

/// A connection with or without TLS.
pub enum Socket {
    /// As it comes.
    Plain(Plain),
    /// After its handshake.
    Tls(Box<TlsStream<Plain>>),
}

impl Socket {
    pub(super) fn plain(&self) -> &Plain {
        match self {
            Socket::Plain(plain) => plain,
            Socket::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Plain {
    pub(super) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Plain::Tcp(stream) => stream.poll_read_ready(context),
            Plain::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// Lets TCP say at the close that not all was said; nothing can be said over a UNIX socket.
    pub(super) fn reset_on_close(&self) {
        if let Plain::Tcp(stream) = self
            && let Err(error) = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
        {
            log::debug!(error:%; "a broken answer will look whole");
        }
    }

    /// What can be read now, without taking it; waits until there is something.
    ///
    /// # Errors
    /// The connection's; `UnexpectedEof` at its end.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let peek = |buffer: &mut [u8]| recv(self.descriptor(), buffer, MsgFlags::MSG_PEEK).map_err(io::Error::from);
        self.when_readable(|| match self {
            Plain::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(buffer)),
            Plain::Unix(stream) => stream.try_io(Interest::READABLE, || peek(buffer)),
        })
        .await
    }

    /// Takes what can be read now; waits until there is something.
    ///
    /// # Errors
    /// The connection's; `UnexpectedEof` at its end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when_readable(|| match self {
            Plain::Tcp(stream) => stream.try_read(buffer),
            Plain::Unix(stream) => stream.try_read(buffer),
        })
        .await
    }

    async fn when_readable(&self, mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            poll_fn(|context| self.poll_read_ready(context)).await?;
            match attempt() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match self {
            Plain::Tcp(stream) => stream.as_raw_fd(),
            Plain::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// Passes one call on to whichever kind of connection it is.
macro_rules! each {
    ($kind:ident { $($variant:ident),+ }, $this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() { $($kind::$variant($stream) => { let $stream = Pin::new($stream); $call })+ }
    };
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(Plain { Tcp, Unix }, self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(Plain { Tcp, Unix }, self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(Plain { Tcp, Unix }, self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(Plain { Tcp, Unix }, self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(Plain { Tcp, Unix }, self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(Socket { Plain, Tls }, self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(Socket { Plain, Tls }, self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(Socket { Plain, Tls }, self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(Socket { Plain, Tls }, self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(Socket { Plain, Tls }, self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
