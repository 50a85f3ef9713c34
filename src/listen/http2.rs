//! All requests of one HTTP/2 connection: accepts its streams and hands each to the proxy as a session of ours.
//!
//! pingora's own loop would hand over sessions that replace the backend's `Date` and lose interim answers.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::ProxyHttp;
use tokio::sync::Notify;

use super::client::user_data;
use super::connection::App;
use super::deadline::{Awaited, LINGER, Tick, Ticket};
use super::http2_stream::Http2Stream;
use super::listener::Settings;
use super::phases;
use super::stream::EdgeStream;
use crate::http2::{By, Code, Fault, Limits, Progress, Server};

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
pub(super) async fn serve<P>(stream: Box<EdgeStream>, app: Arc<App<P>>, mut shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let client = user_data(Box::new(stream.client().clone())).map(Arc::new);
    let digest = Digest { proxy_digest: client, ..Digest::default() };
    // The settings as they are now: the client is told of them once.
    let settings = app.listener().settings().clone();
    let mut server = Server::new(stream, limits(&settings));
    let (began, progress) = (Tick::now(), server.progress());
    let mut unfinished = Unfinished::new(settings.request_header);
    let active = Arc::new(Active::default());
    let mut limit = Limit::Idle(settings.keep_alive);
    // Both are made once and not for each request: they have to be enlisted where they wait, and taken off again.
    let mut draining = pin!(shutdown.wait_for(|draining| *draining));
    let mut idle = pin!(active.idle(limit, &progress));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut draining, if !limit.is_last() => None,
            accepted = poll_fn(|task| match server.poll_accept(task, Tick::now().since(began)) {
                Poll::Pending if unfinished.is_late(server.is_within_fields(), task) => Poll::Ready(Err(Late)),
                accepted @ (Poll::Pending | Poll::Ready(_)) => accepted.map(Ok),
            }) => Some(accepted),
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
            idle.set(active.idle(limit, &progress));
            // GOAWAY; what is under way ends well (RFC 9113, section 6.8).
            server.shut_down();
            continue;
        };
        let (request, mut stream) = match accepted {
            Ok(Some(request)) => request,
            Ok(None) => break,
            Err(Late) => {
                app.listener().counters.heads_timed_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        if active.count.load(Ordering::Relaxed) == 0 {
            idle.set(active.idle(limit, &progress));
        }
        if request.method == Method::CONNECT {
            let refusal = stream.send_fields(true, |encoder, out| encoder.status(out, StatusCode::METHOD_NOT_ALLOWED));
            if let Err(fault) = refusal {
                log::debug!(fault:%; "client has not waited to be refused");
            }
            continue;
        }
        let stream = Box::new(Http2Stream::new(request, stream, digest.clone()));
        let (app, guard) = (app.clone(), Active::begin(&active));
        tokio::spawn(async move {
            let _guard = guard;
            phases::run(app.proxy(), stream).await;
        });
    }
    let (stream, fault) = server.into_io();
    if fault == Some(Fault::GoAway(Code::ENHANCE_YOUR_CALM, By::Us)) {
        app.listener().counters.floods.fetch_add(1, Ordering::Relaxed);
    }
    stream.close(fault.is_some()).await;
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

/// A head that has begun and does not end: its frames come without the last (RFC 9113, section 6.10).
struct Unfinished {
    limit: Duration,
    due: Option<(Tick, Ticket)>,
}

/// It has had its time.
struct Late;

impl Unfinished {
    fn new(limit: Duration) -> Unfinished {
        Unfinished { limit, due: None }
    }

    /// Whether there is one, and its time is over; if that is still to come, the task is woken then.
    fn is_late(&mut self, is_within_fields: bool, task: &Context<'_>) -> bool {
        if !is_within_fields {
            self.due = None;
            return false;
        }
        let (due, _) = self.due.get_or_insert_with(|| {
            let due = Tick::after(self.limit);
            (due, Ticket::new(task.waker(), due, Awaited::Progress))
        });
        due.passed()
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

    /// Ends when there has been none for so long, and the client has taken nothing of what there still is for it.
    async fn idle(&self, limit: Limit, progress: &Progress) {
        loop {
            while self.count.load(Ordering::Relaxed) != 0 {
                self.none.notified().await;
            }
            let written = progress.written();
            let limit = match limit {
                Limit::Idle(limit) => limit,
                Limit::Closing(limit) if progress.is_owed() => limit,
                Limit::Closing(_) => LINGER,
            };
            tokio::time::sleep(limit).await;
            if self.count.load(Ordering::Relaxed) == 0 && progress.written() == written {
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
