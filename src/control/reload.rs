//! Changing the rules while requests run: read, check, compile, bind, and only then publish; or change nothing
//! and say why.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::command::{Applied, Cause, Entry, Journal, Outcome, Refused};
use super::plan::{Backends, Plan, Requests, needs_upgrade};
use super::watch::Watch;
use crate::admin::Gate;
use crate::config::{self, Config, Origin};
use crate::listen::{Acceptor, Edge};
use crate::observe::{AccessLog, Counters, access_log};
use crate::snapshot::{Current, compile};
use crate::upstream::health_check::HealthChecks;

/// Puts new configurations in force.
#[derive(Debug)]
pub struct Reloader {
    /// Where the configuration is read from; none if there is no file.
    pub file: Option<PathBuf>,
    /// What is in force.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Where it is published.
    pub current: Arc<Current>,
    /// Whose listeners change.
    pub edge: Arc<Edge>,
    /// Whose checks change.
    pub checks: HealthChecks,
    /// Where reloads are counted.
    pub counters: Arc<Counters>,
    /// Where they are told of.
    pub journal: Arc<Mutex<Journal>>,
    /// Who may use the admin address.
    pub gate: Arc<ArcSwap<Gate>>,
    /// The files, if they are watched.
    pub watch: Option<Watch>,
    /// What waits to be confirmed.
    pub unconfirmed: Option<Unconfirmed>,
    /// Held until the next reload, when its last requests are over: closing a log may wait for its reader, and
    /// must not do so on a core.
    pub former_log: Option<Arc<AccessLog>>,
}

/// A configuration that is in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What was decided.
    pub config: Config,
    /// Where it came from; none if there is no file.
    pub origin: Option<Origin>,
}

/// Rules that are in force on trial.
#[derive(Debug)]
pub struct Unconfirmed {
    /// What was in force before, to go back to.
    former: Arc<InForce>,
    /// When that happens.
    pub until: Instant,
}

