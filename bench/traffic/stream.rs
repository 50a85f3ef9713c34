//! Connections to what is measured, plain or over TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Kind, Result};

/// Either kind of connection; one more jump for each read is nothing beside what is measured.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(crate) struct Connector {
    to: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(to: SocketAddr, certificate: Option<&Path>, kind: Kind) -> Result<Self> {
        let tls = certificate.map(|file| tls(file, kind)).transpose()?;
        Ok(Self { to, tls })
    }

    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect(self.to).await?;
        tcp.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost")?, tcp).await?),
            None => Box::new(tcp),
        })
    }
}

fn tls(certificate: &Path, kind: Kind) -> Result<TlsConnector> {
    let mut believed = RootCertStore::empty();
    believed.add(CertificateDer::from_pem_file(certificate)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(believed)
        .with_no_client_auth();
    config.alpn_protocols = match kind {
        Kind::Http2 | Kind::Grpc => vec![b"h2".to_vec()],
        Kind::Http1 | Kind::New | Kind::Websocket => vec![b"http/1.1".to_vec()],
    };
    // Each connection is a whole handshake, as of a client that was never here.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
