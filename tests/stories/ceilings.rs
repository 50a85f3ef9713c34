//! More requests than the backends take at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::{Client, Response};
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// An origin that answers with the target, once the gate is open; and the most requests it had at once.
fn held(gate: &Gate) -> (Origin, Arc<AtomicUsize>) {
    let (gate, now, most) = (gate.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let origin = Origin::start(move |request| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        gate.pass();
        now.fetch_sub(1, Ordering::SeqCst);
        Answer::Ok(request.line.clone())
    });
    (origin, seen)
}

/// A request that was sent and not answered yet.
fn send(address: SocketAddr, target: &str) -> Client {
    let mut client = Client::connect(address).unwrap();
    client.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    client
}

fn metric(balancer: &Balancer, name: &str) -> f64 {
    balancer.metric(&format!("{name}{{upstream=\"app\"}}"))
}

#[track_caller]
fn wait_queue(balancer: &Balancer, length: usize) {
    let reached = || metric(balancer, "evenkeel_queue_length") == length as f64;
    eventually(&format!("{length} wait"), reached, || balancer.log());
}

fn refused(response: &Response, reason: &str) {
    assert_eq!(response.status, 503);
    assert!(response.text().contains(&format!("reason: {reason}")), "{}", response.text());
    assert_eq!(response.field("retry-after"), Some("1"));
}

#[test]
fn requests_wait_for_room_in_order_and_whoever_finds_the_queue_full_is_told_to_come_back() {
    let gate = Gate::default();
    let (origin, most) = held(&gate);
    let settings = "circuit_breaker: { requests_per_backend: 2, queue: 2, queue_timeout: 20s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut clients = vec![send(balancer.address, "/1"), send(balancer.address, "/2")];
    eventually("two are there", || origin.count() == 2, String::new);
    for waiting in 1..=2 {
        clients.push(send(balancer.address, &format!("/{}", waiting + 2)));
        wait_queue(&balancer, waiting);
    }
    refused(&balancer.get("/5"), "queue_full");
    assert_eq!(origin.count(), 2);
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.response(false).unwrap();
        assert_eq!((response.status, response.text()), (200, format!("GET /{} HTTP/1.1", number + 1)));
    }
    assert_eq!(most.load(Ordering::SeqCst), 2, "never more at once");
    assert_eq!((metric(&balancer, "evenkeel_queued_total"), metric(&balancer, "evenkeel_shed_total")), (2.0, 1.0));
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"queue_full\"}"), 1.0);
}

#[test]
fn a_full_queue_refuses_the_oldest_where_the_file_says_so() {
    let gate = Gate::default();
    let (origin, _) = held(&gate);
    let settings = "circuit_breaker: { requests_per_backend: 1, queue: 1, queue_timeout: 20s, shed: oldest }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut first = send(balancer.address, "/1");
    eventually("it is there", || origin.count() == 1, String::new);
    let mut oldest = send(balancer.address, "/2");
    wait_queue(&balancer, 1);
    let mut newest = send(balancer.address, "/3");
    refused(&oldest.response(false).unwrap(), "queue_full");
    gate.open();
    assert_eq!(first.response(false).unwrap().text(), "GET /1 HTTP/1.1");
    assert_eq!(newest.response(false).unwrap().text(), "GET /3 HTTP/1.1");
}

#[test]
fn nobody_waits_longer_than_the_time_out_and_without_a_queue_nobody_waits() {
    let gate = Gate::default();
    let (origin, _) = held(&gate);
    for (queue, reason) in [("queue_timeout: 100ms", "queue_timeout"), ("queue: off", "overloaded")] {
        let before = origin.count();
        let settings = format!("circuit_breaker: {{ requests_per_backend: 1, {queue} }}");
        let balancer = Balancer::before([origin.address]).upstream(&settings).start();
        let holding = send(balancer.address, "/");
        eventually("it is there", || origin.count() == before + 1, String::new);
        refused(&balancer.get("/"), reason);
        drop(holding);
    }
    gate.open();
}

#[test]
fn whoever_is_turned_away_keeps_the_connection() {
    let gate = Gate::default();
    let (origin, _) = held(&gate);
    let settings = "circuit_breaker: { requests_per_backend: 1, queue: off }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut holding = send(balancer.address, "/");
    eventually("it is there", || origin.count() == 1, String::new);
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..3 {
        refused(&client.request("GET", "/", &[], b"").unwrap(), "overloaded");
        refused(&client.request("POST", "/", &[], b"a body").unwrap(), "overloaded");
    }
    gate.open();
    assert_eq!(holding.response(false).unwrap().status, 200);
    let served = || client.request("GET", "/", &[], b"").is_ok_and(|response| response.status == 200);
    eventually("room on the same connection", served, || balancer.log());
    assert_eq!(balancer.metric("evenkeel_connections_total{listener=\"web\"}"), 2.0);
}

#[test]
fn the_upstream_as_a_whole_may_have_a_ceiling_too() {
    let gate = Gate::default();
    let (origins, _): (Vec<Origin>, Vec<_>) = (0..2).map(|_| held(&gate)).unzip();
    let settings = "circuit_breaker: { requests: 3, queue: off }";
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).upstream(settings).start();
    let mut clients: Vec<Client> = (0..3).map(|_| send(balancer.address, "/")).collect();
    eventually("three are there", || origins.iter().map(Origin::count).sum::<usize>() == 3, String::new);
    refused(&balancer.get("/"), "overloaded");
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response(false).is_ok_and(|response| response.status == 200)));
    assert_eq!(balancer.get("/").status, 200);
}

#[test]
fn a_reload_that_raises_the_ceiling_lets_those_in_who_wait() {
    let gate = Gate::default();
    let (origin, _) = held(&gate);
    let settings = "circuit_breaker: { requests_per_backend: 1, queue_timeout: 20s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let _first = send(balancer.address, "/1");
    eventually("one is there", || origin.count() == 1, String::new);
    let _second = send(balancer.address, "/2");
    wait_queue(&balancer, 1);
    assert!(balancer.reload(|text| text.replace("requests_per_backend: 1", "requests_per_backend: 2")));
    eventually("the other is there", || origin.count() == 2, || balancer.log());
    gate.open();
}

#[test]
fn a_web_socket_takes_no_place_under_the_ceiling() {
    let origin = Origin::start(|request| match request.field("upgrade") {
        Some(_) => Answer::Take(Box::new(|mut stream| {
            use std::io::{Read, Write};
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
            drop(stream.write_all(switch));
            drop(stream.read_to_end(&mut Vec::new()));
        })),
        None => Answer::Ok("plain".to_owned()),
    });
    let settings = "circuit_breaker: { requests_per_backend: 1, queue: off }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut tunnel = Client::connect(balancer.address).unwrap();
    let upgrade = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tunnel.send(upgrade.as_bytes()).unwrap();
    assert_eq!(tunnel.response(true).unwrap().status, 101);
    assert_eq!(balancer.get("/").text(), "plain");
}
