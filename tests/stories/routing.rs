//! Which route a request takes, and the answers that routes give themselves.

use std::collections::HashSet;

use http::Request;

use crate::http2;
use crate::support::client::{Client, Response};
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

/// Routes that tell their own name.
const NAMED: &str = r#"  - { name: else, match: { path: { prefix: /known } }, respond: { status: 200, body: else } }
  - { name: shop, match: { hosts: [Shop.Example] }, respond: { status: 200, body: shop } }
  - { name: below, match: { hosts: ["*.example"] }, respond: { status: 200, body: below } }
  - { name: api, match: { hosts: [shop.example], path: { prefix: /api } }, respond: { status: 200, body: api } }
  - { name: exact, match: { hosts: [shop.example], path: { exact: /api/x } }, respond: { status: 200, body: exact } }
  - { name: regex, match: { hosts: [shop.example], path: { regex: "^/api/v[0-9]+$" } }, respond: { status: 200, body: regex } }
  - { name: post, match: { hosts: [shop.example], methods: [POST] }, respond: { status: 200, body: post } }
  - { name: canary, match: { hosts: [shop.example], headers: { x-canary: "1" } }, respond: { status: 200, body: canary } }
  - { name: versioned, match: { hosts: [shop.example], headers: { x-version: { regex: "^v[0-9]$" } } }, respond: { status: 200, body: versioned } }
  - { name: debug, match: { hosts: [shop.example], query: { debug: "1" } }, respond: { status: 200, body: debug } }
  - { name: beta, match: { hosts: [shop.example], cookies: { beta: { present: on } } }, respond: { status: 200, body: beta } }
  - { name: local, match: { hosts: [client.example], clients: [127.0.0.0/8] }, respond: { status: 200, body: local } }
  - { name: far, match: { hosts: [client.example], clients: [10.0.0.0/8] }, respond: { status: 200, body: far } }
  - { name: idn, match: { hosts: ["bücher.test"] }, respond: { status: 200, body: idn } }"#;

/// Method, host, target, fields, and the route that is meant; none: 404.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], Option<&'static str>);

const CASES: &[Case] = &[
    ("GET", "shop.example", "/", &[], Some("shop")),
    ("GET", "SHOP.Example.:8080", "/", &[], Some("shop")),
    ("GET", "www.example", "/", &[], Some("below")),
    ("GET", "a.b.example", "/", &[], Some("below")),
    ("GET", "example", "/", &[], None),
    ("GET", "example", "/known/x", &[], Some("else")),
    ("GET", "example", "/knowns", &[], None),
    ("GET", "shop.example", "/api/y", &[], Some("api")),
    ("GET", "shop.example", "/apis", &[], Some("shop")),
    ("GET", "shop.example", "/api/x?y", &[], Some("exact")),
    ("GET", "shop.example", "/api/v17", &[], Some("regex")),
    ("POST", "shop.example", "/", &[("x-canary", "1")], Some("post")),
    ("POST", "shop.example", "/api", &[], Some("api")),
    ("GET", "shop.example", "/?debug=1", &[("x-canary", "1")], Some("canary")),
    ("GET", "shop.example", "/", &[("x-canary", "2"), ("x-canary", "1")], Some("canary")),
    ("GET", "shop.example", "/", &[("x-version", "v1")], Some("versioned")),
    ("GET", "shop.example", "/", &[("x-version", "v10")], Some("shop")),
    ("GET", "shop.example", "/?a&debug=%31", &[("x-canary", "2")], Some("debug")),
    ("GET", "shop.example", "/", &[("cookie", "a=1; beta=")], Some("beta")),
    ("GET", "shop.example", "/", &[("cookie", "a=beta")], Some("shop")),
    ("GET", "client.example", "/", &[], Some("local")),
    ("GET", "xn--bcher-kva.test", "/", &[], Some("idn")),
];

fn told(status: u16, body: &str) -> Option<&str> {
    match status {
        200 => Some(body),
        _ => {
            assert!(status == 404 && body.contains("no_route"), "{status}: {body}");
            None
        }
    }
}

