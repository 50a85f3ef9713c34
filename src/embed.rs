//! The balancer as a library: for tests and programs that want one of their own.
//!
//! ```
//! use evenkeel::LoadBalancer;
//! use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let backend = MockServer::start().await;
//! let answer = ResponseTemplate::new(200).set_body_string("backend");
//! Mock::given(path("/")).respond_with(answer).mount(&backend).await;
//!
//! let balancer = LoadBalancer::new(0, [backend.uri()]);
//! let running = tokio::spawn({
//!     let balancer = balancer.clone();
//!     async move { balancer.run().await }
//! });
//! balancer.ready().await.unwrap();
//! let response = reqwest::get(balancer.uri()).await.unwrap();
//! assert_eq!(response.text().await.unwrap(), "backend");
//!
//! balancer.stop();
//! running.await.unwrap().unwrap();
//! # });
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::config::{Address, Config};
use crate::control::shutdown::ByRequest;
use crate::lifecycle::{Lifecycle, Stage};
use crate::listen::Acceptor;
use crate::server::{Prepared, Sockets};

/// A balancer in this process, on the loopback interface, spreading requests round robin.
///
/// Clones are handles of the same balancer.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    /// Taken by the first run.
    start: Mutex<Option<Result<(Config, Acceptor), String>>>,
    stop: Arc<Notify>,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Serving,
    Ended(Option<String>),
}

/// Why a balancer did not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError(String);

impl fmt::Display for RunError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

impl LoadBalancer {
    /// A balancer on `port` (0 for one that is free) before `servers`: `host:port`, or `http://host:port`.
    ///
    /// The port is bound here, so that [`uri`](LoadBalancer::uri) is right from the start and connections wait
    /// until it runs. What is wrong is said by [`run`](LoadBalancer::run).
    pub fn new<S: ToString>(port: u16, servers: impl IntoIterator<Item = S>) -> LoadBalancer {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let servers: Vec<String> = servers.into_iter().map(|server| host_and_port(&server.to_string())).collect();
        let start = Config::quick(&wanted.to_string(), &servers).and_then(|config| {
            let acceptor = Acceptor::bind(&Address::Tcp(wanted));
            Ok((config, acceptor.map_err(|error| format!("cannot listen on {wanted}: {error}"))?))
        });
        let bound = start.as_ref().ok().and_then(|(_, acceptor)| acceptor.local_address());
        let shared = Shared {
            address: bound.unwrap_or(wanted),
            start: Mutex::new(Some(start)),
            stop: Arc::default(),
            state: watch::Sender::new(State::Waiting),
        };
        LoadBalancer { shared: Arc::new(shared) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// Serves until [`stop`](LoadBalancer::stop) is called and all requests in flight have ended.
    ///
    /// # Errors
    /// If the port is taken, a server's address is none, or it was run before.
    pub async fn run(&self) -> Result<(), RunError> {
        let start = self.shared.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(start) = start else { return Err(RunError("it was run before".to_owned())) };
        let shared = self.shared.clone();
        let (ended, wait) = tokio::sync::oneshot::channel();
        let run = move || {
            let outcome = start.and_then(|(config, acceptor)| serve(&shared, config, acceptor));
            shared.state.send_replace(State::Ended(outcome.as_ref().err().cloned()));
            // Whoever waited may have stopped waiting.
            drop(ended.send(outcome));
        };
        std::thread::Builder::new()
            .name("evenkeel".to_owned())
            .spawn(run)
            .map_err(|error| RunError(error.to_string()))?;
        match wait.await {
            Ok(outcome) => outcome.map_err(RunError),
            Err(_) => Err(RunError("it ended by a panic".to_owned())),
        }
    }

    /// Waits until it serves: its backends have been checked once.
    ///
    /// # Errors
    /// If it ended before.
    pub async fn ready(&self) -> Result<(), RunError> {
        let mut state = self.shared.state.subscribe();
        match state.wait_for(|state| *state != State::Waiting).await.as_deref() {
            Ok(State::Ended(why)) => Err(RunError(why.clone().unwrap_or_else(|| "it has ended".to_owned()))),
            Ok(State::Serving | State::Waiting) => Ok(()),
            Err(_) => Err(RunError("it has ended".to_owned())),
        }
    }

    /// Asks it to finish what it has and end. Returns at once; [`run`](LoadBalancer::run) returns when it has.
    pub fn stop(&self) {
        self.shared.stop.notify_one();
    }
}

fn serve(shared: &Arc<Shared>, mut config: Config, acceptor: Acceptor) -> Result<(), String> {
    config.admin = None;
    config.access_log = None;
    config.lame_duck = std::time::Duration::ZERO;
    config.server.pid_file = String::new();
    let given = config.listeners.iter().map(|listener| listener.address.to_string()).zip([acceptor]).collect();
    let prepared = Prepared::new(config, None, Sockets::Given(given)).map_err(|error| error.to_string())?;
    let run = prepared.run(|ending, running| {
        watch_serving(shared.clone(), running.lifecycle.clone());
        ByRequest { ending, stop: shared.stop.clone() }
    });
    run.map_err(|error| error.to_string())
}

fn watch_serving(shared: Arc<Shared>, lifecycle: Arc<Lifecycle>) {
    lifecycle.when(Stage::Serving, move || drop(shared.state.send_replace(State::Serving)));
}

/// `http://host:port/` as mock servers give it, or `host:port`.
fn host_and_port(server: &str) -> String {
    server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/').to_owned()
}
