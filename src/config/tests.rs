//! The files of `conf/`, every mistake of `tests/golden/config/`, and texts that nobody would write.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::balance::gradient::{Mode, Rules};
use crate::balance::queue::Shed;
use crate::forward::header_rules::{HeaderRules, Value};
use crate::forward::rewrite::{PathRewrite, Rewrite};
use crate::forward::template::{self, Template, Variable};
use crate::observe::access_log::{Field, Format, Piece};
use crate::pattern::Pattern;
use crate::route::{EncodedSlashes, HostPattern, Match, PathPattern, RepeatedSlashes, Wanted};
use crate::units::{ByteSize, Limit, Percent, SizeLimit};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn parsed(text: &str) -> Config {
    parse(text, "test.yaml", Path::new("/etc/evenkeel")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The least file, with `extra` under the listener, the upstream and at the top.
fn file(listener: &str, upstream: &str, top: &str) -> String {
    format!(
        "version: 1\nlisteners:\n  web:\n    address: 127.0.0.1:8080\n{listener}\nupstreams:\n  app:\n    backends: [127.0.0.1:9001]\n{upstream}\nroutes: [ {{ upstream: app }} ]\n{top}\n"
    )
}

#[test]
fn the_least_file_serves_with_the_defaults() {
    let config = load(&root().join("conf/evenkeel.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let quick = Config::quick("127.0.0.1:8080", &["127.0.0.1:9001".to_owned(), "127.0.0.1:9002".to_owned()]);
    assert_eq!(Ok(config), quick);
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = load(&root().join("conf/reference.yaml")).unwrap_or_else(|error| panic!("{error}"));
    let bare = load(&root().join("conf/evenkeel.yaml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reference, bare);
}

#[test]
fn the_reference_shows_every_key_of_pingora_that_is_read() {
    let text = std::fs::read_to_string(root().join("conf/reference.yaml")).unwrap();
    let keys = serde_json::to_value(ServerConf::default()).unwrap();
    for key in keys.as_object().unwrap().keys() {
        let with = parse(&file("", "", &format!("{key}: {{ a: b }}")), "x", Path::new("/"))
            .map_err(|problems| problems.to_string());
        let refused = with.is_err_and(|problems| problems.contains("has no effect"));
        let shown = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key}:")));
        assert_eq!(shown, !refused, "`{key}` in conf/reference.yaml");
    }
}

#[test]
fn every_key_of_a_listener_changes_it() {
    let config = parsed(&file(
        "    tls: { certificates: [ { certificate: a.pem, key: /b.key } ], min_version: 1.3, client_certificates: { ca: clients.pem, mode: optional } }\n    http2: off\n    proxy_protocol: required\n    timeouts: { request_header: 1s, request_body_idle: 2s, response_write_idle: 3s, keep_alive: 4s }\n    limits: { request_header: 1MB, request_headers: 7, connections: 9, connections_per_client: 3 }",
        "",
        "",
    ));
    let expected = Listener {
        name: "web".to_owned(),
        address: "127.0.0.1:8080".parse().unwrap(),
        tls: Some(ListenerTls {
            certificates: vec![CertificateFiles { certificate: "/etc/evenkeel/a.pem".into(), key: "/b.key".into() }],
            min_version: TlsVersion::V1_3,
            client_certificates: Some(ClientCertificates {
                ca: "/etc/evenkeel/clients.pem".into(),
                mode: ClientCertificateMode::Optional,
            }),
        }),
        http2: false,
        proxy_protocol: ProxyProtocol::Required,
        timeouts: ListenerTimeouts {
            request_header: Duration::from_secs(1),
            request_body_idle: Duration::from_secs(2),
            response_write_idle: Duration::from_secs(3),
            keep_alive: Duration::from_secs(4),
        },
        limits: ListenerLimits {
            request_header: ByteSize(1_000_000),
            request_headers: 7,
            connections: Limit::At(9),
            connections_per_client: Limit::At(3),
        },
    };
    assert_eq!(config.listeners, [expected]);
}

#[test]
fn every_key_of_an_upstream_changes_it() {
    let config = parsed(&file(
        "",
        "    balance: { maglev: { key: path } }\n    panic_threshold: 30%\n    slow_start: 20s\n    outlier_detection: { consecutive_failures: 7, ejection: 8s, max_ejected: 20%, stalls: off }\n    circuit_breaker: { requests_per_backend: 5, requests: 9, queue: 3, queue_timeout: 2s, shed: oldest }\n    adaptive_concurrency: { mode: observe, min_limit: 2, max_limit: 99, percentile: 90%, tolerance: 10%, measure_interval: 5s, measure_jitter: 3%, measure_requests: 7 }\n    health_check: { interval: 9s, timeout: 2s, healthy_after: 4, unhealthy_after: 5 }\n    retry: { attempts: 1, budget: 5%, on: [reset], backoff: { base: 5ms, max: 6ms } }\n    sticky: { cookie: { name: stay, max_age: 1h, secret_file: stay.secret } }\n    timeouts: { connect: 1s, first_byte: 2s, idle: 3s, total: 4s, keep_alive: 5s, tunnel: 6s }\n    limits: { request_body: 7MiB }\n    protocol: http2\n    tls: { server_name: app.example, ca: ca.pem, verify: on, certificate: a.pem, key: /b.key }",
        "",
    ));
    let expected = Upstream {
        name: "app".to_owned(),
        backends: vec![Backend { address: "127.0.0.1:9001".parse().unwrap(), weight: 1, tier: 0 }],
        balance: Balance::Maglev(HashKey::Path),
        panic_threshold: Some(Percent::clamped(30)),
        slow_start: Some(Duration::from_secs(20)),
        health_check: Some(HealthCheck {
            question: Question::Tcp,
            interval: Duration::from_secs(9),
            timeout: Duration::from_secs(2),
            healthy_after: 4,
            unhealthy_after: 5,
        }),
        outlier_detection: Some(OutlierDetection {
            consecutive_failures: 7,
            ejection: Duration::from_secs(8),
            max_ejected: Percent::clamped(20),
            stalls: Stalls::Ignored,
        }),
        circuit_breaker: Some(CircuitBreaker {
            requests_per_backend: Limit::At(5),
            requests: Limit::At(9),
            queue: Some(Queue { length: 3, timeout: Duration::from_secs(2), shed: Shed::Oldest }),
        }),
        adaptive_concurrency: Some(AdaptiveConcurrency {
            mode: Mode::Observe,
            rules: Rules {
                least: 2,
                most: 99,
                percentile: Percent::clamped(90),
                tolerance: Percent::clamped(10),
                interval: Duration::from_secs(5),
                jitter: Percent::clamped(3),
                requests: 7,
            },
        }),
        retry: Some(Retry {
            attempts: 1,
            budget: Percent::clamped(5),
            on: RetryOn { connect: false, reset: true, refused: false, statuses: RetryStatuses::NONE },
            backoff: Some(Backoff { base: Duration::from_millis(5), max: Duration::from_millis(6) }),
            per_try_timeout: None,
            hedge: Hedge::Off,
        }),
        sticky: Some(StickyCookie {
            name: "stay".to_owned(),
            max_age: Some(Duration::from_secs(3600)),
            secret_file: Some("/etc/evenkeel/stay.secret".into()),
        }),
        timeouts: UpstreamTimeouts {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(2),
            idle: Duration::from_secs(3),
            total: Some(Duration::from_secs(4)),
            keep_alive: Duration::from_secs(5),
            tunnel: Duration::from_secs(6),
        },
        request_body: SizeLimit::At(ByteSize(7 << 20)),
        protocol: Protocol::Http2,
        tls: Some(UpstreamTls {
            server_name: Some("app.example".to_owned()),
            ca: Some("/etc/evenkeel/ca.pem".into()),
            verify: Verify::On,
            client: Some(CertificateFiles { certificate: "/etc/evenkeel/a.pem".into(), key: "/b.key".into() }),
        }),
    };
    assert_eq!(config.upstreams, [expected]);
}

#[test]
fn every_policy_and_every_key_can_be_written() {
    let balance = |text: &str| parsed(&file("", &format!("    balance: {text}"), "")).upstreams[0].balance.clone();
    assert_eq!(balance("round_robin"), Balance::RoundRobin);
    assert_eq!(balance("random"), Balance::Random);
    assert_eq!(balance("least_request"), Balance::LeastRequest);
    assert_eq!(balance("peak_ewma"), Balance::PeakEwma);
    let ring = |key: &str| balance(&format!("{{ ring_hash: {{ key: {key} }} }}"));
    assert_eq!(ring("client_address"), Balance::RingHash(HashKey::ClientAddress));
    assert_eq!(ring("{ header: X-User }"), Balance::RingHash(HashKey::Header("x-user".parse().unwrap())));
    assert_eq!(ring("{ cookie: session }"), Balance::RingHash(HashKey::Cookie("session".to_owned())));
    assert_eq!(ring("query"), Balance::RingHash(HashKey::Query));
    assert_eq!(ring("{ query: user }"), Balance::RingHash(HashKey::Parameter("user".to_owned())));
}

#[test]
fn off_means_none() {
    let config = parsed(&file(
        "    tls: off",
        "    health_check: off\n    retry: false\n    tls: off",
        "admin: off\naccess_log: off\nlame_duck: off",
    ));
    assert_eq!((config.admin, config.access_log, config.lame_duck), (None, None, Duration::ZERO));
    let [upstream] = config.upstreams.as_slice() else { panic!("one upstream") };
    assert_eq!((&upstream.health_check, &upstream.retry, &upstream.tls), (&None, &None, &None));
    assert_eq!(parsed(&file("", "", "access_log: { path: off }")).access_log, None);
}

#[test]
fn the_access_log_goes_where_it_was_told() {
    let log = |text: &str| parsed(&file("", "", text)).access_log.unwrap();
    let config = log("access_log: { path: logs/a.log, format: combined }");
    assert_eq!(config, AccessLog { path: LogPath::File("/etc/evenkeel/logs/a.log".into()), format: Format::Combined });
    assert_eq!(log("access_log: { path: stderr }").path, LogPath::Stderr);
    let template = vec![Piece::Field(Field::Client), Piece::Text(" says".to_owned())];
    assert_eq!(log("access_log: { format: { template: \"{client} says\" } }").format, Format::Template(template));
}

#[test]
fn trusted_proxies_are_networks_and_nobody_unless_it_is_written() {
    use crate::identity::{Field, Forwarded, Rules, UnixPeers};
    let rules = |text: &str| parsed(&file("", "", text)).client_address;
    for nobody in ["", "client_address: {}", "client_address: { trusted_proxies: [], field: x_forwarded_for }"] {
        assert_eq!(rules(nobody), Rules::default(), "{nobody}");
    }
    let some =
        rules("client_address: { trusted_proxies: [10.0.0.0/8, \"::1\", unix], field: forwarded, forwarded: on }");
    let networks: Vec<String> = some.trusted.networks.iter().map(ToString::to_string).collect();
    assert_eq!((networks, some.trusted.unix), (vec!["10.0.0.0/8".to_owned(), "::1".to_owned()], UnixPeers::Trusted));
    assert_eq!((some.field, some.forwarded), (Field::Forwarded, Forwarded::Sent));
}

#[test]
fn via_is_a_name_or_none() {
    for (text, expected) in [("", None), ("via: off", None), ("via: edge-1.example", Some("edge-1.example".to_owned()))]
    {
        assert_eq!(parsed(&file("", "", text)).via, expected);
    }
}

#[test]
fn a_route_knows_its_listeners_and_its_upstream_by_index() {
    let config = parsed(
        "version: 1\nlisteners: { a: { address: \"[::1]:1\" }, b: { address: unix:/b.sock } }\nupstreams: { x: { backends: [x:1] }, y: { backends: [{ address: unix:/y, weight: 0 }] } }\nroutes: [ { upstream: y }, { name: second, listeners: [b], upstream: x, limits: { request_body: unlimited } } ]\n",
    );
    let first = Route::to_upstream("route-1", vec![0, 1], 1);
    let mut second = Route::to_upstream("second", vec![1], 0);
    let Action::Forward(forward) = &mut second.action else { panic!("it is forwarded") };
    forward.request_body = Some(SizeLimit::Unlimited);
    assert_eq!(config.routes, [first, second]);
}

/// The route that these lines make, in a file of two upstreams.
fn route(lines: &str) -> Route {
    let config = parsed(&format!(
        "version: 1\nlisteners: {{ a: {{ address: 127.0.0.1:1 }} }}\nupstreams: {{ x: {{ backends: [x:1] }}, y: {{ backends: [y:1] }} }}\nroutes:\n  - name: r\n    {}\n",
        lines.replace('\n', "\n    ")
    ));
    config.routes.into_iter().next().unwrap()
}

fn forward(lines: &str) -> Forward {
    let Action::Forward(forward) = route(lines).action else { panic!("`{lines}` is not forwarded") };
    *forward
}

#[test]
fn every_key_of_a_match_changes_it() {
    let read = route(
        "upstream: x\nmatch:\n  hosts: [Shop.Example.com, \"*.bücher.example\", 192.0.2.1]\n  path: { prefix: /%61pi/ }\n  methods: [GET, PURGE]\n  headers: { X-A: 1, x-b: { regex: ^v }, x-c: { present: on }, x-d: { present: off } }\n  query: { debug: \"1 2\" }\n  cookies: { Session: { present: on } }\n  clients: [10.0.0.0/8, \"2001:db8::1\"]",
    );
    let exact = |text: &str| Wanted::Exact(text.to_owned());
    let expected = Match {
        hosts: ["shop.example.com", "*.xn--bcher-kva.example", "192.0.2.1"]
            .map(|host| HostPattern::new(host).unwrap())
            .into(),
        path: Some(PathPattern::Prefix("/api/".to_owned())),
        methods: vec![http::Method::GET, http::Method::from_bytes(b"PURGE").unwrap()],
        headers: vec![
            (http::HeaderName::from_static("x-a"), exact("1")),
            (http::HeaderName::from_static("x-b"), Wanted::Pattern(Pattern::new("^v").unwrap())),
            (http::HeaderName::from_static("x-c"), Wanted::Present),
            (http::HeaderName::from_static("x-d"), Wanted::Absent),
        ],
        query: vec![("debug".to_owned(), exact("1 2"))],
        cookies: vec![("Session".to_owned(), Wanted::Present)],
        clients: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::1/128".parse().unwrap()],
    };
    assert_eq!(read.matches, expected);
    let path = |lines: &str| route(&format!("upstream: x\nmatch: {{ path: {lines} }}")).matches.path;
    assert_eq!(path("{ exact: /a/ }"), Some(PathPattern::Exact("/a/".to_owned())));
    assert_eq!(path("{ regex: ^/a }"), Some(PathPattern::Regex(Pattern::new("^/a").unwrap())));
}

#[test]
fn every_key_of_a_forwarding_route_changes_it() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let read = forward(
        "split: [ { upstream: x, weight: 95 }, { upstream: y, weight: 0 } ]\nrewrite: { strip_prefix: /api, host: \"internal.example:8080\" }\nrequest_headers: { set: { X-Team: shop, x-from: \"{client_address}\" }, add: { x-a: \"{{}}\" }, remove: [x-debug] }\ntimeouts: { connect: 1s, first_byte: 2s, idle: 3s, total: unlimited, tunnel: 4s }\nlimits: { request_body: 10MiB }\nretry: { attempts: 1, on: [reset], hedge: off }",
    );
    let name = http::HeaderName::from_static;
    let fixed = |text: &'static str| Value::Fixed(http::HeaderValue::from_static(text));
    let expected = Forward {
        split: Split { upstreams: vec![(0, 95), (1, 0)], key: None },
        rewrite: Rewrite {
            path: Some(PathRewrite::Prefix { from: "/api".to_owned(), to: "/".to_owned() }),
            host: Some(http::HeaderValue::from_static("internal.example:8080")),
        },
        request_headers: HeaderRules {
            remove: vec![name("x-debug")],
            set: vec![
                (name("x-team"), fixed("shop")),
                (name("x-from"), Value::Made(Template(vec![template::Piece::Value(Variable::ClientAddress)]))),
            ],
            add: vec![(name("x-a"), fixed("{}"))],
        },
        timeouts: RouteTimeouts {
            connect: seconds(1),
            first_byte: seconds(2),
            idle: seconds(3),
            total: Some(None),
            tunnel: seconds(4),
        },
        retry: RetryRule::On {
            attempts: Some(1),
            on: Some(RetryOn { connect: false, reset: true, refused: false, statuses: RetryStatuses::NONE }),
            hedge: Some(Hedge::Off),
        },
        request_body: Some(SizeLimit::At(ByteSize(10 << 20))),
    };
    assert_eq!(read, expected);
    let key = |written: &str| {
        let lines = format!("split: {{ key: {written}, upstreams: [ {{ upstream: y, weight: 1 }} ] }}");
        forward(&lines).split.key
    };
    assert_eq!(key("client_address"), Some(Key::ClientAddress));
    assert_eq!(key("{ header: X-User }"), Some(Key::Header(name("x-user"))));
    assert_eq!(key("{ cookie: Session }"), Some(Key::Cookie("Session".to_owned())));
    let rewrite = |written: &str| forward(&format!("upstream: x\nrewrite: {written}")).rewrite.path;
    let replaced = PathRewrite::Prefix { from: "/a".to_owned(), to: "/b/".to_owned() };
    assert_eq!(rewrite("{ replace_prefix: { from: /a, to: /b/ } }"), Some(replaced));
    let pattern = Pattern::new("^/(.*)$").unwrap();
    let replaced = PathRewrite::Regex { pattern, replacement: "/x/$1".to_owned() };
    assert_eq!(rewrite("{ regex: { pattern: ^/(.*)$, replacement: /x/$1 } }"), Some(replaced));
}

#[test]
fn every_key_of_an_answering_route_changes_it() {
    let status = |code: u16| http::StatusCode::from_u16(code).unwrap();
    let read = route("redirect: { to: /new }\nrewrite: { strip_prefix: /old }\nresponse_headers: { remove: [server] }");
    let to = Template(vec![template::Piece::Text("/new".to_owned())]);
    let rewrite = PathRewrite::Prefix { from: "/old".to_owned(), to: "/".to_owned() };
    assert_eq!(read.action, Action::Redirect(Redirect { to: to.clone(), status: status(308) }, Some(rewrite)));
    assert_eq!(read.response_headers.remove, [http::header::SERVER]);
    let read = route("redirect: { to: /new, status: 302 }").action;
    assert_eq!(read, Action::Redirect(Redirect { to, status: status(302) }, None));
    let respond = |lines: &str| {
        let Action::Respond(respond) = route(&format!("respond: {lines}")).action else { panic!("`{lines}`") };
        let Respond { status, body, content_type } = respond;
        (status.as_u16(), body, content_type.map(|kind| kind.to_str().unwrap().to_owned()))
    };
    assert_eq!(respond("{ status: 204 }"), (204, "".into(), None));
    assert_eq!(
        respond("{ status: 404, body: \"no\\n\" }"),
        (404, "no\n".into(), Some("text/plain; charset=utf-8".to_owned()))
    );
    let json = (200, "{}".into(), Some("application/json".to_owned()));
    assert_eq!(respond("{ status: 200, body: \"{}\", content_type: application/json }"), json);
}

#[test]
fn a_try_has_a_time_of_its_own_if_it_is_written() {
    let retry = |text: &str| parsed(&file("", &format!("    retry: {text}"), "")).upstreams.remove(0).retry;
    let second = Some(Duration::from_secs(1));
    assert_eq!(retry("{ per_try_timeout: 1s }"), Some(Retry { per_try_timeout: second, ..Retry::default() }));
    assert_eq!(retry("{ per_try_timeout: off, backoff: off }"), Some(Retry { backoff: None, ..Retry::default() }));
    let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(10) };
    assert_eq!(retry("{ backoff: { base: 1s } }"), Some(Retry { backoff: Some(backoff), ..Retry::default() }));
}

#[test]
fn what_a_route_says_of_retries_wins_over_its_upstream_but_for_the_budget() {
    let upstream = Retry {
        attempts: 5,
        budget: Percent::clamped(7),
        on: RetryOn { connect: true, reset: false, refused: false, statuses: RetryStatuses::NONE },
        backoff: None,
        per_try_timeout: None,
        hedge: Hedge::Time(Duration::from_secs(1)),
    };
    let rule = |lines: &str| forward(&format!("upstream: x\n{lines}")).retry;
    assert_eq!(rule("").over(Some(upstream)), Some(upstream));
    assert_eq!(rule("retry: off").over(Some(upstream)), None);
    assert_eq!(rule("retry: on").over(Some(upstream)), Some(upstream));
    assert_eq!(rule("retry: on").over(None), Some(Retry::default()));
    assert_eq!(rule("retry: { attempts: 1 }").over(Some(upstream)), Some(Retry { attempts: 1, ..upstream }));
    let on = RetryOn { connect: false, reset: true, refused: false, statuses: RetryStatuses::NONE };
    assert_eq!(rule("retry: { on: [reset] }").over(None), Some(Retry { on, ..Retry::default() }));
    assert_eq!(rule("retry: { hedge: off }").over(Some(upstream)), Some(Retry { hedge: Hedge::Off, ..upstream }));
}

#[test]
fn a_request_is_hedged_after_a_share_of_all_or_after_a_time() {
    let retry = |text: &str| parsed(&file("", &format!("    retry: {text}"), "")).upstreams.remove(0).retry;
    let hedge = |text: &str| retry(text).map(|retry| retry.hedge);
    let millis = Duration::from_millis;
    let lately = |percentile, min| Some(Hedge::Lately { percentile, min: millis(min) });
    assert_eq!(hedge("on"), Some(Hedge::Off));
    assert_eq!(hedge("{ hedge: on }"), lately(Percentile::P95, 5));
    assert_eq!(hedge("{ hedge: { after: p99, min: 20ms } }"), lately(Percentile::P99, 20));
    assert_eq!(hedge("{ hedge: { min: 1ms } }"), lately(Percentile::P95, 1));
    assert_eq!(hedge("{ hedge: { after: 200ms } }"), Some(Hedge::Time(millis(200))));
}

#[test]
fn the_form_of_paths_is_chosen_and_rules_are_held_to_it() {
    let normalization = |text: &str| parsed(&file("", "", text)).path_normalization;
    let default = Normalisation::default();
    assert_eq!(normalization(""), default);
    let keeping = Normalisation { repeated_slashes: RepeatedSlashes::Keep, ..default };
    assert_eq!(normalization("path_normalization: { merge_slashes: off }"), keeping);
    for (text, encoded_slashes) in
        [("keep", EncodedSlashes::Keep), ("reject", EncodedSlashes::Reject), ("decode", EncodedSlashes::Decode)]
    {
        let written = format!("path_normalization: {{ encoded_slashes: {text} }}");
        assert_eq!(normalization(&written), Normalisation { encoded_slashes, ..default });
    }
}

#[test]
fn ten_thousand_routes_are_read() {
    let routes: String = (0..10_000)
        .map(|n| format!("- {{match: {{hosts: [h{n}.x], path: {{prefix: /p{n}}}}}, upstream: a}}\n"))
        .collect();
    let config = parsed(&format!(
        "version: 1\nlisteners: {{ a: {{ address: 127.0.0.1:1 }} }}\nupstreams: {{ a: {{ backends: [a:1] }} }}\nroutes:\n{routes}"
    ));
    assert_eq!(config.routes.len(), 10_000);
}

#[test]
fn a_block_may_be_shared_by_an_alias_or_merged() {
    let config = parsed(
        "version: 1\nlisteners: { a: { address: 127.0.0.1:1 } }\nupstreams:\n  x: &x { backends: [x:1], timeouts: { idle: 9s } }\n  y: { <<: *x, backends: [y:1] }\nroutes: [ { upstream: x } ]\n",
    );
    let [x, y] = config.upstreams.as_slice() else { panic!("two upstreams") };
    assert_eq!((x.timeouts, "y:1"), (y.timeouts, y.backends[0].address.to_string().as_str()));
}

#[test]
fn the_admin_address_may_be_moved_and_collides_with_no_listener() {
    let config = parsed(&file("", "", "admin: { address: \"[::1]:9\" }\nlame_duck: 5s"));
    assert_eq!(config.admin, Some(Admin { address: "[::1]:9".parse().unwrap(), ..Admin::default() }));
    assert_eq!(config.lame_duck, Duration::from_secs(5));
    assert!(Config::quick("0.0.0.0:9901", &["a:1".to_owned()]).is_err());
}

#[test]
fn the_quick_way_says_what_is_wrong() {
    let quick = |listen: &str, backends: &[&str]| {
        let backends: Vec<String> = backends.iter().map(|backend| (*backend).to_owned()).collect();
        Config::quick(listen, &backends).unwrap_err()
    };
    assert_eq!(quick("8080", &["a:1"]), "`8080` has no host; write `127.0.0.1:8080`");
    assert_eq!(quick("127.0.0.1:0", &["http://a/"]), "`http://a/` is a URL, not an address; write `a:80`");
    assert_eq!(quick("127.0.0.1:0", &["a:1", "A:1"]), "backend `A:1` is given twice; give each once");
    assert!(quick("127.0.0.1:0", &[]).starts_with("no backend is given"));
}

#[test]
fn a_file_that_is_not_there_is_another_error_than_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("none.yaml")).unwrap_err();
    assert_eq!(missing.exit_code(), 2);
    assert_eq!(load(folder.path()).unwrap_err().exit_code(), 2);
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, b"version: 1\nadmin: \xff\n").unwrap();
    let bad = load(&path).unwrap_err();
    assert_eq!(bad.exit_code(), 1);
    assert!(bad.to_string().contains("bad.yaml:2:8"), "{bad}");
    std::fs::write(&path, vec![b'#'; (16 << 20) + 1]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("larger than 16MiB"));
}