#[tokio::test]
async fn a_request_takes_the_most_specific_route_over_every_protocol() {
    let balancer = Balancer::before([free_address()]).upstream("health_check: off").routes(NAMED).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let sender = http2::connect(balancer.address).await;
    for (method, host, target, fields, expected) in CASES {
        let with_host: Vec<_> = [("host", *host)].iter().chain(*fields).copied().collect();
        let response = client.request(method, target, &with_host, b"").unwrap();
        assert_eq!(told(response.status, &response.text()), *expected, "HTTP/1.1: {method} {host}{target} {fields:?}");

        let upgrade = [&with_host[..], &[("connection", "upgrade"), ("upgrade", "websocket")]].concat();
        let response = client.request(method, target, &upgrade, b"").unwrap();
        assert_eq!(told(response.status, &response.text()), *expected, "upgrade: {method} {host}{target} {fields:?}");

        let mut request = Request::builder().method(*method).uri(format!("http://{host}{target}"));
        for (name, value) in *fields {
            request = request.header(*name, *value);
        }
        let (head, body) = http2::ask(&sender, request, &[]).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(told(head.status().as_u16(), &body), *expected, "HTTP/2: {method} {host}{target} {fields:?}");
    }
    counted(&balancer, "canary", 200, 6.0);
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["route"], &line["upstream"], &line["attempts"]), (&"shop".into(), &().into(), &0.into()));
}

#[test]
fn a_route_serves_the_listeners_that_it_names() {
    let (origin, other) = (Origin::named("origin"), free_address());
    let balancer = Balancer::before([origin.address])
        .more_listeners(&format!("  other: {{ address: {other} }}"))
        .routes("  - { listeners: [other], redirect: { to: \"https://{host}{path_and_query}\" } }\n  - { listeners: [web], upstream: app }")
        .start();
    assert_eq!(balancer.get("/a?b").text(), "origin");
    let response = crate::support::client::get(other, "/a?b");
    assert_eq!((response.status, response.field("location")), (308, Some("https://story.example/a?b")));
}

#[test]
fn ten_thousand_routes_serve_as_one_does() {
    let origin = Origin::named("origin");
    let routes: String = (0..10_000)
        .map(|n| format!("  - {{ match: {{ hosts: [h{n}.x], path: {{ prefix: /p{n} }} }}, upstream: app }}\n"))
        .collect();
    let balancer = Balancer::before([origin.address]).routes(&routes).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for number in [0, 77, 9_999] {
        let (host, path) = (format!("h{number}.x"), format!("/p{number}/x"));
        assert_eq!(client.request("GET", &path, &[("host", &host)], b"").unwrap().text(), "origin");
        assert_eq!(client.request("GET", "/p1", &[("host", &host)], b"").unwrap().status, 404);
    }
}

/// Waits until so many answers of a route are counted, which is done after they were sent.
#[track_caller]
fn counted(balancer: &Balancer, route: &str, code: u16, count: f64) {
    let series = format!("evenkeel_requests_total{{route=\"{route}\",code=\"{code}\"}}");
    eventually(&series, || balancer.metric(&series) == count, || balancer.metric(&series).to_string());
}

/// A few requests, each on the same connection; what they were answered with.
fn ask(balancer: &Balancer, requests: &[(&str, &str, &[u8])]) -> Vec<Response> {
    let mut client = Client::connect(balancer.address).unwrap();
    let one = |(method, target, body): &(&str, &str, &[u8])| client.request(method, target, &[], body).unwrap();
    requests.iter().map(one).collect()
}

#[test]
fn a_redirect_sends_the_client_where_the_file_says_and_keeps_its_connection() {
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .routes(concat!(
            "  - { name: tls, redirect: { to: \"https://{host}{path_and_query}\" } }\n",
            "  - { match: { path: { prefix: /old } }, rewrite: { replace_prefix: { from: /old, to: /new } }, redirect: { to: \"{path_and_query}\", status: 301 } }\n",
            "  - { match: { path: { exact: /other } }, redirect: { to: \"https://other.example/?from={header:x-from}\", status: 302 }, response_headers: { set: { cache-control: no-store, x-route: \"{route}\" } } }",
        ))
        .start();
    let answers = ask(
        &balancer,
        &[
            ("GET", "/a//b%7e?c=/d//e", b""),
            ("POST", "/a", b"a body that nobody reads"),
            ("HEAD", "/", b""),
            ("GET", "/old/x/?y", b""),
            ("GET", "/other", b""),
            ("GET", "http://story.example/abs?", b""),
        ],
    );
    let told: Vec<_> = answers.iter().map(|answer| (answer.status, answer.field("location").unwrap())).collect();
    assert_eq!(
        told,
        [
            (308, "https://story.example/a/b~?c=/d//e"),
            (308, "https://story.example/a"),
            (308, "https://story.example/"),
            (301, "/new/x/?y"),
            (302, "https://other.example/?from="),
            (308, "https://story.example/abs?"),
        ]
    );
    assert!(answers.iter().all(|answer| answer.field("content-length") == Some("0") && answer.body.is_empty()));
    assert_eq!((answers[4].field("cache-control"), answers[4].field("x-route")), (Some("no-store"), Some("route-3")));
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["status"], &line["route"], &line["upstream"]), (&308.into(), &"tls".into(), &().into()));
    counted(&balancer, "tls", 308, 4.0);
}

