//! Who asks: what backends and the access log are told when proxies stand before us.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::balancer::Setup;
use crate::support::client::Client;
use crate::support::origin::Request;
use crate::support::{Balancer, Origin};

/// Asks with these fields; gives what the origin saw.
fn seen(balancer: &Balancer, origin: &Origin, fields: &[(&str, &str)]) -> Request {
    let response = Client::connect(balancer.address).unwrap().request("GET", "/", fields, b"").unwrap();
    assert_eq!(response.status, 200);
    origin.requests().pop().unwrap()
}

fn trusting(origin: &Origin, rules: &str) -> Setup {
    Balancer::before([origin.address]).top(&format!("client_address: {{ {rules} }}"))
}

#[test]
fn the_client_behind_trusted_proxies_is_found_and_told_and_logged() {
    let origin = Origin::named("a");
    let balancer = trusting(&origin, "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]").start();
    let fields = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-for", "192.0.2.1:4711, 10.0.0.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        ("forwarded", "for=6.6.6.6"),
    ];
    let request = seen(&balancer, &origin, &fields);
    assert_eq!(request.field("x-forwarded-for"), Some("1.2.3.4, 192.0.2.1:4711, 10.0.0.7, 127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("shop.example"));
    assert_eq!(request.field("x-request-id"), Some("3fa85f64-5717-4562-b3fc-2c963f66afa6"));
    assert_eq!((request.field("forwarded"), request.field("host")), (None, Some("story.example")));
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["client"], &line["scheme"]), (&"192.0.2.1".into(), &"https".into()));
    assert_eq!(line["request_id"], "3fa85f64-5717-4562-b3fc-2c963f66afa6");
}

#[test]
fn of_a_peer_that_is_not_trusted_nothing_is_believed() {
    let origin = Origin::named("a");
    let balancer = trusting(&origin, "trusted_proxies: [10.0.0.0/8, unix], forwarded: on").start();
    let fields = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "mine"),
        ("forwarded", "for=10.0.0.1;proto=https"),
    ];
    let request = seen(&balancer, &origin, &fields);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("story.example"));
    assert_ne!(request.field("x-request-id"), Some("mine"));
    assert_eq!(request.field("forwarded"), Some("for=127.0.0.1;host=story.example;proto=http"));
    assert_eq!(balancer.access_log(1)[0]["client"], "127.0.0.1");
}

#[test]
fn a_request_id_that_could_do_harm_is_replaced_though_its_proxy_is_trusted() {
    let origin = Origin::named("a");
    let balancer = trusting(&origin, "trusted_proxies: [127.0.0.1]").start();
    let long = "x".repeat(65);
    for bad in ["<script>", "a b", "\"", "", &long] {
        let id = seen(&balancer, &origin, &[("x-request-id", bad)]).field("x-request-id").unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad}: {id}");
    }
}

#[test]
fn proxies_that_write_forwarded_are_walked_and_answered_in_it() {
    let origin = Origin::named("a");
    let rules = "trusted_proxies: [127.0.0.1, \"2001:db8:1::/48\"], field: forwarded, forwarded: on";
    let balancer = trusting(&origin, rules).start();
    let fields = [
        ("forwarded", "for=6.6.6.6;x=\""),
        ("forwarded", "for=\"[2001:db8::17]:4711\";proto=https;host=\"shop.example:443\""),
        ("forwarded", "for=\"[2001:db8:1::1]\";by=_edge"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-host", "evil.example"),
    ];
    let request = seen(&balancer, &origin, &fields);
    let received: Vec<&str> = fields[..3].iter().map(|(_, value)| *value).collect();
    let own = "for=127.0.0.1;host=story.example;proto=http";
    assert_eq!(request.field("forwarded"), Some(format!("{}, {own}", received.join(", ")).as_str()));
    assert_eq!(request.field("x-forwarded-for"), Some("2001:db8::17, 127.0.0.1"));
    assert_eq!(request.field("x-forwarded-host"), Some("shop.example:443"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    seen(&balancer, &origin, &[("forwarded", "for=192.0.2.1, for=_hidden")]);
    let lines = balancer.access_log(2);
    let clients: std::collections::BTreeSet<&str> = lines.iter().map(|line| line["client"].as_str().unwrap()).collect();
    assert_eq!(clients, ["127.0.0.1", "2001:db8::17"].into());
}

#[test]
fn a_unix_socket_may_be_trusted_and_is_not_by_itself() {
    let origin = Origin::named("a");
    for (trusted, sent, logged) in [("[unix]", Some("192.0.2.1"), "192.0.2.1"), ("[0.0.0.0/0, \"::/0\"]", None, "")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let balancer = trusting(&origin, &format!("trusted_proxies: {trusted}"))
            .more_listeners(&format!("  local: {{ address: \"unix:{}\" }}", path.display()))
            .start_in(folder);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(origin.requests().pop().unwrap().field("x-forwarded-for"), sent, "{trusted}");
        assert_eq!(balancer.access_log(1)[0]["client"].as_str().unwrap_or_default(), logged, "{trusted}");
    }
}

#[test]
fn whom_to_trust_changes_with_a_reload() {
    let origin = Origin::named("a");
    let balancer = trusting(&origin, "trusted_proxies: [10.0.0.0/8]").start();
    let fields = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(seen(&balancer, &origin, &fields).field("x-forwarded-for"), Some("127.0.0.1"));
    assert!(balancer.reload(|text| text.replace("10.0.0.0/8", "127.0.0.0/8")));
    assert_eq!(seen(&balancer, &origin, &fields).field("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
}
