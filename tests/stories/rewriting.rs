//! What a route changes of its requests and answers, and where its word wins over its upstream's.

use std::io::Write;
use std::time::{Duration, Instant};

use http::Request;

use crate::http2;
use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin, free_address};

/// An origin that answers each request, and switches protocols if it is asked to.
fn origin() -> Origin {
    Origin::start(|request| {
        if request.field("upgrade").is_some() {
            return Answer::Take(Box::new(|mut stream| {
                let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nserver: inside\r\n\r\nhello";
                drop(stream.write_all(head.as_bytes()));
                let mut rest = Vec::new();
                drop(std::io::Read::read_to_end(&mut stream, &mut rest));
            }));
        }
        let head = "HTTP/1.1 200 OK\r\nserver: inside\r\nx-kept: 1\r\nset-cookie: a=1\r\ncontent-length: 2\r\n\r\nok";
        Answer::Raw(head.as_bytes().to_vec())
    })
}

const REWRITES: &str = r#"  - { match: { path: { prefix: /strip } }, upstream: app, rewrite: { strip_prefix: /strip } }
  - { match: { path: { prefix: /old } }, upstream: app, rewrite: { replace_prefix: { from: /old, to: /new/place } } }
  - { match: { path: { prefix: /users } }, upstream: app, rewrite: { regex: { pattern: "^/users/([^/]*)/(.*)$", replacement: "/u/$2/$1" } } }
  - { match: { path: { prefix: /host } }, upstream: app, rewrite: { host: "internal.example:8080" } }
  - { match: { path: { prefix: /up } }, upstream: app, rewrite: { regex: { pattern: "^/up/(.*)_(.*)$", replacement: "/$1/$2" } } }"#;

#[tokio::test]
async fn a_path_is_rewritten_and_the_query_stays_over_every_protocol() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(REWRITES).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let sender = http2::connect(balancer.address).await;
    let cases = [
        ("/strip/a/b?c=/strip", "/a/b?c=/strip"),
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip?", "/?"),
        ("/strip/a%2Fb;x=1/%C3%A9", "/a%2Fb;x=1/%C3%A9"),
        ("/x/../strip//a", "/a"),
        ("/old/a", "/new/place/a"),
        ("/old", "/new/place"),
        ("/users/7/a/b?c", "/u/a/b/7?c"),
        ("/users/7", "/users/7"),
    ];
    for (target, expected) in cases {
        assert_eq!(client.request("GET", target, &[], b"").unwrap().status, 200, "{target}");
        assert_eq!(origin.requests().pop().unwrap().line, format!("GET {expected} HTTP/1.1"), "HTTP/1.1 {target}");

        let request = Request::builder().uri(format!("http://story.example{target}"));
        assert_eq!(http2::ask(&sender, request, &[]).await.0.status(), 200, "{target}");
        assert_eq!(origin.requests().pop().unwrap().line, format!("GET {expected} HTTP/1.1"), "HTTP/2 {target}");

        let mut tunnel = Client::connect(balancer.address).unwrap();
        let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(tunnel.request("GET", target, &upgrade, b"").unwrap().status, 101, "{target}");
        assert_eq!(origin.requests().pop().unwrap().line, format!("GET {expected} HTTP/1.1"), "upgrade {target}");
    }
    // What an expression makes is looked at like what a client sends.
    let before = origin.count();
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(client.request("GET", "/up/a/.._b", &[], b"").unwrap().status, 200);
    assert_eq!(origin.requests().pop().unwrap().line, "GET /b HTTP/1.1");
    assert_eq!(client.request("GET", "/up/.._admin", &[], b"").unwrap().status, 400);
    assert_eq!(origin.count(), before + 1);
    let line = &balancer.access_log(1)[0];
    assert_eq!(line["path"], "/strip/a/b?c=/strip", "the log has what was asked for");
}

#[tokio::test]
async fn a_host_is_rewritten_and_the_backend_is_told_the_former_one() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(REWRITES).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.request("GET", "/host", &[], b"").unwrap();
    client.request("GET", "http://story.example/host", &[], b"").unwrap();
    let sender = http2::connect(balancer.address).await;
    http2::ask(&sender, Request::builder().uri("http://story.example/host"), &[]).await;
    let seen = origin.requests();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.line, "GET /host HTTP/1.1");
        assert_eq!(request.field("host"), Some("internal.example:8080"));
        assert_eq!(request.field("x-forwarded-host"), Some("story.example"));
    }
}

