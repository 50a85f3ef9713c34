//! Mutual TLS: who may connect to a listener, and who may not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::support::balancer::program;
use crate::support::{Balancer, Origin, eventually};

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn client(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (vec![certificate.into()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("clients.pem"), self.0.pem()).unwrap();
    }
}

/// A balancer that asks for certificates in this mode, and its own certificate.
fn start(origin: &Origin, authority: &Authority, mode: &str) -> (Balancer, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("site.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("site.key"), made.signing_key.serialize_pem()).unwrap();
    authority.write(folder.path());
    let tls = format!(
        "tls: {{ certificates: [ {{ certificate: site.pem, key: site.key }} ], \
         client_certificates: {{ ca: clients.pem, mode: {mode} }} }}"
    );
    (Balancer::before([origin.address]).listener(&tls).start_in(folder), made.cert.der().clone())
}

fn client(
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    identity: Option<Identity>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// The answer to a request; a handshake that is refused is an error, in TLS 1.3 at the first read.
fn get(balancer: &Balancer, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    let name = ServerName::try_from("a.example").unwrap();
    let stream = TcpStream::connect(balancer.address)?;
    stream.set_read_timeout(Some(crate::support::PATIENCE))?;
    let mut stream = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.is_empty() { read.map(|_| answer) } else { Ok(answer) }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
const REFUSED: &str = "evenkeel_connections_refused_total{listener=\"web\",reason=\"handshake\"}";

#[test]
fn only_clients_of_the_authority_may_connect_where_a_certificate_is_required() {
    let origin = Origin::named("here");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (balancer, site) = start(&origin, &ours, "required");
    let mut refused = 0.0;
    for version in VERSIONS {
        let right = client(&site, version, Some(ours.client()));
        for _ in 0..3 {
            assert!(get(&balancer, &right).unwrap().ends_with("here"), "also when the session is resumed");
        }
        let asked = origin.count();
        assert!(get(&balancer, &client(&site, version, None)).is_err());
        assert!(get(&balancer, &client(&site, version, Some(theirs.client()))).is_err());
        refused += 2.0;
        eventually("both are counted", || balancer.metric(REFUSED) == refused, || balancer.metric(REFUSED).to_string());
        assert_eq!(origin.count(), asked, "nothing of them reached the backend");
    }
}

#[test]
fn where_a_certificate_is_optional_none_is_fine_and_a_wrong_one_is_not() {
    let origin = Origin::named("here");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (balancer, site) = start(&origin, &ours, "optional");
    for version in VERSIONS {
        assert!(get(&balancer, &client(&site, version, None)).unwrap().ends_with("here"));
        assert!(get(&balancer, &client(&site, version, Some(ours.client()))).unwrap().ends_with("here"));
        assert!(get(&balancer, &client(&site, version, Some(theirs.client()))).is_err());
    }
}

#[test]
fn a_reload_exchanges_the_authority_and_former_sessions_are_not_resumed() {
    let origin = Origin::named("here");
    let (former, next) = (Authority::new(), Authority::new());
    let (balancer, site) = start(&origin, &former, "required");
    let old: Vec<_> = VERSIONS.map(|version| client(&site, version, Some(former.client()))).into();
    for config in &old {
        assert!(get(&balancer, config).is_ok());
    }
    next.write(balancer.folder.path());
    assert!(balancer.reload(|text| text), "{}", balancer.log());
    for config in &old {
        assert!(get(&balancer, config).is_err(), "not even with a ticket");
    }
    assert!(get(&balancer, &client(&site, VERSIONS[0], Some(next.client()))).is_ok());

    std::fs::write(balancer.folder.path().join("clients.pem"), "nonsense").unwrap();
    assert!(!balancer.reload(|text| text));
    balancer.wait_log("clients.pem` cannot be used");
    let check = program(balancer.folder.path(), &["-c", "evenkeel.yaml", "check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(1));
}
