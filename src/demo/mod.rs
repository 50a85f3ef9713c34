//! Backends for the demonstration: they say which one answered, and do what they are told.
//!
//! `GET /control?slow=MILLISECONDS&fail=STATUS&die=SECONDS` on a backend's own address changes what it does from
//! then on; without parameters it is well again. A dead backend closes its socket and comes back by itself.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// The longest that a demonstration may be slow or dead.
const LONGEST: u64 = 3600;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    name: &'static str,
    address: SocketAddr,
    slow_ms: AtomicU64,
    fail: AtomicU16,
    die_seconds: AtomicU64,
    told_to_die: Notify,
    served: AtomicU64,
}

impl Backend {
    /// A backend that is well.
    pub fn new(name: &'static str, address: SocketAddr) -> Backend {
        Backend {
            name,
            address,
            slow_ms: AtomicU64::new(0),
            fail: AtomicU16::new(0),
            die_seconds: AtomicU64::new(0),
            told_to_die: Notify::new(),
            served: AtomicU64::new(0),
        }
    }

    fn control(&self, query: &str) -> String {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let slow = value("slow").and_then(|text| u64::from_str(text).ok()).unwrap_or(0).min(LONGEST * 1000);
        let fail = value("fail")
            .and_then(|text| u16::from_str(text).ok())
            .filter(|code| (400..600).contains(code))
            .unwrap_or(0);
        let die = value("die").and_then(|text| u64::from_str(text).ok()).unwrap_or(0).min(LONGEST);
        self.slow_ms.store(slow, Ordering::Relaxed);
        self.fail.store(fail, Ordering::Relaxed);
        if die > 0 {
            self.die_seconds.store(die, Ordering::Relaxed);
            self.told_to_die.notify_one();
        }
        format!("backend {}: slow {slow} ms, fail {fail}, dead for {die} s\n", self.name)
    }
}

#[async_trait]
impl ServeHttp for Backend {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let uri = session.req_header().uri.clone();
        let method = session.req_header().method.clone();
        if uri.path() == "/control" {
            return text(StatusCode::OK, self.control(uri.query().unwrap_or("")));
        }
        let slow = self.slow_ms.load(Ordering::Relaxed);
        if slow > 0 {
            tokio::time::sleep(Duration::from_millis(slow)).await;
        }
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let status = StatusCode::from_u16(self.fail.load(Ordering::Relaxed)).unwrap_or(StatusCode::OK);
        text(
            status,
            format!("backend {} ({}) answered {method} {uri}, its request number {served}\n", self.name, self.address),
        )
    }
}

/// Starts a backend on a thread of its own, for as long as the process lives.
///
/// # Errors
/// If its address is taken.
pub fn start(backend: Backend) -> io::Result<()> {
    let listener = std::net::TcpListener::bind(backend.address)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("demo-{}", backend.name)).spawn(move || {
        match runtime.block_on(serve(Arc::new(backend), listener)) {
            Ok(never) => match never {},
            Err(error) => log::error!(error:%; "demonstration backend ended"),
        }
    })?;
    Ok(())
}

async fn serve(backend: Arc<Backend>, mut first: std::net::TcpListener) -> io::Result<Infallible> {
    let (_never, shutdown) = watch::channel(false);
    loop {
        let listener = TcpListener::from_std(first)?;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = backend.told_to_die.notified() => break,
            };
            if let Ok((stream, _)) = accepted
                && stream.set_nodelay(true).is_ok()
            {
                let (backend, shutdown) = (backend.clone(), shutdown.clone());
                connections.spawn(async move { backend.process_new(Box::new(Stream::from(stream)), &shutdown).await });
            }
            while connections.try_join_next().is_some() {}
        }
        // The answer to the order leaves first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(listener);
        connections.shutdown().await;
        tokio::time::sleep(Duration::from_secs(backend.die_seconds.load(Ordering::Relaxed))).await;
        first = std::net::TcpListener::bind(backend.address)?;
        first.set_nonblocking(true)?;
    }
}

fn text(status: StatusCode, text: String) -> Response<Vec<u8>> {
    let length = text.len();
    let built = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(http::header::CONTENT_LENGTH, length)
        .body(text.into_bytes());
    built.unwrap_or_else(|_| Response::new(Vec::new()))
}
