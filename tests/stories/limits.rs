//! Every limit, and every key of retries and health checks: what it refuses, and what it still lets pass.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

#[test]
fn a_header_larger_than_the_limit_is_431_or_414_and_a_smaller_one_passes() {
    let origin = Origin::named("a");
    for (settings, limit) in [("", 64 << 10), ("limits: { request_header: 2KiB }", 2 << 10)] {
        let balancer = Balancer::before([origin.address]).listener(settings).start();
        for (size, status) in [(limit - 200, 200), (limit + 200, 431)] {
            let value = "x".repeat(size);
            let by_field = Client::connect(balancer.address).unwrap().request("GET", "/", &[("x", &value)], b"");
            assert_eq!(by_field.unwrap().status, status, "a field of {size} of {limit}");
            if limit == 2 << 10 {
                let target = format!("/{value}");
                let by_target = Client::connect(balancer.address).unwrap().request("GET", &target, &[], b"");
                assert_eq!(by_target.unwrap().status, status.min(414), "a target of {size} of {limit}");
            }
        }
    }
    assert_eq!(origin.count(), 3);
}

#[test]
fn more_fields_than_the_limit_are_431() {
    let origin = Origin::named("a");
    for (settings, limit) in
        [("", 100), ("limits: { request_headers: 10 }", 10), ("limits: { request_headers: 200 }", 200)]
    {
        let balancer = Balancer::before([origin.address]).listener(settings).start();
        for (count, status) in [(limit, 200), (limit + 1, 431)] {
            // One of them is the host.
            let fields = vec![("x", "1"); count - 1];
            let response = Client::connect(balancer.address).unwrap().request("GET", "/", &fields, b"").unwrap();
            assert_eq!(response.status, status, "{count} of {limit}");
        }
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted_and_places_come_free() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).listener("limits: { connections: 3 }").start();
    let mut open: Vec<Client> = (0..3).map(|_| Client::connect(balancer.address).unwrap()).collect();
    for client in &mut open {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a");
    }
    for _ in 0..2 {
        assert_eq!(Client::connect(balancer.address).unwrap().rest(), b"");
    }
    let refused = "evenkeel_connections_refused_total{listener=\"web\",reason=\"ceiling\"}";
    assert_eq!(balancer.metric(refused), 2.0);
    assert_eq!(open[0].request("GET", "/", &[], b"").unwrap().text(), "a", "those that are open go on");
    drop(open.pop());
    eventually(
        "a place is free",
        || {
            Client::connect(balancer.address)
                .and_then(|mut client| client.request("GET", "/", &[], b""))
                .is_ok_and(|response| response.status == 200)
        },
        String::new,
    );
}

const CLIENT_CEILING: &str = "evenkeel_connections_refused_total{listener=\"web\",reason=\"client_ceiling\"}";

