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

/// An origin that speaks a version of its own.
fn old_origin(version: &'static str) -> Origin {
    Origin::start(move |_| {
        let answer = format!("HTTP/{version} 200 OK\r\nvia: 1.0 inner\r\ncontent-length: 1\r\n\r\na");
        crate::support::Answer::RawThenClose(answer.into_bytes())
    })
}

#[test]
fn via_is_added_behind_what_is_there_and_only_if_it_was_said() {
    for (setting, request, response) in [
        ("", vec!["1.0 fred"], vec!["1.0 inner"]),
        ("via: edge-1", vec!["1.0 fred", "1.1 edge-1"], vec!["1.0 inner", "1.0 edge-1"]),
    ] {
        let origin = old_origin("1.0");
        let balancer = Balancer::before([origin.address]).top(setting).start();
        let mut client = Client::connect(balancer.address).unwrap();
        let answer = client.request("GET", "/", &[("via", "1.0 fred")], b"").unwrap();
        let of = |fields: &[(String, String)]| {
            let via = fields.iter().filter(|(name, _)| name == "via");
            via.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(&answer.fields), response, "{setting}");
        assert_eq!(of(&origin.requests()[0].fields), request, "{setting}");
    }
    let origin = old_origin("1.1");
    let balancer = Balancer::before([origin.address]).top("via: edge-1").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").unwrap();
    let answer = client.response(false).unwrap();
    assert!(answer.fields.contains(&("via".to_owned(), "1.1 edge-1".to_owned())), "{:?}", answer.fields);
    assert_eq!(origin.requests()[0].field("via"), Some("1.0 edge-1"));
}

#[tokio::test]
async fn a_request_that_came_in_http2_says_so_in_via() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).top("via: edge-1").start();
    let stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().headers().get("via").unwrap(), "1.1 edge-1");
    assert_eq!(origin.requests()[0].field("via"), Some("2.0 edge-1"));
}

#[test]
fn max_forwards_of_options_is_counted_down_and_ends_here_at_none() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let mut ask = |method: &str, target: &str, left: &str| {
        client.request(method, target, &[("max-forwards", left)], b"").unwrap()
    };
    for target in ["/", "*"] {
        let answer = ask("OPTIONS", target, "0");
        assert_eq!((answer.status, answer.field("content-length"), answer.text().as_str()), (200, Some("0"), ""));
    }
    assert_eq!(origin.count(), 0);
    for (method, left, seen) in
        [("OPTIONS", "1", "0"), ("OPTIONS", "10", "9"), ("GET", "0", "0"), ("OPTIONS", "x", "x")]
    {
        assert_eq!(ask(method, "/", left).text(), "a");
        assert_eq!(origin.requests().pop().unwrap().field("max-forwards"), Some(seen), "{method} {left}");
    }
}
