//! How the process ends: what it still does, what it waits for, and what it does not wait for.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Client, get};
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// Long before the grace period of 300 s, and long enough for a busy machine.
const SOON: Duration = Duration::from_secs(6);

/// An origin whose answers to `/slow` wait at the gate.
fn gated() -> (Origin, Gate) {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |request| {
        if request.line.contains("/slow") {
            waits.pass();
        }
        Answer::Ok(format!("{} bytes", request.body.len()))
    });
    (origin, gate)
}

fn readyz(balancer: &Balancer) -> Option<u16> {
    let mut client = Client::connect(balancer.admin).ok()?;
    client.send(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    Some(client.response(false).ok()?.status)
}

/// Waits until the process drains, and takes no new connections any more.
#[track_caller]
fn wait_closed(balancer: &Balancer) {
    eventually("closed listeners", || Client::connect(balancer.address).is_err(), || balancer.log());
}

#[test]
fn after_term_readiness_says_no_while_new_connections_are_still_answered() {
    let origin = Origin::named("here");
    let mut balancer = Balancer::before([origin.address]).top("lame_duck: 2s").start();
    let mut kept = Client::connect(balancer.address).unwrap();
    let first = kept.request("GET", "/", &[], b"").unwrap();
    assert_eq!(first.status, 200);
    assert_ne!(first.field("connection"), Some("close"));

    let told = Instant::now();
    balancer.signal(Signal::TERM);
    eventually("503 from /readyz", || readyz(&balancer) == Some(503), || format!("{:?}", readyz(&balancer)));
    let response = get(balancer.address, "/");
    assert_eq!((response.status, response.text()), (200, "here".to_owned()), "a new connection is answered");
    let next = kept.request("GET", "/", &[], b"").unwrap();
    assert_eq!((next.status, next.field("connection")), (200, Some("close")), "a kept one is told to close");
    assert_eq!(kept.rest(), b"", "and is closed");
    assert_eq!(readyz(&balancer), Some(503));

    assert_eq!(balancer.wait_end().code(), Some(0));
    assert!(told.elapsed() >= Duration::from_secs(2), "the lame duck had its time");
    assert!(told.elapsed() < SOON, "{:?}", told.elapsed());
}

#[test]
fn requests_and_uploads_in_flight_end_well_and_the_process_with_the_last_of_them() {
    let (origin, gate) = gated();
    let mut balancer = Balancer::before([origin.address]).top("lame_duck: 500ms").start();
    let mut slow = Client::connect(balancer.address).unwrap();
    slow.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
    let mut upload = Client::connect(balancer.address).unwrap();
    upload.send(b"POST /upload HTTP/1.1\r\nhost: story.example\r\ncontent-length: 10\r\n\r\n12345").unwrap();
    let in_flight = || balancer.metric("evenkeel_requests_in_flight{listener=\"web\"}");
    eventually("two requests in flight", || in_flight() == 2.0, || format!("{}", in_flight()));

    balancer.signal(Signal::TERM);
    wait_closed(&balancer);
    assert!(balancer.is_running());
    upload.send(b"67890").unwrap();
    let answer = upload.response(false).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "10 bytes".to_owned()));
    assert!(balancer.is_running());
    let open = Instant::now();
    gate.open();
    assert_eq!(slow.response(false).unwrap().status, 200);
    assert_eq!(balancer.wait_end().code(), Some(0));
    assert!(open.elapsed() < SOON, "{:?}", open.elapsed());
    assert!(balancer.log().contains("drained; nothing was cut"), "{}", balancer.log());
}

#[test]
fn the_end_of_the_grace_period_cuts_what_is_still_in_flight() {
    let (origin, gate) = gated();
    let top = "lame_duck: off\ngrace_period_seconds: 1";
    let mut balancer = Balancer::before([origin.address]).top(top).start();
    let mut slow = Client::connect(balancer.address).unwrap();
    slow.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
    eventually("the request at its origin", || origin.count() == 1, || balancer.log());
    let told = Instant::now();
    balancer.signal(Signal::TERM);
    assert_eq!(balancer.wait_end().code(), Some(0));
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    assert!(slow.response(false).is_err(), "there was nothing to answer with");
    assert!(balancer.log().contains("grace period ended; the rest is cut"), "{}", balancer.log());
    gate.open();
}

#[test]
fn idle_connections_do_not_hold_the_process() {
    let origin = Origin::named("here");
    let mut balancer = Balancer::before([origin.address]).top("lame_duck: off").start();
    let mut kept: Vec<_> = (0..5).map(|_| Client::connect(balancer.address).unwrap()).collect();
    for client in &mut kept {
        client.request("GET", "/", &[], b"").unwrap();
    }
    let told = Instant::now();
    balancer.signal(Signal::TERM);
    assert_eq!(balancer.wait_end().code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    for mut client in kept {
        assert_eq!(client.rest(), b"", "closed without a word");
    }
}

#[test]
fn int_ends_at_once_whatever_is_in_flight_also_in_the_middle_of_a_drain() {
    for drain_first in [false, true] {
        let (origin, gate) = gated();
        let mut balancer = Balancer::before([origin.address]).top("lame_duck: off").start();
        let mut slow = Client::connect(balancer.address).unwrap();
        slow.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
        eventually("the request at its origin", || origin.count() == 1, || balancer.log());
        if drain_first {
            balancer.signal(Signal::TERM);
            wait_closed(&balancer);
            assert!(balancer.is_running());
        }
        let told = Instant::now();
        balancer.signal(Signal::INT);
        assert_eq!(balancer.wait_end().code(), Some(0));
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
        assert!(!balancer.folder.path().join("evenkeel.pid").exists(), "it cleaned up behind itself");
        gate.open();
    }
}

#[tokio::test]
async fn an_http2_stream_in_flight_ends_well_and_its_idle_connection_does_not_hold_the_process() {
    let (origin, gate) = gated();
    let mut balancer = Balancer::before([origin.address]).top("lame_duck: off").start();
    let mut connections = Vec::new();
    for path in ["/slow", "/quick"] {
        let stream = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let running = tokio::spawn(connection);
        let uri = format!("http://story.example{path}");
        let request = http::Request::get(uri).body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        connections.push((sender, response, running));
    }
    let (_idle, quick, quick_connection) = connections.pop().unwrap();
    assert_eq!(quick.await.unwrap().status(), 200);
    let (_busy, slow, _) = connections.pop().unwrap();
    eventually("both requests at their origin", || origin.count() == 2, || balancer.log());

    balancer.signal(Signal::TERM);
    let closed = tokio::time::timeout(SOON, quick_connection).await;
    closed.expect("the idle connection is closed").unwrap().expect("and closed in order");
    assert!(balancer.is_running());
    let open = Instant::now();
    gate.open();
    let response = slow.await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().data().await.unwrap().unwrap();
    assert_eq!(&body[..], b"0 bytes");
    let status = tokio::task::spawn_blocking(move || balancer.wait_end()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(open.elapsed() < SOON, "{:?}", open.elapsed());
}
