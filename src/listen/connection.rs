//! The life of one client connection on its core: introduction, handshake, protocol, then request by request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::deadline::{Awaited, LINGER, TICK, Tick};
use super::listener::{Http2, Listener, Live};
use super::preface::{Spoken, spoken};
use super::proxy_protocol;
use super::socket::Accepted;
use super::stream::EdgeStream;
use super::tls;
use super::transport::{Plain, Socket};
use crate::config::ProxyProtocol;

/// What a client may send on one HTTP/2 stream before we read it. The protocol's 64 KiB hold an upload over
/// a 100 ms path to 5 Mbit/s.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection: this bounds what a connection can make us hold.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Requests of one listener on one core: pingora's proxy with this listener's HTTP/2 limits.
pub struct App<P> {
    proxy: Arc<HttpProxy<P>>,
    listener: Arc<Listener>,
    options: HttpServerOptions,
    /// Requests under way; of use only where the value is of one HTTP/2 connection.
    streams: AtomicUsize,
}

impl<P> App<P> {
    pub(super) fn new(proxy: Arc<HttpProxy<P>>, listener: Arc<Listener>) -> App<P> {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(listener.settings().keep_alive);
        App { proxy, listener, options, streams: AtomicUsize::new(0) }
    }

    /// The same for one HTTP/2 connection, with the listener's settings as they are now.
    fn for_connection(&self) -> Arc<App<P>> {
        Arc::new(App::new(self.proxy.clone(), self.listener.clone()))
    }

    /// Ends when the process drains and nothing has been under way for a while: a client that does not follow
    /// GOAWAY, or is gone without a word, must not hold the process for its whole grace period.
    async fn drained(&self, shutdown: &ShutdownWatch) {
        let mut shutdown = shutdown.clone();
        if shutdown.wait_for(|draining| *draining).await.is_err() {
            return std::future::pending().await;
        }
        let mut idle = Duration::ZERO;
        while idle < LINGER {
            tokio::time::sleep(TICK).await;
            idle = if self.streams.load(Ordering::Relaxed) == 0 { idle + TICK } else { Duration::ZERO };
        }
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }
}

#[async_trait]
impl<P> HttpServerApp for App<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _stream = Stream::begin(self);
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options
            .max_header_list_size(self.listener.settings().header_bytes)
            .initial_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Counts one request of a connection.
struct Stream<'a>(&'a AtomicUsize);

