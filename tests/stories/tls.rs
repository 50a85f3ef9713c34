//! TLS at a listener: protocols, certificates by name, versions, and files that are wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};

use crate::support::balancer::{Setup, program};
use crate::support::client::{Client, exchange};
use crate::support::{Balancer, Origin, eventually};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Writes a certificate for these names and its key as `NAME.pem` and `NAME.key`.
fn certificate(folder: &Path, name: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// A balancer with TLS: the first certificate is for `a.example`, the second for `*.wild.example`.
fn start(origin: &Origin, tls: &str, listener: &str) -> (Balancer, Vec<CertificateDer<'static>>) {
    let folder = tempfile::tempdir().unwrap();
    let certificates = vec![
        certificate(folder.path(), "first", &["a.example"]),
        certificate(folder.path(), "wild", &["*.wild.example", "b.example"]),
    ];
    let setup = Balancer::before([origin.address]).listener(&format!("{}{listener}", section("first", tls)));
    (setup.start_in(folder), certificates)
}

fn section(first: &str, more: &str) -> String {
    let file = |name: &str| format!("{{ certificate: {name}.pem, key: {name}.key }}");
    format!("tls: {{ certificates: [{}, {}]{more} }}", file(first), file("wild"))
}

fn config(
    trusted: &[CertificateDer<'static>],
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn handshake(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(crate::support::PATIENCE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn get(stream: &mut Tls) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let origin = Origin::named("a");
    let (balancer, certificates) = start(&origin, "", "");
    let config = Arc::new(config(&certificates, BOTH, &["http/1.1"]));
    for (name, expected) in [("a.example", 0), ("b.example", 1), ("x.wild.example", 1), ("B.Example", 1)] {
        let mut stream = handshake(balancer.address, name, &config).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(stream.conn.peer_certificates().unwrap()[0], certificates[expected], "{name}");
        assert!(get(&mut stream).ends_with("\r\n\r\na"));
    }
    for name in ["unknown.example", "wild.example", "x.y.wild.example", "127.0.0.1"] {
        let error = handshake(balancer.address, name, &config).unwrap_err().to_string();
        assert!(
            error.contains("DnsName(\"a.example\")"),
            "{name} got the first certificate, which is not its: {error}"
        );
    }
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.field("x-forwarded-proto"), seen.field("x-forwarded-for")), (Some("https"), Some("127.0.0.1")));
    let line = &balancer.access_log(4)[0];
    assert_eq!((&line["scheme"], &line["protocol"]), (&"https".into(), &"HTTP/1.1".into()));
}

#[tokio::test]
async fn http2_and_http_1_1_are_negotiated() {
    let origin = Origin::named("a");
    let (balancer, certificates) = start(&origin, "", "");
    for (offered, agreed) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let config = Arc::new(config(&certificates, BOTH, &offered));
        let stream = handshake(balancer.address, "a.example", &config).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), agreed.map(str::as_bytes));
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config(&certificates, BOTH, &["h2"])));
    let stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("a.example").unwrap(), stream).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.example/over-h2").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(origin.requests()[0].field("x-forwarded-proto"), Some("https"));

    let (balancer, certificates) = start(&origin, "", ", http2: off");
    let config = Arc::new(config(&certificates, BOTH, &["h2", "http/1.1"]));
    let stream = handshake(balancer.address, "a.example", &config).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]), "http2: off");
}

#[test]
fn min_version_refuses_older_versions() {
    let origin = Origin::named("a");
    let old: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let (balancer, certificates) = start(&origin, "", "");
    let mut stream = handshake(balancer.address, "a.example", &Arc::new(config(&certificates, old, &[]))).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(get(&mut stream).ends_with("\r\n\r\na"));

    let (balancer, certificates) = start(&origin, ", min_version: \"1.3\"", "");
    assert!(handshake(balancer.address, "a.example", &Arc::new(config(&certificates, old, &[]))).is_err());
    let stream = handshake(balancer.address, "a.example", &Arc::new(config(&certificates, BOTH, &[]))).unwrap();
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let failed = "evenkeel_connections_refused_total{listener=\"web\",reason=\"handshake\"}";
    eventually("it is counted", || balancer.metric(failed) == 1.0, || balancer.metric(failed).to_string());
}

