//! The configuration file: one strict YAML file, read whole, with every problem in it found in one run.
//!
//! Invariant: after [`load`] nothing is left to interpret. Defaults are filled in, names are indexes, paths are
//! absolute, units are numbers. Deliberately absent: opening anything but the file itself and the error pages that it
//! names (certificates, sockets, names of hosts), and including other files.

mod access_log;
mod action;
mod address;
mod admin;
mod balance;
mod client_address;
mod error_pages;
mod header_rules;
mod health_check;
mod listeners;
mod matches;
mod normalization;
mod problem;
mod retry;
mod rewrite;
mod routes;
mod section;
mod server;
mod suggest;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod upstream_tls;
mod upstreams;
mod via;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pingora_core::server::configuration::ServerConf;

#[cfg(test)]
pub(crate) use access_log::template_pieces;
pub use access_log::{AccessLog, LogPath};
pub use action::{Key, Redirect, Respond, Split};
pub use address::{Address, BackendAddress};
pub use admin::{Admin, DEFAULT_PORT};
pub use balance::{Balance, HashKey};
pub use health_check::HealthCheck;
pub use listeners::{
    CertificateFiles, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, ProxyProtocol, TlsVersion,
};
pub use problem::{Colour, Place, Problem, Problems};
pub use retry::{Retry, RetryOn, RetryRule};
pub use routes::{Action, Forward, Route, RouteTimeouts};
pub use server::{copy as server_copy, defaults as server_defaults};
pub use upstream_tls::{UpstreamTls, Verify};
pub use upstreams::{Backend, Protocol, Upstream, UpstreamTimeouts};

use crate::error_pages::Pages;
use crate::identity;
use crate::route::Normalisation;
use crate::units::{self, Mistake};
use problem::Report;
use section::Section;

/// Long enough for whoever watches `/readyz` every half a second; short enough for a restart by hand.
pub const DEFAULT_LAME_DUCK: Duration = Duration::from_secs(1);

/// More than a hundred thousand backends need; what is larger is not a configuration.
const LARGEST_FILE: units::ByteSize = units::ByteSize(16 << 20);

/// Everything that the operator decided, and our defaults for the rest.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// What goes to pingora.
    pub server: ServerConf,
    /// After TERM, how long new connections are still answered while `/readyz` says no.
    pub lame_duck: Duration,
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
}

impl Config {
    /// A configuration made in code: what is not given has the defaults of a file.
    pub fn new(listeners: Vec<Listener>, upstreams: Vec<Upstream>, routes: Vec<Route>) -> Self {
        Config {
            server: server_defaults(),
            lame_duck: DEFAULT_LAME_DUCK,
            admin: Some(Admin::default()),
            access_log: Some(AccessLog::default()),
            client_address: identity::Rules::default(),
            via: None,
            error_pages: Pages::default(),
            path_normalization: Normalisation::default(),
            listeners,
            upstreams,
            routes,
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
            admin: self.admin.clone(),
            access_log: self.access_log.clone(),
            client_address: self.client_address.clone(),
            via: self.via.clone(),
            error_pages: self.error_pages.clone(),
            path_normalization: self.path_normalization,
            listeners: self.listeners.clone(),
            upstreams: self.upstreams.clone(),
            routes: self.routes.clone(),
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

/// Reads and checks a file; paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |error| LoadError::Unreadable { path: path.to_owned(), error };
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed, to see that there is more.
    File::open(path).and_then(|file| file.take(LARGEST_FILE.0 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name, folder).map_err(LoadError::Problems),
        Err(error) => Err(LoadError::Problems(not_text(&name, &error))),
    }
}

/// Checks a text as if it were the file `name` in `folder`.
pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Config, Problems> {
    let refuse = |problems| Err(Problems::new(name, text, problems));
    if text.len() as u64 > LARGEST_FILE.0 {
        return refuse(vec![Problem::new(format!("the file is larger than {LARGEST_FILE}"), None)]);
    }
    let root = match tree::read(text) {
        Ok(root) => root,
        Err(problem) => return refuse(vec![*problem]),
    };
    let report = Report::default();
    let config = read(&report, &root, &Folder(folder));
    match (config, report.into_problems()) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => refuse(problems),
    }
}

fn read(report: &Report, root: &tree::Node, folder: &Folder<'_>) -> Option<Config> {
    const EXAMPLE: &str =
        "the least that serves is `version`, `listeners`, `upstreams` and `routes`; see conf/evenkeel.yaml";
    if root.value == tree::Value::Null {
        report.add(Problem::new("the file is empty", None).help(EXAMPLE));
        return None;
    }
    let mut top = Section::open(report, "", "the file", None, root)?;
    if let Some(version) = top.required("version", "write `version: 1`") {
        version.parsed(report, |text| match text {
            "1" => Ok(()),
            _ => Err(Mistake::new(format!("`{text}` is not a version of this file"), "write `version: 1`")),
        });
    }
    let mut claims = listeners::Claims::default();
    let written = top.required("listeners", "write `listeners: { web: { address: \"0.0.0.0:8080\" } }`");
    let listeners = listeners::read(report, written, folder, &mut claims);
    let written = top.required("upstreams", "write `upstreams: { app: { backends: [127.0.0.1:9001] } }`");
    let upstreams = upstreams::read(report, written, folder);
    let written = top.required("routes", "write `routes: [ { upstream: app } ]`");
    let path_normalization = normalization::read(&mut top);
    let routes = routes::read(report, written, &listeners, &upstreams, path_normalization);
    let written = top.entry("admin");
    let admin = admin::read(report, written);
    if let Some(Admin { address }) = &admin {
        claims.add(report, "`admin`".to_owned(), address.clone(), written.map(|entry| entry.node.place));
    }
    let config = Config {
        access_log: access_log::read(report, top.entry("access_log"), folder),
        via: via::read(&mut top),
        error_pages: error_pages::read(report, top.entry("error_pages"), folder),
        client_address: client_address::read(top.section("client_address", "client address")),
        lame_duck: top.parsed("lame_duck", DEFAULT_LAME_DUCK, lame_duck),
        server: server::read(&mut top, folder),
        admin,
        path_normalization,
        listeners,
        upstreams,
        routes,
    };
    top.close();
    Some(config)
}

fn lame_duck(text: &str) -> Result<Duration, Mistake> {
    match text {
        "off" => Ok(Duration::ZERO),
        _ => section::positive("lame_duck", text, "write `off`"),
    }
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> Problems {
    let text = String::from_utf8_lossy(error.as_bytes());
    let good =
        error.as_bytes().get(..error.utf8_error().valid_up_to()).map(String::from_utf8_lossy).unwrap_or_default();
    let line = good.matches('\n').count() + 1;
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let problem = Problem::at(Place { line, column, length: 1 }, "the file is not UTF-8 text").label("this byte");
    Problems::new(name, &text, vec![problem.help("save the file in UTF-8")])
}

/// Where the file lies: what its paths are relative to.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    /// An absolute path. Whether there is anything is not asked.
    fn file(&self, text: &str) -> Result<PathBuf, Mistake> {
        if text.is_empty() || text.contains('\0') {
            return Err(Mistake::new(
                format!("`{text}` is not a path"),
                "write a path; a relative one starts at the folder of this file",
            ));
        }
        let joined = self.0.join(text);
        Ok(std::path::absolute(&joined).unwrap_or(joined))
    }
}
