//! What is left of a request: its line in the access log, the metrics, and the admin address that shows them.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

#[test]
fn the_line_of_a_request_has_every_fact_right() {
    let origin = Origin::start(|request| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        Answer::Ok("x".repeat(request.body.len() * 2))
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let fields = [("user-agent", "story/1 \"quoted\""), ("referer", "http://before.example/")];
    client.request("POST", "/path?query=1", &fields, b"hello").unwrap();
    client.request("POST", "/path", &[], b"hello").unwrap();
    let lines = balancer.access_log(2);
    let line = lines[0].as_object().unwrap();
    let keys: Vec<&str> = line.keys().map(String::as_str).collect();
    let mut expected = [
        "time",
        "request_id",
        "client",
        "listener",
        "method",
        "scheme",
        "host",
        "path",
        "protocol",
        "status",
        "reason",
        "bytes_received",
        "bytes_sent",
        "duration_ms",
        "connect_ms",
        "first_byte_ms",
        "attempts",
        "hedge",
        "route",
        "upstream",
        "backend",
        "user_agent",
        "referer",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for (key, value) in [
        ("request_id", json!(origin.requests()[0].field("x-request-id").unwrap())),
        ("client", json!("127.0.0.1")),
        ("listener", json!("web")),
        ("method", json!("POST")),
        ("scheme", json!("http")),
        ("host", json!("story.example")),
        ("path", json!("/path?query=1")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("reason", Value::Null),
        ("bytes_received", json!(5)),
        ("bytes_sent", json!(10)),
        ("attempts", json!(1)),
        ("hedge", Value::Null),
        ("route", json!("route-1")),
        ("upstream", json!("app")),
        ("backend", json!(origin.address.to_string())),
        ("user_agent", json!("story/1 \"quoted\"")),
        ("referer", json!("http://before.example/")),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    let number = |key: &str| line[key].as_f64().unwrap();
    assert!(number("first_byte_ms") >= 30.0 && number("duration_ms") >= number("first_byte_ms"), "{line:?}");
    assert!(number("connect_ms") < 30.0, "{line:?}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.ends_with('Z') && time.contains('T'), "{time}");
    assert_eq!(lines[1]["connect_ms"], Value::Null, "the connection was there already");
    assert_eq!(lines[1]["user_agent"], Value::Null);
}

#[test]
fn a_request_that_was_tried_again_says_how_often_and_who_served_it() {
    let kind = Origin::named("kind");
    let dead = free_address();
    let balancer = Balancer::before([dead, kind.address]).upstream("health_check: off").start();
    balancer.get("/");
    balancer.get("/");
    let lines = balancer.access_log(2);
    let retried: Vec<_> = lines.iter().filter(|line| line["attempts"] == 2).collect();
    let times = retried.len() as f64;
    assert!(times >= 1.0, "{lines:?}");
    assert_eq!((&retried[0]["status"], &retried[0]["reason"]), (&json!(200), &Value::Null));
    assert_eq!(retried[0]["backend"], kind.address.to_string());
    let series = |backend| format!("{{upstream=\"app\",backend=\"{backend}\"}}");
    assert_eq!(balancer.metric(&format!("evenkeel_attempts_total{}", series(dead))), times);
    assert_eq!(balancer.metric(&format!("evenkeel_attempts_total{}", series(kind.address))), 2.0);
    assert_eq!(
        balancer.metric(&format!(
            "evenkeel_attempt_failures_total{{upstream=\"app\",backend=\"{dead}\",reason=\"connect_failed\"}}"
        )),
        times
    );
    assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), times);
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"connect_failed\"}"), 0.0, "nobody noticed");
}

/// The file or output, once it has this many lines.
fn lines_of(balancer: &Balancer, file: &str, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(balancer.folder.path().join(file)).unwrap_or_default();
    eventually("its lines", || read().lines().count() >= count, read);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn the_log_has_the_format_and_the_place_that_the_file_says() {
    let origin = Origin::named("a");
    let start = |log: &str| {
        let balancer = Balancer::before([origin.address]).top(&format!("access_log: {log}")).start();
        let mut client = Client::connect(balancer.address).unwrap();
        client.request("GET", "/p?q", &[("user-agent", "story"), ("referer", "before")], b"").unwrap();
        balancer
    };
    let combined = start("{ path: x.log, format: combined }");
    let line = &lines_of(&combined, "x.log", 1)[0];
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.ends_with("] \"GET /p?q HTTP/1.1\" 200 1 \"before\" \"story\""),
        "{line}"
    );

    let template = start("{ path: x.log, format: { template: \"{{{method}}} {status} {path} {attempts} {reason}\" } }");
    assert_eq!(lines_of(&template, "x.log", 1), ["{GET} 200 /p?q 1 -"]);

    let stdout = start("{ path: stdout, format: json }");
    let line: Value = serde_json::from_str(&lines_of(&stdout, "stdout", 1)[0]).unwrap();
    assert_eq!(line["path"], "/p?q");
    assert!(!stdout.log().contains("/p?q"), "nothing of it on the other output");

    for off in ["off", "{ path: off }"] {
        let silent = start(off);
        eventually(
            "it is served",
            || silent.metric("evenkeel_requests_total{route=\"route-1\",code=\"200\"}") == 1.0,
            String::new,
        );
        assert_eq!(std::fs::read_to_string(silent.folder.path().join("stdout")).unwrap(), "");
        assert!(!silent.folder.path().join("access.log").exists());
    }
}

#[test]
fn counters_move_with_what_happens_and_the_exposition_can_be_read() {
    let origin = Origin::start(|request| Answer::Ok("y".repeat(request.body.len())));
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..3 {
        client.request("POST", "/", &[], b"0123456789").unwrap();
    }
    let requests = "evenkeel_requests_total{route=\"route-1\",code=\"200\"}";
    eventually("three are counted", || balancer.metric(requests) == 3.0, || balancer.metric(requests).to_string());
    for (series, value) in [
        ("evenkeel_connections{listener=\"web\"}", 1.0),
        ("evenkeel_connections_total{listener=\"web\"}", 1.0),
        ("evenkeel_requests_in_flight{listener=\"web\"}", 0.0),
        ("evenkeel_bytes_received_total{listener=\"web\"}", 30.0),
        ("evenkeel_bytes_sent_total{listener=\"web\"}", 30.0),
        ("evenkeel_request_duration_seconds_count{route=\"route-1\"}", 3.0),
        ("evenkeel_draining", 0.0),
        ("evenkeel_access_log_dropped_total", 0.0),
    ] {
        assert_eq!(balancer.metric(series), value, "{series}");
    }
    let text = raw_metrics(&balancer);
    for line in text.lines() {
        let right = line.starts_with("# HELP evenkeel_")
            || line.starts_with("# TYPE evenkeel_")
            || line.rsplit_once(' ').is_some_and(|(series, value)| {
                let name = series.split('{').next().unwrap_or_default();
                name.starts_with("evenkeel_")
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && (series == name || series.ends_with("\"}"))
                    && value.parse::<f64>().is_ok()
            });
        assert!(right, "{line}");
    }
    let mut series: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "no series comes twice");
}

