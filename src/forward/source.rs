//! The addresses of this machine that connections to backends come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pingora::server::configuration::ServerConf;

/// pingora binds its own connections to them; those that we make do likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceAddresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl SourceAddresses {
    /// What pingora is given.
    pub fn of(conf: &ServerConf) -> SourceAddresses {
        SourceAddresses {
            v4: conf.client_bind_to_ipv4.iter().filter_map(|text| text.parse().ok()).collect(),
            v6: conf.client_bind_to_ipv6.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// One of them, by chance (`dice`), for a connection to there; None: the system chooses.
    pub fn towards(&self, backend: &SocketAddr, dice: usize) -> Option<SocketAddr> {
        let address: IpAddr = match backend {
            SocketAddr::V4(_) => (*self.v4.get(dice.checked_rem(self.v4.len())?)?).into(),
            SocketAddr::V6(_) => (*self.v6.get(dice.checked_rem(self.v6.len())?)?).into(),
        };
        Some(SocketAddr::new(address, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_comes_from_an_address_of_its_family_or_from_any() {
        let conf = ServerConf {
            client_bind_to_ipv4: vec!["127.0.0.2".to_owned(), "127.0.0.3".to_owned()],
            ..ServerConf::default()
        };
        let sources = SourceAddresses::of(&conf);
        let (v4, v6) = ("192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap());
        assert_eq!(sources.towards(&v4, 0), Some("127.0.0.2:0".parse().unwrap()));
        assert_eq!(sources.towards(&v4, 3), Some("127.0.0.3:0".parse().unwrap()));
        assert_eq!(sources.towards(&v6, 3), None);
    }
}
