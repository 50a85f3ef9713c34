//! One connection to a backend, which requests share, and a request's place on it.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Ping;
use h2::client::{Builder, Connection as Frames, SendRequest};
use http::uri::Scheme;
use pingora::{ErrorType, OrErr, Result};
use pingora_core::protocols::Stream;

use super::watched::{Signs, Watched};

/// Requests at a time on one connection to a backend that allows as many.
pub const STREAMS: usize = 100;

/// What a backend may send on one stream before its client has taken it: the library holds that much. A stream of
/// 100 ms round trip gets 20 Mbit/s.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection: as much as all of them may send. So no client that does not read stops those of
/// others.
#[expect(clippy::cast_possible_truncation, reason = "a hundred")]
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;

/// The largest frame of a body that is taken.
const FRAME: u32 = 32 * 1024;

/// What waits of a request's body while the backend takes no more of it.
const SEND_BUFFER: usize = 64 * 1024;

/// The largest head that is read, as HTTP/2 counts it.
const HEAD: u32 = 256 * 1024;

/// Streams that were ended early and are remembered for a second, since more of them may be on its way. Frames of others count
/// as faults of the backend, of which there may be a thousand.
const REMEMBERED: usize = 1_000;

/// How a connection is asked whether it lives. Requests could share a dead one for long.
#[derive(Clone, Copy, Debug)]
pub struct Pings {
    every: Duration,
    /// How long it has to say so.
    within: Duration,
}

impl Pings {
    /// What all connections are asked like.
    pub const USUAL: Pings = Pings { every: Duration::from_secs(20), within: Duration::from_secs(5) };
}

/// See the module's documentation.
pub struct Connection {
    sender: SendRequest<Bytes>,
    signs: Arc<Signs>,
    scheme: Scheme,
    /// Requests that are on it.
    streams: AtomicUsize,
    born: Instant,
    /// Since when it has been without any, in milliseconds of its life.
    idle_since: AtomicU64,
}

/// A request's place on a connection.
pub struct Place {
    pub(super) connection: Arc<Connection>,
    pub(super) since: Since,
}

/// Since when there has been the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It was opened for this request, or for others that began at the same moment.
    New,
    /// It was there before.
    Before,
}

impl Connection {
    /// Begins to speak over a stream. The backend is not waited for.
    pub(super) async fn begin(stream: Stream, scheme: Scheme, pings: Pings) -> Result<Arc<Connection>> {
        let signs = Arc::new(Signs::default());
        let (sender, frames) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS)
            .max_frame_size(FRAME)
            .max_header_list_size(HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(REMEMBERED)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(Watched::new(stream, signs.clone()))
            .await
            .or_err(ErrorType::HandshakeError, "beginning HTTP/2")?;
        tokio::spawn(drive(frames, signs.clone(), pings));
        Ok(Arc::new(Connection {
            sender,
            signs,
            scheme,
            streams: AtomicUsize::new(0),
            born: Instant::now(),
            idle_since: AtomicU64::new(0),
        }))
    }

    /// A place on it, if it has one.
    pub(super) fn place(self: &Arc<Self>, since: Since) -> Option<Place> {
        if self.signs.closed() {
            return None;
        }
        let most = STREAMS.min(self.sender.current_max_send_streams());
        let more = |taken: usize| (taken < most).then(|| taken + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { connection: self.clone(), since })
    }

    /// How long it has been without any request; none if it is not.
    pub(super) fn idle(&self) -> Option<Duration> {
        let idle = self.streams.load(Ordering::Relaxed) == 0;
        let since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        idle.then(|| self.born.elapsed().saturating_sub(since))
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    pub(super) fn signs(&self) -> &Signs {
        &self.signs
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Connection { streams, born, idle_since, .. } = &*self.connection;
        if streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            let life = u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX);
            idle_since.store(life, Ordering::Relaxed);
        }
    }
}

/// Sends and receives for all that are on the connection, until it ends: by its backend, by silence, or when nobody holds it
/// any more.
async fn drive(mut frames: Frames<Watched, Bytes>, signs: Arc<Signs>, Pings { every, within }: Pings) {
    let mut pings = frames.ping_pong();
    let mut frames = pin!(frames);
    let mut timer = pin!(tokio::time::sleep(every));
    let mut asked = false;
    poll_fn(|task| {
        if frames.as_mut().poll(task).is_ready() {
            return Poll::Ready(());
        }
        let Some(pings) = &mut pings else { return Poll::Pending };
        loop {
            match pings.poll_pong(task) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {
                    asked = false;
                    timer.as_mut().reset(tokio::time::Instant::now() + every);
                }
                Poll::Pending => {}
            }
            ready!(timer.as_mut().poll(task));
            if asked || pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            asked = true;
            timer.as_mut().reset(tokio::time::Instant::now() + within);
        }
    })
    .await;
    signs.close();
}

impl std::fmt::Debug for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Place").field("since", &self.since).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pings(every: u64, within: u64) -> Pings {
        Pings { every: Duration::from_millis(every), within: Duration::from_millis(within) }
    }

    #[tokio::test]
    async fn a_connection_is_given_up_whose_backend_does_not_say_that_it_lives() {
        let (ours, silent) = tokio::io::duplex(1 << 16);
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, pings(10, 50)).await.unwrap();
        assert!(connection.place(Since::New).is_some());
        let given_up = async {
            while connection.place(Since::Before).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), given_up).await.unwrap();
        drop(silent);
    }

    #[tokio::test]
    async fn a_connection_that_lives_is_asked_again_and_again() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut backend = h2::server::handshake(theirs).await.unwrap();
            while backend.accept().await.is_some() {}
        });
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, pings(5, 10_000)).await.unwrap();
        let before = connection.signs().writes();
        let asked_often = async {
            while connection.signs().writes() < before + 10 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked_often).await.unwrap();
        assert!(connection.place(Since::Before).is_some());
    }

    #[tokio::test]
    async fn there_are_as_many_places_as_streams_and_what_is_left_is_taken_again() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, Pings::USUAL).await.unwrap();
        let mut places: Vec<_> = (0..STREAMS).map(|_| connection.place(Since::New).unwrap()).collect();
        assert!(connection.place(Since::Before).is_none() && connection.idle().is_none());
        places.pop();
        assert!(connection.place(Since::Before).is_some());
        drop(places);
        assert!(connection.idle().is_some_and(|idle| idle < Duration::from_secs(60)));
    }
}