fn admin(balancer: &Balancer, method: &str, path: &str, host: &str) -> (u16, String) {
    let mut client = Client::connect(balancer.admin).unwrap();
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let response = client.response(method == "HEAD").unwrap();
    (response.status, response.text())
}

fn raw_metrics(balancer: &Balancer) -> String {
    admin(balancer, "GET", "/metrics", "localhost").1
}

#[test]
fn the_admin_address_answers_to_its_own_names_only() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin(&balancer, "GET", path, "localhost"), (200, "ok\n".to_owned()));
        assert_eq!(admin(&balancer, "GET", path, &balancer.admin.to_string()).0, 200);
    }
    for path in ["/livez", "/metrics", "/"] {
        assert_eq!(admin(&balancer, "GET", path, "evil.example").0, 403, "{path}");
    }
    assert_eq!(admin(&balancer, "POST", "/metrics", "localhost").0, 405);
    assert_eq!(admin(&balancer, "GET", "/nothing", "localhost").0, 404);
}

#[test]
fn backends_and_listeners_may_be_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backend.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let seen = String::from_utf8_lossy(&buffer).contains("x-forwarded-for");
                    let body = if seen { "addr" } else { "none" };
                    drop(stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{body}").as_bytes()));
                }
            });
        }
    });
    let balancer = Balancer::before([format!("\"unix:{}\"", path.display())])
        .more_listeners(&format!("  local: {{ address: \"unix:{}\" }}", folder.path().join("web.sock").display()))
        .start_in(folder);
    assert_eq!(balancer.get("/").text(), "addr");
    let mut client = std::os::unix::net::UnixStream::connect(balancer.folder.path().join("web.sock")).unwrap();
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"none") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    }
    let lines = balancer.access_log(3);
    assert!(lines.iter().any(|line| line["listener"] == "local" && line["client"] == ""), "{lines:?}");
    assert!(lines.iter().all(|line| line["backend"].as_str().unwrap().starts_with("unix:/")), "{lines:?}");
}

#[test]
fn a_backend_may_be_named() {
    let origin = Origin::named("named");
    let balancer = Balancer::before([format!("localhost:{}", origin.address.port())]).start();
    assert_eq!(balancer.get("/").text(), "named");
}
