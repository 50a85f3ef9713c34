//! What clients of HTTP/1.1 get besides heads and bodies, and what many slow ones of them cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use crate::support::client::Client;
use crate::support::origin2::{Origin2, begin};
use crate::support::{Answer, Balancer, Origin, PATIENCE, eventually};

/// Backends of HTTP/2 whose answers have trailers.
fn with_trailers() -> Origin2 {
    Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        answer.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let trailers = [("x-sum", "1"), ("content-length", "9"), ("x-other", "2")];
        let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        answer.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
    })
}

/// All that is answered to these bytes.
fn answered(address: SocketAddr, request: &str) -> String {
    let mut client = Client::connect(address).unwrap();
    client.send(request.as_bytes()).unwrap();
    String::from_utf8(client.rest()).unwrap()
}

#[test]
fn trailers_reach_a_client_that_reads_them_and_no_other() {
    let origin = with_trailers();
    let balancer = Balancer::before([origin.address]).upstream("protocol: http2").start();
    for (version, te, expected) in [
        ("1.1", "TE: gzip, Trailers\r\n", "\r\n0\r\nx-sum: 1\r\nx-other: 2\r\n\r\n"),
        ("1.1", "TE: gzip\r\n", "\r\n0\r\n\r\n"),
        ("1.1", "", "\r\n0\r\n\r\n"),
        ("1.0", "TE: trailers\r\n", "\r\n\r\nhello"),
    ] {
        let request = format!("GET / HTTP/{version}\r\nhost: a\r\n{te}connection: close\r\n\r\n");
        let answer = answered(balancer.address, &request);
        assert!(answer.contains("hello") && answer.ends_with(expected), "{request}{answer}");
    }
    let mut kept = Client::connect(balancer.address).unwrap();
    kept.send(b"GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"x-other: 2\r\n\r\n") {
        let read = kept.stream().read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(kept.request("GET", "/", &[], b"").unwrap().text(), "hello", "the connection is as good as before");
}

const CROWD: usize = 200;

/// Endless answers.
fn endless() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                drop(stream.read(&mut head));
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n"));
                while stream.write_all(&[b'x'; 64 << 10]).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn many_clients_that_take_nothing_are_held_in_bounded_memory_and_given_up() {
    let balancer = Balancer::before([endless()])
        .listener("timeouts: { response_write_idle: 3s }")
        .upstream("health_check: off, circuit_breaker: off")
        .start();
    let before = balancer.memory();
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut client = TcpStream::connect(balancer.address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut first = [0; 1024];
            client.read_exact(&mut first).unwrap();
            client
        })
        .collect();
    let in_flight = || balancer.api("listeners")[0]["requests_in_flight"].as_u64().unwrap_or_default();
    let (began, mut most) = (Instant::now(), 0);
    eventually(
        "everybody is given up",
        || {
            most = most.max(balancer.memory());
            in_flight() == 0
        },
        || format!("{} in flight", in_flight()),
    );
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let each = most.saturating_sub(before) / CROWD as u64;
    println!("{} KiB each", each >> 10);
    assert!(each < 700 << 10, "{each} bytes for each");
    drop(crowd);
}

#[test]
fn bodies_that_come_slowly_are_held_in_little_memory() {
    let origin = Origin::start(|_| Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()));
    let balancer = Balancer::before([origin.address]).upstream("health_check: off, circuit_breaker: off").start();
    let before = balancer.memory();
    let mut crowd: Vec<Client> = (0..CROWD)
        .map(|_| {
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n0123456789").unwrap();
            client
        })
        .collect();
    for client in &mut crowd {
        client.send(b"0123456789").unwrap();
    }
    let in_flight = || balancer.api("listeners")[0]["requests_in_flight"].as_u64().unwrap_or_default();
    eventually("all are served", || in_flight() == CROWD as u64, || format!("{} in flight", in_flight()));
    let each = balancer.memory().saturating_sub(before) / CROWD as u64;
    println!("{} KiB each", each >> 10);
    for client in &mut crowd {
        client.send(&[b'y'; 80]).unwrap();
        assert_eq!(client.response(false).unwrap().text(), "ok");
    }
    assert!(each < 200 << 10, "{each} bytes for each");
}