#[test]
fn a_session_is_resumed_whichever_core_takes_the_connection() {
    let origin = Origin::named("a");
    let (balancer, certificates) = start(&origin, "", "");
    for version in BOTH {
        let mut config = config(&certificates, &[version], &["http/1.1"]);
        config.resumption = Resumption::in_memory_sessions(32);
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let mut stream = handshake(balancer.address, "a.example", &config).unwrap();
            kinds.push(stream.conn.handshake_kind().unwrap());
            assert!(get(&mut stream).ends_with("\r\n\r\na"));
        }
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{version:?}: {kinds:?}");
    }
}

#[test]
fn plain_http_at_a_tls_port_and_a_handshake_that_stalls_are_closed_and_counted() {
    let origin = Origin::named("a");
    let (balancer, _) = start(&origin, "", ", timeouts: { request_header: 1s }");
    let failed = "evenkeel_connections_refused_total{listener=\"web\",reason=\"handshake\"}";
    let answer = exchange(balancer.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    eventually("plain HTTP is counted", || balancer.metric(failed) == 1.0, String::new);
    let mut client = Client::connect(balancer.address).unwrap();
    // The beginning of a hello that announces 512 bytes.
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
    let began = Instant::now();
    client.rest();
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    eventually("the stalled one is counted", || balancer.metric(failed) == 2.0, String::new);
    assert_eq!(balancer.metric("evenkeel_connections{listener=\"web\"}"), 0.0);
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_file_that_cannot_be_used_is_named_by_check_and_by_a_start_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["first", "wild", "other"] {
        certificate(path, name, &["a.example"]);
    }
    let good = (std::fs::read(path.join("first.pem")).unwrap(), std::fs::read(path.join("first.key")).unwrap());
    let other = std::fs::read(path.join("other.key")).unwrap();
    let setup: Setup = Balancer::before(["127.0.0.1:9"]).listener(&section("first", ""));
    std::fs::write(path.join("evenkeel.yaml"), setup.text()).unwrap();
    let cases: [(&str, &str, Option<&[u8]>); 5] = [
        ("a key that is another's", "first.key", Some(&other)),
        ("no key", "first.key", None),
        ("no certificate", "first.pem", None),
        ("garbage for a key", "first.key", Some(b"garbage")),
        (
            "garbage for a certificate",
            "first.pem",
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
    ];
    for (what, file, content) in cases {
        std::fs::write(path.join("first.pem"), &good.0).unwrap();
        std::fs::write(path.join("first.key"), &good.1).unwrap();
        match content {
            Some(content) => std::fs::write(path.join(file), content).unwrap(),
            None => std::fs::remove_file(path.join(file)).unwrap(),
        }
        for (arguments, code) in [(vec!["check", "-c", "evenkeel.yaml"], 1), (vec!["-c", "evenkeel.yaml"], 3)] {
            let output = program(path, &arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{what}: {said}");
            assert!(said.contains(file), "{what}: {said}");
            assert!(!said.contains("PRIVATE KEY") && !said.contains("panicked"), "{what}: {said}");
        }
    }
}

#[test]
fn a_sticky_cookie_that_is_set_over_tls_is_for_tls_alone() {
    let origin = Origin::named("a");
    let (balancer, certificates) = start(&origin, "", "");
    assert!(balancer.reload(|text| text.replace("app: { backends", "app: { sticky: on, backends")));
    let answer =
        get(&mut handshake(balancer.address, "a.example", &Arc::new(config(&certificates, BOTH, &[]))).unwrap());
    let set = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: evenkeel=")).unwrap();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
}
