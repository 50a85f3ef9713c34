//! From the addresses of a file to addresses that can be connected to.

use std::net::ToSocketAddrs;
use std::path::Path;

use pingora_core::protocols::l4::socket::SocketAddr;

use crate::config::{BackendAddress, Upstream};

/// A backend whose address is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where it is.
    pub address: SocketAddr,
    /// The host of its address in the file: a name, or an IP address; empty for a UNIX socket.
    pub host: String,
    /// Its share, from the file.
    pub weight: u32,
    /// Its tier, from the file.
    pub tier: u32,
}

/// Resolves every backend of an upstream; a name stands for all of its addresses. Blocks while it asks.
///
/// # Errors
/// A sentence that names the backend: its name is not known, or its path is too long for a socket.
pub fn resolve(upstream: &Upstream) -> Result<Vec<Resolved>, String> {
    let mut resolved = Vec::new();
    for backend in &upstream.backends {
        let fault = |why: &dyn std::fmt::Display| {
            format!("backend `{}` of upstream `{}` cannot be used: {why}", backend.address, upstream.name)
        };
        let (weight, tier) = (backend.weight, backend.tier);
        match &backend.address {
            BackendAddress::Tcp(address) => {
                let host = address.ip().to_string();
                resolved.push(Resolved { address: SocketAddr::Inet(*address), host, weight, tier });
            }
            BackendAddress::Name { host, port } => {
                let found = (host.as_str(), *port).to_socket_addrs().map_err(|error| fault(&error))?;
                resolved.extend(found.map(|address| Resolved {
                    address: SocketAddr::Inet(address),
                    host: host.clone(),
                    weight,
                    tier,
                }));
            }
            BackendAddress::Unix(path) => {
                let address = std::os::unix::net::SocketAddr::from_pathname(path).map_err(|error| fault(&error))?;
                resolved.push(Resolved { address: SocketAddr::Unix(address), host: String::new(), weight, tier });
            }
        }
    }
    Ok(resolved)
}

/// An address as logs and metrics name it.
pub fn display(address: &SocketAddr) -> String {
    match address {
        SocketAddr::Inet(address) => address.to_string(),
        SocketAddr::Unix(address) => format!("unix:{}", address.as_pathname().unwrap_or(Path::new("")).display()),
    }
}
