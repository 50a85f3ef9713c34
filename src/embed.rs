//! The balancer as a library: for tests and programs that want one of their own.
//!
//! Before some servers, with the defaults of a file:
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
//!
//! With a whole configuration, as a value that is built in code:
//!
//! ```
//! use evenkeel::LoadBalancer;
//! use evenkeel::config::{Backend, Balance, Config, Listener, Route, Upstream};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let web = Listener::new("web", "127.0.0.1:0".parse()?);
//! let backends = vec![Backend::new("127.0.0.1:9001".parse()?), Backend::new("127.0.0.1:9002".parse()?)];
//! let app = Upstream { balance: Balance::LeastRequest, ..Upstream::new("app", backends) };
//! let all = Route::to_upstream("all", vec![0], 0);
//! let config = Config { admin: None, ..Config::new(vec![web], vec![app], vec![all]) };
//! let balancer = LoadBalancer::with(config);
//! # assert!(balancer.uri().starts_with("http://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```
//!
//! Or as the text of a file, with everything that `evenkeel check` says of it:
//!
//! ```
//! use evenkeel::{Config, LoadBalancer};
//!
//! let config = Config::from_yaml("
//! version: 1
//! admin: off
//! listeners: { web: { address: 127.0.0.1:8080 } }
//! upstreams: { app: { backends: [127.0.0.1:9001] } }
//! routes: [ { upstream: app } ]
//! ").unwrap();
//! let balancer = LoadBalancer::with(config.on_free_ports());
//! # assert!(!balancer.uri().ends_with(":8080"));
//!
//! let wrong = Config::from_yaml("version: 1\nlisteners: { web: { adress: 127.0.0.1:8080 } }").unwrap_err();
//! assert!(wrong.to_string().contains("did you mean `address`?"));
//! ```

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::{Address, Config, Listener};
use crate::control::shutdown::ByRequest;
use crate::lifecycle::{Lifecycle, Stage};
use crate::listen::Acceptor;
use crate::server::{Prepared, Sockets};

/// A balancer in this process.
///
/// Clones are handles of the same balancer.
#[derive(Clone, Debug)]
pub struct LoadBalancer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The names of the listeners and where they listen, in the order of the configuration.
    uris: Vec<(String, String)>,
    /// Taken by the first run.
    start: Mutex<Option<Result<Bound, String>>>,
    stop: Arc<Notify>,
    state: watch::Sender<State>,
}

/// A configuration, and a socket for each of its listeners.
type Bound = (Config, Vec<Acceptor>);

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
    /// A balancer on `port` of the loopback interface (0 for one that is free) before `servers`: `host:port`, or
    /// `http://host:port`. It spreads requests round robin, and has neither an admin address nor an access log.
    ///
    /// The port is bound here, so that [`uri`](LoadBalancer::uri) is right from the start and connections wait
    /// until it runs. What is wrong is said by [`run`](LoadBalancer::run).
    pub fn new<S: ToString>(port: u16, servers: impl IntoIterator<Item = S>) -> LoadBalancer {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let servers: Vec<String> = servers.into_iter().map(|server| host_and_port(&server.to_string())).collect();
        let alone = |config| Config { admin: None, access_log: None, lame_duck: Duration::ZERO, ..config };
        LoadBalancer::bound(Config::quick(&wanted.to_string(), &servers).map(alone), Address::Tcp(wanted))
    }

    /// A balancer with this configuration: its listeners, its admin address and its access log are those that it names
    /// (port 0: one that is free). What is of a process of its own (`daemon`, `user`, `pid_file`, signals, hand-overs) is not.
    ///
    /// Its listeners are bound here. What is wrong is said by [`run`](LoadBalancer::run).
    pub fn with(config: Config) -> LoadBalancer {
        let first = config.listeners.first().map(|listener| listener.address.clone());
        let checked = config.check().map(|()| config);
        LoadBalancer::bound(checked, first.unwrap_or(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))))
    }

    /// `first` is where it would listen if nothing were wrong.
    fn bound(config: Result<Config, String>, first: Address) -> LoadBalancer {
        let start = config.and_then(bind);
        let mut uris: Vec<_> = start.iter().flat_map(|(config, _)| &config.listeners).map(uri_of).collect();
        if uris.is_empty() {
            uris.push(uri_of(&Listener::new("", first)));
        }
        let (start, state) = (Mutex::new(Some(start)), watch::Sender::new(State::Waiting));
        LoadBalancer { shared: Arc::new(Shared { uris, start, stop: Arc::default(), state }) }
    }

    /// Where its first listener listens: `http://127.0.0.1:PORT`, with TLS `https://…`, or `unix:/path`.
    pub fn uri(&self) -> String {
        self.shared.uris.first().map(|(_, uri)| uri.clone()).unwrap_or_default()
    }

    /// Where the listener of this name listens; None if there is none.
    pub fn uri_of(&self, listener: &str) -> Option<String> {
        self.shared.uris.iter().find(|(name, _)| name == listener).map(|(_, uri)| uri.clone())
    }

    /// Serves until [`stop`](LoadBalancer::stop) is called and all requests in flight have ended.
    ///
    /// # Errors
    /// If something is wrong with the configuration, a port is taken, or it was run before.
    pub async fn run(&self) -> Result<(), RunError> {
        let start = self.shared.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(start) = start else { return Err(RunError("it was run before".to_owned())) };
        let shared = self.shared.clone();
        let (ended, wait) = tokio::sync::oneshot::channel();
        let run = move || {
            let outcome = start.and_then(|(config, acceptors)| serve(&shared, config, acceptors));
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

/// Binds all listeners; from then on their addresses are those that are in use.
fn bind(mut config: Config) -> Result<Bound, String> {
    let mut acceptors = Vec::new();
    for Listener { name, address, .. } in &mut config.listeners {
        let fault = |error| format!("cannot listen on {address} (listener `{name}`): {error}");
        let acceptor = Acceptor::bind(address).map_err(fault)?;
        if let Some(bound) = acceptor.local_address() {
            *address = Address::Tcp(bound);
        }
        acceptors.push(acceptor);
    }
    Ok((config, acceptors))
}

fn uri_of(listener: &Listener) -> (String, String) {
    let uri = match &listener.address {
        Address::Tcp(address) if listener.tls.is_some() => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        path @ Address::Unix(_) => path.to_string(),
    };
    (listener.name.clone(), uri)
}

fn serve(shared: &Arc<Shared>, mut config: Config, acceptors: Vec<Acceptor>) -> Result<(), String> {
    config.server.daemon = false;
    config.server.pid_file = String::new();
    let given = config.listeners.iter().map(|listener| listener.address.to_string()).zip(acceptors).collect();
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
