//! Upgraded connections: bytes both ways, no longer HTTP, until either side ends.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin, eventually};

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches, says hello in the same packet, then sends everything back.
fn eager() -> Origin {
    Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            drop(stream.write_all(&[SWITCHED, b"hello"].concat()));
            let mut buffer = [0; 16 << 10];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            drop(stream.shutdown(Shutdown::Both));
        }))
    })
}

fn upgraded(balancer: &Balancer) -> Client {
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(UPGRADE).unwrap();
    let response = client.response(true).unwrap();
    assert_eq!(response.status, 101);
    assert_eq!(response.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.field("upgrade"), Some("websocket"));
    client
}

/// The next bytes of a tunnel.
fn read(client: &mut Client, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_ends_with_either_side() {
    let origin = eager();
    // What passes in a tunnel is no body.
    let balancer = Balancer::before([origin.address]).upstream("limits: { request_body: 1KB }").start();
    let mut client = upgraded(&balancer);
    assert_eq!(read(&mut client, 5).unwrap(), b"hello");
    let large = vec![b'x'; 1 << 20];
    for message in [&b"\x81\x05abc\r\n"[..], b"0\r\n\r\n", &large] {
        let mut writer = client.stream().try_clone().unwrap();
        let sent = message.to_vec();
        let sending = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        assert!(read(&mut client, message.len()).unwrap() == message);
        sending.join().unwrap();
    }
    let seen = &origin.requests()[0];
    assert_eq!((seen.field("upgrade"), seen.field("x-forwarded-for")), (Some("websocket"), Some("127.0.0.1")));
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"");
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["status"], &line["path"]), (&101.into(), &"/chat".into()));

    let mut other = upgraded(&balancer);
    assert_eq!(read(&mut other, 5).unwrap(), b"hello");
    drop(origin);
    assert_eq!(other.rest(), b"", "the backend's end is the client's");
}

#[test]
fn three_hundred_upgrades_whose_backend_speaks_at_once_are_all_kept() {
    let origin = eager();
    let balancer = Balancer::before([origin.address]).start();
    let mut open = Vec::new();
    for number in 0..300 {
        let mut client = upgraded(&balancer);
        let hello = read(&mut client, 5).unwrap_or_else(|error| panic!("upgrade {number}: {error}"));
        assert_eq!(hello, b"hello");
        open.push(client);
    }
    for (number, client) in open.iter_mut().enumerate() {
        client.send(b"ping").unwrap();
        let pong = read(client, 4).unwrap_or_else(|error| panic!("tunnel {number}: {error}"));
        assert_eq!(pong, b"ping");
    }
}

#[test]
fn a_backend_that_never_pauses_does_not_silence_its_client() {
    // Speaks until it is told to stop.
    let origin = Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            drop(stream.write_all(SWITCHED));
            let mut listener = stream.try_clone().unwrap();
            let told = std::thread::spawn(move || listener.read_exact(&mut [0; 4]));
            let piece = vec![b'x'; 1 << 20];
            while !told.is_finished() && stream.write_all(&piece).is_ok() {}
            drop(stream.shutdown(Shutdown::Write));
        }))
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = upgraded(&balancer);
    let mut reader = client.stream().try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        // Slower than the backend, so that there is always more.
        while reader.read(&mut piece).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    read(&mut client, 1 << 20).unwrap();
    client.send(b"stop").unwrap();
    eventually("the end of what the backend says", || reading.is_finished(), String::new);
    reading.join().unwrap();
}

#[test]
fn a_silent_tunnel_outlives_the_time_outs_of_requests_and_ends_with_its_own() {
    let origin = eager();
    let balancer = Balancer::before([origin.address])
        .listener("timeouts: { request_header: 1s, request_body_idle: 1s, response_write_idle: 1s, keep_alive: 1s }")
        .upstream("timeouts: { first_byte: 1s, idle: 1s, total: 1s, tunnel: 2500ms }")
        .start();
    let mut client = upgraded(&balancer);
    assert_eq!(read(&mut client, 5).unwrap(), b"hello");
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1800));
        client.send(b"still here").unwrap();
        assert_eq!(read(&mut client, 10).unwrap(), b"still here", "1.8 s of silence are fewer than 2.5");
    }
    let began = Instant::now();
    assert_eq!(client.rest(), b"");
    let took = began.elapsed();
    assert!((Duration::from_millis(2400)..Duration::from_secs(6)).contains(&took), "{took:?}");
}

#[test]
fn an_upgrade_that_the_backend_refuses_is_its_ordinary_answer() {
    let origin = Origin::start(|_| Answer::Raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nnope".to_vec()));
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(UPGRADE).unwrap();
    let response = client.response(false).unwrap();
    assert_eq!((response.status, response.text().as_str()), (400, "nope"));
}

#[test]
fn an_upgrade_whose_backend_says_nothing_is_504() {
    let origin = Origin::start(|_| Answer::Raw(Vec::new()));
    let balancer = Balancer::before([origin.address]).upstream("timeouts: { first_byte: 1s }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(UPGRADE).unwrap();
    let response = client.response(false).unwrap();
    assert_eq!(response.status, 504);
    assert!(response.text().contains("first_byte_timeout"), "{}", response.text());
}

#[test]
fn an_upgrade_goes_to_another_backend_when_the_first_refuses_the_connection() {
    let origin = eager();
    let dead = crate::support::free_address();
    let balancer = Balancer::before([dead, origin.address]).upstream("health_check: off").start();
    for _ in 0..4 {
        assert_eq!(read(&mut upgraded(&balancer), 5).unwrap(), b"hello");
    }
}