/// A connection from this address of the loopback network.
fn connect_from(source: [u8; 4], to: std::net::SocketAddr) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn one_client_may_have_so_many_connections_and_another_as_many() {
    let origin = Origin::named("a");
    let settings = "limits: { connections_per_client: 2 }";
    let balancer = Balancer::before([origin.address]).listener(settings).start();
    let mut open: Vec<Client> = (0..2).map(|_| Client::connect(balancer.address).unwrap()).collect();
    for client in &mut open {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a");
    }
    for _ in 0..3 {
        assert_eq!(Client::connect(balancer.address).unwrap().rest(), b"");
    }
    assert_eq!(balancer.metric(CLIENT_CEILING), 3.0);
    for _ in 0..2 {
        let mut other = connect_from([127, 0, 0, 2], balancer.address);
        std::io::Write::write_all(&mut other, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(open[0].request("GET", "/", &[], b"").unwrap().text(), "a", "those that are open go on");
    drop(open.pop());
    let served = || {
        let asked = Client::connect(balancer.address).and_then(|mut client| client.request("GET", "/", &[], b""));
        asked.is_ok_and(|response| response.status == 200)
    };
    eventually("a place is free", served, String::new);
    assert!(balancer.reload(|text| text.replace(settings, "limits: { connections_per_client: unlimited }")));
    let many: Vec<Client> = (0..10).map(|_| Client::connect(balancer.address).unwrap()).collect();
    for mut client in many {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a");
    }
}

#[test]
fn with_the_proxy_protocol_it_is_the_clients_of_the_header_that_are_counted() {
    let origin = Origin::named("a");
    let settings = "proxy_protocol: required, limits: { connections_per_client: 1 }";
    let balancer = Balancer::before([origin.address]).listener(settings).start();
    let mut open = Vec::new();
    for (source, admitted) in [
        ("TCP4 192.0.2.1 192.0.2.9", true),
        ("TCP4 192.0.2.1 192.0.2.9", false),
        ("TCP4 192.0.2.2 192.0.2.9", true),
        ("TCP6 2001:db8::1 ::1", true),
        ("TCP6 2001:db8::2 ::1", false),
        ("TCP6 2001:db8:0:1::1 ::1", true),
    ] {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(format!("PROXY {source} 1 2\r\n").as_bytes()).unwrap();
        if admitted {
            assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a", "{source}");
        } else {
            assert_eq!(client.rest(), b"", "{source}");
        }
        open.push(client);
    }
    assert_eq!(balancer.metric(CLIENT_CEILING), 2.0);
}

fn rude() -> Origin {
    Origin::start(|_| Answer::Close)
}

#[test]
fn a_request_is_tried_as_often_as_attempts_says() {
    for attempts in [1, 3] {
        let rude = [rude(), rude(), rude(), rude(), rude()];
        let settings = format!("retry: {{ attempts: {attempts} }}");
        let balancer = Balancer::before(rude.iter().map(|origin| origin.address)).upstream(&settings).start();
        assert_eq!(balancer.get("/").status, 502);
        let counts: Vec<usize> = rude.iter().map(Origin::count).collect();
        assert_eq!(counts.iter().sum::<usize>(), attempts + 1, "{counts:?}");
        assert!(counts.iter().all(|count| *count <= 1), "never twice to the same: {counts:?}");
        assert_eq!(balancer.access_log(1)[0]["attempts"], attempts + 1);
        assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), attempts as f64);
    }
}

#[test]
fn only_what_on_names_is_tried_again() {
    let kind = Origin::named("kind");
    let dead = free_address();
    let rude = rude();
    for (on, after_refusal, after_reset) in
        [("[connect]", true, false), ("[reset]", false, true), ("[connect, reset]", true, true)]
    {
        for (bad, served) in [(dead, after_refusal), (rude.address, after_reset)] {
            let settings = format!("health_check: off, retry: {{ on: {on} }}");
            let balancer = Balancer::before([bad, kind.address]).upstream(&settings).start();
            let failures = (0..6).filter(|_| balancer.get("/").status == 502).count();
            assert_eq!(failures, if served { 0 } else { 3 }, "{on} before {bad}");
        }
    }
}

#[test]
fn in_a_full_outage_the_budget_bounds_what_backends_are_asked() {
    let rude = [rude(), rude(), rude()];
    let settings = "health_check: off, retry: { attempts: 2, budget: 10% }";
    let balancer = Balancer::before(rude.iter().map(|origin| origin.address)).upstream(settings).start();
    let began = Instant::now();
    let requests = 1000;
    for _ in 0..requests {
        assert_eq!(balancer.get("/").status, 502);
    }
    let asked: usize = rude.iter().map(Origin::count).sum();
    // A tenth, what is there at the start, and ten for each second that it took.
    let most = requests + requests / 10 + 10 + 10 * (began.elapsed().as_secs() as usize + 1);
    assert!(asked > requests && asked <= most, "{asked} of {most} after {:?}", began.elapsed());
    assert!(balancer.metric("evenkeel_retries_refused_total{upstream=\"app\"}") > 0.0);
}

