//! Clients that do not read, backends that do not end, and more connections than there are descriptors: what is held for them
//! is bounded, and everybody else is served. Those of HTTP/2 are in `http2_abuse.rs`.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::frames::Http2;
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// What all the stalled answers of a story may take in memory: not what was sent to them.
const MEMORY: u64 = 100 << 20;

const CHUNK: usize = 64 << 10;

/// Says the same without end, and counts its bytes.
fn endless(mut stream: &TcpStream, saying: &[u8], said: &AtomicUsize) -> io::Result<()> {
    loop {
        stream.write_all(saying)?;
        said.fetch_add(saying.len(), Ordering::SeqCst);
    }
}

/// An origin that answers `/endless` with this head, and then without end; others are answered.
fn origin(head: &'static str, saying: Vec<u8>) -> (Origin, Arc<AtomicUsize>) {
    let said = Arc::new(AtomicUsize::new(0));
    let counted = said.clone();
    let origin = Origin::start(move |request| {
        if !request.line.contains("/endless") {
            return Answer::Ok("fine".to_owned());
        }
        let (saying, said) = (saying.clone(), counted.clone());
        Answer::Take(Box::new(move |mut stream| {
            drop(stream.write_all(head.as_bytes()).and_then(|()| endless(&stream, &saying, &said)));
        }))
    });
    (origin, said)
}

/// So many clients that ask, and read nothing.
fn who_do_not_read(balancer: &Balancer, count: usize, ask: &[u8]) -> Vec<Client> {
    let client = |_| {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(ask).unwrap();
        client
    };
    (0..count).map(client).collect()
}

/// Waits until an origin is not read any more, while others are served.
#[track_caller]
fn wait_still(balancer: &Balancer, said: &AtomicUsize) {
    let mut before = 0;
    let still = || {
        assert_eq!(balancer.get("/healthy").text(), "fine");
        std::thread::sleep(Duration::from_millis(200));
        let now = said.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now && now > 0
    };
    eventually("the origin is not read any more", still, || format!("{} bytes", said.load(Ordering::SeqCst)));
}

#[test]
fn an_answer_without_end_is_not_read_for_a_client_that_does_not_read() {
    let chunk = [format!("{CHUNK:x}\r\n").as_bytes(), &vec![b'x'; CHUNK], b"\r\n"].concat();
    let (origin, said) = origin("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk);
    let balancer = Balancer::before([origin.address]).start();
    let stalled = who_do_not_read(&balancer, 20, b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n");
    wait_still(&balancer, &said);
    assert!(balancer.memory() < MEMORY, "{} bytes of {}", balancer.memory(), said.load(Ordering::SeqCst));
    drop(stalled);
}

#[test]
fn who_takes_nothing_of_an_answer_leaves_its_place_to_those_who_wait_for_it() {
    let chunk = [format!("{CHUNK:x}\r\n").as_bytes(), &vec![b'x'; CHUNK], b"\r\n"].concat();
    let (origin, said) = origin("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk);
    let balancer = Balancer::before([origin.address])
        .upstream("circuit_breaker: { requests_per_backend: 3, queue_timeout: 10s }, health_check: off")
        .start();
    let hostile = who_do_not_read(&balancer, 3, b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n");
    let taken = format!("evenkeel_backend_in_flight{{upstream=\"app\",backend=\"{}\"}}", origin.address);
    eventually("all places are taken", || balancer.metric(&taken) == 3.0, || balancer.metric(&taken).to_string());
    eventually("answers stand still", || said.load(Ordering::SeqCst) > CHUNK, String::new);
    let began = std::time::Instant::now();
    assert_eq!(balancer.get("/healthy").text(), "fine");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(hostile);
}

#[test]
fn a_tunnel_is_not_read_for_a_client_that_does_not_read() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let (origin, said) = origin(head, vec![b'x'; CHUNK]);
    let balancer = Balancer::before([origin.address]).start();
    let ask = b"GET /endless HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let stalled = who_do_not_read(&balancer, 20, ask);
    wait_still(&balancer, &said);
    assert!(balancer.memory() < MEMORY, "{} bytes of {}", balancer.memory(), said.load(Ordering::SeqCst));
    drop(stalled);
}

#[test]
fn interim_answers_without_end_are_502_whatever_the_client_speaks() {
    let (origin, _) = origin("", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100));
    let balancer = Balancer::before([origin.address]).upstream("retry: off").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let seen = String::from_utf8(client.rest()).unwrap();
    assert!(seen.contains("HTTP/1.1 502 ") && seen.contains("reason: bad_response"), "{}", seen.len());
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/endless");
    assert_eq!(client.outcome(1).status, Some(502));
    for line in balancer.access_log(2) {
        assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(502), Some("bad_response")), "{line}");
    }
    assert!(balancer.memory() < MEMORY, "{} bytes", balancer.memory());
    assert_eq!(balancer.get("/healthy").text(), "fine");
}

#[test]
fn connections_are_refused_while_there_are_descriptors_left_for_those_who_are_served() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        held.pass();
        Answer::Ok("fine".to_owned())
    });
    let balancer = Balancer::before([origin.address]).descriptors(200).start();
    let mut first: Vec<Client> = (0..20).map(|_| Client::connect(balancer.address).unwrap()).collect();
    let accepted = "evenkeel_connections{listener=\"web\"}";
    eventually("the first are there", || balancer.metric(accepted) >= 20.0, String::new);
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(balancer.address).unwrap()).collect();
    let refused = "evenkeel_connections_refused_total{listener=\"web\",reason=\"descriptors\"}";
    eventually(
        "the last of a crowd are refused",
        || balancer.metric(refused) >= 50.0,
        || balancer.metric(refused).to_string(),
    );
    assert_eq!(balancer.metric("evenkeel_connections_refused_total{listener=\"web\",reason=\"accept\"}"), 0.0);
    // Each needs a connection to the backend, and there is none yet.
    for client in &mut first {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    }
    eventually("the backend is asked by all of them", || origin.count() == first.len(), || origin.count().to_string());
    gate.open();
    for client in &mut first {
        assert_eq!(client.response(false).unwrap().text(), "fine");
    }
    assert_eq!(balancer.log().matches("connections were refused for want of descriptors").count(), 1);
    crowd.clear();
    let served = || {
        let asked = Client::connect(balancer.address).and_then(|mut client| client.request("GET", "/", &[], b""));
        asked.is_ok_and(|response| response.status == 200)
    };
    eventually("newcomers are served again", served, || balancer.log());
}