#[test]
fn no_request_can_make_a_redirect_leave_for_another_host_or_add_a_field() {
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .top("path_normalization: { merge_slashes: off }")
        .routes("  - { redirect: { to: \"{path_and_query}\" } }\n  - { match: { path: { prefix: /a } }, redirect: { to: \"/{path}?{header:x}\" } }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    let mut location = |target: &str, value: &str| {
        let answer = client.request("GET", target, &[("x", value)], b"").unwrap();
        answer.field("location").unwrap().to_owned()
    };
    assert_eq!(location("//evil.example/x", ""), "/evil.example/x");
    assert_eq!(location("/\\evil.example", ""), "/%5Cevil.example");
    assert_eq!(location("/x%0d%0aset-cookie:%20a", ""), "/x%0D%0Aset-cookie:%20a");
    assert_eq!(location("/a/b", "c\td"), "/a/b?c\td");
}

#[test]
fn a_fixed_answer_is_given_as_it_stands_in_the_file() {
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .routes(concat!(
            "  - { respond: { status: 404, body: \"nothing here\\n\" } }\n",
            "  - { match: { path: { exact: /json } }, respond: { status: 200, body: '{\"a\": 1}', content_type: application/json } }\n",
            "  - { match: { path: { exact: /none } }, respond: { status: 204 } }\n",
            "  - { match: { path: { exact: /empty } }, respond: { status: 200 } }",
        ))
        .start();
    let answers = ask(
        &balancer,
        &[
            ("GET", "/", b""),
            ("POST", "/", b"a body"),
            ("HEAD", "/", b""),
            ("GET", "/json", b""),
            ("GET", "/none", b""),
            ("GET", "/empty", b""),
        ],
    );
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            (answer.status, answer.text(), answer.field("content-type").unwrap_or("-"), answer.field("content-length"))
        })
        .map(|(status, text, kind, length)| format!("{status} {kind} {} {text}", length.unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            "404 text/plain; charset=utf-8 13 nothing here\n",
            "404 text/plain; charset=utf-8 13 nothing here\n",
            "404 text/plain; charset=utf-8 13 ",
            "200 application/json 8 {\"a\": 1}",
            "204 - - ",
            "200 - 0 ",
        ]
    );
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"no_route\"}"), 0.0, "a fixed 404 is no failure");
}

#[test]
fn while_it_drains_a_redirect_asks_the_client_to_close_too() {
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .top("lame_duck: 20s")
        .routes("  - { redirect: { to: / } }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    let mut closes =
        || client.request("GET", "/", &[], b"").is_ok_and(|answer| answer.field("connection") == Some("close"));
    assert!(!closes());
    balancer.signal(rustix::process::Signal::TERM);
    eventually("an answer that closes", closes, || balancer.log());
}

#[test]
fn a_split_gives_each_upstream_its_share() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    let balancer = Balancer::before([app.address])
        .more_upstreams(&format!("  next: {{ backends: [{}] }}\n  none: {{ backends: [{}] }}", next.address, next.address))
        .routes("  - { name: s, split: [ { upstream: app, weight: 80 }, { upstream: next, weight: 20 }, { upstream: none, weight: 0 } ] }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..1000 {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
    }
    let share = next.count();
    assert!((120..290).contains(&share), "{share} of 1000 for a share of 20 %");
    let upstreams: HashSet<String> =
        balancer.access_log(1000).iter().map(|line| line["upstream"].as_str().unwrap().to_owned()).collect();
    assert_eq!(upstreams, HashSet::from(["app".to_owned(), "next".to_owned()]));
}