#[test]
fn ten_thousand_upstreams_are_read() {
    let upstreams: String =
        (0..10_000).map(|n| format!("  u{n}: {{ backends: [10.0.0.1:80, 10.0.0.2:80] }}\n")).collect();
    let config = parsed(&format!(
        "version: 1\nlisteners: {{ a: {{ address: 127.0.0.1:1 }} }}\nupstreams:\n{upstreams}routes: [ {{ upstream: u9999 }} ]\n"
    ));
    assert_eq!(config.upstreams.len(), 10_000);
}

#[test]
fn deep_nesting_is_a_problem_and_not_a_crash() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)] {
        let problems = parse(&text, "deep.yaml", Path::new("/")).unwrap_err();
        assert!(problems.iter().all(|problem| problem.message.contains("deep")), "{:?}", problems.iter().next());
    }
}

#[test]
fn a_bomb_of_aliases_is_a_problem() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let before = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", "));
    }
    assert!(parse(&text, "bomb.yaml", Path::new("/")).is_err());
}

/// Each file of `tests/golden/config` is rendered and compared; `EVENKEEL_BLESS=1` writes what is rendered now.
#[test]
fn every_mistake_is_explained_as_it_was_agreed() {
    let folder = root().join("tests/golden/config");
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    let mut differ = Vec::new();
    let mut count = 0;
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        count += 1;
        let name = format!("conf/{}", path.file_name().unwrap().to_string_lossy());
        let text = std::fs::read_to_string(path).unwrap();
        let Err(problems) = parse(&text, &name, Path::new("/etc/evenkeel")) else {
            panic!("{name} has no problem");
        };
        let shown = problems.render(Colour::Off);
        let golden = path.with_extension("txt");
        if bless {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            differ.push(format!("{name}:\n{shown}"));
        }
        assert_ne!(problems.render(Colour::On), shown);
    }
    assert!(differ.is_empty(), "run with EVENKEEL_BLESS=1 and look at what changed:\n{}", differ.join("\n"));
    assert!(count >= 40, "only {count} mistakes are covered");
}

