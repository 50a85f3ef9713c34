//! From the checked configuration to a snapshot: names become indexes, what is learnt is carried over.
//!
//! It may block (names are resolved, certificates are read) and it may fail; it never publishes.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{ListenerRules, Route, RouteCounters, Snapshot};
use crate::config::{self, Config};
use crate::forward::tls::ClientTls;
use crate::forward::via::Via;
use crate::listen::{Http2, Listener, Settings, tls};
use crate::observe::access_log::AccessLog;
use crate::route::Table;
use crate::units::Limit;
use crate::upstream::sticky::Secret;
use crate::upstream::{Upstream, resolve};

/// Why a configuration that is right in itself cannot be used on this machine.
#[derive(Debug)]
pub struct CompileError(String);

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for CompileError {}

/// A compiled configuration: the snapshot, and the settings that the edge takes for each listener.
#[derive(Debug)]
pub struct Compiled {
    /// What requests read.
    pub snapshot: Snapshot,
    /// Each listener with its new settings, to be applied when the snapshot is published.
    pub settings: Vec<(Arc<Listener>, Settings)>,
}

/// Compiles `config`. What `former` has learnt of upstreams, backends, routes and listeners of the same
/// names (backends: addresses) is kept.
///
/// # Errors
/// A certificate that cannot be used, a name that cannot be resolved.
pub fn compile(
    config: &Config,
    access_log: Option<Arc<AccessLog>>,
    former: Option<&Snapshot>,
) -> Result<Compiled, CompileError> {
    let known: HashMap<&str, &Arc<Listener>> = former
        .map(|former| {
            former.listeners.iter().flatten().map(|rules| (rules.listener.name.as_str(), &rules.listener)).collect()
        })
        .unwrap_or_default();
    let mut next_id = former.map_or(0, |former| former.listeners.len());
    let mut settings = Vec::new();
    let mut rules: Vec<Option<ListenerRules>> = vec![None; next_id];
    let mut ids = Vec::new();
    for written in &config.listeners {
        let wanted = listener_settings(written)?;
        let listener = match known.get(written.name.as_str()) {
            Some(known) if known.address == written.address => (*known).clone(),
            Some(_) | None => {
                let listener = Listener::new(next_id, written.name.clone(), written.address.clone(), wanted.clone());
                next_id += 1;
                rules.push(None);
                Arc::new(listener)
            }
        };
        ids.push(listener.id);
        if let Some(place) = rules.get_mut(listener.id) {
            *place = Some(listener_rules(written, listener.clone()));
        }
        settings.push((listener, wanted));
    }
    let secret = former.map_or_else(Secret::random, |former| Ok(former.secret.clone()));
    let secret = secret.map_err(|error| CompileError(error.to_string()))?;
    let upstreams = config.upstreams.iter().map(|written| upstream(written, config, &secret, former));
    let upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
    let mut routes = Vec::new();
    let kept = counters(former);
    for written in &config.routes {
        let counters = kept.get(written.name.as_str()).map(|counters| (*counters).clone()).unwrap_or_default();
        let Some(route) = Route::new(written, &upstreams, counters) else {
            debug_assert!(false, "a checked configuration refers to upstreams that exist");
            continue;
        };
        let served = written.listeners.iter().filter_map(|index| ids.get(*index).copied()).collect();
        routes.push((served, written.matches.clone(), Arc::new(route)));
    }
    let snapshot = Snapshot {
        generation: former.map_or(1, |former| former.generation + 1),
        routes: Table::new(rules.len(), routes),
        path_normalization: config.path_normalization,
        listeners: rules,
        upstreams,
        secret,
        client_address: config.client_address.clone(),
        via: config.via.as_deref().and_then(Via::new),
        error_pages: config.error_pages.clone(),
        access_log,
    };
    Ok(Compiled { snapshot, settings })
}

fn upstream(
    written: &config::Upstream,
    config: &Config,
    secret: &Secret,
    former: Option<&Snapshot>,
) -> Result<Arc<Upstream>, CompileError> {
    let former = former.and_then(|former| former.upstreams.iter().find(|upstream| upstream.name == written.name));
    let resolved = resolve::resolve(written).map_err(CompileError)?;
    let ca_file = config.server.ca_file.as_deref().map(Path::new);
    let tls = written.tls.as_ref().map(|tls| ClientTls::read(tls, ca_file)).transpose();
    let tls = tls.map_err(|error| CompileError(format!("upstream `{}`: {error}", written.name)))?;
    let upstream = Upstream::new(written.clone(), &resolved, tls.as_ref(), former.map(Arc::as_ref), Instant::now());
    let file = written.sticky.as_ref().and_then(|cookie| cookie.secret_file.as_deref());
    Ok(Arc::new(match file {
        None => upstream.signed_with(secret),
        Some(file) => upstream.signed_with(&Secret::read(file).map_err(|error| {
            let (file, name) = (file.display(), &written.name);
            CompileError(format!("upstream `{name}`: the secret `{file}` cannot be used: {error}"))
        })?),
    }))
}

/// What routes have counted, by their names.
fn counters(former: Option<&Snapshot>) -> HashMap<&str, &Arc<RouteCounters>> {
    let routes = former.into_iter().flat_map(|former| former.routes.iter());
    routes.map(|route| (route.name.as_str(), &route.counters)).collect()
}

fn listener_settings(written: &config::Listener) -> Result<Settings, CompileError> {
    let http2 = if written.http2 { Http2::On } else { Http2::Off };
    let tls = written.tls.as_ref().map(|tls| tls::server_config(tls, http2)).transpose();
    Ok(Settings {
        request_header: written.timeouts.request_header,
        response_write_idle: written.timeouts.response_write_idle,
        keep_alive: written.timeouts.keep_alive,
        header_bytes: u32::try_from(written.limits.request_header.0).unwrap_or(u32::MAX),
        header_fields: written.limits.request_headers as usize,
        connections: most(written.limits.connections),
        connections_per_client: most(written.limits.connections_per_client),
        http2,
        proxy_protocol: written.proxy_protocol,
        tls: tls.map_err(|error| CompileError(format!("listener `{}`: {error}", written.name)))?,
    })
}

fn most(limit: Limit) -> Option<u64> {
    match limit {
        Limit::Unlimited => None,
        Limit::At(most) => Some(most),
    }
}

fn listener_rules(written: &config::Listener, listener: Arc<Listener>) -> ListenerRules {
    ListenerRules {
        listener,
        request_body_idle: written.timeouts.request_body_idle,
        response_write_idle: written.timeouts.response_write_idle,
        header_bytes: written.limits.request_header.0,
        header_fields: written.limits.request_headers as usize,
    }
}
