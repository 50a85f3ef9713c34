//! The admin address: liveness, readiness, metrics, the API and its page, for operators and their machines.
//!
//! It is served apart from the cores, so that it answers when they are busy. Every request passes the `gate` first.
//! Each resource of the API is a file of its own.

mod answer;
mod backends;
mod body;
mod config;
mod explain;
mod gate;
mod listeners;
mod metrics;
mod path;
mod plan;
mod reload;
mod requests;
mod routes;
mod status;
mod upstreams;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora::apps::ServerApp;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, Semaphore};

use self::answer::{Answer, answer, data, fault, method_not_allowed, plain};
use self::path::Resource;
use crate::lifecycle::Stage;
use crate::listen::Acceptor;
use crate::listen::socket::Accepted;
use crate::server::Running;

pub use gate::{DECISION_ASKED, Disclosure, Gate, Guarded};
pub use path::encoded;

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
        let mut answer = self.answer(session).await;
        if session.req_header().method == Method::HEAD {
            answer.body_mut().clear();
        }
        answer
    }
}

impl Admin {
    async fn answer(&self, session: &mut ServerSession) -> Answer {
        let request = session.req_header();
        let resource = Resource::of(request.uri.path());
        if let Err((status, why)) = self.running.gate.load().admit(&request.headers, resource.guarded()) {
            return fault(status, why);
        }
        let method = &request.method;
        let allowed = resource.methods();
        let reads = allowed == path::READ && (method == Method::GET || method == Method::HEAD);
        let writes = allowed == path::WRITE && method == Method::POST;
        if !reads && !writes {
            return method_not_allowed(allowed);
        }
        if writes {
            return match body::read(session).await {
                Ok(body) => self.act(&resource, &body).await,
                Err(why) => fault(StatusCode::BAD_REQUEST, &why),
            };
        }
        self.read(&resource)
    }

    fn read(&self, resource: &Resource) -> Answer {
        let running = &self.running;
        let value = match resource {
            Resource::Live => return plain(StatusCode::OK, "ok\n"),
            Resource::Ready => {
                return match running.lifecycle.stage() {
                    Stage::Serving => plain(StatusCode::OK, "ok\n"),
                    Stage::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
                    Stage::Draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
                };
            }
            Resource::Metrics => {
                let text = metrics::expose(running, self.started);
                return answer(StatusCode::OK, crate::observe::metrics::CONTENT_TYPE, text.into_bytes());
            }
            Resource::Page => return answer::page(),
            Resource::Status => status::read(self),
            Resource::Listeners => listeners::read(running),
            Resource::Upstreams => upstreams::read(running),
            Resource::Routes => routes::read(running),
            Resource::Config => config::read(running),
            Resource::Requests => requests::read(running),
            Resource::Reload
            | Resource::Confirm
            | Resource::Plan
            | Resource::Explain
            | Resource::Backend { .. }
            | Resource::Unknown => {
                return fault(StatusCode::NOT_FOUND, path::WHAT_THERE_IS);
            }
        };
        data(StatusCode::OK, &value)
    }

    async fn act(&self, resource: &Resource, body: &serde_json::Value) -> Answer {
        match resource {
            Resource::Reload => reload::reload(&self.running, body).await,
            Resource::Confirm => reload::confirm(&self.running).await,
            Resource::Explain => explain::explain(&self.running, body),
            Resource::Plan => plan::plan(&self.running, body).await,
            Resource::Backend { upstream, backend, act } => {
                backends::act(&self.running, upstream, backend, *act, body).await
            }
            Resource::Live
            | Resource::Ready
            | Resource::Metrics
            | Resource::Page
            | Resource::Status
            | Resource::Listeners
            | Resource::Upstreams
            | Resource::Routes
            | Resource::Config
            | Resource::Requests
            | Resource::Unknown => fault(StatusCode::NOT_FOUND, path::WHAT_THERE_IS),
        }
    }
}