#[test]
fn a_body_is_sent_again_if_it_was_kept_and_never_in_part() {
    let sizes = [1_000, 40_000, 300_000];
    for size in sizes {
        let rude = rude();
        let kind = Origin::start(|request| Answer::Ok(request.body.len().to_string()));
        let balancer = Balancer::before([rude.address, kind.address]).upstream("health_check: off").start();
        let body = vec![b'x'; size];
        let mut answers = Vec::new();
        for _ in 0..4 {
            let response = Client::connect(balancer.address).unwrap().request("PUT", "/", &[], &body).unwrap();
            answers.push((response.status, response.text()));
        }
        let served = answers.iter().filter(|(status, text)| *status == 200 && *text == size.to_string()).count();
        let refused = answers.iter().filter(|(status, _)| *status == 502).count();
        let expected = if size <= 64 << 10 { (4, 0) } else { (2, 2) };
        assert_eq!((served, refused), expected, "{size}: {answers:?}");
        assert!(kind.requests().iter().all(|request| request.body.len() == size));
    }
}

#[test]
fn a_large_body_still_goes_elsewhere_when_there_was_no_connection() {
    let kind = Origin::start(|request| Answer::Ok(request.body.len().to_string()));
    let balancer = Balancer::before([free_address(), kind.address]).upstream("health_check: off").start();
    for _ in 0..4 {
        let response =
            Client::connect(balancer.address).unwrap().request("POST", "/", &[], &vec![b'x'; 300_000]).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "300000"));
    }
}

/// How many checks came in two seconds: connections on which nothing was asked.
fn knocks(settings: &str) -> usize {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn({
        let count = count.clone();
        move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                drop(stream.read(&mut [0]));
            }
        }
    });
    let _balancer = Balancer::before([address]).upstream(settings).start();
    std::thread::sleep(Duration::from_secs(2));
    count.load(std::sync::atomic::Ordering::SeqCst)
}

#[test]
fn a_backend_is_checked_each_interval_or_not_at_all() {
    let often = knocks("health_check: { interval: 200ms, timeout: 200ms }");
    assert!((6..=14).contains(&often), "{often}");
    let seldom = knocks("health_check: { interval: 10s }");
    assert_eq!(seldom, 1, "the first, before anything is served");
    assert_eq!(knocks("health_check: off"), 0);
}

#[test]
fn it_takes_as_many_verdicts_as_the_file_says_to_turn_a_backend() {
    for (healthy_after, unhealthy_after) in [(1, 1), (4, 4)] {
        let alive = Origin::named("alive");
        let address = alive.address;
        let settings = format!(
            "health_check: {{ interval: 300ms, timeout: 300ms, healthy_after: {healthy_after}, unhealthy_after: {unhealthy_after} }}"
        );
        let balancer = Balancer::before([address]).upstream(&settings).start();
        assert!(balancer.healthy(address));
        alive.die();
        let died = Instant::now();
        balancer.wait_healthy(address, false);
        let out = died.elapsed();
        let _back = Origin::start_at(address, |_| Answer::Ok("back".to_owned()));
        let came = Instant::now();
        balancer.wait_healthy(address, true);
        let back = came.elapsed();
        if unhealthy_after == 1 {
            assert!(out < Duration::from_millis(800) && back < Duration::from_millis(800), "{out:?} {back:?}");
        } else {
            // Three whole intervals, each up to a tenth shorter.
            let least = Duration::from_millis(750);
            assert!(out > least && back > least, "{out:?} {back:?}");
        }
    }
}

#[test]
fn a_check_that_gets_no_connection_in_its_time_has_failed() {
    let listener = socket_without_room();
    let hole = listener.0.local_addr().unwrap();
    let settings = "health_check: { interval: 1s, timeout: 300ms }";
    let began = Instant::now();
    let balancer = Balancer::before([hole]).upstream(settings).start();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(!balancer.healthy(hole));
    assert_eq!(balancer.get("/").status, 503);
}

fn socket_without_room() -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
    super::timeouts::black_hole()
}
