//! The composition root: everything is put together here, in the order in which it must happen.
//!
//! 1. [`Prepared::new`]: sockets are bound (or taken over), certificates read, names resolved, the log opened.
//!    Whatever can fail on this machine fails here, before anything is promised and before a daemon forks.
//! 2. [`Prepared::run`]: pingora's `Server` runs one service of ours, which starts checks, cores and admin,
//!    says that it is ready, and then listens for what `control` is told.

use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::prelude::Opt;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::{Notify, mpsc};

use crate::admin::{self, Admin, Gate};
use crate::config::{Config, LogPath, Origin, server_copy};
use crate::control::account::Account;
use crate::control::command::{self, Command, Journal};
use crate::control::handover::{self, Predecessor};
use crate::control::notify::notify;
use crate::control::orders::{self, Orders};
use crate::control::pid_file::{self, PidFile};
use crate::control::reload::{InForce, Reloader, open_log};
use crate::control::shutdown::Ending;
use crate::control::watch::Watch;
use crate::forward::connections::Connections;
use crate::lifecycle::{Lifecycle, Stage};
use crate::listen::{Acceptor, Edge};
use crate::observe::Counters;
use crate::proxy::Proxy;
use crate::snapshot::{Compiled, Current, Snapshot, compile};
use crate::upstream::health_check::HealthChecks;
use crate::upstream::operator::{self, Taken};

/// The last part of the folder that is ours alone; any other is somebody's, and keeps its owner.
const RUN_FOLDER: &str = "evenkeel";

/// Where the listening sockets come from.
#[derive(Debug, Default)]
pub enum Sockets {
    /// They are bound.
    #[default]
    Bind,
    /// They are taken over from the running process, and those that it has not are bound.
    TakeOver,
    /// They were bound before, under the addresses of the configuration.
    Given(handover::Sockets),
}

/// Why the process cannot start though its configuration is right: the machine said no.
#[derive(Clone, Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// All that a start needs and that may fail, done.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    origin: Option<Origin>,
    compiled: Compiled,
    acceptors: Vec<Acceptor>,
    admin: Option<(String, Acceptor)>,
    gate: Gate,
    predecessor: Option<Predecessor>,
}

impl Prepared {
    /// Binds, reads and resolves. `origin` is where the configuration came from, and is read again at a reload.
    ///
    /// # Errors
    /// A sentence: an address is taken, a certificate cannot be read, nobody handed sockets over.
    pub fn new(config: Config, origin: Option<Origin>, sockets: Sockets) -> Result<Prepared, StartError> {
        let account = Account::of(&config).map_err(StartError)?;
        check_error_log(&config)?;
        check_sources(&config)?;
        let gate = Gate::new(config.admin.as_ref()).map_err(StartError)?;
        let log = open_log(&config).map_err(StartError)?;
        if let Some(account) = account {
            pid_file::private_folder(config.server.pid_file.as_ref()).map_err(fault)?;
            give_to_account(account, &config)?;
        }
        let compile = |former: Option<&Snapshot>| {
            compile(&config, log.clone(), former).map_err(|error| StartError(error.to_string()))
        };
        let mut compiled = compile(None)?;
        let (mut given, predecessor) = match sockets {
            Sockets::Bind => (Vec::new(), None),
            Sockets::Given(given) => (given, None),
            Sockets::TakeOver => {
                let path = &config.server.upgrade_sock;
                let (estate, predecessor) = handover::receive(path.as_ref(), account)
                    .map_err(|error| StartError(format!("cannot take over through `{path}`: {error}")))?;
                let upstreams = compiled.snapshot.upstreams.iter().map(|upstream| &**upstream);
                let taken = operator::take_over(upstreams, &estate.decisions);
                let is_sticky = config.upstreams.iter().any(|upstream| upstream.sticky.is_some());
                if let Some(secret) = estate.secret {
                    compiled.snapshot.secret = secret;
                }
                if taken == Taken::WhenRebuilt || is_sticky {
                    compiled = compile(Some(&compiled.snapshot))?;
                    // Nobody has seen the former.
                    compiled.snapshot.generation = 1;
                }
                (estate.sockets, Some(predecessor))
            }
        };
        let mut acceptor = |address: &crate::config::Address, what: &str| {
            let name = address.to_string();
            if let Some(place) = given.iter().position(|(given, _)| *given == name) {
                return Ok(given.swap_remove(place).1);
            }
            Acceptor::bind(address).map_err(|error| StartError(format!("cannot listen on {address} ({what}): {error}")))
        };
        let acceptors = compiled
            .settings
            .iter()
            .map(|(listener, _)| acceptor(&listener.address, &format!("listener `{}`", listener.name)))
            .collect::<Result<Vec<_>, _>>()?;
        let admin = match &config.admin {
            None => None,
            Some(admin) => Some((admin.address.to_string(), acceptor(&admin.address, "admin")?)),
        };
        Ok(Prepared { config, origin, compiled, acceptors, admin, gate, predecessor })
    }