/// What people copy from the documents works: whole files as they stand, parts with the least that they lack.
#[test]
fn every_piece_of_a_file_that_the_documents_show_is_right() {
    const LEAST: [(&str, &str); 4] = [
        ("version", "version: 1\n"),
        ("listeners", "listeners: { web: { address: \"0.0.0.0:80\" }, secure: { address: \"0.0.0.0:443\" } }\n"),
        ("upstreams", "upstreams: { app: { backends: [127.0.0.1:9001] }, next: { backends: [127.0.0.1:9002] } }\n"),
        ("routes", "routes: [ { upstream: app } ]\n"),
    ];
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut shown = 0;
    for path in docs.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let indent = block.len() - block.trim_start_matches(' ').len();
            let mut file: String =
                block.lines().map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect();
            // Of one route or one setting alone nothing is known.
            let is_part = LEAST.iter().any(|(key, _)| file.lines().any(|line| line.starts_with(&format!("{key}:"))));
            if !is_part {
                continue;
            }
            for (key, least) in LEAST {
                if !file.lines().any(|line| line.starts_with(&format!("{key}:"))) {
                    file.push_str(least);
                }
            }
            shown += 1;
            // Names of others stand in some parts.
            if let Err(problems) = parse(&file, &path.display().to_string(), Path::new("/etc/evenkeel")) {
                let others = problems.iter().all(|problem| problem.message.starts_with("no upstream is called"));
                assert!(others && !block.contains("version: 1"), "{problems}\n{file}");
            }
        }
    }
    assert!(shown >= 5, "{shown}");
}

