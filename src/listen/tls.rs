//! TLS of a listener: certificates chosen by the name that the client asks for (SNI, RFC 6066 section 3).
//!
//! Everything is read and checked when it is compiled; a handshake only looks up. Names come from the
//! certificates themselves (RFC 6125: exact, or one label for a leading `*`), the first certificate serves
//! those who ask for no name or an unknown one.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::listener::Http2;
use crate::config::{CertificateFiles, ClientCertificateMode, ClientCertificates, ListenerTls, TlsVersion};

/// Sessions that a client may resume without a full handshake, per listener.
const RESUMABLE_SESSIONS: usize = 4096;

/// Why a listener cannot do TLS. Names the file at fault, never its content.
#[derive(Debug)]
pub struct TlsError(String);

impl TlsError {
    fn file(path: &Path, why: impl fmt::Display) -> TlsError {
        TlsError(format!("`{}` cannot be used: {why}", path.display()))
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        TlsError(error.to_string())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// Reads the certificates of a listener.
///
/// # Errors
/// A file that cannot be read, holds no certificate or key, or a key that is not the certificate's.
pub fn server_config(tls: &ListenerTls, http2: Http2) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut certificates = Certificates::default();
    for files in &tls.certificates {
        certificates.add(files, &provider)?;
    }
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &tls.client_certificates {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = match http2 {
        Http2::On => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Http2::Off => vec![b"http/1.1".to_vec()],
    };
    config.session_storage = rustls::server::ServerSessionMemoryCache::new(RESUMABLE_SESSIONS);
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// Asks clients for certificates of these authorities. Sessions that are resumed were asked when they began; a reload
/// makes new keys for tickets, so that authorities which were removed are forgotten with it.
fn verifier(
    clients: &ClientCertificates,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let fault = |why: &dyn fmt::Display| TlsError::file(&clients.ca, why);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&clients.ca).map_err(|error| fault(&error))? {
        let certificate = certificate.map_err(|error| fault(&error))?;
        roots.add(certificate).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() {
        return Err(fault(&"it holds no certificate in PEM form"));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients.mode {
        ClientCertificateMode::Required => builder,
        ClientCertificateMode::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| fault(&error))
}

#[derive(Debug, Default)]
struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    fn add(&mut self, files: &CertificateFiles, provider: &rustls::crypto::CryptoProvider) -> Result<(), TlsError> {
        let (chain, names) = read(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::file(&files.key, error))?;
        let certified = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| TlsError::file(&files.key, format_args!("it does not fit its certificate ({error})")))?;
        let certified = Arc::new(certified);
        for name in names {
            let (table, name) = match name.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcard, rest.to_owned()),
                None => (&mut self.exact, name),
            };
            table.entry(name).or_insert_with(|| certified.clone());
        }
        self.default.get_or_insert(certified);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.exact
            .get(&name)
            .or_else(|| name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest)))
            .or(self.default.as_ref())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match hello.server_name() {
            Some(name) => self.find(name).cloned(),
            None => self.default.clone(),
        }
    }
}

/// The names of a certificate, in lower case.
///
/// # Errors
/// A file that cannot be read, or holds no certificate.
pub fn names(path: &Path) -> Result<Vec<String>, TlsError> {
    read(path).map(|(_, names)| names)
}

/// A certificate with those above it, and its names.
fn read(path: &Path) -> Result<(Vec<CertificateDer<'static>>, Vec<String>), TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::file(path, error))?;
    let Some(leaf) = chain.first() else {
        return Err(TlsError::file(path, "it holds no certificate in PEM form"));
    };
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| TlsError::file(path, error))?;
    let names = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
    Ok((chain, names))
}
