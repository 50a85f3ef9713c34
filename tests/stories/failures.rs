//! What a client sees when it is not served: the table of failures over the wire.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::{Client, exchange};
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

/// Asks for `/` as a browser, as a program and without a preference, and checks all that a failure promises.
#[track_caller]
fn fails_with(balancer: &Balancer, status: u16, reason: &str, secret: &str) {
    let counter = format!("evenkeel_failures_total{{reason=\"{reason}\"}}");
    let before = balancer.metric(&counter);
    let logged =
        std::fs::read_to_string(balancer.folder.path().join("access.log")).map_or(0, |log| log.lines().count());
    let mut ids = Vec::new();
    let forms = [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
    ];
    for (accept, form) in forms {
        let mut client = Client::connect(balancer.address).unwrap();
        let response = client.request("GET", "/secret/path", &[("accept", accept)], b"").unwrap();
        let text = response.text();
        assert_eq!(response.status, status, "{text}");
        let id = response.field("x-request-id").expect("its identifier").to_owned();
        assert!(text.contains(reason) && text.contains(&id), "{text}");
        if accept == "application/json" {
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(
                (&json["status"], &json["reason"], &json["request_id"]),
                (&status.into(), &reason.into(), &id.clone().into())
            );
        }
        assert_eq!(response.field("content-type"), Some(form));
        let whole = format!("{text}{:?}", response.fields);
        assert!(!whole.contains(secret) && !whole.contains("127.0.0.1"), "nothing of the inside: {whole}");
        assert!(!whole.to_lowercase().contains("pingora"), "{whole}");
        assert_eq!(response.field("retry-after").is_some(), status == 503);
        ids.push(id);
    }
    let counted = || balancer.metric(&counter) - before;
    eventually(&format!("three of {reason} counted"), || counted() == 3.0, || counted().to_string());
    // Each core writes its own lines: their order is not that of the requests.
    let lines = balancer.access_log(logged + 3);
    for id in ids {
        let line = lines.iter().find(|line| line["request_id"] == id.as_str()).expect("a line for each");
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()));
    }
}

#[test]
fn where_no_route_leads_the_answer_is_404() {
    let origin = Origin::named("a");
    let other = free_address();
    let mut balancer = Balancer::before([origin.address])
        .more_listeners(&format!("  other: {{ address: {other} }}"))
        .routes("  - { listeners: [other], upstream: app }")
        .start();
    fails_with(&balancer, 404, "no_route", "/secret/path");
    balancer.address = other;
    assert_eq!(balancer.get("/").text(), "a");
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
    assert_eq!(balancer.metric("evenkeel_requests_total{route=\"\",code=\"404\"}"), 3.0);
}

#[test]
fn a_refused_client_may_go_on_with_its_connection_after_404() {
    let other = free_address();
    let balancer = Balancer::before([free_address()])
        .upstream("health_check: off")
        .more_listeners(&format!("  other: {{ address: {other} }}"))
        .routes("  - { listeners: [other], upstream: app }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    for body in [&b""[..], b"some body that nobody reads", b""] {
        assert_eq!(client.request("POST", "/", &[], body).unwrap().status, 404);
    }
}

#[test]
fn a_backend_that_refuses_connections_is_502_connect_failed() {
    let dead = free_address();
    let balancer = Balancer::before([dead]).upstream("health_check: off").start();
    fails_with(&balancer, 502, "connect_failed", &dead.to_string());
}

#[test]
fn a_backend_that_hangs_up_is_502_reset() {
    let rude = Origin::start(|_| Answer::Close);
    let balancer = Balancer::before([rude.address]).upstream("retry: off").start();
    fails_with(&balancer, 502, "reset", &rude.address.port().to_string());
    let half = Origin::start(|_| Answer::RawThenClose(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()));
    let balancer = Balancer::before([half.address]).upstream("retry: off").start();
    fails_with(&balancer, 502, "reset", &half.address.port().to_string());
}

#[test]
fn an_answer_that_is_not_http_is_502_bad_response() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "<html>error</html>\r\n\r\n",
    ] {
        let odd = Origin::start(|_| Answer::RawThenClose(answer.as_bytes().to_vec()));
        let balancer = Balancer::before([odd.address]).upstream("retry: off").start();
        println!("{answer:?}");
        fails_with(&balancer, 502, "bad_response", "secret");
    }
}

#[test]
fn a_backend_that_says_nothing_is_504_first_byte_timeout() {
    let silent = Origin::start(|_| Answer::Raw(Vec::new()));
    let balancer = Balancer::before([silent.address]).upstream("timeouts: { first_byte: 300ms, idle: 300ms }").start();
    fails_with(&balancer, 504, "first_byte_timeout", "secret");
    assert_eq!(silent.count(), 3, "a time-out is not tried again");
}

#[test]
fn with_all_backends_out_the_answer_is_503_no_backend() {
    let dead = free_address();
    let balancer = Balancer::before([dead]).start();
    fails_with(&balancer, 503, "no_backend", &dead.to_string());
}