/// Each folder of `tests/golden/includes`, likewise.
#[test]
fn every_mistake_in_several_files_is_explained_as_it_was_agreed() {
    let folder = root().join("tests/golden/includes");
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    let mut differ = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let case = entry.unwrap().path();
        let name = format!("{}/evenkeel.yaml", case.file_name().unwrap().to_string_lossy());
        let (loaded, _) = load_as(&case.join("evenkeel.yaml"), &name, &|_| None);
        let Err(error) = loaded else { panic!("{name} has no problem") };
        let shown = error.to_string();
        let golden = case.join("problems.txt");
        if bless {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            differ.push(format!("{name}:\n{shown}"));
        }
    }
    assert!(differ.is_empty(), "run with EVENKEEL_BLESS=1 and look at what changed:\n{}", differ.join("\n"));
}

/// Files by their names, in a folder of their own.
fn folder_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn included_files_go_on_where_the_first_ends_and_their_paths_start_at_their_own_folders() {
    let folder = folder_of(&[
        (
            "main.yaml",
            "version: 1\ninclude: [parts/b.yaml, \"parts/*.yaml\", none/*.yaml]\nroutes: [ { upstream: app } ]\n",
        ),
        ("parts/a.yaml", "upstreams: { api: { backends: [x:1] } }\nroutes: [ { name: second, upstream: api } ]\n"),
        (
            "parts/b.yaml",
            "version: 1\ninclude: [deep/c.yaml]\nupstreams: { app: { backends: [x:2] } }\naccess_log: { path: b.log }\n",
        ),
        (
            "parts/deep/c.yaml",
            "listeners: { web: { address: 127.0.0.1:1, tls: { certificates: [ { certificate: c.pem, key: c.key } ] } } }\npid_file: c.pid\nupgrade_sock: c.sock\n",
        ),
        ("parts/.draft.yaml", "nonsense: 1\n"),
    ]);
    let (config, origin) = load_with_origin(&folder.path().join("main.yaml"));
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(origin.written["upstreams"]["api"]["backends"], serde_json::json!(["x:1"]));
    let upstreams: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(upstreams, ["app", "api"]);
    let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(routes, ["route-1", "second"]);
    let at = |path: &str| folder.path().join(path);
    assert_eq!(config.access_log.unwrap().path, LogPath::File(at("parts/b.log")));
    let [listener] = config.listeners.as_slice() else { panic!("one listener") };
    assert_eq!(listener.tls.as_ref().unwrap().certificates[0].key, at("parts/deep/c.key"));
    assert_eq!(Path::new(&config.server.pid_file), at("parts/deep/c.pid"));
    assert_eq!(Path::new(&config.server.upgrade_sock), at("parts/deep/c.sock"));
    for path in ["main.yaml", "parts/a.yaml", "parts/b.yaml", "parts/deep/c.yaml", "parts", "none"] {
        assert!(origin.files.contains(&at(path)), "{path} is not among {:?}", origin.files);
    }
}

