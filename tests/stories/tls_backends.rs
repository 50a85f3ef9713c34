//! TLS to backends: whom they must be, and what they are shown.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::support::balancer::{Killed, Setup, program};
use crate::support::client::{Client, Response};
use crate::support::frames::Http2;
use crate::support::origin2::{Origin2, begin};
use crate::support::{Balancer, eventually};

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names, and its key.
    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        (CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// A server of these names, which asks for certificates of `clients` if they are given.
    fn server(&self, names: &[&str], alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
        let (certificate, key) = self.issue(names);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from(certificate)];
        let mut config =
            builder.with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A backend of HTTP/1.1 over TLS that answers everything with the name it was asked for by SNI; an upgrade it grants,
/// and sends back what it gets.
fn backend(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(connection, stream);
                loop {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read(&mut byte) {
                            Ok(1) => head.push(byte[0]),
                            Ok(_) | Err(_) => return,
                        }
                    }
                    if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("upgrade: websocket") {
                        let answer =
                            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                        stream.write_all(answer.as_bytes()).unwrap();
                        while let Ok(1) = stream.read(&mut byte) {
                            stream.write_all(&byte).unwrap();
                        }
                        return;
                    }
                    let name = stream.conn.server_name().unwrap_or("none").to_owned();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A balancer before `backend`, with `ca.pem` of this authority in its folder.
fn before(backend: impl ToString, authority: &Authority, settings: &str) -> Balancer {
    let folder = tempfile::tempdir().unwrap();
    authority.write(&folder.path().join("ca.pem"));
    let (certificate, key) = authority.issue(&["client.example"]);
    std::fs::write(folder.path().join("client.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("client.key"), key.serialize_pem()).unwrap();
    let upstream = format!("health_check: off, retry: off, {settings}");
    Balancer::before([backend.to_string()]).top("threads: 1").upstream(&upstream).start_in(folder)
}

#[track_caller]
fn is_refused(answer: &Response) {
    assert!(answer.status == 502 && answer.text().contains("reason: tls_failed"), "{answer:?} {}", answer.text());
}

#[test]
fn a_backend_is_verified_by_the_name_and_the_authority_of_the_file() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.internal.example"], &[], None));
    let balancer = before(at, &authority, "tls: { server_name: app.internal.example, ca: ca.pem }");
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "app.internal.example");
    }
    let line = &balancer.access_log(3)[2];
    assert_eq!(line["status"], 200);
}

#[test]
fn without_a_name_it_is_the_host_of_the_address() {
    let authority = Authority::new();
    let at = backend(authority.server(&["127.0.0.1", "localhost"], &[], None));
    let balancer = before(at, &authority, "tls: { ca: ca.pem }");
    assert_eq!(balancer.get("/").text(), "none", "an address is no name to ask for (RFC 6066, section 3)");
    let balancer = before(format!("localhost:{}", at.port()), &authority, "tls: { ca: ca.pem }");
    assert_eq!(balancer.get("/").text(), "localhost");
}

#[test]
fn another_name_or_another_authority_is_502_tls_failed() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.internal.example"], &[], None));
    is_refused(&before(at, &authority, "tls: { server_name: other.internal.example, ca: ca.pem }").get("/"));
    is_refused(&before(at, &authority, "tls: { ca: ca.pem }").get("/"));
    let stranger = Authority::new();
    is_refused(&before(at, &stranger, "tls: { server_name: app.internal.example, ca: ca.pem }").get("/"));
    let balancer = before(at, &stranger, "tls: { server_name: app.internal.example }");
    is_refused(&balancer.get("/"));
    let failures = || balancer.metric("evenkeel_failures_total{reason=\"tls_failed\"}");
    eventually("it is counted", || failures() == 1.0, || failures().to_string());
    let backend = format!("evenkeel_attempt_failures_total{{upstream=\"app\",backend=\"{at}\",reason=\"tls_failed\"}}");
    assert_eq!(balancer.metric(&backend), 1.0, "{}", balancer.admin_get("/metrics").text());
}