#[test]
fn a_head_request_that_fails_has_no_body() {
    let balancer = Balancer::before([free_address()]).upstream("health_check: off").start();
    let answer = exchange(balancer.address, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_client_that_leaves_is_client_gone_and_nobody_elses_fault() {
    let slow = Origin::start(|_| Answer::Raw(Vec::new()));
    let balancer = Balancer::before([slow.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /left HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the request is there", || slow.count() == 1, String::new);
    client.reset();
    let line = &balancer.access_log(1)[0];
    assert_eq!(
        (&line["reason"], &line["status"], &line["path"]),
        (&"client_gone".into(), &serde_json::Value::Null, &"/left".into())
    );
    assert_eq!(slow.count(), 1, "nobody waits for it: no retry");
    let app = format!("{{upstream=\"app\",backend=\"{}\"}}", slow.address);
    assert_eq!(balancer.metric(&format!("evenkeel_backend_in_flight{app}")), 0.0);
    for reason in ["reset", "internal", "bad_response"] {
        assert_eq!(balancer.metric(&format!("evenkeel_failures_total{{reason=\"{reason}\"}}")), 0.0, "{reason}");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_client_gone() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").unwrap();
    drop(client);
    assert_eq!(balancer.access_log(1)[0]["reason"], "client_gone");
    assert_eq!(origin.count(), 0, "half a request is none");
    assert_eq!(balancer.get("/").text(), "a");
}

#[test]
fn an_answer_that_breaks_off_never_looks_complete() {
    for (kind, part) in [
        ("length", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
        ("chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf"),
        ("bad chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"),
    ] {
        let origin = Origin::start(|request| {
            if request.line.starts_with("GET /whole") {
                Answer::Ok("whole".to_owned())
            } else {
                Answer::RawThenClose(part.as_bytes().to_vec())
            }
        });
        let balancer = Balancer::before([origin.address]).start();
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{kind}: {answer}");
        assert!(!answer.contains("\r\n0\r\n") && !answer.contains("reason:"), "{kind}: {answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.len() < 20, "{kind}: {answer}");
        let line = &balancer.access_log(1)[0];
        assert_eq!(line["status"], 200, "{kind}: what was sent");
        let reason = line["reason"].as_str().unwrap_or_default().to_owned();
        assert!(["reset", "bad_response"].contains(&&*reason), "{kind}: {reason}");
        assert_eq!(origin.count(), 1, "{kind}: not tried again");
        assert_eq!(balancer.get("/whole").text(), "whole");
    }
}

#[test]
fn a_backend_connection_with_bytes_left_over_is_never_used_again() {
    // Answers with a length, and more than that: the rest would be taken for the answer to the next request.
    let extra = Origin::start(|_| {
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrealHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake"
                .to_vec(),
        )
    });
    let balancer = Balancer::before([extra.address]).top("threads: 1").start();
    for _ in 0..10 {
        assert_eq!(balancer.get("/").text(), "real");
    }
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..10 {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "real");
    }
    // A body where none may be.
    let body = Origin::start(|request| {
        Answer::Raw(match request.line.split(' ').next() {
            Some("HEAD") => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nreal".to_vec(),
        })
    });
    let balancer = Balancer::before([body.address]).top("threads: 1").start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..10 {
        assert_eq!(client.request("HEAD", "/", &[], b"").unwrap().status, 200);
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "real");
    }
}

#[test]
fn a_client_that_has_said_all_and_closes_its_side_gets_its_answer() {
    let origin = Origin::start(|_| {
        std::thread::sleep(Duration::from_millis(300));
        Answer::Ok("late".to_owned())
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody").unwrap();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.response(false).unwrap().text(), "late");
    assert_eq!(client.rest(), b"", "and nothing is waited for any more");
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_leaves_nothing_to_the_next() {
    let number = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(move |request| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        if request.line.starts_with("GET /long") {
            let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 1_000_000, b'l');
            Answer::Raw(answer)
        } else {
            Answer::Ok(format!("short {number}"))
        }
    });
    let balancer = Balancer::before([origin.address]).top("threads: 1").start();
    for round in 0..10 {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        client.stream().read_exact(&mut [0; 100]).unwrap();
        drop(client);
        assert_eq!(balancer.get("/short").text(), format!("short {}", round * 2 + 1));
    }
}

/// A request in doubt, followed by one that a laxer reader would find behind it.
#[test]
fn a_request_in_doubt_is_refused_and_nothing_of_it_reaches_a_backend() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases: &[(&str, u16, String)] = &[
        (
            "TE and CL",
            400,
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "CL and TE",
            400,
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "gzip, chunked",
            501,
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "two codings",
            400,
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "identity",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\ncontent-length: 0\r\n\r\n{smuggled}"),
        ),
        (
            "xchunked",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "space before the colon",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "chunked in HTTP/1.0",
            400,
            format!("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "two lengths",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\nhello{smuggled}"),
        ),
        (
            "a list of lengths",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0, 5\r\n\r\nhello{smuggled}"),
        ),
        ("a signed length", 400, format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello{smuggled}")),
        (
            "a hexadecimal length",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello{smuggled}"),
        ),
        ("an empty length", 400, format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n{smuggled}")),
        (
            "an endless length",
            400,
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n{smuggled}"),
        ),
        ("two hosts", 400, format!("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n{smuggled}")),
        ("the same host twice", 400, format!("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n{smuggled}")),
        ("no host", 400, format!("GET / HTTP/1.1\r\n\r\n{smuggled}")),
        ("an empty host", 400, format!("GET / HTTP/1.1\r\nhost:\r\n\r\n{smuggled}")),
        ("a host with a path", 400, format!("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n{smuggled}")),
        ("a host with a user", 400, format!("GET / HTTP/1.1\r\nhost: a@b\r\n\r\n{smuggled}")),
        ("a folded field", 400, format!("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n{smuggled}")),
        ("a field without a name", 400, format!("GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n{smuggled}")),
        ("a field without a colon", 400, format!("GET / HTTP/1.1\r\nhost: a\r\nword\r\n\r\n{smuggled}")),
        ("a NUL", 400, format!("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n{smuggled}")),
        (
            "a lone CR in a value",
            400,
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: 1\rtransfer-encoding: chunked\r\n\r\n{smuggled}"),
        ),
        ("a word as target", 400, format!("GET a HTTP/1.1\r\nhost: a\r\n\r\n{smuggled}")),
        ("HTTP/3.0", 505, format!("GET / HTTP/3.0\r\nhost: a\r\n\r\n{smuggled}")),
        ("garbage", 400, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".to_owned()),
        ("CONNECT", 405, format!("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n{smuggled}")),
    ];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (name, status, bytes) in cases {
        let mut client = Client::connect(balancer.address).unwrap();
        client.stream().set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.send(bytes.as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        let answers = answer.matches("HTTP/1.1 ").count();
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) || answers != 1 {
            wrong.push(format!("{name}: {answer}"));
        }
        for request in origin.requests().split_off(seen) {
            wrong.push(format!("{name}: the backend saw {request:?}"));
        }
        seen = origin.count();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(balancer.get("/").text(), "a");
}

#[test]
fn a_chunked_body_in_doubt_is_no_request_to_a_backend() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for body in [
        format!("zz\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("0x5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("-5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("5\r\nhelloXX0\r\n\r\n{smuggled}"),
        format!("ffffffffffffffffff\r\nhello\r\n0\r\n\r\n{smuggled}"),
    ] {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(balancer.address, format!("{head}{body}").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answer}");
        assert_eq!(origin.count(), 0, "{body:?}: {:?}", origin.requests());
    }
    let lines = balancer.access_log(5);
    assert!(lines.iter().all(|line| line["reason"] == "bad_request"), "{lines:?}");
}

#[test]
fn bytes_after_a_request_that_was_answered_early_are_not_taken_for_a_request() {
    // The backend answers before it has read the body; what then comes of the body is no request.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut seen = Vec::<u8>::new();
                let mut buffer = [0; 4096];
                while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => seen.extend(&buffer[..read]),
                    }
                }
                drop(stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"));
                while matches!(stream.read(&mut buffer), Ok(1..)) {}
            });
        }
    });
    let balancer = Balancer::before([address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let body = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    client
        .send(
            format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}", body.len() + 10, "0123456789")
                .as_bytes(),
        )
        .unwrap();
    let response = client.response(false).unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    // Now the rest of the body: it may be read or the connection closed, but it is no request.
    drop(client.send(body.as_bytes()));
    drop(client.stream().shutdown(std::net::Shutdown::Write));
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert_eq!(rest, "");
}

#[test]
fn a_head_that_cannot_be_parsed_is_answered_as_every_failure_is_and_counted() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).start();
    for head in ["GET / HTTP/1.1\r\nhost: a\r\nbad name: x\r\n\r\n", "GET /\r\n\r\n", "\u{1}\u{2}\u{3}\r\n\r\n"] {
        let answer = exchange(balancer.address, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head:?}: {answer}");
        assert!(answer.contains("reason: bad_request\n") && answer.contains("x-request-id: "), "{answer}");
        assert!(!answer.to_lowercase().contains("pingora"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "one answer: {answer}");
    }
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"bad_request\"}"), 3.0);
    let mut logged: Vec<_> = balancer.access_log(3).iter().map(|line| line["method"].to_string()).collect();
    logged.sort();
    assert_eq!(logged, ["\"-\"", "\"-\"", "\"GET\""], "what was understood of them");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_client_keeps_its_connection_while_all_backends_are_out() {
    let dead = free_address();
    let balancer = Balancer::before([dead]).upstream("health_check: { interval: 100ms }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..3 {
        assert_eq!(client.request("POST", "/", &[], b"body").unwrap().status, 503);
    }
    let _back = Origin::start_at(dead, |_| Answer::Ok("back".to_owned()));
    balancer.wait_healthy(dead, true);
    assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "back", "on the same connection");
}
