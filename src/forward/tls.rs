//! What TLS to backends needs, read and checked when a configuration is compiled.
//!
//! pingora takes certificates as bytes and believes that they are right; so they are parsed here first, by the library
//! that will use them.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;
use pingora::upstreams::peer::Scheme;
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::{CertificateFiles, UpstreamTls, Verify};

/// TLS to the backends of one upstream.
#[derive(Debug)]
pub struct ClientTls {
    server_name: Option<String>,
    verify: Verify,
    ca: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
    /// Tells whom is trusted: connections that were made for another answer are not reused.
    group: u64,
}

/// Why an upstream cannot do TLS. Names the file at fault, never its content.
#[derive(Debug)]
pub struct TlsError(String);

impl TlsError {
    fn file(path: &Path, why: impl fmt::Display) -> TlsError {
        TlsError(format!("`{}` cannot be used: {why}", path.display()))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl ClientTls {
    /// Reads the files of an upstream. `ca_file` is whom those are trusted by that name nobody themselves.
    ///
    /// # Errors
    /// A file that cannot be read, holds no certificate or key, or a key that is not the certificate's.
    pub fn read(written: &UpstreamTls, ca_file: Option<&Path>) -> Result<ClientTls, TlsError> {
        let mut group = DefaultHasher::new();
        let ca_file = ca_file.filter(|_| written.verify == Verify::On);
        let ca = written.ca.as_deref().or(ca_file).map(trusted).transpose()?;
        if let Some(ca) = &ca {
            ca.iter().for_each(|certificate| certificate.hash(&mut group));
        }
        let wrapped = ca.map(|certificates| {
            certificates.into_iter().map(|certificate| WrappedX509::new(certificate, parse_x509)).collect::<Box<[_]>>()
        });
        Ok(ClientTls {
            server_name: written.server_name.clone(),
            verify: written.verify,
            ca: wrapped.map(Arc::from),
            client: written.client.as_ref().map(shown).transpose()?.map(Arc::new),
            group: group.finish(),
        })
    }

    /// Lets `peer` be connected to over TLS; `host` is that of its address.
    pub(super) fn apply(&self, peer: &mut HttpPeer, host: &str) {
        peer.scheme = Scheme::HTTPS;
        peer.sni = self.server_name.clone().unwrap_or_else(|| host.to_owned());
        debug_assert!(!peer.sni.is_empty(), "a backend without a host has a configured name");
        peer.options.verify_cert = self.verify == Verify::On;
        peer.options.verify_hostname = self.verify == Verify::On;
        peer.options.ca.clone_from(&self.ca);
        peer.client_cert_key.clone_from(&self.client);
        peer.group_key = self.group;
    }
}

/// The certificates of a file, each of which can be trusted.
fn trusted(path: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    let certificates = certificates(path)?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| TlsError::file(path, error))?;
    }
    Ok(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

/// What we show to backends.
fn shown(files: &CertificateFiles) -> Result<CertKey, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::file(&files.key, error))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
        .map_err(|error| TlsError::file(&files.key, format_args!("it does not fit its certificate ({error})")))?;
    Ok(CertKey::new(chain.iter().map(|certificate| certificate.to_vec()).collect(), key.secret_der().to_vec()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::file(path, error))?;
    if certificates.is_empty() {
        return Err(TlsError::file(path, "it holds no certificate in PEM form"));
    }
    Ok(certificates)
}