#[test]
fn with_verify_off_whoever_answers_is_believed() {
    let stranger = Authority::new();
    let at = backend(stranger.server(&["anything.example"], &[], None));
    let balancer = before(at, &Authority::new(), "tls: { server_name: app.example, verify: off }");
    assert_eq!(balancer.get("/").text(), "app.example");
}

#[test]
fn a_backend_without_tls_is_502_tls_failed() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plain = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    is_refused(&before(plain, &Authority::new(), "tls: { server_name: app.example, ca: ca.pem }").get("/"));
}

#[test]
fn a_backend_that_asks_is_shown_our_certificate() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.example"], &[], Some(&authority)));
    let tls = "server_name: app.example, ca: ca.pem";
    let shown = before(at, &authority, &format!("tls: {{ {tls}, certificate: client.pem, key: client.key }}"));
    assert_eq!(shown.get("/").text(), "app.example");
    // In TLS 1.3 the backend refuses after our part of the handshake is done: the request is lost with the connection.
    let answer = before(at, &authority, &format!("tls: {{ {tls} }}")).get("/");
    assert!(answer.status == 502, "{answer:?}");
}

#[test]
fn an_upgrade_goes_over_tls_too() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.example"], &[], None));
    for protocol in ["http1", "http2"] {
        let settings = format!("protocol: {protocol}, tls: {{ server_name: app.example, ca: ca.pem }}");
        let balancer = before(at, &authority, &settings);
        for _ in 0..20 {
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").unwrap();
            assert_eq!(client.response(false).unwrap().status, 101, "{protocol}");
            client.send(b"ping").unwrap();
            let mut echoed = [0; 4];
            client.read_exact(&mut echoed).unwrap();
            assert_eq!(&echoed, b"ping");
        }
    }
}

#[test]
fn http2_is_agreed_on_in_the_handshake() {
    let authority = Authority::new();
    let config = authority.server(&["app.example"], &["h2"], None);
    let origin = Origin2::start_with(Some(config), |request, mut respond| async move {
        begin(&mut respond, 200).send_data(request.uri().to_string().into(), true).unwrap();
    });
    let settings = "protocol: http2, tls: { server_name: app.example, ca: ca.pem }";
    let balancer = before(origin.address, &authority, settings);
    assert_eq!(balancer.get("/x").text(), format!("https://{}/x", "story.example"));
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/y");
    assert!(client.outcome(1).text().ends_with("/y"));
    assert_eq!(origin.connections(), 1);
    // A backend that does not know it is spoken to in HTTP/1.1.
    let at = backend(authority.server(&["app.example"], &["http/1.1"], None));
    let answer = before(at, &authority, settings).get("/");
    assert!(matches!(answer.status, 200 | 502), "{answer:?}");
}

#[test]
fn after_a_reload_connections_of_the_former_trust_are_not_used() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.example"], &[], None));
    let balancer = before(at, &authority, "tls: { server_name: app.example, ca: ca.pem }");
    assert_eq!(balancer.get("/").text(), "app.example");
    Authority::new().write(&balancer.folder.path().join("ca.pem"));
    assert!(balancer.reload(|text| text));
    is_refused(&balancer.get("/"));
    std::fs::write(balancer.folder.path().join("ca.pem"), "no certificate").unwrap();
    assert!(!balancer.reload(|text| text), "what cannot be read changes nothing");
    assert!(balancer.log().contains("ca.pem"), "{}", balancer.log());
}

#[test]
fn a_health_check_goes_over_the_tls_of_its_upstream() {
    let authority = Authority::new();
    let at = backend(authority.server(&["app.internal.example"], &[], None));
    let check = "{ http: { path: /, body: app.internal }, interval: 50ms, healthy_after: 1, unhealthy_after: 1 }";
    let folder = tempfile::tempdir().unwrap();
    authority.write(&folder.path().join("ca.pem"));
    let upstream = format!("health_check: {check}, tls: {{ server_name: app.internal.example, ca: ca.pem }}");
    let balancer = Balancer::before([at]).upstream(&upstream).start_in(folder);
    assert!(balancer.healthy(at), "{}", balancer.log());
    assert!(balancer.reload(|text| text.replace("server_name: app.", "server_name: other.")));
    balancer.wait_healthy(at, false);
}

