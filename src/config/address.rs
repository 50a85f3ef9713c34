//! Addresses: those that we listen on, and those of backends.
//!
//! Invariant: what was read can be bound or connected to as far as its form can tell. Deliberately absent: resolving
//! names, opening sockets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::units::Mistake;

/// `sun_path` of a socket address holds 108 bytes, the last of which is 0 (unix(7)).
pub(super) const LONGEST_SOCKET_PATH: usize = 107;

/// Where we accept connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Written `host:port` or `[v6]:port`. Port 0 lets the system choose; in a file it is refused.
    Tcp(SocketAddr),
    /// Written `unix:/path`.
    Unix(PathBuf),
}

impl Address {
    /// Removes the file of a UNIX socket on which nobody listens any more.
    pub fn remove_file(&self) {
        if let Address::Unix(path) = self
            && let Err(error) = std::fs::remove_file(path)
        {
            log::debug!(error:%; "socket file could not be removed");
        }
    }

    /// The admin address of a configuration that names none.
    pub(super) const fn loopback(port: u16) -> Self {
        Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Whether nobody but programs of this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// Whether the system would refuse to bind both: equal, or one of them means every address of the machine.
    pub fn collides(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Tcp(a), Address::Tcp(b)) => {
                let covers = a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
                a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers)
            }
            (Address::Unix(a), Address::Unix(b)) => a == b,
            (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
        }
    }
}

impl FromStr for Address {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(text, path).map(Address::Unix);
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Tcp(address));
        }
        refuse_url(text)?;
        let (host, port) = host_and_port(text)?;
        let help = match host {
            "" | "*" => format!("write `0.0.0.0:{port}` for every IPv4 address, `[::]:{port}` for every IPv6 address"),
            "localhost" => format!("write `127.0.0.1:{port}`"),
            _ => format!("an IP address of this machine and a port, such as `0.0.0.0:{port}`"),
        };
        Err(Mistake::new(format!("`{text}` is not an address to listen on"), help))
    }
}

/// The form in which it is written.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(formatter, "{address}"),
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Where a backend answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A name that is resolved elsewhere, and a port.
    Name {
        /// As it was written.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// Written `unix:/path`.
    Unix(PathBuf),
}

impl BackendAddress {
    /// Whether both are the same place: the case of a name says nothing.
    pub fn is_same(&self, other: &BackendAddress) -> bool {
        match (self, other) {
            (BackendAddress::Name { host: a, port: p }, BackendAddress::Name { host: b, port: q }) => {
                p == q && a.eq_ignore_ascii_case(b)
            }
            (a, b) => a == b,
        }
    }
}

impl FromStr for BackendAddress {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(text, path).map(BackendAddress::Unix);
        }
        refuse_url(text)?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(Mistake::new(format!("`{text}` has port 0"), "write the port that the backend listens on")),
                _ => Ok(BackendAddress::Tcp(address)),
            };
        }
        let (host, port) = host_and_port(text)?;
        if host.is_empty() {
            return Err(Mistake::new(
                format!("`{text}` has no host"),
                format!("write `127.0.0.1:{port}` for this machine"),
            ));
        }
        if !is_name(host) {
            return Err(Mistake::new(
                format!("`{host}` is neither an IP address nor a host name"),
                "write `host:port`, `[v6]:port` or `unix:/path`",
            ));
        }
        Ok(BackendAddress::Name { host: host.to_owned(), port })
    }
}

/// The form in which it is written.
impl fmt::Display for BackendAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendAddress::Tcp(address) => write!(formatter, "{address}"),
            BackendAddress::Name { host, port } => write!(formatter, "{host}:{port}"),
            BackendAddress::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

fn socket_path(text: &str, path: &str) -> Result<PathBuf, Mistake> {
    if !Path::new(path).is_absolute() {
        return Err(Mistake::new(format!("`{text}` is not an absolute path"), "write `unix:/path`, from the root"));
    }
    if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        return Err(Mistake::new(
            format!("`{text}` is too long for a socket"),
            format!("the system allows {LONGEST_SOCKET_PATH} bytes"),
        ));
    }
    Ok(PathBuf::from(path))
}

