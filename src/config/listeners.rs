//! `listeners`: the addresses that we accept connections on, and what a connection may cost.
//!
//! Invariant: every time-out is finite and every limit within what pingora can enforce. Deliberately absent: reading
//! certificates, which may be replaced while running.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::client_certificates::{self, ClientCertificates};
use super::problem::{Place, Problem, Report};
use super::section::{Entry, Section, Switch, check_name, is_off};
use super::tree::Node;
use super::{Folder, Folders};
use crate::units::{ByteSize, Limit, Mistake};
const EXAMPLE: &str = "write `listeners: { web: { address: \"0.0.0.0:8080\" } }`";

/// An address that we accept connections on.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique in the file.
    pub name: String,
    /// Unique in the file.
    pub address: Address,
    /// None: plain HTTP.
    pub tls: Option<ListenerTls>,
    /// Whether HTTP/2 is spoken: by ALPN over TLS, by prior knowledge without.
    pub http2: bool,
    /// Whether a connection says first who has connected.
    pub proxy_protocol: ProxyProtocol,
    /// How long a client may take.
    pub timeouts: ListenerTimeouts,
    /// How much a client may send.
    pub limits: ListenerLimits,
}

impl Listener {
    /// A plain listener with the defaults of a file.
    pub fn new(name: impl Into<String>, address: Address) -> Self {
        Listener {
            name: name.into(),
            address,
            tls: None,
            http2: true,
            proxy_protocol: ProxyProtocol::Off,
            timeouts: ListenerTimeouts::default(),
            limits: ListenerLimits::default(),
        }
    }
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not; what comes first is TLS or HTTP.
    Off,
    /// All do, of version 1 or 2. Whether it is there cannot be left to the client: it could say what it likes.
    Required,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// At least one; chosen by SNI, and the first when no name fits.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// Who may connect; None: everybody.
    pub client_certificates: Option<ClientCertificates>,
}

/// A certificate chain and its key, both PEM, by absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// The oldest that is not broken (RFC 8996), and still needed by some clients.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// How long a client may take; all are finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its header.
    pub request_header: Duration,
    /// Between two reads of a request's body.
    pub request_body_idle: Duration,
    /// Between two writes of a response.
    pub response_write_idle: Duration,
    /// Between a response and the next request.
    pub keep_alive: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        ListenerTimeouts {
            // Slow phones need seconds; an attacker who holds connections open gets no more.
            request_header: Duration::from_secs(10),
            request_body_idle: Duration::from_secs(30),
            response_write_idle: Duration::from_secs(30),
            // What browsers reuse; a parked connection is cheap here.
            keep_alive: Duration::from_secs(60),
        }
    }
}

/// How much a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Request line and fields together, 1KiB to 1023KiB.
    pub request_header: ByteSize,
    /// How many fields a request may have, 1 to 256.
    pub request_headers: u32,
    /// How many connections are open at once.
    pub connections: Limit,
    /// How many of them one client has, by its IPv4 address or the first 64 bits of its IPv6 address.
    pub connections_per_client: Limit,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerLimits {
            // Room for fat cookies and tokens, as in pingora's HTTP/2.
            request_header: ByteSize(64 << 10),
            // What the peers allow.
            request_headers: 100,
            connections: Limit::Unlimited,
            // A whole office, or a CDN, may be one address.
            connections_per_client: Limit::Unlimited,
        }
    }
}

/// The smallest header limit that lets a browser through at all.
const LEAST_REQUEST_HEADER: ByteSize = ByteSize(1 << 10);
/// pingora refuses 1 MiB by itself, so that a higher limit would enforce nothing.
const MOST_REQUEST_HEADER: ByteSize = ByteSize(1023 << 10);
/// pingora refuses more by itself.
const MOST_REQUEST_HEADERS: u32 = 256;

/// An address that was written, with the words for it.
pub(super) struct Claim {
    address: Address,
    title: String,
    /// None for the default of the admin address.
    place: Option<Place>,
}

/// The addresses of the file so far: no two may collide.
#[derive(Default)]
pub(super) struct Claims(Vec<Claim>);

impl Claims {
    /// Notes an address; one that collides with an earlier one is reported.
    pub fn add(&mut self, report: &Report, title: String, address: Address, place: Option<Place>) {
        if let Some(earlier) = self.0.iter().find(|claim| claim.address.collides(&address)) {
            let equal = if earlier.address == address { "is also the address" } else { "overlaps the address" };
            let message = format!("`{address}` of {title} {equal} of {}", earlier.title);
            let problem = Problem::new(message, place.or(earlier.place)).help("give each its own address");
            report.add(match (place, earlier.place) {
                (Some(_), Some(other)) => problem.related(other, format!("{} listens here", earlier.title)),
                (None, _) | (_, None) => problem,
            });
        }
        self.0.push(Claim { address, title, place });
    }
}

/// The listeners in the order of the file; their names stay in step with the keys even after problems.
pub(super) fn read(
    report: &Report,
    entry: Option<Entry<'_>>,
    folders: &Folders<'_>,
    claims: &mut Claims,
) -> Vec<Listener> {
    let named = entry.map_or(&[][..], |entry| entry.named(report, EXAMPLE));
    named
        .iter()
        .map(|(key, node)| {
            check_name(report, "a listener", &key.text, key.place);
            let title = format!("listener `{}`", key.text);
            let section = Section::open(report, "listener", title, Some(key.place), node);
            let listener = section.and_then(|section| read_one(section, &key.text, &folders.of(key.place), claims));
            listener.unwrap_or_else(|| Listener::new(key.text.as_str(), Address::loopback(0)))
        })
        .collect()
}