const FIELDS: &str = r#"  - name: shop
    match: { path: { prefix: /f } }
    upstream: app
    rewrite: { strip_prefix: /f }
    request_headers:
      set: { x-team: shop, x-from: "{client_address}", x-all: "{scheme} {method} {host} {path_and_query} {listener} {route} {upstream}", x-copy: "{header:x-secret}", x-id: "{request_id}", x-user: "{cookie:user}", user-agent: us }
      add: { x-many: "3", accept: "{{}}" }
      remove: [x-debug, x-forwarded-host]
    response_headers:
      set: { x-frame-options: DENY, x-trace: "{request_id}" }
      add: { set-cookie: b=2 }
      remove: [server]"#;

#[tokio::test]
async fn fields_of_requests_are_set_added_and_removed_with_values_of_the_request() {
    let origin = origin();
    let balancer = Balancer::before([origin.address]).routes(FIELDS).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let lies = [
        ("host", "Story.Example:80"),
        ("x-team", "mine"),
        ("x-secret", "s\tt"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-debug", "1"),
        ("x-user", "forged"),
        ("user-agent", "curl"),
    ];
    client.request("POST", "/f/a//b?c", &lies, b"body").unwrap();
    let mut request = Request::builder().method("POST").uri("http://Story.Example:80/f/a//b?c");
    for (name, value) in &lies[1..] {
        request = request.header(*name, *value);
    }
    let sender = http2::connect(balancer.address).await;
    http2::ask(&sender, request, &[b"body"]).await;
    let upgrade = [&lies[..], &[("connection", "upgrade"), ("upgrade", "websocket")]].concat();
    let mut tunnel = Client::connect(balancer.address).unwrap();
    tunnel.request("POST", "/f/a//b?c", &upgrade, b"").unwrap();
    let seen = origin.requests();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.line, "POST /a/b?c HTTP/1.1");
        for (name, value) in [
            ("x-team", Some("shop")),
            ("x-from", Some("127.0.0.1")),
            ("x-all", Some("http POST story.example /f/a/b?c web shop app")),
            ("x-copy", Some("s\tt")),
            ("x-user", None),
            ("user-agent", Some("us")),
            ("accept", Some("{}")),
            ("x-debug", None),
            ("x-forwarded-host", None),
        ] {
            assert_eq!(request.field(name), value, "{name}");
        }
        assert_eq!(request.field("x-id"), request.field("x-request-id"));
        let many: Vec<_> =
            request.fields.iter().filter(|(name, _)| name == "x-many").map(|(_, v)| v.as_str()).collect();
        assert_eq!(many, ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn fields_of_answers_are_set_added_and_removed_also_of_failures_and_of_a_switch_of_protocols() {
    let origin = origin();
    let routes = format!(
        "{FIELDS}\n  - {{ name: dead, upstream: dead, response_headers: {{ set: {{ x-frame-options: DENY }}, remove: [cache-control] }} }}"
    );
    let balancer = Balancer::before([origin.address])
        .more_upstreams(&format!("  dead: {{ backends: [{}], health_check: off }}", free_address()))
        .routes(&routes)
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    let answer = client.request("GET", "/f", &[], b"").unwrap();
    assert_eq!(
        (answer.field("x-frame-options"), answer.field("server"), answer.field("x-kept")),
        (Some("DENY"), None, Some("1"))
    );
    assert_eq!(answer.field("x-trace"), origin.requests().pop().unwrap().field("x-request-id"));
    let cookies: Vec<_> =
        answer.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    let sender = http2::connect(balancer.address).await;
    let (head, _) = http2::ask(&sender, Request::builder().uri("http://story.example/f"), &[]).await;
    assert_eq!(head.headers().get("x-frame-options").unwrap(), "DENY");
    assert!(head.headers().get("server").is_none());

    let mut tunnel = Client::connect(balancer.address).unwrap();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let answer = tunnel.request("GET", "/f", &upgrade, b"").unwrap();
    assert_eq!((answer.status, answer.field("x-frame-options"), answer.field("server")), (101, Some("DENY"), None));
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    let mut hello = [0; 5];
    tunnel.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");

    let answer = balancer.get("/");
    assert_eq!(
        (answer.status, answer.field("x-frame-options"), answer.field("cache-control")),
        (502, Some("DENY"), None)
    );
}

/// Answers only after the time in its path, in milliseconds.
fn slow() -> Origin {
    Origin::start(|request| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let milliseconds = path.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(milliseconds));
        Answer::Ok("at last".to_owned())
    })
}