impl<'a> Stream<'a> {
    fn begin<P>(app: &'a App<P>) -> Stream<'a> {
        app.streams.fetch_add(1, Ordering::Relaxed);
        Stream(&app.streams)
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection until it ends: introduction, handshake, requests, each in a task of its own, so that none
/// makes that of a parked connection larger.
pub(super) fn spawn<P>(accepted: Accepted, live: Live, app: Arc<App<P>>, shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let (plain, address) = match accepted {
        Accepted::Tcp(stream, from) => (Plain::Tcp(stream), Some(from.ip().to_canonical())),
        Accepted::Unix(stream) => (Plain::Unix(stream), None),
    };
    let client = Client { listener: live.listener().clone(), address, tls: false };
    let settings = live.listener().settings();
    match settings.proxy_protocol {
        ProxyProtocol::Off => encrypt(plain, client, live, app, shutdown),
        ProxyProtocol::Required => {
            let limit = settings.request_header;
            tokio::spawn(introduced(plain, client, live, limit, move |plain, client, live| {
                encrypt(plain, client, live, app, shutdown);
            }));
        }
    }
}

/// Waits for whoever stands between to say who the client is; then it goes on.
async fn introduced(
    plain: Plain,
    mut client: Client,
    live: Live,
    limit: Duration,
    go_on: impl FnOnce(Plain, Client, Live),
) {
    match tokio::time::timeout(limit, proxy_protocol::receive(&plain)).await {
        Ok(Ok(source)) => {
            client.address = source.or(client.address);
            go_on(plain, client, live);
        }
        Ok(Err(_)) | Err(_) => {
            client.listener.counters.proxy_headers_refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Now it is known who the client is: does the handshake where there is one, and serves.
fn encrypt<P>(plain: Plain, mut client: Client, mut live: Live, app: Arc<App<P>>, shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    if !live.admit_client(client.address) {
        return;
    }
    let listener = live.listener().clone();
    let settings = listener.settings();
    match &settings.tls {
        None => {
            let stream = Box::new(EdgeStream::new(Socket::Plain(plain), client, None, live));
            tokio::spawn(serve(stream, app, shutdown));
        }
        Some(config) => {
            client.tls = true;
            let handshake =
                tokio::time::timeout(settings.request_header, TlsAcceptor::from(config.clone()).accept(plain));
            // The handshake's state is large: it must not become part of the connection's own task.
            tokio::spawn(async move {
                if let Ok(Ok(stream)) = handshake.await {
                    let digest = tls::digest(stream.get_ref().1);
                    let stream = Socket::Tls(Box::new(stream));
                    tokio::spawn(serve(Box::new(EdgeStream::new(stream, client, digest, live)), app, shutdown));
                } else {
                    listener.counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

async fn serve<P>(mut stream: Box<EdgeStream>, app: Arc<App<P>>, shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let due = Tick::after(app.listener.settings().request_header);
    if !stream.park(due, Awaited::Progress).await {
        return;
    }
    stream.expect_head(due, Awaited::Progress);
    let allowed = app.listener.settings().http2;
    match Box::pin(protocol(&mut stream, allowed)).await {
        None => return,
        Some(Spoken::Http2) => {
            stream.speak_http2();
            // In a box: it must not make the task of a parked connection larger.
            return Box::pin(http2(stream, app.for_connection(), shutdown)).await;
        }
        Some(Spoken::Http1 | Spoken::Undecided) => {}
    }
    let mut persistent = None;
    loop {
        let Some(reused) = request(stream, persistent, &app, &shutdown).await else { return };
        let (returned, settings) = reused.consume();
        persistent = settings;
        let Ok(own) = returned.into_any().downcast::<EdgeStream>() else {
            debug_assert!(false, "the session gives back the stream that it was made of");
            return;
        };
        stream = own;
        let due = Tick::after(app.listener.settings().keep_alive);
        if !stream.next_request_is_unread() {
            // It may be in the session's hands already: no waiting for bytes that will not come.
            stream.expect_head(due, Awaited::NextRequest);
            continue;
        }
        if !stream.park(due, Awaited::NextRequest).await {
            return;
        }
        stream.expect_head(Tick::after(app.listener.settings().request_header), Awaited::Progress);
    }
}

/// All requests of an HTTP/2 connection.
async fn http2<P>(stream: Box<EdgeStream>, app: Arc<App<P>>, shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    tokio::select! {
        _ = app.process_new(stream, &shutdown) => {}
        () = app.drained(&shutdown) => {}
    }
}

/// Which protocol the client speaks; none if it leaves before that is clear or may not speak it.
async fn protocol(stream: &mut EdgeStream, http2: Http2) -> Option<Spoken> {
    let negotiated = stream.negotiated_http2();
    if negotiated == Some(false) || http2 == Http2::Off {
        return Some(Spoken::Http1);
    }
    loop {
        match spoken(stream.ahead()) {
            Spoken::Http2 => return Some(Spoken::Http2),
            Spoken::Http1 if negotiated == Some(true) => return None,
            Spoken::Http1 => return Some(Spoken::Http1),
            Spoken::Undecided => {
                if !stream.read_ahead().await {
                    return None;
                }
            }
        }
    }
}

/// One request. Not an `async fn`: the session must not become part of the connection's task, which lives on
/// while the connection is parked.
fn request<'a, P>(
    stream: Box<EdgeStream>,
    persistent: Option<HttpPersistentSettings>,
    app: &'a Arc<App<P>>,
    shutdown: &'a ShutdownWatch,
) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut session = ServerSession::new_http1(stream);
    match persistent {
        // Any value says that the connection may be kept; how long is the edge's matter.
        None => session.set_keepalive(Some(60)),
        Some(persistent) => persistent.apply_to_session(&mut session),
    }
    app.proxy.process_new_http(session, shutdown)
}