fn read_one(mut section: Section<'_>, name: &str, folder: &Folder<'_>, claims: &mut Claims) -> Option<Listener> {
    let report = section.report();
    let written = section.required("address", "write `address: \"0.0.0.0:8080\"`, or `unix:/path`");
    let address = written.and_then(|written| written.parsed(report, fixed_address));
    if let (Some(written), Some(address)) = (written, &address) {
        claims.add(report, section.title().to_owned(), address.clone(), Some(written.node.place));
    }
    let tls = section.entry("tls").filter(|tls| !is_off(tls.node)).map(|tls| read_tls(&section, tls, folder));
    let http2 = section.switch("http2", Switch::On) == Switch::On;
    let proxy_protocol = section.parsed("proxy_protocol", ProxyProtocol::Off, |text| match text {
        "off" | "false" => Ok(ProxyProtocol::Off),
        "required" => Ok(ProxyProtocol::Required),
        _ => Err(Mistake::new(format!("`proxy_protocol` cannot be `{text}`"), "write `off` or `required`")),
    });
    let timeouts = read_timeouts(section.section("timeouts", "listener timeouts"));
    let limits = read_limits(section.section("limits", "listener limits"));
    section.close();
    let (name, tls) = (name.to_owned(), tls.flatten());
    Some(Listener { name, address: address?, tls, http2, proxy_protocol, timeouts, limits })
}

/// An address of a file: a port that the system chooses would be found by nobody.
pub(super) fn fixed_address(text: &str) -> Result<Address, Mistake> {
    let address = text.parse()?;
    match address {
        Address::Tcp(tcp) if tcp.port() == 0 => {
            Err(Mistake::new(format!("`{text}` has port 0"), "a port is a whole number from 1 to 65535"))
        }
        Address::Tcp(_) | Address::Unix(_) => Ok(address),
    }
}

fn read_tls(listener: &Section<'_>, entry: Entry<'_>, folder: &Folder<'_>) -> Option<ListenerTls> {
    const HELP: &str = "write `certificates: [ { certificate: certs/site.pem, key: certs/site.key } ]`";
    let report = listener.report();
    let title = format!("`tls` of {}", listener.title());
    let mut section = Section::open(report, "listener tls", title, Some(entry.key.place), entry.node)?;
    let items = section.required("certificates", HELP).map_or(&[][..], |entry| entry.items(report, HELP));
    let certificates = items.iter().filter_map(|item| read_certificate(report, item, folder)).collect();
    let min_version = section.parsed("min_version", TlsVersion::default(), |text| match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err(Mistake::new(
            format!("`{text}` is not a version of TLS that is accepted"),
            "write `\"1.2\"` or `\"1.3\"`",
        )),
    });
    let client_certificates = client_certificates::read(&mut section, folder);
    section.close();
    Some(ListenerTls { certificates, min_version, client_certificates })
}

fn read_certificate(report: &Report, node: &Node, folder: &Folder<'_>) -> Option<CertificateFiles> {
    let mut section = Section::open(report, "certificate", "a certificate", Some(node.place), node)?;
    let mut file =
        |key, help| section.required(key, help).and_then(|entry| entry.parsed(report, |text| folder.file(text)));
    let certificate = file("certificate", "write the path of the certificate and its chain, in PEM");
    let key = file("key", "write the path of the private key, in PEM");
    section.close();
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

fn read_timeouts(mut section: Section<'_>) -> ListenerTimeouts {
    let default = ListenerTimeouts::default();
    let timeouts = ListenerTimeouts {
        request_header: section.duration("request_header", default.request_header),
        request_body_idle: section.duration("request_body_idle", default.request_body_idle),
        response_write_idle: section.duration("response_write_idle", default.response_write_idle),
        keep_alive: section.duration("keep_alive", default.keep_alive),
    };
    section.close();
    timeouts
}

fn read_limits(mut section: Section<'_>) -> ListenerLimits {
    let default = ListenerLimits::default();
    let fields = section.number("request_headers", default.request_headers.into(), 1..=MOST_REQUEST_HEADERS.into());
    let limits = ListenerLimits {
        request_header: section.parsed("request_header", default.request_header, |text| {
            let size: ByteSize = text.parse()?;
            let fits = (LEAST_REQUEST_HEADER..=MOST_REQUEST_HEADER).contains(&size);
            let help = || format!("a size from `{LEAST_REQUEST_HEADER}` to `{MOST_REQUEST_HEADER}`");
            fits.then_some(size).ok_or_else(|| Mistake::new(format!("`request_header` cannot be `{text}`"), help()))
        }),
        request_headers: u32::try_from(fields).unwrap_or(MOST_REQUEST_HEADERS),
        connections: section.parsed("connections", default.connections, str::parse),
        connections_per_client: section.parsed("connections_per_client", default.connections_per_client, str::parse),
    };
    section.close();
    limits
}
