//! Requests and answers over HTTP/1.1 connections to backends: how they are kept, what passes over them, and what is held of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, block, frame, request};
use crate::support::{Answer, Balancer, Gate, Origin, eventually};
use crate::timeouts::black_hole;

#[test]
fn trailers_of_a_backend_reach_a_client_of_http_2() {
    let origin = Origin::start(|request| {
        let trailers = if request.line.contains("/with") { "x-sum: 5d41402a\r\n" } else { "" };
        let head = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
        Answer::Pieces(
            [head, "5\r\nhello\r\n", &format!("0\r\n{trailers}\r\n")].map(|piece| piece.into()).into(),
            false,
        )
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Http2::connect(balancer.address);
    for (stream, path) in [(1, "/with"), (3, "/plain")] {
        client.headers(stream, &request("GET", path), END_STREAM);
        let outcome = client.outcome(stream);
        assert_eq!((outcome.status, outcome.text().as_str(), outcome.end), (Some(200), "hello", End::Whole), "{path}");
        assert_eq!(outcome.trailers.is_some(), path == "/with", "{path}");
    }
    assert_eq!(balancer.get("/with").text(), "hello");
}

#[test]
fn trailers_of_a_request_reach_its_backend_but_for_those_that_could_pass_for_its_head() {
    let (told, said) = std::sync::mpsc::channel();
    let origin = Origin::start_raw(move |mut stream, _| {
        let mut body = Vec::new();
        let mut piece = [0; 1024];
        while !body.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&body));
            body.extend_from_slice(&piece[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        told.send(String::from_utf8(body).unwrap()).unwrap();
    });
    let balancer = Balancer::before([origin]).start();
    let mut stream = TcpStream::connect(balancer.address).unwrap();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
              X-Sum: 5d41402a\r\nX-Forwarded-For: 192.0.2.1\r\nauthorization: Basic eDp5\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(said.recv_timeout(Duration::from_secs(10)).unwrap(), "5\r\nhello\r\n0\r\nx-sum: 5d41402a\r\n\r\n");
}

#[test]
fn no_trailer_says_what_a_route_removes_or_sets() {
    let (told, said) = std::sync::mpsc::channel();
    let origin = Origin::start_raw(move |mut stream, _| {
        let mut body = Vec::new();
        let mut piece = [0; 1024];
        while !body.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&body));
            body.extend_from_slice(&piece[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        told.send(String::from_utf8(body).unwrap()).unwrap();
    });
    let balancer = Balancer::before([origin])
        .routes("- { upstream: app, request_headers: { set: { x-role: guest }, remove: [x-debug] } }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    client
        .send(
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
              x-role: admin\r\nx_debug: 1\r\nx-sum: 5d41402a\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.response(false).unwrap().status, 200);
    assert_eq!(said.recv_timeout(Duration::from_secs(10)).unwrap(), "5\r\nhello\r\n0\r\nx-sum: 5d41402a\r\n\r\n");
}

#[test]
fn a_request_in_doubt_costs_its_backend_no_connection() {
    let origin = Origin::named("kept");
    let balancer = Balancer::before([origin.address]).top("threads: 1").upstream("health_check: off").start();
    for _ in 0..3 {
        assert_eq!(balancer.get("/").status, 200);
        let mut client = Client::connect(balancer.address).unwrap();
        assert_eq!(client.request("GET", "/", &[("connection", "host")], b"").unwrap().status, 400);
    }
    assert!(origin.requests().iter().all(|request| request.connection == 0), "{:?}", origin.requests());
}

#[test]
fn a_request_does_not_go_over_a_kept_connection_that_its_backend_has_closed() {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = ended.clone();
    let origin = Origin::start_raw(move |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        drop(stream);
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let balancer = Balancer::before([origin]).top("threads: 1").upstream("retry: off, health_check: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    for round in 0..10 {
        // Not one that could be repeated.
        let answer = client.request("POST", "/", &[], b"once").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{round}");
        eventually("its end", || ended.load(Ordering::SeqCst) == round + 1, String::new);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A backend that answers and keeps its connections; how many it has, and how many of them we have ended.
fn patient() -> (std::net::SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (open, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (open.clone(), ended.clone());
    let origin = Origin::start_raw(move |mut stream, _| {
        counters.0.fetch_add(1, Ordering::SeqCst);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\npatient").unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
        counters.1.fetch_add(1, Ordering::SeqCst);
    });
    (origin, open, ended)
}

#[test]
fn a_backend_that_a_reload_removes_or_an_operator_drains_keeps_no_connection() {
    let other = Origin::named("other");
    for way in ["reload", "drain"] {
        let (address, open, ended) = patient();
        let balancer = Balancer::before([address, other.address]).upstream("health_check: off").start();
        eventually(
            "a request to it",
            || {
                balancer.get("/");
                open.load(Ordering::SeqCst) > 0
            },
            String::new,
        );
        assert_eq!(ended.load(Ordering::SeqCst), 0, "it is kept");
        if way == "reload" {
            let (with, without) = (address.to_string(), other.address.to_string());
            assert!(balancer.reload(|text| text.replacen(&with, &without, 1).replacen(&without, "127.0.0.1:9", 1)));
        } else {
            let out = balancer.command(&["drain", &address.to_string()]);
            assert!(out.status.success(), "{out:?}");
        }
        let all_ended = || ended.load(Ordering::SeqCst) == open.load(Ordering::SeqCst);
        eventually("the end of its connections", all_ended, || way.to_owned());
    }
}

#[test]
fn an_answer_whose_client_does_not_read_is_held_in_a_piece() {
    const CLIENTS: usize = 150;
    let origin = Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            let piece = vec![b'x'; 1 << 20];
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"));
            while stream.write_all(&piece).is_ok() {}
        }))
    });
    let balancer = Balancer::before([origin.address]).upstream("health_check: off").start();
    let before = balancer.memory();
    let stalled: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            client
        })
        .collect();
    eventually("all requests", || origin.count() == CLIENTS, || origin.count().to_string());
    // As long as it takes for nothing more to move.
    let mut last = 0;
    eventually(
        "stillness",
        || {
            std::thread::sleep(Duration::from_millis(500));
            balancer.memory() == std::mem::replace(&mut last, balancer.memory())
        },
        String::new,
    );
    let each = balancer.memory().saturating_sub(before) / CLIENTS as u64;
    assert!(each < 160 << 10, "{each} bytes for each");
    drop(stalled);
}