#[test]
fn a_route_has_time_outs_of_its_own_and_the_upstreams_where_it_has_none() {
    let origin = slow();
    let balancer = Balancer::before([origin.address])
        .upstream("timeouts: { first_byte: 700ms, total: 10s }, retry: off")
        .routes(concat!(
            "  - { match: { path: { prefix: /patient } }, upstream: app, timeouts: { first_byte: 10s } }\n",
            "  - { match: { path: { prefix: /hasty } }, upstream: app, timeouts: { first_byte: 200ms } }\n",
            "  - { match: { path: { prefix: /total } }, upstream: app, timeouts: { first_byte: 10s, total: 300ms } }\n",
            "  - { match: { path: { prefix: /endless } }, upstream: app, timeouts: { first_byte: 10s, total: unlimited } }\n",
            "  - { upstream: app }",
        ))
        .start();
    for (target, status, reason) in [
        ("/patient/1500", 200, None),
        ("/endless/1500", 200, None),
        ("/hasty/1500", 504, Some("first_byte_timeout")),
        ("/total/1500", 504, Some("total_timeout")),
        ("/1500", 504, Some("first_byte_timeout")),
        ("/hasty/0", 200, None),
    ] {
        let began = Instant::now();
        let answer = balancer.get(target);
        let took = began.elapsed();
        assert_eq!(answer.status, status, "{target} after {took:?}: {}", answer.text());
        assert!(reason.is_none_or(|reason| answer.text().contains(reason)), "{target}: {}", answer.text());
        assert!(status == 200 || took < Duration::from_millis(1400), "{target} took {took:?}");
    }
    let mut client = Client::connect(balancer.address).unwrap();
    let began = Instant::now();
    assert_eq!(client.request("POST", "/hasty/1500", &[], b"body").unwrap().status, 504);
    assert!(began.elapsed() < Duration::from_millis(1400), "with a body too");
}

#[test]
fn a_tunnel_and_a_pause_in_an_answer_have_the_time_of_the_route() {
    let origin = Origin::start(|request| {
        let upgrades = request.field("upgrade").is_some();
        Answer::Take(Box::new(move |mut stream| {
            let head: &[u8] = if upgrades {
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nha"
            };
            drop(stream.write_all(head));
            drop(std::io::Read::read(&mut stream, &mut [0]));
        }))
    });
    let balancer = Balancer::before([origin.address])
        .routes("  - { upstream: app, timeouts: { tunnel: 500ms, idle: 500ms } }")
        .start();
    for fields in [&[("connection", "upgrade"), ("upgrade", "websocket")][..], &[]] {
        let began = Instant::now();
        let mut client = Client::connect(balancer.address).unwrap();
        let head = client.request("GET", "/", fields, b"").map(|answer| answer.status);
        client.rest();
        let took = began.elapsed();
        assert!((Duration::from_millis(400)..Duration::from_secs(10)).contains(&took), "{head:?} after {took:?}");
    }
}

#[test]
fn a_route_waits_for_a_connection_as_long_as_it_says() {
    // An address that takes connections into its queue and then no more: the next waits for its time-out.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let queue: Vec<_> =
        (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()).collect();
    let balancer = Balancer::before([address])
        .upstream("health_check: off, retry: off, timeouts: { connect: 60s }")
        .routes("  - { upstream: app, timeouts: { connect: 300ms } }")
        .start();
    let began = Instant::now();
    let answer = balancer.get("/");
    assert_eq!((answer.status, answer.text().contains("connect_timeout")), (504, true), "{}", answer.text());
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(queue);
}

#[test]
fn a_routes_word_on_retries_wins_over_its_upstreams() {
    let closing = || Origin::start(|_| Answer::Close);
    let attempts = |upstream: &str, route: &str| {
        let origins = [closing(), closing(), closing(), closing()];
        let balancer = Balancer::before(origins.iter().map(|origin| origin.address))
            .upstream(upstream)
            .routes(&format!("  - {{ upstream: app{route} }}"))
            .start();
        assert_eq!(balancer.get("/").status, 502);
        origins.iter().map(Origin::count).sum::<usize>()
    };
    assert_eq!(attempts("retry: { attempts: 2 }", ""), 3);
    assert_eq!(attempts("retry: { attempts: 2 }", ", retry: off"), 1);
    assert_eq!(attempts("retry: { attempts: 2 }", ", retry: { attempts: 3 }"), 4);
    assert_eq!(attempts("retry: { attempts: 2 }", ", retry: { on: [connect] }"), 1);
    assert_eq!(attempts("retry: off", ", retry: { attempts: 1 }"), 2);
    assert_eq!(attempts("retry: off", ", retry: on"), 3);
}

#[test]
fn a_try_again_is_rewritten_like_the_first() {
    let (broken, sound) = (Origin::start(|_| Answer::Close), origin());
    let balancer = Balancer::before([broken.address, sound.address]).routes(REWRITES).start();
    for _ in 0..4 {
        assert_eq!(balancer.get("/strip/a?b").status, 200);
    }
    assert!(broken.count() > 0);
    for request in broken.requests().iter().chain(&sound.requests()) {
        assert_eq!(request.line, "GET /a?b HTTP/1.1");
    }
}