impl Reloader {
    /// Reads the file again. Must be called in the runtime of the health checks; blocks while names resolve.
    ///
    /// With `confirm_within` the new rules are in force on trial: until [`confirm`](Reloader::confirm) is called, or
    /// another reload without it takes their place. What is gone back to are the last rules that were not on trial.
    pub fn reload(&mut self, cause: Cause, confirm_within: Option<Duration>) -> Outcome {
        let former = self.in_force.load_full();
        let outcome = self.read_again();
        if outcome.is_ok() {
            let trusted = self.unconfirmed.take().map_or(former, |unconfirmed| unconfirmed.former);
            self.unconfirmed = confirm_within.map(|time| Unconfirmed { former: trusted, until: Instant::now() + time });
        }
        let counter = match &outcome {
            Ok(applied) => {
                log::info!(generation = applied.generation, cause = cause.token(); "configuration reloaded");
                &self.counters.reloads
            }
            Err(refused) => {
                log::error!(why:% = refused, cause = cause.token(); "configuration refused; the former stays in force");
                &self.counters.reloads_refused
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(time) = confirm_within.filter(|_| outcome.is_ok()) {
            log::info!(seconds = time.as_secs(); "configuration is on trial");
        }
        self.note(cause, &outcome, confirm_within);
        outcome
    }

    /// Keeps the rules that are on trial. False if there are none.
    pub fn confirm(&mut self) -> bool {
        let confirmed = self.unconfirmed.take().is_some();
        if confirmed {
            self.journal.lock().unwrap_or_else(PoisonError::into_inner).confirm_until = None;
            log::info!(generation = self.current.load().generation; "configuration confirmed");
        }
        confirmed
    }

    /// Puts the rules in force again that were before those on trial.
    pub fn go_back(&mut self) {
        let Some(Unconfirmed { former, .. }) = self.unconfirmed.take() else { return };
        let outcome = self.apply(InForce::clone(&former)).map_err(Refused::Machine);
        match &outcome {
            Ok(applied) => {
                self.counters.reloads_reverted.fetch_add(1, Ordering::Relaxed);
                log::warn!(generation = applied.generation; "configuration was not confirmed; the former is in force again");
            }
            Err(refused) => {
                log::error!(why:% = refused; "configuration was not confirmed, and the former cannot be put in force again");
            }
        }
        self.note(Cause::Unconfirmed, &outcome, None);
    }

    /// Builds the rules in force again, with what operators have changed since.
    ///
    /// # Errors
    /// A sentence: a certificate can no longer be read, a name no longer be resolved.
    pub fn rebuild(&mut self) -> Outcome {
        let in_force = self.in_force.load_full();
        self.apply(InForce::clone(&in_force)).map_err(Refused::Machine)
    }

    /// What a file, else that of the process, would change. Changes nothing; blocks while names resolve.
    ///
    /// # Errors
    /// For what is wrong with the file, or what this machine has not that it needs.
    pub fn plan(&self, file: Option<PathBuf>) -> Result<Plan, Refused> {
        let file = file.or_else(|| self.file.clone()).ok_or_else(no_file)?;
        let (loaded, origin) = config::load_with_origin(&file);
        let config = loaded.map_err(Refused::File)?;
        // By itself: nothing that is learnt may hear of what does not happen.
        let compiled = compile(&config, None, None).map_err(|error| Refused::Machine(error.to_string()))?;
        let current = self.current.load();
        let requests = Requests::elsewhere(self.counters.recent.read(), &current, &compiled.snapshot);
        let next = InForce { config, origin: Some(origin) };
        Ok(Plan::of(&self.in_force.load(), &next, Backends::in_flight_of(&current), requests))
    }

    fn read_again(&mut self) -> Outcome {
        let file = self.file.clone().ok_or_else(no_file)?;
        let (loaded, origin) = config::load_with_origin(&file);
        let files = || Watch::over(origin.files.clone());
        if self.watch.is_some() {
            self.watch = Some(files());
        }
        let config = loaded.map_err(Refused::File)?;
        let watch = (config.watch != self.watch.is_some()).then(|| config.watch.then(files));
        let applied = self.apply(InForce { config, origin: Some(origin) }).map_err(Refused::Machine)?;
        if let Some(watch) = watch {
            self.watch = watch;
        }
        Ok(applied)
    }

    fn note(&self, cause: Cause, outcome: &Outcome, confirm_within: Option<Duration>) {
        let time = SystemTime::now();
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_ok() {
            journal.confirm_until = confirm_within.map(|within| time + within);
        }
        let outcome = match outcome {
            Ok(applied) => Ok(applied.clone()),
            Err(refused) => Err(refused.listed()),
        };
        journal.last = Some(Entry { time, cause, outcome });
    }

    /// Opens the access log's file again, after it was rotated.
    pub fn reopen_log(&self) {
        // The former one too: requests that began before the last reload still write to it.
        for log in self.current.load().access_log.iter().chain(&self.former_log) {
            if let Err(error) = log.reopen() {
                log::debug!(error:%; "access log could not be reopened");
            }
        }
    }

    fn apply(&mut self, next: InForce) -> Result<Applied, String> {
        let InForce { mut config, origin } = next;
        let in_force = &self.in_force.load_full().config;
        // The command line may have said so, and a process does not become a daemon later.
        config.server.daemon = in_force.server.daemon;
        let former = self.current.load();
        let gate = self.gate.load().follow(config.admin.as_ref())?;
        let log = if config.access_log == in_force.access_log { former.access_log.clone() } else { open_log(&config)? };
        let compiled = compile(&config, log.clone(), Some(&former)).map_err(|error| error.to_string())?;
        let is_new = |id: usize| former.listeners.get(id).is_none_or(Option::is_none);
        let open = self.edge.sockets().map_err(|error| format!("sockets cannot be shared: {error}"))?;
        let mut bound = Vec::new();
        for (listener, _) in &compiled.settings {
            if is_new(listener.id) {
                // A listener under another name takes over the socket of its address.
                let same = open.iter().find(|(former, _)| former.address == listener.address);
                let acceptor = same
                    .map_or_else(|| Acceptor::bind(&listener.address), |(_, acceptor)| acceptor.share())
                    .map_err(|error| {
                        format!("cannot listen on {} (listener `{}`): {error}", listener.address, listener.name)
                    })?;
                let prepared =
                    self.edge.prepare(acceptor).map_err(|error| format!("sockets cannot be shared: {error}"))?;
                bound.push((listener.clone(), prepared));
            }
        }
        if let Some(log) = &log {
            log.start().map_err(|error| format!("the access log's writer cannot be started: {error}"))?;
        }
        let gone: Vec<usize> = former
            .listeners
            .iter()
            .flatten()
            .map(|rules| rules.listener.id)
            .filter(|id| !compiled.settings.iter().any(|(listener, _)| listener.id == *id))
            .collect();
        // From here on nothing fails.
        let snapshot = Arc::new(compiled.snapshot);
        let generation = snapshot.generation;
        self.gate.store(Arc::new(gate));
        if let Some(admin) = &config.admin {
            self.counters.recent.slow_after(admin.slow_request);
        }
        if log.as_ref().map(Arc::as_ptr) != former.access_log.as_ref().map(Arc::as_ptr) {
            self.former_log.clone_from(&former.access_log);
        }
        self.checks.follow(&snapshot.upstreams);
        self.current.publish(snapshot);
        for (listener, settings) in compiled.settings {
            listener.change(settings);
        }
        for (listener, prepared) in bound {
            self.edge.add(&listener, prepared);
        }
        for id in gone {
            self.edge.remove(id);
        }
        let needs_upgrade = !needs_upgrade(in_force, &config).is_empty();
        if needs_upgrade {
            log::warn!("process settings or the admin address changed; they take effect with `evenkeel upgrade`");
        }
        self.in_force.store(Arc::new(InForce { config, origin }));
        Ok(Applied { generation, needs_upgrade })
    }
}

fn no_file() -> Refused {
    Refused::Machine("there is no file to reload".to_owned())
}

/// Opens the access log of a configuration, without starting its writer.
///
/// # Errors
/// A sentence that names the file.
pub fn open_log(config: &Config) -> Result<Option<Arc<AccessLog>>, String> {
    let Some(written) = &config.access_log else { return Ok(None) };
    let destination = match &written.path {
        config::LogPath::Stdout => access_log::Destination::Stdout,
        config::LogPath::Stderr => access_log::Destination::Stderr,
        config::LogPath::File(path) => access_log::Destination::File(path.clone()),
    };
    let log = AccessLog::open(destination, written.format.clone());
    log.map(|log| Some(Arc::new(log))).map_err(|error| match &written.path {
        config::LogPath::File(path) => format!("access log `{}` cannot be opened: {error}", path.display()),
        config::LogPath::Stdout | config::LogPath::Stderr => format!("access log cannot be opened: {error}"),
    })
}