#[test]
fn a_backend_that_answers_while_it_reads_is_served_in_both_directions() {
    const LENGTH: usize = 8 << 20;
    let origin = Origin::start_raw(|mut stream, _| {
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).unwrap();
        let mut buffer = [0; 16 << 10];
        let mut echoed = 0;
        while echoed < LENGTH {
            let read = stream.read(&mut buffer).unwrap();
            stream.write_all(&buffer[..read]).unwrap();
            echoed += read;
        }
    });
    let balancer = Balancer::before([origin]).upstream("health_check: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).unwrap();
    let mut writer = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&vec![b'x'; LENGTH]).unwrap());
    assert_eq!(client.response(false).unwrap().body.len(), LENGTH);
    sending.join().unwrap();
}

fn tunnel(balancer: &Balancer) -> Client {
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(client.response(true).unwrap().status, 101);
    client
}

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

#[test]
fn what_a_backend_says_after_its_client_has_ended_its_side_of_a_tunnel_arrives() {
    let origin = Origin::start_raw(|mut stream: TcpStream, _| {
        stream.write_all(SWITCHED).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        stream.write_all(&[b"heard: ", &heard[..]].concat()).unwrap();
    });
    let balancer = Balancer::before([origin]).upstream("health_check: off").start();
    let mut client = tunnel(&balancer);
    client.send(b"last words").unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"heard: last words");
}