#[test]
fn a_chain_of_includes_has_an_end() {
    let names: Vec<String> = (0..10).map(|n| format!("{n}.yaml")).collect();
    let texts: Vec<String> = (0..10).map(|n| format!("include: [{}.yaml]\n", n + 1)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let folder = folder_of(&files);
    let error = load(&folder.path().join("0.yaml")).unwrap_err().to_string();
    assert!(error.contains("`8.yaml` is included more than 8 deep"), "{error}");
}

#[test]
fn the_files_together_have_a_bound() {
    let half = format!("#{}", "x".repeat(9 << 20));
    let folder = folder_of(&[("main.yaml", "include: [a.yaml, b.yaml]\n"), ("a.yaml", &half), ("b.yaml", &half)]);
    let error = load(&folder.path().join("main.yaml")).unwrap_err().to_string();
    assert!(error.contains("the files together are larger than 16MiB") && error.contains("main.yaml:1:19"), "{error}");
}

#[test]
fn text_of_an_included_file_that_is_none_is_shown_where_it_is() {
    let folder = folder_of(&[("main.yaml", "include: [a.yaml]\n")]);
    std::fs::write(folder.path().join("a.yaml"), b"routes:\n  - \xff\n").unwrap();
    let error = load(&folder.path().join("main.yaml")).unwrap_err().to_string();
    assert!(error.contains("a.yaml:2:5"), "{error}");
}

fn with_environment(text: &str) -> Result<Config, String> {
    let environment = |name: &str| match name {
        "ADDRESS" => Some("127.0.0.1:7070".into()),
        "SECRET" => Some("hunter2-hunter2".into()),
        "LIST" => Some("[a:1, b:1]".into()),
        "OFF" => Some("off".into()),
        "SHORT" => Some("q7".into()),
        _ => None,
    };
    parse_in(text, "test.yaml", Path::new("/etc/evenkeel"), &environment).map_err(|problems| problems.to_string())
}

#[test]
fn a_value_may_come_from_the_environment() {
    let text = file("    http2: ${OFF}", "", "lame_duck: ${DUCK:-7s}\naccess_log: { path: \"/x/$${y}/${OFF}.log\" }")
        .replace("127.0.0.1:8080", "${ADDRESS}");
    let config = with_environment(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let [listener] = config.listeners.as_slice() else { panic!("one listener") };
    assert_eq!((listener.address.to_string().as_str(), listener.http2), ("127.0.0.1:7070", false));
    assert_eq!(config.lame_duck, Duration::from_secs(7));
    assert_eq!(config.access_log.unwrap().path, LogPath::File("/x/${y}/off.log".into()));
}

#[test]
fn what_comes_from_the_environment_is_one_value_and_never_yaml() {
    let text = file("", "", "").replace("[127.0.0.1:9001]", "\"${LIST}\"");
    let said = with_environment(&text).unwrap_err();
    assert!(said.contains("`backends` must be a list, not a single value"), "{said}");
}

#[test]
fn no_problem_shows_what_a_variable_holds() {
    for value in
        ["${SECRET}", "\"x${SECRET}:port\"", "\"http://${SECRET}/\"", "${SECRET}:port", "${SHORT}", "\"${SHORT}:x\""]
    {
        for place in ["127.0.0.1:8080", "127.0.0.1:9001"] {
            let said = with_environment(&file("", "", "").replace(place, value)).unwrap_err();
            assert!(!said.to_lowercase().contains("hunter") && !said.contains("q7"), "{said}");
            assert!(said.contains("${S"), "as it was written: {said}");
        }
    }
    let said =
        with_environment(&file("", "", "threads: ${SECRET}\nlame_duck: ${SECRET}\nuser: [${SECRET}]")).unwrap_err();
    assert!(!said.contains("hunter"), "{said}");
    let twice = file("", "", "").replace("[127.0.0.1:9001]", "[\"${ADDRESS}\", \"${ADDRESS}\"]");
    let said = with_environment(&twice).unwrap_err();
    assert!(said.contains("backend `${ADDRESS}` stands twice"), "{said}");
}

fn rendered(text: &str) {
    if let Err(problems) = parse(text, "any.yaml", Path::new("/etc/evenkeel")) {
        drop(problems.render(Colour::On));
        drop(problems.render(Colour::Off));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        rendered(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_text_that_looks_like_yaml_makes_it_panic(text in "[a-z0-9:{}\\[\\], \n\r\t#&*!|>'\"%@`?<~.ü-]{0,200}") {
        rendered(&text);
    }

    #[test]
    fn no_slip_in_a_valid_file_makes_it_panic(
        at in any::<prop::sample::Index>(),
        length in 0usize..40,
        instead in "[a-z0-9:{}\\[\\], \n\r#&*|'\"-]{0,12}",
        again in any::<prop::sample::Index>(),
    ) {
        let valid = include_str!("../../conf/reference.yaml");
        let lines: Vec<&str> = valid.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let mut text: Vec<char> = lines.join("\n").chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, instead.chars());
        rendered(&text.iter().collect::<String>());
        let second = again.index(text.len());
        text.remove(second);
        rendered(&text.iter().collect::<String>());
    }
}
