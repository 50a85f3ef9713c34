//! The files of `conf/`, every mistake of `tests/golden/config/`, and texts that nobody would write.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::observe::access_log::{Field, Format, Piece};
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
        "    tls: { certificates: [ { certificate: a.pem, key: /b.key } ], min_version: 1.3 }\n    http2: off\n    proxy_protocol: required\n    timeouts: { request_header: 1s, request_body_idle: 2s, response_write_idle: 3s, keep_alive: 4s }\n    limits: { request_header: 1MB, request_headers: 7, connections: 9, connections_per_client: 3 }",
        "",
        "",
    ));
    let expected = Listener {
        name: "web".to_owned(),
        address: "127.0.0.1:8080".parse().unwrap(),
        tls: Some(ListenerTls {
            certificates: vec![CertificateFiles { certificate: "/etc/evenkeel/a.pem".into(), key: "/b.key".into() }],
            min_version: TlsVersion::V1_3,
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
        "    balance: round_robin\n    health_check: { interval: 9s, timeout: 2s, healthy_after: 4, unhealthy_after: 5 }\n    retry: { attempts: 1, budget: 5%, on: [reset] }\n    timeouts: { connect: 1s, first_byte: 2s, idle: 3s, total: 4s, keep_alive: 5s, tunnel: 6s }\n    limits: { request_body: 7MiB }",
        "",
    ));
    let expected = Upstream {
        name: "app".to_owned(),
        backends: vec![Backend { address: "127.0.0.1:9001".parse().unwrap(), weight: 1 }],
        balance: Balance::RoundRobin,
        health_check: Some(HealthCheck {
            interval: Duration::from_secs(9),
            timeout: Duration::from_secs(2),
            healthy_after: 4,
            unhealthy_after: 5,
        }),
        retry: Some(Retry {
            attempts: 1,
            budget: Percent::clamped(5),
            on: RetryOn { connect: false, reset: true, refused: false },
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
    };
    assert_eq!(config.upstreams, [expected]);
}

#[test]
fn off_means_none() {
    let config = parsed(&file(
        "    tls: off",
        "    health_check: off\n    retry: false",
        "admin: off\naccess_log: off\nlame_duck: off",
    ));
    assert_eq!((config.admin, config.access_log, config.lame_duck), (None, None, Duration::ZERO));
    let [upstream] = config.upstreams.as_slice() else { panic!("one upstream") };
    assert_eq!((upstream.health_check, upstream.retry), (None, None));
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
    let first = Route { name: "route-1".to_owned(), listeners: vec![0, 1], upstream: 1, request_body: None };
    let second =
        Route { name: "second".to_owned(), listeners: vec![1], upstream: 0, request_body: Some(SizeLimit::Unlimited) };
    assert_eq!(config.routes, [first, second]);
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
    assert_eq!(config.admin, Some(Admin { address: "[::1]:9".parse().unwrap() }));
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
