//! The configuration file: strict YAML, in one file or in several that it includes, read whole, with every problem in
//! it found in one run.
//!
//! Invariant: after [`load`] nothing is left to interpret. Defaults are filled in, names are indexes, paths are
//! absolute, units are numbers. Deliberately absent: opening anything but the file itself, those that it includes and the
//! error pages that it names (certificates, sockets, names of hosts).

mod access_log;
mod action;
mod adaptive_concurrency;
mod address;
mod admin;
mod balance;
mod built;
mod circuit_breaker;
mod client_address;
mod client_certificates;
mod environment;
mod error_pages;
mod expectations;
mod header_rules;
mod health_check;
mod hedge;
mod include;
mod listeners;
mod listing;
mod locate;
mod matches;
mod normalization;
mod outlier_detection;
mod problem;
mod retry;
mod rewrite;
mod routes;
mod section;
mod server;
mod shape;
mod source;
mod sticky;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod upstream_tls;
mod upstreams;
mod via;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(test)]
pub(crate) use access_log::template_pieces;
pub use access_log::{AccessLog, LogPath};
pub use action::{Key, Redirect, Respond, Split};
pub use adaptive_concurrency::AdaptiveConcurrency;
pub use address::{Address, BackendAddress};
pub use admin::{Admin, DEFAULT_PORT, Secret, Token};
pub use balance::{Balance, HashKey};
pub use circuit_breaker::{CircuitBreaker, Queue};
pub use client_certificates::{ClientCertificateMode, ClientCertificates};
pub use expectations::{Expected, Test};
pub use health_check::{HealthCheck, HttpQuestion, Question};
pub use hedge::{Hedge, Percentile};
pub use listeners::{
    CertificateFiles, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, ProxyProtocol, TlsVersion,
};
pub use listing::without_place;
pub use locate::{Whereabouts, locate};
pub use outlier_detection::{OutlierDetection, Stalls};
use pingora_core::server::configuration::ServerConf;
pub use problem::{Colour, Place, Problem, Problems};
pub use retry::{Backoff, Retry, RetryOn, RetryRule, RetryStatuses};
pub use routes::{Action, Forward, Route, RouteTimeouts};
pub use server::{copy as server_copy, defaults as server_defaults};
pub use shape::{reference, schema};
pub use sticky::StickyCookie;
pub use upstream_tls::{UpstreamTls, Verify};
pub use upstreams::{Backend, Protocol, Upstream, UpstreamTimeouts};

use crate::error_pages::Pages;
use crate::identity;
use crate::route::Normalisation;
use crate::units::Mistake;
use environment::Environment;
use include::Files;
use problem::Report;
use section::{Entry, Section, Switch};
use source::{Folder, Folders, Source};

/// Long enough for whoever watches `/readyz` every half a second; short enough for a restart by hand.
pub const DEFAULT_LAME_DUCK: Duration = Duration::from_secs(1);

/// Everything that the operator decided, and our defaults for the rest.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// What goes to pingora.
    pub server: ServerConf,
    /// After TERM, how long new connections are still answered while `/readyz` says no.
    pub lame_duck: Duration,
    /// Whether a change of the files is a reload.
    pub watch: bool,
    /// None: no admin address.
    pub admin: Option<Admin>,
    /// None: requests are not logged.
    pub access_log: Option<AccessLog>,
    /// Whose word on a client's address is believed.
    pub client_address: identity::Rules,
    /// Our name in the field `Via`; none: the field is left alone.
    pub via: Option<String>,
    /// What failures look like.
    pub error_pages: Pages,
    /// What is done with paths that may be read in two ways.
    pub path_normalization: Normalisation,
    /// In the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// In the order of the file; at least one.
    pub upstreams: Vec<Upstream>,
    /// In the order of the file; at least one.
    pub routes: Vec<Route>,
    /// What the operator expects of them.
    pub tests: Vec<Test>,
}