#[test]
fn a_split_by_a_key_keeps_everybody_where_they_are() {
    let (app, next) = (Origin::named("app"), Origin::named("next"));
    let routes =
        ["client_address", "{ header: x-user }", "{ cookie: user }"].iter().enumerate().map(|(number, key)| {
            let shares = "[ { upstream: app, weight: 1 }, { upstream: next, weight: 1 } ]";
            format!(
                "  - {{ match: {{ path: {{ prefix: /{number} }} }}, split: {{ key: {key}, upstreams: {shares} }} }}\n"
            )
        });
    let balancer = Balancer::before([app.address])
        .more_upstreams(&format!("  next: {{ backends: [{}] }}", next.address))
        .routes(&routes.collect::<String>())
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    let mut ask =
        |target: &str, name: &str, value: &str| client.request("GET", target, &[(name, value)], b"").unwrap().text();
    let mut answers = HashSet::new();
    for user in 0..30 {
        let (user, cookie) = (format!("user-{user}"), format!("a=b; user=user-{user}"));
        let first = ask("/1", "x-user", &user);
        assert!((0..5).all(|_| ask("/1", "x-user", &user) == first));
        assert_eq!(ask("/2", "cookie", &cookie), first, "the same key is the same way, wherever it stands");
        answers.insert(first);
    }
    assert_eq!(answers.len(), 2, "30 users and two upstreams of the same weight");
    let first = ask("/0", "x", "");
    assert!((0..20).all(|_| ask("/0", "x", "") == first));
    let by_chance: HashSet<String> = (0..60).map(|_| ask("/1", "x", "")).collect();
    assert_eq!(by_chance.len(), 2, "whoever has no key is spread");
}

#[test]
fn a_share_whose_backends_are_all_down_is_answered_503_and_the_other_served() {
    let (app, dead) = (Origin::named("app"), free_address());
    let balancer = Balancer::before([app.address])
        .more_upstreams(&format!("  dead: {{ backends: [{dead}] }}"))
        .routes("  - { split: { key: { header: x-user }, upstreams: [ { upstream: app, weight: 1 }, { upstream: dead, weight: 1 } ] } }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    let mut statuses = HashSet::new();
    for user in 0..40 {
        statuses.insert(client.request("GET", "/", &[("x-user", &user.to_string())], b"").unwrap().status);
    }
    assert_eq!(statuses, HashSet::from([200, 503]));
}

#[test]
fn a_reload_changes_where_requests_go_on_a_kept_connection() {
    let (app, next) = (Origin::named("app"), Origin::start(|_| Answer::Ok("next".to_owned())));
    let balancer = Balancer::before([app.address])
        .more_upstreams(&format!("  next: {{ backends: [{}] }}", next.address))
        .routes("  - { name: r, match: { path: { prefix: /a } }, upstream: app }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(client.request("GET", "/a", &[], b"").unwrap().text(), "app");
    assert!(balancer.reload(|text| text.replace("prefix: /a } }, upstream: app", "prefix: /b } }, upstream: next")));
    assert_eq!(client.request("GET", "/a", &[], b"").unwrap().status, 404);
    assert_eq!(client.request("GET", "/b", &[], b"").unwrap().text(), "next");
    // Counters stay with the name.
    counted(&balancer, "r", 200, 2.0);
    assert!(!balancer.reload(|text| text.replace("prefix: /b", "prefix: b")));
    assert_eq!(client.request("GET", "/b", &[], b"").unwrap().text(), "next", "a bad file changes nothing");
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused_over_every_protocol() {
    let origin = Origin::named("origin");
    let balancer =
        Balancer::before([origin.address]).routes("  - { match: { hosts: [story.example] }, upstream: app }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    let ok = client.request("GET", "http://story.example/", &[], b"").unwrap();
    assert_eq!(ok.status, 200);
    for (target, host) in [("http://story.example/", "bank.example"), ("http://bank.example/", "story.example")] {
        let mut client = Client::connect(balancer.address).unwrap();
        assert_eq!(client.request("GET", target, &[("host", host)], b"").unwrap().status, 400, "{target} of {host}");
    }
    let sender = http2::connect(balancer.address).await;
    let with = |host: &str| Request::builder().uri("http://story.example/").header("host", host);
    let (head, _) = http2::ask(&sender, with("story.example"), &[]).await;
    assert_eq!(head.status(), 200);
    let (head, _) = http2::ask(&sender, with("bank.example"), &[]).await;
    assert_eq!(head.status(), 400);
    let (head, _) = http2::ask(&sender, Request::builder().uri("http://user@story.example/"), &[]).await;
    assert_eq!(head.status(), 400, "a user is no part of a host");
    assert_eq!(origin.count(), 2, "nothing of what was refused reached the backend");
}
