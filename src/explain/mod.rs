//! Why a request goes where it goes: the decision of the code that serves requests, as a value.
//!
//! Invariant: nothing is decided here. Routes are found by [`Table::explain`], paths brought into form, rewritten and
//! put into locations by the functions that requests meet. Deliberately absent: chance. Of a split all shares are told.
//!
//! [`Table::explain`]: crate::route::Table::explain

mod asked;
mod check;
mod conditions;
mod idle;
mod shares;
mod text;

use std::time::Instant;

use serde::Serialize;

pub use asked::Asked;
pub use check::check;
pub use idle::idle;
use shares::shares;
pub use shares::{Known, Share};
pub use text::text;

use crate::config::{self, Config};
use crate::failure::Reason;
use crate::forward::rewrite::PathRewrite;
use crate::forward::template::Values;
use crate::proxy::{location_of, rewritten};
use crate::route::{Host, Outcome, Path, Request, normalise, path_and_query};
use crate::snapshot::{Action, Route, Snapshot};
use crate::upstream::Hashable;

/// See the module's documentation.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Method and address.
    pub request: String,
    /// The listener that takes it.
    pub listener: String,
    /// How that was found: `named`, `port`, `scheme` or `first`.
    pub listener_by: &'static str,
    /// The path in its one form, where it did not come in it.
    pub normal_path: Option<String>,
    /// The reason token of a failure that is certain before a backend is asked.
    pub reason: Option<&'static str>,
    /// The route that is taken.
    pub route: Option<String>,
    /// Every route of the listener, the most specific first.
    pub considered: Vec<Considered>,
    /// What is done; none without a route.
    pub action: Option<Done>,
}

/// One route and what became of it.
#[derive(Debug, Serialize)]
pub struct Considered {
    /// Its name.
    pub route: String,
    /// `chosen`, `outranked`, `unmet`, `other_path` or `other_host`.
    pub outcome: &'static str,
    /// The first condition that is not met, in words.
    pub condition: Option<String>,
}

/// What is done with the request.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Done {
    /// A backend answers.
    Forward {
        /// The path and query that it is asked for.
        target: String,
        /// The host that it is asked for.
        host: String,
        /// All that may answer; one, or the shares of a split.
        upstreams: Vec<Share>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where; none if the values make no location.
        location: Option<String>,
    },
    /// We answer.
    Respond {
        /// The status.
        status: u16,
    },
}

/// Explains what becomes of a request. `config` is what `snapshot` was compiled from.
///
/// # Errors
/// A sentence, if no listener has the name that was asked for.
pub fn explain(snapshot: &Snapshot, config: &Config, asked: &Asked, known: Known) -> Result<Explanation, String> {
    let (listener, listener_by) = listener_of(config, asked)?;
    let id = snapshot.listeners.iter().flatten().find(|rules| rules.listener.name == listener.name);
    let id = id.map_or(usize::MAX, |rules| rules.listener.id);
    let mut explanation = Explanation {
        request: format!("{} {}://{}{}", asked.method, asked.scheme(), asked.authority, asked.target),
        listener: listener.name.clone(),
        listener_by,
        normal_path: None,
        reason: None,
        route: None,
        considered: Vec::new(),
        action: None,
    };
    let (path, query) = path_and_query(asked.target.as_bytes());
    let Ok(path) = normalise(path, snapshot.path_normalization) else {
        explanation.reason = Some(Reason::BadRequest.token());
        return Ok(explanation);
    };
    explanation.normal_path = (!path.is_unchanged()).then(|| path.forwarded().to_owned());
    let host = Host::of(asked.authority.as_bytes());
    let request = Request {
        listener: id,
        host: host.as_bytes(),
        path: path.seen_by_rules(),
        query: query.unwrap_or_default(),
        method: &asked.method,
        headers: &asked.headers,
        client: Some(asked.client),
    };
    let decision = snapshot.routes.explain(&request);
    let written = |place: usize| config.routes.get(place);
    explanation.considered = decision
        .considered
        .iter()
        .filter_map(|considered| {
            let route = written(considered.route)?;
            let (outcome, condition) = match considered.outcome {
                Outcome::Chosen => ("chosen", None),
                Outcome::Outranked => ("outranked", None),
                Outcome::Unmet(unmet) => ("unmet", Some(conditions::words(&route.matches, unmet))),
                Outcome::OtherPath => ("other_path", None),
                Outcome::OtherHost => ("other_host", None),
            };
            Some(Considered { route: route.name.clone(), outcome, condition })
        })
        .collect();
    let chosen = decision.chosen.and_then(|place| Some((snapshot.routes.iter().nth(place)?, written(place)?)));
    let Some((route, written)) = chosen else {
        explanation.reason = Some(Reason::NoRoute.token());
        return Ok(explanation);
    };
    explanation.route = Some(route.name.clone());
    match done(snapshot, route, written, asked, &path, query, &host, &listener.name, known) {
        Ok(action) => {
            explanation.action = Some(action);
            explanation.reason = nobody_answers(route, known).then(|| Reason::NoBackend.token());
        }
        Err(reason) => explanation.reason = Some(reason.token()),
    }
    Ok(explanation)
}

