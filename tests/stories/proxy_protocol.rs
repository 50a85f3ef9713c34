//! Listeners behind a balancer that speaks the PROXY protocol: who the client is, and what else may come first.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;

use crate::support::client::{Client, exchange};
use crate::support::{Balancer, Origin, PATIENCE, eventually};

const REFUSED: &str = "evenkeel_connections_refused_total{listener=\"web\",reason=\"proxy_protocol\"}";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const TEXT: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Version 2 for a client over TCP.
fn binary(source: [u8; 16]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    header.extend(source);
    header.extend([0; 20]);
    header
}

fn required(origin: &Origin) -> Balancer {
    Balancer::before([origin.address]).listener("proxy_protocol: required").start()
}

#[test]
fn the_client_is_who_the_header_says_for_the_backend_and_the_log() {
    let origin = Origin::named("a");
    let balancer = required(&origin);
    let v6 = binary([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let unknown = b"PROXY UNKNOWN whatever\r\n";
    for (header, client) in
        [(TEXT, "192.0.2.1"), (&v6, "2001:db8::7"), (LOCAL, "127.0.0.1"), (&unknown[..], "127.0.0.1")]
    {
        let answer = exchange(balancer.address, &[header, GET].concat());
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\na"), "{answer}");
        assert_eq!(origin.requests().pop().unwrap().field("x-forwarded-for"), Some(client));
    }
    let lines = balancer.access_log(4);
    let of = |client: &str| lines.iter().filter(|line| line["client"] == client).count();
    assert_eq!((of("192.0.2.1"), of("2001:db8::7"), of("127.0.0.1")), (1, 1, 2));
    assert_eq!(balancer.metric(REFUSED), 0.0);
}

#[test]
fn a_header_may_come_in_pieces_and_a_kept_connection_needs_but_one() {
    let origin = Origin::named("a");
    let balancer = required(&origin);
    let mut client = Client::connect(balancer.address).unwrap();
    for piece in TEXT.chunks(5) {
        client.send(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a");
    }
    let seen = origin.requests();
    assert!(seen.iter().all(|request| request.field("x-forwarded-for") == Some("192.0.2.1")));
}

#[test]
fn whoever_begins_with_anything_else_is_closed_and_counted() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address])
        .listener("proxy_protocol: required, timeouts: { request_header: 1s }")
        .start();
    let bad: [&[u8]; 6] = [
        GET,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 1\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.1\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00",
    ];
    for (index, bytes) in bad.iter().enumerate() {
        assert_eq!(exchange(balancer.address, bytes), "", "{}", bytes.escape_ascii());
        let counted = || balancer.metric(REFUSED);
        eventually("it is counted", || counted() == (index + 1) as f64, || counted().to_string());
    }
    // Half a header, and then nothing.
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"PROXY TCP4 192.0").unwrap();
    let began = Instant::now();
    assert_eq!(client.rest(), b"");
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
    eventually("the late one is counted", || balancer.metric(REFUSED) == 7.0, String::new);
    assert_eq!(balancer.metric("evenkeel_connections{listener=\"web\"}"), 0.0);
    assert_eq!(origin.count(), 0);
    assert!(exchange(balancer.address, &[TEXT, GET].concat()).ends_with("\r\n\r\na"));
}

#[test]
fn without_the_setting_a_header_is_no_request() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    let answer = exchange(balancer.address, &[TEXT, GET].concat());
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(origin.count(), 0);
}

#[test]
fn the_client_of_the_header_is_the_peer_whose_trust_counts() {
    let origin = Origin::named("a");
    for (trusted, expected) in [("192.0.2.0/24", "203.0.113.9, 192.0.2.1"), ("127.0.0.0/8", "192.0.2.1")] {
        let balancer = Balancer::before([origin.address])
            .top(&format!("client_address: {{ trusted_proxies: [{trusted}] }}"))
            .listener("proxy_protocol: required")
            .start();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n";
        assert!(exchange(balancer.address, &[TEXT, request].concat()).starts_with("HTTP/1.1 200 "));
        assert_eq!(origin.requests().pop().unwrap().field("x-forwarded-for"), Some(expected), "{trusted}");
    }
}

#[test]
fn a_unix_socket_may_require_it_too() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let local = format!("  local: {{ address: \"unix:{}\", proxy_protocol: required }}", path.display());
    let _balancer = Balancer::before([origin.address]).more_listeners(&local).start_in(folder);
    for (header, client) in [(TEXT, Some("192.0.2.1")), (LOCAL, None)] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(&[header, GET].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(origin.requests().pop().unwrap().field("x-forwarded-for"), client);
    }
}

#[tokio::test]
async fn http2_and_tls_follow_the_header() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("a.key"), made.signing_key.serialize_pem()).unwrap();
    let secure = crate::support::free_address();
    let balancer = Balancer::before([origin.address])
        .listener("proxy_protocol: required")
        .more_listeners(&format!(
            "  secure: {{ address: {secure}, proxy_protocol: required, \
             tls: {{ certificates: [{{ certificate: a.pem, key: a.key }}] }} }}"
        ))
        .start_in(folder);

    // HTTP/2 by prior knowledge.
    let mut stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
    stream.write_all(TEXT).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(origin.requests().pop().unwrap().field("x-forwarded-for"), Some("192.0.2.1"));

    // TLS, its hello in the same packet as the header where the kernel likes, and HTTP/2 in it.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = tokio::net::TcpStream::connect(secure).await.unwrap();
    stream.write_all(&binary([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9])).await.unwrap();
    let stream = connector.connect(ServerName::try_from("a.example").unwrap(), stream).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.example/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!((seen.field("x-forwarded-for"), seen.field("x-forwarded-proto")), (Some("2001:db8::9"), Some("https")));
}

#[test]
fn a_client_of_tls_that_knows_nothing_of_a_header_is_closed() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("a.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("a.key"), made.signing_key.serialize_pem()).unwrap();
    let tls = "proxy_protocol: required, tls: { certificates: [{ certificate: a.pem, key: a.key }] }";
    let balancer = Balancer::before([origin.address]).listener(tls).start_in(folder);
    let mut stream = TcpStream::connect(balancer.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The beginning of a hello.
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert_eq!(answer, b"");
    eventually("it is counted", || balancer.metric(REFUSED) == 1.0, String::new);
}