    /// Runs until the process has drained, under pingora's `Server`. `until` makes the watch for the end.
    ///
    /// With `daemon` in the configuration the calling process ends in here and its child goes on.
    ///
    /// # Errors
    /// If the machine said no after all: no thread, no descriptor.
    pub fn run<W>(self, until: impl FnOnce(Arc<Ending>, &Running) -> W) -> Result<(), StartError>
    where
        W: ShutdownSignalWatch + Send + Sync + 'static,
    {
        let Prepared { config, origin, compiled, acceptors, admin, gate, predecessor } = self;
        let (commands, told) = mpsc::channel(command::WAITING);
        let running =
            Running::new(compiled.snapshot, InForce { config: config.clone(), origin: origin.clone() }, gate, commands);
        let share = |(name, acceptor): &(String, Acceptor)| Ok((name.clone(), acceptor.share()?));
        let for_successor = admin.as_ref().map(share).transpose();
        let ending = Arc::new(Ending {
            lifecycle: running.lifecycle.clone(),
            edge: running.edge.clone(),
            current: running.current.clone(),
            admin: for_successor.map_err(fault)?,
            admin_given: running.admin_given.clone(),
            upgrade_sock: PathBuf::from(&config.server.upgrade_sock),
            pid_file: PathBuf::from(&config.server.pid_file),
            lame_duck: config.lame_duck,
            grace: grace(&config.server),
        });
        let watch = until(ending, &running);
        let daemon = config.server.daemon;
        let mut conf = for_pingora(&config.server);
        // Our own drain is over when pingora hears of the end.
        conf.grace_period_seconds = Some(0);
        let mut server = Server::new_with_opt_and_conf(Opt { daemon, ..Opt::default() }, conf);
        server.bootstrap();
        let listeners = compiled.settings.into_iter().map(|(listener, _)| listener).zip(acceptors).collect();
        let service = Service {
            parts: Some(Parts { config, origin, listeners, admin, predecessor, told }),
            running: running.clone(),
        };
        server.add_service(service);
        let until = Until { watch, aborted: running.aborted.clone() };
        server.run(RunArgs { shutdown_signal: Box::new(until) });
        running.end()
    }
}

/// What lives as long as the process.
#[derive(Clone, Debug)]
pub struct Running {
    /// What the process is doing.
    pub lifecycle: Arc<Lifecycle>,
    /// The rules in force.
    pub current: Arc<Current>,
    /// Counters of the whole process.
    pub counters: Arc<Counters>,
    /// The edge, once it runs.
    pub edge: Arc<OnceLock<Arc<Edge>>>,
    /// The configuration in force.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Who may use the admin address.
    pub gate: Arc<ArcSwap<Gate>>,
    /// What came of reloads.
    pub journal: Arc<Mutex<Journal>>,
    /// Where the process is told things.
    pub commands: mpsc::Sender<Command>,
    admin_given: Arc<Notify>,
    pid_file: Arc<Mutex<Option<PidFile>>>,
    /// Told when the start has failed, and why.
    aborted: Arc<Notify>,
    failure: Arc<OnceLock<StartError>>,
}

impl Running {
    fn new(
        snapshot: crate::snapshot::Snapshot,
        in_force: InForce,
        gate: Gate,
        commands: mpsc::Sender<Command>,
    ) -> Running {
        let counters = Counters::default();
        if let Some(admin) = &in_force.config.admin {
            counters.recent.slow_after(admin.slow_request);
        }
        Running {
            lifecycle: Arc::default(),
            current: Arc::new(Current::new(Arc::new(snapshot))),
            counters: Arc::new(counters),
            edge: Arc::default(),
            in_force: Arc::new(ArcSwap::from_pointee(in_force)),
            gate: Arc::new(ArcSwap::from_pointee(gate)),
            journal: Arc::default(),
            commands,
            admin_given: Arc::default(),
            pid_file: Arc::default(),
            aborted: Arc::default(),
            failure: Arc::default(),
        }
    }

