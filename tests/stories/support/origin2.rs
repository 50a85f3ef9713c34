//! A backend that speaks HTTP/2, by prior knowledge or over TLS.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

/// What is done with a request.
pub type Handler =
    dyn Fn(Request<RecvStream>, SendResponse<Bytes>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A backend on a port of its own, for as long as the test lasts.
pub struct Origin2 {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    connections: AtomicUsize,
    requests: Mutex<Vec<http::request::Parts>>,
}

impl Origin2 {
    /// By prior knowledge.
    pub fn start<F, D>(handler: F) -> Origin2
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> D + Send + Sync + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        Origin2::start_with(None, handler)
    }

    /// Over TLS, if there is a configuration for it.
    pub fn start_with<F, D>(tls: Option<Arc<rustls::ServerConfig>>, handler: F) -> Origin2
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> D + Send + Sync + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address for an origin");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("its address");
        let handler: Box<Handler> = Box::new(move |request, respond| Box::pin(handler(request, respond)));
        let shared = Arc::new(Shared { handler, connections: AtomicUsize::new(0), requests: Mutex::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    let (tls, shared) = (tls.clone().map(TlsAcceptor::from), serving.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, shared).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, shared).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Origin2 { address, shared }
    }

    /// Connections over which requests came.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<http::request::Parts> {
        self.shared.requests.lock().unwrap().clone()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    let mut first = true;
    while let Some(Ok((request, respond))) = connection.accept().await {
        if std::mem::take(&mut first) {
            shared.connections.fetch_add(1, Ordering::SeqCst);
        }
        let (head, body) = request.into_parts();
        shared.requests.lock().unwrap().push(head.clone());
        if head.uri.path() == "/goaway" {
            connection.graceful_shutdown();
        }
        tokio::spawn((shared.handler)(Request::from_parts(head, body), respond));
    }
}

/// Answers with this status and nothing more yet.
pub fn begin(respond: &mut SendResponse<Bytes>, status: u16) -> SendStream<Bytes> {
    let head = Response::builder().status(status).header("x-origin", "two").body(()).unwrap();
    respond.send_response(head, false).unwrap()
}

/// Reads a whole body.
pub async fn whole(mut body: RecvStream) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        drop(body.flow_control().release_capacity(piece.len()));
        whole.extend(piece);
    }
    whole
}
