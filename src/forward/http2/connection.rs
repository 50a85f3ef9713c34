//! One connection to a backend, which requests share, and a request's place on it.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use http::uri::Scheme;
use pingora_core::protocols::Stream;

use super::watched::{Signs, Watched};
use crate::http2::{Client, Driver, Limits, client};

/// Requests at a time on one connection to a backend that allows as many.
pub const STREAMS: usize = 100;

/// What a backend may send on one stream before its client has taken it: so much is held. A stream of
/// 100 ms round trip gets 20 Mbit/s.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection: as much as all of them may send. So no client that does not read stops those of
/// others.
#[expect(clippy::cast_possible_truncation, reason = "a hundred")]
const CONNECTION_WINDOW: u32 = STREAMS as u32 * STREAM_WINDOW;

/// The largest frame of a body that is taken.
const FRAME: u32 = 32 * 1024;

/// The largest head that is read, as HTTP/2 counts it.
const HEAD: usize = 256 * 1024;

/// Streams that were ended early and are remembered, since more of them may be on its way.
const REMEMBERED: usize = 1_000;

/// What a backend may send.
const LIMITS: Limits = Limits {
    streams: 0,
    fields: HEAD,
    stream_window: STREAM_WINDOW,
    connection_window: CONNECTION_WINDOW,
    frame: FRAME,
    remembered_resets: REMEMBERED,
};

/// Requests that a connection serves in its life. There are half as many numbers of streams as 31 bits have (RFC 9113, section
/// 5.1.1).
const LIFE: u64 = 1 << 29;

/// How a connection is asked whether it lives, where requests are on it and nothing comes. They could share a dead one for long.
///
/// Backends count pings as abuse that come more often than every five minutes and with nothing said in between
/// (gRPC's servers take two of them): so a silence is asked about once, and again after longer.
#[derive(Clone, Copy, Debug)]
pub struct Pings {
    /// How long nothing has come.
    every: Duration,
    /// How long it has to say something.
    within: Duration,
    /// How many times `every` go by in a silence before it is asked again.
    again: u32,
}

impl Pings {
    /// What all connections are asked like.
    pub const USUAL: Pings = Pings { every: Duration::from_secs(20), within: Duration::from_secs(5), again: 18 };
}

/// What is known of the life of a connection.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// Something has come, or nothing is waited for.
    Heard,
    /// It was asked.
    Asked,
    /// It has said that it lives, and nothing else for so many times `every`.
    Answered(u32),
}

/// See the module's documentation.
pub struct Connection {
    client: Client,
    signs: Arc<Signs>,
    scheme: Scheme,
    /// Requests that are on it.
    streams: Arc<AtomicUsize>,
    /// Requests that it has had.
    given: AtomicU64,
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
    pub(super) fn begin(stream: Stream, scheme: Scheme, pings: Pings) -> Arc<Connection> {
        let signs = Arc::new(Signs::default());
        let (client, driver) = client(Watched::new(stream, signs.clone()), LIMITS);
        let streams = Arc::new(AtomicUsize::new(0));
        tokio::spawn(drive(driver, signs.clone(), streams.clone(), pings));
        Arc::new(Connection {
            client,
            signs,
            scheme,
            streams,
            given: AtomicU64::new(0),
            born: Instant::now(),
            idle_since: AtomicU64::new(0),
        })
    }

    /// A place on it, if it has one.
    pub(super) fn place(self: &Arc<Self>, since: Since) -> Option<Place> {
        if self.signs.closed() {
            return None;
        }
        let most = self.client.most().map_or(STREAMS, |most| most.min(STREAMS));
        let more = |taken: usize| (taken < most).then(|| taken + 1);
        self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        if self.given.fetch_add(1, Ordering::Relaxed) + 1 >= LIFE {
            self.signs.close();
        }
        Some(Place { connection: self.clone(), since })
    }