    fn end(&self) -> Result<(), StartError> {
        if let Some(edge) = self.edge.get() {
            edge.stop();
        }
        if let Some(log) = &self.current.load().access_log {
            log.close();
        }
        drop(self.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.failure.get().cloned().map_or(Ok(()), Err)
    }
}

/// Waits for the end that was asked for, or for a start that failed.
struct Until<W> {
    watch: W,
    aborted: Arc<Notify>,
}

#[async_trait]
impl<W: ShutdownSignalWatch + Send + Sync> ShutdownSignalWatch for Until<W> {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            signal = self.watch.recv() => signal,
            () = self.aborted.notified() => ShutdownSignal::FastShutdown,
        }
    }
}

struct Parts {
    config: Config,
    origin: Option<Origin>,
    listeners: Vec<(Arc<crate::listen::Listener>, Acceptor)>,
    admin: Option<(String, Acceptor)>,
    predecessor: Option<Predecessor>,
    told: mpsc::Receiver<Command>,
}

/// The one service under pingora's `Server`.
struct Service {
    parts: Option<Parts>,
    running: Running,
}

#[async_trait]
impl ServiceWithDependents for Service {
    async fn start_service(
        &mut self,
        _descriptors: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_descriptor: usize,
        ready: ServiceReadyNotifier,
    ) {
        let Some(parts) = self.parts.take() else { return };
        match start(parts, &self.running, shutdown.clone()).await {
            Ok((reloader, orders)) => {
                ready.notify_ready();
                tokio::select! {
                    () = orders::obey(reloader, orders, &self.running.lifecycle) => {}
                    _ = shutdown.changed() => {}
                }
            }
            Err(error) => {
                drop(self.running.failure.set(error));
                self.running.aborted.notify_one();
            }
        }
    }

