//! All requests of one HTTP/2 connection: accepts its streams and hands each to the proxy as a session of ours.
//!
//! pingora's own loop would hand over sessions that replace the backend's `Date` and lose interim answers.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::ProxyHttp;
use tokio::sync::Notify;

use super::client::user_data;
use super::connection::App;
use super::deadline::LINGER;
use super::http2_stream::Http2Stream;
use super::listener::Settings;
use super::metered::{Metered, Traffic};
use super::phases;
use crate::http2::{Limits, Server};

/// What a client may send on one HTTP/2 stream before we read it. The protocol's 64 KiB hold an upload over
/// a 100 ms path to 5 Mbit/s.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection: this bounds what a connection can make us hold.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The most requests of a connection at a time; those beyond are refused, and may be asked again.
const STREAMS: u32 = 128;

/// The largest frame of a body that is taken: what every client sends.
const FRAME: u32 = 16 * 1024;

/// How many reset streams are remembered, to tell frames that were under way from mistakes.
const REMEMBERED_RESETS: usize = 256;

/// Serves a connection until it ends, or has had no request for the listener's `keep_alive`.
pub(super) async fn serve<P>(stream: Metered, app: Arc<App<P>>, mut shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let client = user_data(Box::new(stream.client().clone())).map(Arc::new);
    let digest = Digest { proxy_digest: client, ..Digest::default() };
    let traffic = stream.traffic();
    // The settings as they are now: the client is told of them once.
    let settings = app.listener().settings().clone();
    let mut server = Server::new(stream, limits(&settings));
    let active = Arc::new(Active::default());
    let mut limit = Limit::Idle(settings.keep_alive);
    // Both are made once and not for each request: they have to be enlisted where they wait, and taken off again.
    let mut draining = pin!(shutdown.wait_for(|draining| *draining));
    let mut idle = pin!(active.idle(limit, &traffic));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut draining, if !limit.is_last() => None,
            accepted = poll_fn(|task| server.poll_accept(task)) => Some(accepted),
            // A client that does not follow GOAWAY, or is gone without a word, must not hold the process for its
            // whole grace period.
            () = &mut idle => {
                if limit.is_last() {
                    return;
                }
                None
            }
        };
        let Some(accepted) = accepted else {
            limit = Limit::Closing(settings.response_write_idle);
            idle.set(active.idle(limit, &traffic));
            // GOAWAY; what is under way ends well (RFC 9113, section 6.8).
            server.shut_down();
            continue;
        };
        let Some((request, mut stream)) = accepted else { return };
        if active.count.load(Ordering::Relaxed) == 0 {
            idle.set(active.idle(limit, &traffic));
        }
        if request.method == Method::CONNECT {
            let refusal = stream.send_fields(true, |encoder, out| encoder.status(out, StatusCode::METHOD_NOT_ALLOWED));
            if let Err(fault) = refusal {
                log::debug!(fault:%; "client has not waited to be refused");
            }
            continue;
        }
        let stream = Box::new(Http2Stream::new(request, stream, digest.clone(), traffic.clone()));
        let (app, guard) = (app.clone(), Active::begin(&active));
        tokio::spawn(async move {
            let _guard = guard;
            phases::run(app.proxy(), stream).await;
        });
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        streams: STREAMS,
        fields: usize::try_from(settings.header_bytes).unwrap_or(usize::MAX),
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        frame: FRAME,
        remembered_resets: REMEMBERED_RESETS,
    }
}

/// How long a connection without requests waits.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// For another request.
    Idle(Duration),
    /// For its client to take more of what there is, and then to leave.
    Closing(Duration),
}

impl Limit {
    fn is_last(self) -> bool {
        matches!(self, Limit::Closing(_))
    }
}

/// How many requests are under way.
#[derive(Debug, Default)]
struct Active {
    count: AtomicUsize,
    none: Notify,
}

impl Active {
    fn begin(active: &Arc<Active>) -> Guard {
        active.count.fetch_add(1, Ordering::Relaxed);
        Guard(active.clone())
    }

    /// Ends when there has been none for so long, and the client has taken nothing of what the library still holds.
    async fn idle(&self, limit: Limit, traffic: &Traffic) {
        loop {
            while self.count.load(Ordering::Relaxed) != 0 {
                self.none.notified().await;
            }
            let written = traffic.written.load(Ordering::Relaxed);
            let limit = match limit {
                Limit::Idle(limit) => limit,
                // Frames make what is written more than what was given: only a little can be missed.
                Limit::Closing(limit) if traffic.given.load(Ordering::Relaxed) > written => limit,
                Limit::Closing(_) => LINGER,
            };
            tokio::time::sleep(limit).await;
            if self.count.load(Ordering::Relaxed) == 0 && traffic.written.load(Ordering::Relaxed) == written {
                return;
            }
        }
    }
}

/// One request under way, until dropped.
struct Guard(Arc<Active>);

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.none.notify_one();
        }
    }
}
