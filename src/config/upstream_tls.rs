//! `upstreams: { …: { tls } }`: TLS to the backends of an upstream.
//!
//! Invariant: a name to verify is one that a certificate can have. Deliberately absent: opening the files.

use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::listeners::CertificateFiles;
use super::problem::Problem;
use super::section::{Entry, Section, Switch};
use super::{Backend, BackendAddress, Folder};
use crate::units::Mistake;

/// TLS to backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that is asked for (SNI) and that the certificate must have; None: the host of each backend's address.
    pub server_name: Option<String>,
    /// Whom certificates must be from; None: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// Whether certificates are looked at.
    pub verify: Verify,
    /// What we show if a backend asks.
    pub client: Option<CertificateFiles>,
}

/// Whether the certificate of a backend is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// Its issuer, its time and its name.
    #[default]
    On,
    /// Nothing about it: whoever answers is believed.
    Off,
}

/// Reads the mapping; `off` is not given to us.
pub(super) fn read(
    upstream: &Section<'_>,
    entry: Entry<'_>,
    folder: &Folder<'_>,
    backends: &[Backend],
) -> Option<UpstreamTls> {
    let report = upstream.report();
    let title = format!("`tls` of {}", upstream.title());
    let mut section = Section::open(report, "upstream tls", title, Some(entry.key.place), entry.node)?;
    let written_name = section.entry("server_name");
    let server_name = written_name.and_then(|entry| entry.parsed(report, name));
    let written_ca = section.entry("ca");
    let ca = written_ca.and_then(|entry| entry.parsed(report, |text| folder.file(text)));
    let verify = match section.switch("verify", Switch::On) {
        Switch::On => Verify::On,
        Switch::Off => Verify::Off,
    };
    let (certificate, key) = (section.entry("certificate"), section.entry("key"));
    let file = |entry: Entry<'_>| entry.parsed(report, |text| folder.file(text));
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            file(certificate).zip(file(key)).map(|(certificate, key)| CertificateFiles { certificate, key })
        }
        (Some(alone), None) | (None, Some(alone)) => {
            let message = format!("`{}` stands without its other half", alone.key.text);
            report.add(Problem::at(alone.key.place, message).help("write both `certificate` and `key`, or neither"));
            None
        }
        (None, None) => None,
    };
    if let (Some(written), Verify::Off) = (written_ca, verify) {
        let problem = Problem::at(written.key.place, "`ca` has no effect with `verify: off`");
        report.add(problem.help("leave one of them out"));
    }
    let unnamed = backends.iter().find(|backend| matches!(backend.address, BackendAddress::Unix(_)));
    if let (Some(unnamed), None) = (unnamed, written_name) {
        let message = format!("{} has no `server_name`, and `{}` has no host", section.title(), unnamed.address);
        report.add(Problem::at(entry.key.place, message).help("write `server_name: app.internal.example`"));
    }
    section.close();
    Some(UpstreamTls { server_name, ca, verify, client })
}

fn name(text: &str) -> Result<String, Mistake> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Mistake::new(
            format!("`{text}` is not a name of a server"),
            "a host name or an IP address, without a port",
        )),
    }
}