impl Config {
    /// A configuration made in code: what is not given has the defaults of a file.
    pub fn new(listeners: Vec<Listener>, upstreams: Vec<Upstream>, routes: Vec<Route>) -> Self {
        Config {
            server: server_defaults(),
            lame_duck: DEFAULT_LAME_DUCK,
            watch: false,
            admin: Some(Admin::default()),
            access_log: Some(AccessLog::default()),
            client_address: identity::Rules::default(),
            via: None,
            error_pages: Pages::default(),
            path_normalization: Normalisation::default(),
            listeners,
            upstreams,
            routes,
            tests: Vec::new(),
        }
    }

    /// The way without a file: `--listen ADDR --backend ADDR …`. The error is one line, with help.
    pub fn quick(listen: &str, backends: &[String]) -> Result<Config, String> {
        let address: Address = listen.parse().map_err(|mistake: Mistake| mistake.to_string())?;
        let mut checked: Vec<Backend> = Vec::new();
        for backend in backends {
            let address: BackendAddress = backend.parse().map_err(|mistake: Mistake| mistake.to_string())?;
            if checked.iter().any(|earlier| earlier.address.is_same(&address)) {
                return Err(format!("backend `{address}` is given twice; give each once"));
            }
            checked.push(Backend::new(address));
        }
        if checked.is_empty() {
            return Err("no backend is given; write `--backend 127.0.0.1:9001`".to_owned());
        }
        let admin = Admin::default();
        if admin.address.collides(&address) {
            return Err(format!("`{address}` is the admin address `{}`; listen on another port", admin.address));
        }
        let route = Route::to_upstream("route-1", vec![0], 0);
        Ok(Config::new(vec![Listener::new("web", address)], vec![Upstream::new("app", checked)], vec![route]))
    }
}

impl Clone for Config {
    fn clone(&self) -> Self {
        Config {
            server: server::copy(&self.server),
            lame_duck: self.lame_duck,
            watch: self.watch,
            admin: self.admin.clone(),
            access_log: self.access_log.clone(),
            client_address: self.client_address.clone(),
            via: self.via.clone(),
            error_pages: self.error_pages.clone(),
            path_normalization: self.path_normalization,
            listeners: self.listeners.clone(),
            upstreams: self.upstreams.clone(),
            routes: self.routes.clone(),
            tests: self.tests.clone(),
        }
    }
}

/// Why a file gives no configuration.
#[derive(Debug)]
pub enum LoadError {
    /// It could not be read; exit code 2.
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is wrong; exit code 1.
    Problems(Problems),
}

impl LoadError {
    /// What `evenkeel check` ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoadError::Unreadable { .. } => 2,
            LoadError::Problems(_) => 1,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable { path, error } => {
                write!(formatter, "cannot read `{}`: {error}", path.display())
            }
            LoadError::Problems(problems) => problems.fmt(formatter),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { error, .. } => Some(error),
            LoadError::Problems(problems) => Some(problems),
        }
    }
}

/// Where a configuration came from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// The files that were read, and the folders in which files may appear that would be.
    pub files: Vec<PathBuf>,
    /// What is written in them, as one: references to the environment are shown as such, and never what they brought.
    pub written: serde_json::Value,
}

/// Reads and checks a file and those that it includes; paths are relative to the folder of the file that names them.
///
/// # Errors
/// If the file cannot be read, or for what is wrong with it.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    load_with_origin(path).0
}

/// The same; beside it where it came from, also where it is wrong.
pub fn load_with_origin(path: &Path) -> (Result<Config, LoadError>, Origin) {
    load_as(path, &path.display().to_string(), &environment::of_process)
}

fn load_as(path: &Path, name: &str, environment: &Environment<'_>) -> (Result<Config, LoadError>, Origin) {
    let report = Report::default();
    let mut files = Files::new(&report, environment);
    let opened = files.open(path, name);
    let mut origin = Origin { path: path.to_owned(), files: std::mem::take(&mut files.watched), ..Origin::default() };
    let checked = match opened {
        Ok(root) => {
            origin.written = root.as_ref().map(tree::Node::as_written).unwrap_or_default();
            check(&report, files, root).map_err(LoadError::Problems)
        }
        Err(error) => Err(LoadError::Unreadable { path: path.to_owned(), error }),
    };
    (checked, origin)
}