    /// How long it has been without any request; none if it is not.
    pub(super) fn idle(&self) -> Option<Duration> {
        let idle = self.streams.load(Ordering::Relaxed) == 0;
        let since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        idle.then(|| self.born.elapsed().saturating_sub(since))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
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
async fn drive(mut driver: Driver<Watched>, signs: Arc<Signs>, streams: Arc<AtomicUsize>, asks: Pings) {
    let mut timer = pin!(tokio::time::sleep(asks.every));
    let (mut life, mut heard, mut answers) = (Life::Heard, signs.reads(), 0);
    poll_fn(|task| {
        if driver.poll_drive(task).is_ready() {
            return Poll::Ready(());
        }
        if driver.is_closing() {
            signs.close();
        }
        if std::mem::replace(&mut answers, driver.answers()) != driver.answers() {
            (life, heard) = (Life::Answered(0), signs.reads());
            timer.as_mut().reset(tokio::time::Instant::now() + asks.every);
        }
        loop {
            ready!(timer.as_mut().poll(task));
            let reads = signs.reads();
            let waited_for = streams.load(Ordering::Relaxed) > 0;
            let mut wait = asks.every;
            life = match life {
                _ if std::mem::replace(&mut heard, reads) != reads => Life::Heard,
                Life::Asked => return Poll::Ready(()),
                Life::Answered(times) if times < asks.again => Life::Answered(times + 1),
                Life::Heard | Life::Answered(_) if !waited_for => Life::Heard,
                Life::Heard | Life::Answered(_) => {
                    driver.ask();
                    wait = asks.within;
                    Life::Asked
                }
            };
            timer.as_mut().reset(tokio::time::Instant::now() + wait);
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
    use tokio::io::AsyncWriteExt as _;

    fn pings(every: u64, within: u64, again: u32) -> Pings {
        Pings { every: Duration::from_millis(every), within: Duration::from_millis(within), again }
    }

    #[tokio::test]
    async fn a_connection_is_given_up_whose_backend_does_not_say_that_it_lives() {
        let (ours, silent) = tokio::io::duplex(1 << 16);
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, pings(10, 50, 0));
        let _waits = connection.place(Since::New).unwrap();
        let given_up = async {
            while connection.place(Since::Before).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), given_up).await.unwrap();
        drop(silent);
    }

    /// How often a backend that lives was written to in that time, by a connection with a request on it or without one.
    async fn writes(pings: Pings, has_request: bool, time: Duration) -> u64 {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut backend = h2::server::handshake(theirs).await.unwrap();
            while backend.accept().await.is_some() {}
        });
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, pings);
        let place = has_request.then(|| connection.place(Since::New).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = connection.signs().writes();
        tokio::time::sleep(time).await;
        assert!(!connection.signs().closed(), "{place:?}");
        connection.signs().writes() - before
    }

    #[tokio::test]
    async fn a_silence_is_asked_about_once_and_again_only_later() {
        let time = Duration::from_millis(500);
        assert_eq!(writes(pings(5, 10_000, 0), false, time).await, 0, "nobody waits");
        assert!(writes(pings(5, 10_000, 0), true, time).await > 10, "again and again, were it not for the pause");
        assert!(writes(pings(200, 10_000, 1_000), true, time).await <= 1);
    }

    #[tokio::test]
    async fn there_are_as_many_places_as_streams_and_what_is_left_is_taken_again() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let connection = Connection::begin(Box::new(ours), Scheme::HTTP, Pings::USUAL);
        let first = connection.place(Since::New).unwrap();
        assert!(connection.place(Since::New).is_none(), "how many there are is not known");
        // Settings that say nothing.
        theirs.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        poll_fn(|task| connection.client().poll_greeted(task)).await;
        drop(first);
        let mut places: Vec<_> = (0..STREAMS).map(|_| connection.place(Since::New).unwrap()).collect();
        assert!(connection.place(Since::Before).is_none() && connection.idle().is_none());
        places.pop();
        assert!(connection.place(Since::Before).is_some());
        drop(places);
        assert!(connection.idle().is_some_and(|idle| idle < Duration::from_secs(60)));
    }
}