#[test]
fn what_a_client_says_after_its_backend_has_ended_its_side_of_a_tunnel_arrives() {
    let (heard, gate) = (Arc::new(std::sync::Mutex::new(Vec::new())), Gate::default());
    let (kept, opened) = (heard.clone(), gate.clone());
    let origin = Origin::start_raw(move |mut stream: TcpStream, _| {
        stream.write_all(&[SWITCHED, b"bye"].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut kept.lock().unwrap()).unwrap();
        opened.open();
    });
    let balancer = Balancer::before([origin]).upstream("health_check: off").start();
    let mut client = tunnel(&balancer);
    assert_eq!(client.rest(), b"bye");
    client.send(b"last words").unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    gate.pass();
    assert_eq!(*heard.lock().unwrap(), b"last words");
}

#[test]
fn a_request_whose_end_comes_while_its_backend_is_connected_has_no_body_there() {
    let (listener, waiting) = black_hole();
    let settings = "health_check: off, retry: off, timeouts: { connect: 15s }";
    let address = listener.local_addr().unwrap();
    let balancer = Balancer::before([address]).upstream(settings).start();
    let mut client = Http2::connect(balancer.address);
    client.headers(1, &request("GET", "/"), 0);
    let picked = format!("evenkeel_backend_in_flight{{upstream=\"app\",backend=\"{address}\"}}");
    eventually("a backend is picked", || balancer.metric(&picked) == 1.0, String::new);
    client.send(&frame(DATA, END_STREAM, 1, b""));
    // Read by the time that the backend accepts, which is a second later: when the system asks it again.
    drop(waiting);
    let backend = std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            if !head.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
                return String::from_utf8_lossy(&head).to_ascii_lowercase();
            }
        }
        String::new()
    });
    let outcome = client.outcome(1);
    assert_eq!((outcome.status, outcome.end), (Some(200), End::Whole));
    let head = backend.join().unwrap();
    assert!(head.starts_with("get / ") && !head.contains("transfer-encoding"), "{head}");
}

#[test]
fn a_request_that_ends_right_behind_its_head_has_no_body_and_says_so_where_one_is_expected() {
    let origin = Origin::named("fine");
    let balancer = Balancer::before([origin.address]).start();
    for (method, length) in [("GET", None), ("POST", Some("0"))] {
        let mut client = Http2::connect(balancer.address);
        client.send(&[head(1, method, 0), frame(DATA, END_STREAM, 1, b"")].concat());
        assert_eq!(client.outcome(1).status, Some(200));
        client.send(&head(3, method, END_STREAM));
        assert_eq!(client.outcome(3).status, Some(200));
        let asked = origin.requests();
        for seen in &asked[asked.len() - 2..] {
            assert_eq!((seen.field("transfer-encoding"), seen.field("content-length")), (None, length), "{seen:?}");
        }
    }
}

fn head(stream: u32, method: &str, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(&request(method, "/")))
}

#[test]
fn trailers_without_a_body_reach_the_backend_that_is_asked_next_too() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = heard.clone();
    // The first hangs up on what it was asked, whichever of the two it is.
    let origin = move |mut stream: TcpStream, _| {
        let mut rest = Vec::new();
        let mut byte = [0];
        while !rest.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            rest.push(byte[0]);
        }
        let mut heard = kept.lock().unwrap();
        heard.push(String::from_utf8(rest).unwrap());
        if heard.len() % 2 == 0 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    };
    let origins = [Origin::start_raw(origin.clone()), Origin::start_raw(origin)];
    let balancer = Balancer::before(origins).upstream("health_check: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n").unwrap();
    assert_eq!(client.response(false).unwrap().status, 200);
    let mut client = Http2::connect(balancer.address);
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "1")]));
    client.send(&[head(1, "PUT", 0), trailers].concat());
    assert_eq!(client.outcome(1).status, Some(200));
    assert_eq!(*heard.lock().unwrap(), ["0\r\nx-sum: 1\r\n\r\n"; 4]);
}
