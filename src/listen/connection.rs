//! The life of one client connection on its core: introduction, handshake, protocol, then request by request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use pingora_proxy::ProxyHttp;
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::deadline::{Awaited, Tick};
use super::listener::{Http2, Listener, Live};
use super::preface::{Spoken, spoken};
use super::proxy_protocol;
use super::socket::Accepted;
use super::stream::EdgeStream;
use super::transport::{Plain, Socket};
use super::{http1, http2};
use crate::config::ProxyProtocol;

/// Requests of one listener on one core.
pub struct App<P> {
    proxy: Arc<P>,
    listener: Arc<Listener>,
}

impl<P> App<P> {
    pub(super) fn new(proxy: Arc<P>, listener: Arc<Listener>) -> App<P> {
        App { proxy, listener }
    }

    pub(super) fn proxy(&self) -> &P {
        &self.proxy
    }

    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
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
            let stream = Box::new(EdgeStream::new(Socket::Plain(plain), client, live));
            tokio::spawn(serve(stream, app, shutdown));
        }
        Some(config) => {
            client.tls = true;
            let handshake =
                tokio::time::timeout(settings.request_header, TlsAcceptor::from(config.clone()).accept(plain));
            // The handshake's state is large: it must not become part of the connection's own task.
            tokio::spawn(async move {
                if let Ok(Ok(stream)) = handshake.await {
                    let stream = Socket::Tls(Box::new(stream));
                    tokio::spawn(serve(Box::new(EdgeStream::new(stream, client, live)), app, shutdown));
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
    let allowed = app.listener.settings().http2;
    match Box::pin(protocol(&mut stream, allowed, due)).await {
        None => {}
        // In a box: it must not make the task of a parked connection larger.
        Some(Spoken::Http2) => Box::pin(http2::serve(stream, app, shutdown)).await,
        Some(Spoken::Http1 | Spoken::Undecided) => http1::serve(stream, &app, &shutdown, due).await,
    }
}

/// Which protocol the client speaks; none if it leaves before that is clear or may not speak it.
async fn protocol(stream: &mut EdgeStream, http2: Http2, due: Tick) -> Option<Spoken> {
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
                if !stream.read_ahead(due).await {
                    // A beginning of either that is late is refused as one of HTTP/1.1.
                    return due.passed().then_some(Spoken::Undecided);
                }
            }
        }
    }
}
