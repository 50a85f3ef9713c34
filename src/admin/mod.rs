//! The admin address: liveness, readiness and metrics, for operators and their machines.
//!
//! It is served apart from the cores, so that it answers when they are busy. It refuses requests for foreign
//! hosts (a page in a browser must not reach it by a name of its own, which resolves to us).

mod metrics;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Method, Response, StatusCode};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, Semaphore};

use crate::lifecycle::Stage;
use crate::listen::Acceptor;
use crate::listen::socket::Accepted;
use crate::server::Running;

/// Connections at a time; a scraper needs one.
const CONNECTIONS: usize = 64;

/// How long one connection may last, whatever it does.
const LONGEST_CONNECTION: Duration = Duration::from_secs(300);

/// What the admin address answers from.
#[derive(Debug)]
pub struct Admin {
    /// The running process.
    pub running: Running,
    /// When it was started.
    pub started: SystemTime,
}

/// Answers on `acceptor` until the process ends or `given` says that a successor does. Must be called in a
/// runtime.
///
/// # Errors
/// If the runtime cannot watch the socket.
pub fn serve(acceptor: Acceptor, admin: Admin, given: Arc<Notify>, shutdown: ShutdownWatch) -> std::io::Result<()> {
    let socket = acceptor.watch()?;
    let admin = Arc::new(admin);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = given.notified() => return,
            };
            let stream: Stream = match accepted {
                Ok(Accepted::Tcp(stream, _)) => stream.into(),
                Ok(Accepted::Unix(stream)) => stream.into(),
                Err(error) => {
                    log::debug!(error:%; "accepting an admin connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Beyond the ceiling connections are closed at once.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (admin, shutdown) = (admin.clone(), shutdown.clone());
            tokio::spawn(async move {
                let served = admin.process_new(Box::new(stream), &shutdown);
                drop(tokio::time::timeout(LONGEST_CONNECTION, served).await);
                drop(place);
            });
        }
    });
    Ok(())
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(is_ours) {
            return plain(StatusCode::FORBIDDEN, "this address answers only to its own name\n");
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri.path() {
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match self.running.lifecycle.stage() {
                Stage::Serving => plain(StatusCode::OK, "ok\n"),
                Stage::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                Stage::Draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            "/metrics" => {
                let text = metrics::expose(&self.running, self.started);
                answer(StatusCode::OK, crate::observe::metrics::CONTENT_TYPE, text.into_bytes())
            }
            _ => plain(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
        }
    }
}

/// Whether a `Host` is one that we are asked by: an address, or `localhost`. Any other name could be a page's.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn plain(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    answer(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn answer(status: StatusCode, kind: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let built = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_LENGTH, body.len())
        .header(CACHE_CONTROL, "no-store")
        .body(body);
    built.unwrap_or_else(|_| Response::new(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_addresses_and_localhost_are_our_names() {
        for ours in ["127.0.0.1:9901", "127.0.0.1", "localhost:9901", "LOCALHOST", "[::1]:9901", "[::1]"] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in
            ["evil.example", "evil.example:9901", "localhost.evil.example", "", "127.0.0.1.evil.example:9901"]
        {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }
}
