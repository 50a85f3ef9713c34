//! The largest body: what is refused, when, and what a backend sees of it.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::client::{Client, Response};
use crate::support::{Answer, Balancer, Origin, free_address};

const FAILURES: &str = "evenkeel_failures_total{reason=\"body_too_large\"}";

fn length() -> Origin {
    Origin::start(|request| Answer::Ok(request.body.len().to_string()))
}

/// Sends a body in chunks of a thousand bytes for as long as it is taken, and reads the answer.
fn chunked(client: &mut Client, bytes: usize) -> Response {
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    for _ in 0..bytes / 1000 {
        if client.send(chunk.as_bytes()).is_err() {
            break;
        }
    }
    drop(client.send(b"0\r\n\r\n"));
    client.response(false).unwrap()
}

#[test]
fn a_body_that_says_it_is_too_large_is_413_before_it_is_sent_and_no_backend_is_asked() {
    let origin = length();
    let balancer = Balancer::before([origin.address]).upstream("limits: { request_body: 10KB }").start();
    for (size, status) in [(9_999, 200), (10_000, 200), (10_001, 413)] {
        let mut client = Client::connect(balancer.address).unwrap();
        let response = client.request("POST", "/", &[], &vec![b'x'; size]).unwrap();
        assert_eq!(response.status, status, "{size}");
    }
    let mut client = Client::connect(balancer.address).unwrap();
    let began = Instant::now();
    for expect in ["", "expect: 100-continue\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{expect}content-length: 10001\r\n\r\n");
        client = Client::connect(balancer.address).unwrap();
        client.send(head.as_bytes()).unwrap();
        let response = client.any_response(false).unwrap();
        assert_eq!((response.status, response.field("connection")), (413, Some("close")), "{expect}");
        assert!(response.text().contains("body_too_large"), "{}", response.text());
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.count(), 2);
    assert_eq!(balancer.metric(FAILURES), 3.0);
    let lines = balancer.access_log(5);
    let refused = lines.iter().filter(|line| line["reason"] == "body_too_large" && line["status"] == 413);
    assert_eq!(refused.count(), 3, "{lines:?}");
}

#[test]
fn a_chunked_body_is_counted_and_its_backend_sees_no_whole_request_and_no_other_on_that_connection() {
    let origin = length();
    let balancer =
        Balancer::before([origin.address]).top("threads: 1").upstream("limits: { request_body: 100KB }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(chunked(&mut client, 100_000).text(), "100000");
    let response = chunked(&mut client, 101_000);
    assert_eq!((response.status, response.field("connection")), (413, Some("close")));
    assert!(response.text().contains("body_too_large"), "{}", response.text());
    assert_eq!(chunked(&mut Client::connect(balancer.address).unwrap(), 50_000).text(), "50000");
    let seen = origin.requests();
    assert_eq!(seen.iter().map(|request| request.body.len()).collect::<Vec<_>>(), [100_000, 50_000]);
    assert_ne!(seen[0].connection, seen[1].connection, "what was cut off in the middle is not used again");
    let failed = format!(
        "evenkeel_attempt_failures_total{{upstream=\"app\",backend=\"{}\",reason=\"body_too_large\"}}",
        origin.address
    );
    assert_eq!(balancer.metric(&failed), 0.0, "it is not the backend's fault");
}

#[test]
fn a_client_in_the_middle_of_a_large_body_can_read_its_413() {
    let origin = length();
    let balancer = Balancer::before([origin.address]).upstream("limits: { request_body: 1KB }").start();
    for round in 0..10 {
        let mut client = Client::connect(balancer.address).unwrap();
        let response = if round % 2 == 0 {
            chunked(&mut client, 5_000_000)
        } else {
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000000\r\n\r\n").unwrap();
            // As far as it is taken.
            drop(client.stream().write_all(&vec![b'x'; 5_000_000]));
            client.response(false).unwrap()
        };
        assert_eq!(response.status, 413, "round {round}");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn the_word_of_a_route_wins_over_its_upstreams() {
    let origin = length();
    let (larger, unlimited) = (free_address(), free_address());
    let mut balancer = Balancer::before([origin.address])
        .upstream("limits: { request_body: 1KB }")
        .more_listeners(&format!("  larger: {{ address: {larger} }}\n  unlimited: {{ address: {unlimited} }}"))
        .routes(
            "  - { listeners: [larger], upstream: app, limits: { request_body: 2KB } }\n\
             \x20 - { listeners: [unlimited], upstream: app, limits: { request_body: unlimited } }\n\
             \x20 - { listeners: [web], upstream: app }",
        )
        .start();
    for (address, most) in [(balancer.address, 1_000), (larger, 2_000), (unlimited, 300_000)] {
        let post = |size: usize| {
            let mut client = Client::connect(address).unwrap();
            client.request("POST", "/", &[], &vec![b'x'; size]).unwrap().status
        };
        assert_eq!(post(most), 200);
        assert_eq!(post(most + 1), if address == unlimited { 200 } else { 413 });
    }
    assert!(balancer.is_running());
}

#[tokio::test]
async fn bodies_of_http2_are_bounded_with_and_without_a_length_and_the_connection_goes_on() {
    let origin = length();
    let balancer = Balancer::before([origin.address]).upstream("limits: { request_body: 10KB }").start();
    let stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (announced, sent, expected) in
        [(None, 10_000, 200), (None, 10_001, 413), (Some(10_000), 10_000, 200), (Some(10_001), 0, 413)]
    {
        sender = sender.ready().await.unwrap();
        let mut request = http::Request::post("http://story.example/");
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        if sent > 0 {
            body.send_data(Bytes::from(vec![b'x'; sent / 2]), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            body.send_data(Bytes::from(vec![b'x'; sent - sent / 2]), announced.is_some()).unwrap();
        }
        if announced.is_none() && expected == 200 {
            body.send_data(Bytes::new(), true).unwrap();
        }
        let response = response.await.unwrap();
        assert_eq!(response.status(), expected, "{announced:?} {sent}");
        let mut answer = response.into_body();
        let text = answer.data().await.unwrap().unwrap();
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(shown == sent.to_string() || shown.contains("body_too_large"), "{shown}");
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn many_refused_bodies_leave_the_windows_of_an_http2_connection_open() {
    let origin = length();
    let balancer = Balancer::before([origin.address]).upstream("limits: { request_body: 10KB }").start();
    let stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // More than three times what the connection's window lets through.
    for round in 0..40 {
        sender = sender.ready().await.unwrap();
        let request = http::Request::post("http://story.example/").body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; 100_000]), false).unwrap();
        let response = tokio::time::timeout(crate::support::PATIENCE, response).await.expect("an answer").unwrap();
        assert_eq!(response.status(), 413, "round {round}");
    }
    sender = sender.ready().await.unwrap();
    let request = http::Request::post("http://story.example/").body(()).unwrap();
    let (response, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from(vec![b'x'; 10_000]), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
}