    fn name(&self) -> &str {
        "evenkeel"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// Starts checks, cores and admin, and says that the process serves.
async fn start(parts: Parts, running: &Running, shutdown: ShutdownWatch) -> Result<(Reloader, Orders), StartError> {
    let signals = match parts.origin.is_none() && parts.config.server.pid_file.is_empty() {
        true => None,
        false => Some(orders::signals().map_err(fault)?),
    };
    let snapshot = running.current.load();
    let mut checks = HealthChecks::default();
    checks.follow(&snapshot.upstreams);
    if let Some((_, acceptor)) = parts.admin {
        let admin = Admin { running: running.clone(), started: std::time::SystemTime::now() };
        admin::serve(acceptor, admin, running.admin_given.clone(), shutdown).map_err(fault)?;
    }
    HealthChecks::first_round(&snapshot.upstreams).await;
    if let Some(log) = &snapshot.access_log {
        log.start().map_err(fault)?;
    }
    let edge = Arc::new(start_edge(&parts.config, running)?);
    for (listener, acceptor) in parts.listeners {
        edge.add(&listener, edge.prepare(acceptor).map_err(fault)?);
    }
    // Set once: this is the only start of this process.
    drop(running.edge.set(edge.clone()));
    running.lifecycle.advance(Stage::Serving);
    warn_of_lost_log(&parts.config);
    own_pid_file(&parts.config, running, parts.predecessor.is_some());
    if let Some(predecessor) = parts.predecessor
        && let Err(error) = predecessor.release()
    {
        log::warn!(error:%; "predecessor was gone before it could be released");
    }
    notify("READY=1");
    log::info!(version = env!("CARGO_PKG_VERSION"), cores = parts.config.server.threads; "serving");
    let watched = parts.origin.as_ref().filter(|_| parts.config.watch);
    let watch = watched.map(|origin| Watch::over(origin.files.clone()));
    let reloader = Reloader {
        file: parts.origin.map(|origin| origin.path),
        in_force: running.in_force.clone(),
        current: running.current.clone(),
        edge,
        checks,
        counters: running.counters.clone(),
        journal: running.journal.clone(),
        gate: running.gate.clone(),
        watch,
        unconfirmed: None,
        former_log: None,
    };
    Ok((reloader, Orders { signals, told: parts.told }))
}

fn start_edge(config: &Config, running: &Running) -> Result<Edge, StartError> {
    let (current, lifecycle) = (running.current.clone(), running.lifecycle.clone());
    let (counters, gate) = (running.counters.clone(), running.gate.clone());
    let mut conf = for_pingora(&config.server);
    // The pool's size is per thread, and each core has a proxy of its own.
    conf.threads = 1;
    let conf = Arc::new(conf);
    let connector = Arc::new(TransportConnector::new(Some(ConnectorOptions::from_server_conf(&conf))));
    Edge::start(config.server.threads, &move || Proxy {
        current: current.clone(),
        lifecycle: lifecycle.clone(),
        counters: counters.clone(),
        gate: gate.clone(),
        connections: Connections::new(connector.clone(), conf.upstream_keepalive_pool_size),
    })
    .map_err(fault)
}

fn fault(error: std::io::Error) -> StartError {
    StartError(format!("cannot start: {error}"))
}

/// How long requests may go on in a drain: what is left after the grace period is given the other time too.
fn grace(conf: &ServerConf) -> Duration {
    let seconds = [conf.grace_period_seconds, conf.graceful_shutdown_timeout_seconds];
    seconds.into_iter().flatten().map(Duration::from_secs).sum()
}

/// Settings for pingora itself.
fn for_pingora(conf: &ServerConf) -> ServerConf {
    let mut conf = server_copy(conf);
    // Nothing is left to wait for when pingora hears of the end.
    conf.graceful_shutdown_timeout_seconds = None;
    // Each upstream has it, read with its other files: pingora panics at one that is missing.
    conf.ca_file = None;
    conf
}

/// pingora gives a daemon with an error log no standard output.
fn warn_of_lost_log(config: &Config) {
    let to_stdout = config.access_log.as_ref().is_some_and(|log| log.path == LogPath::Stdout);
    if config.server.daemon && config.server.error_log.is_some() && to_stdout {
        log::warn!("a daemon has no standard output; give `access_log` a path, or requests are not logged");
    }
}

/// A library has no pid file; a daemon's is written by pingora when it forks, and removed by us.
fn own_pid_file(config: &Config, running: &Running, took_over: bool) {
    if config.server.pid_file.is_empty() {
        return;
    }
    let path = config.server.pid_file.as_ref();
    let replace = took_over || config.server.daemon;
    match if replace { PidFile::replace(path) } else { PidFile::write(path) } {
        Ok(file) => *running.pid_file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
        Err(error) => log::warn!(pid_file = config.server.pid_file, error:%; "running without a pid file"),
    }
}

/// Gives the daemon's account what it must open again after it has taken it on.
fn give_to_account(account: Account, config: &Config) -> Result<(), StartError> {
    let run_folder = Path::new(&config.server.pid_file).parent().filter(|folder| folder.ends_with(RUN_FOLDER));
    let log = config.access_log.as_ref().and_then(|log| match &log.path {
        LogPath::File(path) => Some(path.as_path()),
        LogPath::Stdout | LogPath::Stderr => None,
    });
    run_folder.into_iter().chain(log).try_for_each(|path| account.give(path)).map_err(StartError)
}

/// pingora opens the daemon's log in the process that forks, and panics where it cannot.
fn check_error_log(config: &Config) -> Result<(), StartError> {
    let Some(path) = config.server.error_log.as_ref().filter(|_| config.server.daemon) else { return Ok(()) };
    let opened = std::fs::File::options().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| StartError(format!("error log `{path}` cannot be opened: {error}")))
}

/// An address that is not of this machine would fail every request.
fn check_sources(config: &Config) -> Result<(), StartError> {
    let mut sources = config.server.client_bind_to_ipv4.iter().chain(&config.server.client_bind_to_ipv6);
    let usable = |source: &String| {
        let bound = source.parse::<IpAddr>().map_err(std::io::Error::other).and_then(|ip| UdpSocket::bind((ip, 0)));
        bound.map(drop).map_err(|error| StartError(format!("connections cannot come from `{source}`: {error}")))
    };
    sources.try_for_each(usable)
}
