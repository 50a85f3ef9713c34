//! Changing the rules while requests run: read, check, compile, bind, and only then publish; or change nothing
//! and say why.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::{self, Config};
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
    pub config: Config,
    /// Where it is published.
    pub current: Arc<Current>,
    /// Whose listeners change.
    pub edge: Arc<Edge>,
    /// Whose checks change.
    pub checks: HealthChecks,
    /// Where reloads are counted.
    pub counters: Arc<Counters>,
    /// Held until the next reload, when its last requests are over: closing a log may wait for its reader, and
    /// must not do so on a core.
    pub former_log: Option<Arc<AccessLog>>,
}

impl Reloader {
    /// Reads the file again. Must be called in the runtime of the health checks; blocks while names resolve.
    pub fn reload(&mut self) {
        let Some(file) = self.file.clone() else {
            log::warn!("there is no file to reload");
            return;
        };
        match config::load(&file).map_err(|error| error.to_string()).and_then(|config| self.apply(config)) {
            Ok(()) => {
                self.counters.reloads.fetch_add(1, Ordering::Relaxed);
                log::info!(generation = self.current.load().generation; "configuration reloaded");
            }
            Err(why) => {
                self.counters.reloads_refused.fetch_add(1, Ordering::Relaxed);
                log::error!(why; "configuration refused; the former stays in force");
            }
        }
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

    fn apply(&mut self, mut config: Config) -> Result<(), String> {
        // The command line may have said so, and a process does not become a daemon later.
        config.server.daemon = self.config.server.daemon;
        let former = self.current.load();
        let log =
            if config.access_log == self.config.access_log { former.access_log.clone() } else { open_log(&config)? };
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
        if config.server != self.config.server || config.admin != self.config.admin {
            log::warn!("process settings or the admin address changed; they take effect with `evenkeel upgrade`");
        }
        self.config = config;
        Ok(())
    }
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
