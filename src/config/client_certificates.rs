//! `client_certificates` of a listener's `tls`: who may connect (mutual TLS).
//!
//! Invariant: a client that shows a certificate shows one of these authorities' in every mode; a wrong one is never taken
//! for none. Deliberately absent: reading the authorities, and lists of revoked certificates.

use std::path::PathBuf;

use super::Folder;
use super::section::{Entry, Section, is_off};
use crate::units::Mistake;

const HELP: &str = "write `client_certificates: { ca: certs/clients.pem, mode: required }`";

/// Whose certificates clients must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities, PEM, by absolute path.
    pub ca: PathBuf,
    /// Whether a client may show none.
    pub mode: ClientCertificateMode,
}

/// Whether a client may show no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificateMode {
    /// It may not: the handshake fails.
    Required,
    /// It may.
    Optional,
}

/// `off`, or a mapping; without the key nobody is asked.
pub(super) fn read(tls: &mut Section<'_>, folder: &Folder<'_>) -> Option<ClientCertificates> {
    let report = tls.report();
    let entry = tls.entry("client_certificates").filter(|entry| !is_off(entry.node))?;
    let title = format!("`client_certificates` of {}", tls.title());
    let mut section = Section::open(report, "client certificates", title, Some(entry.key.place), entry.node)?;
    let ca = section.required("ca", HELP);
    let ca = ca.and_then(|entry: Entry<'_>| entry.parsed(report, |text| folder.file(text)));
    let mode = section.parsed("mode", ClientCertificateMode::Required, |text| match text {
        "required" => Ok(ClientCertificateMode::Required),
        "optional" => Ok(ClientCertificateMode::Optional),
        _ => Err(Mistake::new(format!("`{text}` is not a mode"), "write `required` or `optional`")),
    });
    section.close();
    Some(ClientCertificates { ca: ca?, mode })
}