/// A balancer to be of which the upstream names no authority, with these lines at the top, and its folder.
fn trusting_by_the_file(backend: SocketAddr, authority: &Authority, top: &str, upstream: &str) -> (TempDir, Setup) {
    let folder = tempfile::tempdir().unwrap();
    authority.write(&folder.path().join("ca.pem"));
    let upstream = format!("retry: off, tls: {{ server_name: app.example }}, {upstream}");
    let setup = Balancer::before([backend]).top(&format!("threads: 1\n{top}")).upstream(&upstream);
    (folder, setup)
}

#[test]
fn whom_upstreams_trust_that_name_nobody_is_said_once_and_changes_with_a_reload() {
    let authority = Authority::new();
    let address = backend(authority.server(&["app.example"], &[], None));
    let (folder, setup) = trusting_by_the_file(address, &authority, "", "health_check: off");
    let balancer = setup.start_in(folder);
    assert_eq!(balancer.get("/").status, 502, "no machine trusts an authority of a test's own");
    assert!(balancer.reload(|text| format!("{text}\nca_file: ca.pem\n")), "{}", balancer.log());
    assert_eq!(balancer.get("/").text(), "app.example");

    let asked = "health_check: { http: { path: /healthz }, interval: 5s, timeout: 5s }";
    let (folder, setup) = trusting_by_the_file(address, &authority, "ca_file: ca.pem", asked);
    let balancer = setup.start_in(folder);
    balancer.wait_healthy(address, true);
    assert_eq!(balancer.get("/").text(), "app.example", "health checks trust the same");

    for (content, why) in [(None, "No such file"), (Some("junk"), "no certificate")] {
        let (folder, setup) = trusting_by_the_file(address, &authority, "ca_file: other.pem", "");
        std::fs::write(folder.path().join("evenkeel.yaml"), setup.text()).unwrap();
        if let Some(content) = content {
            std::fs::write(folder.path().join("other.pem"), content).unwrap();
        }
        for (arguments, code) in [(&["check"][..], 1), (&[], 3)] {
            let arguments = [&["-c", "evenkeel.yaml"], arguments].concat();
            let output = program(folder.path(), &arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{said}");
            assert!(said.contains("other.pem") && said.contains(why) && !said.contains("panicked"), "{said}");
        }
    }
}

#[test]
fn keys_of_tls_to_backends_are_written_where_that_is_asked_for() {
    for (switch, written) in [("off", false), ("on", true)] {
        let authority = Authority::new();
        let address = backend(authority.server(&["app.example"], &[], None));
        let top = format!("ca_file: ca.pem\nupstream_debug_ssl_keylog: {switch}");
        let (folder, setup) = trusting_by_the_file(address, &authority, &top, "health_check: off");
        let web = setup.address();
        std::fs::write(folder.path().join("evenkeel.yaml"), setup.text()).unwrap();
        let keys = folder.path().join("keys.log");
        let mut command = program(folder.path(), &["-c", "evenkeel.yaml"]);
        let mut child = command.env("SSLKEYLOGFILE", &keys).spawn().unwrap();
        let running = Killed(rustix::process::Pid::from_child(&child));
        let answered = || {
            Client::connect(web).is_ok_and(|mut client| {
                client.request("GET", "/", &[], b"").is_ok_and(|answer| answer.text() == "app.example")
            })
        };
        eventually("an answer", answered, String::new);
        drop(running);
        child.wait().unwrap();
        let said = std::fs::read_to_string(&keys).unwrap_or_default();
        assert_eq!(said.contains("SECRET"), written, "{switch}: {said}");
    }
}