/// Whether it is known that nobody of all who may answer can be asked now.
fn nobody_answers(route: &Route, known: Known) -> bool {
    match (&route.action, known) {
        (Action::Forward(forwarding), Known::Live(_)) => {
            !forwarding.destinations().any(|destination| destination.upstream.has_fit())
        }
        (Action::Forward(_) | Action::Redirect(..) | Action::Respond(_), _) => false,
    }
}

#[expect(clippy::too_many_arguments, reason = "all that a request knows when its action is due")]
fn done(
    snapshot: &Snapshot,
    route: &Route,
    written: &config::Route,
    asked: &Asked,
    normal: &Path<'_>,
    query: Option<&[u8]>,
    host: &Host,
    listener: &str,
    known: Known,
) -> Result<Done, Reason> {
    let change = |rewrite: Option<&PathRewrite>| -> Result<String, Reason> {
        let changed = rewrite.map_or(Ok(None), |rewrite| rewritten(rewrite, normal, snapshot.path_normalization))?;
        Ok(changed.map_or_else(|| normal.forwarded().to_owned(), String::from))
    };
    Ok(match &route.action {
        Action::Forward(forwarding) => {
            let path = change(forwarding.rewrite.path.as_ref())?;
            let text = query.map(String::from_utf8_lossy);
            let hashable = Hashable {
                client: Some(asked.client),
                headers: &asked.headers,
                path: normal.forwarded(),
                query: text.as_deref(),
            };
            let upstreams = shares(forwarding, written, &hashable, known, Instant::now());
            let other = forwarding.rewrite.host.as_ref().and_then(|host| host.to_str().ok());
            Done::Forward {
                target: text.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}")),
                host: other.unwrap_or(&asked.authority).to_owned(),
                upstreams,
            }
        }
        Action::Redirect(redirect, rewrite) => {
            let path = change(rewrite.as_ref())?;
            let values = Values {
                client: Some(asked.client),
                request_id: "",
                host: host.as_str(),
                path: &path,
                query,
                scheme: asked.scheme(),
                method: asked.method.as_str(),
                listener,
                route: &route.name,
                upstream: "",
                headers: &asked.headers,
            };
            let location = location_of(&redirect.to, &values);
            let location = location.and_then(|location| location.to_str().map(str::to_owned).ok());
            Done::Redirect { status: redirect.status.as_u16(), location }
        }
        Action::Respond(respond) => Done::Respond { status: respond.status.as_u16() },
    })
}

/// By its name, else by the port of the address, else by whether it speaks TLS, else the first.
fn listener_of<'a>(config: &'a Config, asked: &Asked) -> Result<(&'a config::Listener, &'static str), String> {
    let find = |fits: &dyn Fn(&config::Listener) -> bool| config.listeners.iter().find(|listener| fits(listener));
    if let Some(name) = &asked.listener {
        let named = find(&|listener| listener.name == *name);
        return named.map(|listener| (listener, "named")).ok_or_else(|| format!("no listener is called `{name}`"));
    }
    let on_port =
        find(&|listener| matches!(&listener.address, config::Address::Tcp(address) if address.port() == asked.port()));
    let on_scheme = || find(&|listener| listener.tls.is_some() == asked.https).map(|listener| (listener, "scheme"));
    let found = on_port.map(|listener| (listener, "port")).or_else(on_scheme);
    let found = found.or_else(|| config.listeners.first().map(|listener| (listener, "first")));
    found.ok_or_else(|| "there is no listener".to_owned())
}