/// People paste URLs; what they meant stands between the slashes.
fn refuse_url(text: &str) -> Result<(), Mistake> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(());
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = match (scheme, host_and_port(authority)) {
        (_, Ok(_)) => "",
        ("https", Err(_)) => ":443",
        (_, Err(_)) => ":80",
    };
    Err(Mistake::new(format!("`{text}` is a URL, not an address"), format!("write `{authority}{port}`")))
}

/// The two sides of the last colon; the port is from 1 to 65535.
fn host_and_port(text: &str) -> Result<(&str, u16), Mistake> {
    let is_v6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    if is_v6(text) {
        // `::1:80` is an address in itself, but hardly meant as one.
        let (host, port) = text
            .rsplit_once(':')
            .filter(|(host, port)| is_v6(host) && port.parse::<u16>().is_ok())
            .unwrap_or((text, "80"));
        return Err(Mistake::new(
            format!("`{text}` is an IPv6 address without a port"),
            format!("write `[{host}]:{port}`"),
        ));
    }
    let without = || {
        let only_port = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let help = if only_port { format!("write `127.0.0.1:{text}`") } else { format!("write `{text}:80`") };
        let missing = if only_port { "host" } else { "port" };
        Mistake::new(format!("`{text}` has no {missing}"), help)
    };
    if text.is_empty() {
        return Err(Mistake::new("the address is empty", "write `host:port`, `[v6]:port` or `unix:/path`"));
    }
    let (host, port) = text.rsplit_once(':').filter(|_| !text.ends_with(']')).ok_or_else(without)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(Mistake::new(
            format!("`{text}` is ambiguous"),
            format!("write an IPv6 address in brackets: `[{host}]:{port}`"),
        ));
    }
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|number| digits && *number != 0);
    let number = number
        .ok_or_else(|| Mistake::new(format!("`{port}` is not a port"), "a port is a whole number from 1 to 65535"))?;
    Ok((host, number))
}

/// Letters, digits, hyphens and underscores between dots. A last part of digits would be a mistyped IPv4 address.
fn is_name(host: &str) -> bool {
    const LONGEST_NAME: usize = 253;
    const LONGEST_PART: usize = 63;
    let absolute = host.strip_suffix('.').unwrap_or(host);
    let fine = |part: &str| {
        let letters = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !part.is_empty() && part.len() <= LONGEST_PART && letters
    };
    let numeric = absolute.rsplit('.').next().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    absolute.len() <= LONGEST_NAME && absolute.split('.').all(fine) && !numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_as_it_is_written() {
        for text in ["127.0.0.1:80", "[::1]:443", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(text));
            assert_eq!(text.parse::<BackendAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(
            "App.internal:80".parse::<BackendAddress>().map(|address| address.to_string()).as_deref(),
            Ok("App.internal:80")
        );
    }

    #[test]
    fn an_address_without_a_host_or_port_is_refused_with_an_example() {
        let help = |text: &str| text.parse::<Address>().map_err(|mistake| mistake.help);
        assert_eq!(help("8080"), Err("write `127.0.0.1:8080`".to_owned()));
        assert_eq!(help("localhost:80"), Err("write `127.0.0.1:80`".to_owned()));
        let help = |text: &str| text.parse::<BackendAddress>().map_err(|mistake| mistake.help);
        assert_eq!(help("http://app:90/x"), Err("write `app:90`".to_owned()));
        assert_eq!(help("https://app"), Err("write `app:443`".to_owned()));
        assert_eq!(help("app"), Err("write `app:80`".to_owned()));
        assert_eq!(help("::1"), Err("write `[::1]:80`".to_owned()));
        for wrong in [
            "",
            ":",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "10.0.0.300:1",
            "a b:1",
            "[::1]",
            "[x]:1",
            "unix:a",
            "a..b:1",
            "127.0.0.1:0",
        ] {
            assert!(wrong.parse::<BackendAddress>().is_err(), "`{wrong}` was taken for a backend");
        }
    }

    #[test]
    fn addresses_collide_when_one_covers_the_other() {
        let collide = |a: &str, b: &str| a.parse::<Address>().unwrap().collides(&b.parse().unwrap());
        assert!(collide("127.0.0.1:80", "127.0.0.1:80"));
        assert!(collide("0.0.0.0:80", "127.0.0.1:80"));
        assert!(!collide("0.0.0.0:80", "[::]:80"));
        assert!(!collide("127.0.0.1:80", "127.0.0.2:80"));
        assert!(collide("unix:/a", "unix:/a"));
    }
}