/// Checks a text as if it were the file `name` in `folder`.
///
/// # Errors
/// For what is wrong with it.
pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Config, Problems> {
    parse_in(text, name, folder, &environment::of_process)
}

fn parse_in(text: &str, name: &str, folder: &Path, environment: &Environment<'_>) -> Result<Config, Problems> {
    let report = Report::default();
    let mut files = Files::new(&report, environment);
    let root = files.text(Source { name: name.to_owned(), text: text.to_owned(), folder: folder.to_owned() });
    check(&report, files, root)
}

fn check(report: &Report, files: Files<'_>, root: Option<tree::Node>) -> Result<Config, Problems> {
    let Files { mut sources, references, incomplete, .. } = files;
    let config = root.filter(|_| !incomplete).and_then(|root| read(report, &root, &Folders(&sources)));
    let problems = references.apply(report.take_problems());
    for place in report.take_secrets() {
        if let Some(source) = sources.get_mut(place.file) {
            source.blank(place);
        }
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(Problems::new(sources, problems)),
    }
}

fn read(report: &Report, root: &tree::Node, folders: &Folders<'_>) -> Option<Config> {
    const EXAMPLE: &str =
        "the least that serves is `version`, `listeners`, `upstreams` and `routes`; see conf/evenkeel.yaml";
    if root.value == tree::Value::Null {
        report.add(Problem::new("the file is empty", None).help(EXAMPLE));
        return None;
    }
    let mut top = Section::open(report, "", "the file", None, root)?;
    if let Some(version) = top.required("version", "write `version: 1`") {
        check_version(report, version);
    }
    // Its files are in the tree already.
    top.entry("include");
    let mut claims = listeners::Claims::default();
    let written = top.required("listeners", "write `listeners: { web: { address: \"0.0.0.0:8080\" } }`");
    let listeners = listeners::read(report, written, folders, &mut claims);
    let written = top.required("upstreams", "write `upstreams: { app: { backends: [127.0.0.1:9001] } }`");
    let upstreams = upstreams::read(report, written, folders);
    let written = top.required("routes", "write `routes: [ { upstream: app } ]`");
    let path_normalization = normalization::read(&mut top);
    let routes = routes::read(report, written, &listeners, &upstreams, path_normalization);
    let written = top.entry("tests");
    let named = expectations::Named { listeners: &listeners, upstreams: &upstreams, routes: &routes };
    let tests = expectations::read(report, written, &named);
    let written = top.entry("admin");
    let admin = admin::read(report, written, folders);
    if let Some(Admin { address, .. }) = &admin {
        claims.add(report, "`admin`".to_owned(), address.clone(), written.map(|entry| entry.node.place));
    }
    let config = Config {
        access_log: access_log::read(report, top.entry("access_log"), folders),
        via: via::read(&mut top),
        error_pages: error_pages::read(report, top.entry("error_pages"), folders),
        client_address: client_address::read(top.section("client_address", "client address")),
        lame_duck: top.parsed("lame_duck", DEFAULT_LAME_DUCK, lame_duck),
        watch: top.switch("watch", Switch::Off) == Switch::On,
        server: server::read(&mut top, folders),
        admin,
        path_normalization,
        listeners,
        upstreams,
        routes,
        tests,
    };
    top.close();
    Some(config)
}

fn check_version(report: &Report, version: Entry<'_>) {
    version.parsed(report, |text| match text {
        "1" => Ok(()),
        _ => Err(Mistake::new(format!("`{text}` is not a version of this file"), "write `version: 1`")),
    });
}

fn lame_duck(text: &str) -> Result<Duration, Mistake> {
    match text {
        "off" => Ok(Duration::ZERO),
        _ => section::positive("lame_duck", text, "write `off`"),
    }
}
