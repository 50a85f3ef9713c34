//! stub
use std::{fmt, net::SocketAddr, path::{Path, PathBuf}, time::Duration};
pub use pingora::server::configuration::ServerConf;
pub use crate::units::*;
#[derive(Debug)]
pub struct Config { pub server: ServerConf, pub lame_duck: Duration, pub admin: Option<Admin>, pub access_log: Option<AccessLog>, pub listeners: Vec<Listener>, pub upstreams: Vec<Upstream>, pub routes: Vec<Route> }
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address { Tcp(SocketAddr), Unix(PathBuf) }
impl fmt::Display for Address { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match self { Address::Tcp(a) => a.fmt(f), Address::Unix(p) => write!(f, "unix:{}", p.display()) } } }
#[derive(Clone, Debug, PartialEq)]
pub struct Admin { pub address: Address }
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog { pub path: LogPath, pub format: crate::observe::access_log::Format }
#[derive(Clone, Debug, PartialEq)]
pub enum LogPath { Stdout, Stderr, File(PathBuf) }
#[derive(Clone, Debug, PartialEq)]
pub struct Listener { pub name: String, pub address: Address, pub tls: Option<ListenerTls>, pub http2: bool, pub timeouts: ListenerTimeouts, pub limits: ListenerLimits }
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls { pub certificates: Vec<CertificateFiles>, pub min_version: TlsVersion }
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateFiles { pub certificate: PathBuf, pub key: PathBuf }
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TlsVersion { V1_2, V1_3 }
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTimeouts { pub request_header: Duration, pub request_body_idle: Duration, pub response_write_idle: Duration, pub keep_alive: Duration }
impl Default for ListenerTimeouts { fn default() -> Self { ListenerTimeouts { request_header: Duration::from_secs(10), request_body_idle: Duration::from_secs(30), response_write_idle: Duration::from_secs(30), keep_alive: Duration::from_secs(60) } } }
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerLimits { pub request_header: ByteSize, pub request_headers: u32, pub connections: Limit }
impl Default for ListenerLimits { fn default() -> Self { ListenerLimits { request_header: ByteSize(65536), request_headers: 100, connections: Limit::Unlimited } } }
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream { pub name: String, pub backends: Vec<Backend>, pub balance: Balance, pub health_check: Option<HealthCheck>, pub retry: Option<Retry>, pub timeouts: UpstreamTimeouts }
#[derive(Clone, Debug, PartialEq)]
pub struct Backend { pub address: BackendAddress, pub weight: u32 }
#[derive(Clone, Debug, PartialEq)]
pub enum BackendAddress { Tcp(SocketAddr), Name { host: String, port: u16 }, Unix(PathBuf) }
impl fmt::Display for BackendAddress { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match self { BackendAddress::Tcp(a) => a.fmt(f), BackendAddress::Name { host, port } => write!(f, "{host}:{port}"), BackendAddress::Unix(p) => write!(f, "unix:{}", p.display()) } } }
#[derive(Clone, Debug, PartialEq)]
pub enum Balance { RoundRobin }
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck { pub interval: Duration, pub timeout: Duration, pub healthy_after: u32, pub unhealthy_after: u32 }
impl Default for HealthCheck { fn default() -> Self { HealthCheck { interval: Duration::from_secs(5), timeout: Duration::from_secs(1), healthy_after: 2, unhealthy_after: 3 } } }
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryOn { pub connect: bool, pub reset: bool, pub refused: bool }
#[derive(Clone, Debug, PartialEq)]
pub struct Retry { pub attempts: u32, pub budget: Percent, pub on: RetryOn }
impl Default for Retry { fn default() -> Self { Retry { attempts: 2, budget: Percent::new(20).unwrap(), on: RetryOn { connect: true, reset: true, refused: true } } } }
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTimeouts { pub connect: Duration, pub first_byte: Duration, pub idle: Duration, pub total: Option<Duration>, pub keep_alive: Duration, pub tunnel: Duration }
impl Default for UpstreamTimeouts { fn default() -> Self { UpstreamTimeouts { connect: Duration::from_secs(2), first_byte: Duration::from_secs(30), idle: Duration::from_secs(30), total: None, keep_alive: Duration::from_secs(60), tunnel: Duration::from_secs(3600) } } }
#[derive(Clone, Debug, PartialEq)]
pub struct Route { pub name: String, pub listeners: Vec<usize>, pub upstream: usize }
#[derive(Debug)] pub struct Problems; impl Problems { pub fn render(&self, _c: Colour) -> String { String::new() } }
#[derive(Debug)] pub enum Colour { Never, Always }
#[derive(Debug)] pub enum LoadError { Unreadable { path: PathBuf, error: std::io::Error }, Problems(Problems) }
impl fmt::Display for LoadError { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{self:?}") } }
pub fn load(_: &Path) -> Result<Config, LoadError> { Err(LoadError::Problems(Problems)) }
impl Config { pub fn quick(listen: &str, backends: &[String]) -> Result<Config, String> {
 let mut server = ServerConf::default(); server.threads = 2; server.grace_period_seconds = Some(300); server.pid_file="/run/evenkeel/evenkeel.pid".into(); server.upgrade_sock="/run/evenkeel/evenkeel.upgrade.sock".into(); server.upstream_keepalive_pool_size = 1024;
 let backends = backends.iter().map(|b| b.parse().map(|a| Backend { address: BackendAddress::Tcp(a), weight: 1 }).map_err(|e| format!("{e}"))).collect::<Result<Vec<_>,_>>()?;
 Ok(Config { server, lame_duck: Duration::from_secs(1), admin: Some(Admin { address: Address::Tcp("127.0.0.1:9901".parse().unwrap()) }), access_log: Some(AccessLog{ path: LogPath::Stdout, format: crate::observe::access_log::Format::Json}),
 listeners: vec![Listener { name: "web".into(), address: Address::Tcp(listen.parse().map_err(|e| format!("{e}"))?), tls: None, http2: true, timeouts: Default::default(), limits: Default::default() }],
 upstreams: vec![Upstream { name: "app".into(), backends, balance: Balance::RoundRobin, health_check: Some(HealthCheck::default()), retry: Some(Retry::default()), timeouts: Default::default() }], routes: vec![Route { name: "route-1".into(), listeners: vec![0], upstream: 0 }] })
}}
