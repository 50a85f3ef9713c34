//! HTTP/2 used against the server: floods, bombs and stalls. Each is bounded, ends its own connection, and leaves
//! everybody else served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, request,
};
use crate::support::{Answer, Balancer, Origin, eventually};

/// How many of them are written at once.
const BATCH: u32 = 50;

const ENHANCE_YOUR_CALM: u32 = 11;

/// Memory that no abuse of one connection may make a process take.
const MEMORY: u64 = 100 << 20;

/// Somebody who is served all the while; says how long the slowest of the answers took.
struct Healthy {
    stop: Arc<AtomicBool>,
    client: std::thread::JoinHandle<(usize, Duration)>,
}

impl Healthy {
    fn begin(address: SocketAddr) -> Healthy {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let client = std::thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            let (mut served, mut slowest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) || served < 10 {
                let begun = Instant::now();
                assert_eq!(client.request("GET", "/healthy", &[], b"").unwrap().text(), "fine");
                slowest = slowest.max(begun.elapsed());
                served += 1;
            }
            (served, slowest)
        });
        Healthy { stop, client }
    }

    fn end(self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.client.join().unwrap()
    }
}

fn fine() -> Origin {
    Origin::start(
        |request| {
            if request.line.contains("/flood") { Answer::Raw(Vec::new()) } else { Answer::Ok("fine".to_owned()) }
        },
    )
}

fn balancer(origin: &Origin) -> Balancer {
    // One core: nobody is served on another by luck.
    Balancer::before([origin.address]).top("threads: 1").start()
}

/// Sends `frames` again and again, while the answers are read, until the connection ends. How it ends, and how often
/// they were sent.
fn flood(client: &mut Http2, mut frames: impl FnMut(u32) -> Vec<u8> + Send + 'static, most: u32) -> (End, u32) {
    // The settings of the server are acknowledged before anybody else writes.
    client.next(Instant::now() + Duration::from_secs(10)).unwrap();
    let mut writer = client.writer();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        let mut sent = 0;
        while sent < most {
            let mut batch = Vec::new();
            for _ in 0..BATCH {
                batch.extend(frames(sent));
                sent += 1;
            }
            if writer.write_all(&batch).is_err() {
                break;
            }
        }
        sent
    });
    let end = client.end_of_connection(Duration::from_secs(20));
    client.shut();
    (end, writing.join().unwrap())
}

/// Tells of one flood: it ends with `ENHANCE_YOUR_CALM`, and nobody else notices.
fn ends_calmly(what: &str, frames: impl FnMut(u32) -> Vec<u8> + Send + 'static, most: u32) {
    let origin = fine();
    let balancer = balancer(&origin);
    let healthy = Healthy::begin(balancer.address);
    let mut client = Http2::connect(balancer.address);
    let begun = Instant::now();
    let (end, sent) = flood(&mut client, frames, most);
    let took = begun.elapsed();
    let (served, slowest) = healthy.end();
    println!(
        "{what}: {end:?} after {sent} in {took:?}; healthy: {served} served, slowest {slowest:?}, {} bytes",
        balancer.memory()
    );
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM), "{what}: after {sent}");
    assert!(slowest < Duration::from_secs(2), "{what}: a healthy client waited {slowest:?}");
    assert!(balancer.memory() < MEMORY, "{what}: {} bytes", balancer.memory());
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&request("GET", "/flood")))
}

#[test]
fn requests_that_are_reset_at_once_again_and_again() {
    ends_calmly(
        "rapid reset",
        |number| [get(number * 2 + 1), frame(RST_STREAM, 0, number * 2 + 1, &[0, 0, 0, 8])].concat(),
        100_000,
    );
}

#[test]
fn requests_that_are_reset_after_a_while_again_and_again() {
    // By then they have been accepted, and do not count as waiting: fifty are asked, then the fifty are reset.
    ends_calmly(
        "slow reset",
        |number| {
            let (round, place) = (number / BATCH, number % BATCH);
            if place == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let stream = ((round / 2 * BATCH) + place) * 2 + 1;
            if round % 2 == 0 { get(stream) } else { frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]) }
        },
        100_000,
    );
}

#[test]
fn requests_that_make_the_server_reset_them() {
    ends_calmly(
        "made you reset",
        |number| {
            let stream = number * 2 + 1;
            let head = frame(HEADERS, END_HEADERS, stream, &block(&request("POST", "/flood")));
            [head, frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat()
        },
        100_000,
    );
}

#[test]
fn a_head_without_end() {
    let mut first = true;
    ends_calmly(
        "continuation",
        move |_| {
            let kind = if std::mem::take(&mut first) { HEADERS } else { CONTINUATION };
            frame(kind, 0, 1, &block(&[("x", "y")]))
        },
        100_000,
    );
}

#[test]
fn a_head_without_end_of_empty_pieces() {
    let mut first = true;
    ends_calmly(
        "empty continuation",
        move |_| frame(if std::mem::take(&mut first) { HEADERS } else { CONTINUATION }, 0, 1, &[]),
        100_000,
    );
}

#[test]
fn a_small_head_that_unpacks_to_a_large_one() {
    // One entry of 4000 bytes in the table, and a reference to it again and again.
    let mut bomb = block(&request("GET", "/"));
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0xbe; 10_000]);
    ends_calmly("unpacking", move |number| frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &bomb), 10_000);
}

#[test]
fn settings_again_and_again() {
    ends_calmly("settings", |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), 1_000_000);
}

#[test]
fn pings_again_and_again() {
    ends_calmly("ping", |_| frame(PING, 0, 0, &[0; 8]), 1_000_000);
}

#[test]
fn priorities_again_and_again() {
    ends_calmly("priority", |number| frame(PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, 16]), 1_000_000);
}

#[test]
fn windows_opened_by_a_byte_again_and_again() {
    ends_calmly("window", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1_000_000);
}

#[test]
fn frames_that_mean_nothing_again_and_again() {
    ends_calmly("unknown", |_| frame(0x42, 0, 0, &[]), 1_000_000);
}

#[test]
fn pieces_of_a_body_that_are_empty_again_and_again() {
    let mut first = true;
    ends_calmly(
        "empty data",
        move |_| {
            let head = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/flood")));
            let piece = frame(DATA, 0, 1, &[]);
            if std::mem::take(&mut first) { [head, piece].concat() } else { piece }
        },
        1_000_000,
    );
}

/// A backend whose answers to `/large` have no end.
fn large() -> Origin {
    Origin::start(|request| {
        if !request.line.contains("/large") {
            return Answer::Ok("fine".to_owned());
        }
        Answer::Take(Box::new(|mut stream| {
            use std::io::Write;
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while sent.is_ok() {
                sent = stream.write_all(&[b'l'; 16 << 10]);
            }
        }))
    })
}

#[test]
fn a_client_that_never_opens_its_windows_is_cut_and_holds_little() {
    let origin = large();
    let balancer =
        Balancer::before([origin.address]).top("threads: 1").listener("timeouts: { response_write_idle: 1s }").start();
    let healthy = Healthy::begin(balancer.address);
    let mut client = Http2::connect(balancer.address);
    client.reads_on = false;
    // No window at all for answers to come.
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..100 {
        client.get(number * 2 + 1, "/large");
    }
    let begun = Instant::now();
    let outcome = client.outcome(1);
    let took = begun.elapsed();
    assert_eq!((outcome.status, outcome.body.len()), (Some(200), 0));
    assert!(matches!(outcome.end, End::Reset(_)), "{outcome:?}");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(balancer.memory() < MEMORY, "{} bytes", balancer.memory());
    let (_, slowest) = healthy.end();
    assert!(slowest < Duration::from_secs(2), "a healthy client waited {slowest:?}");
    let cut = || {
        let lines = balancer.access_log(1);
        lines.iter().filter(|line| line["path"] == "/large" && line["reason"] == "client_gone").count()
    };
    eventually("each is told of", || cut() == 100, || cut().to_string());
    // The connection itself lives, for whoever reads on.
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]));
    client.reads_on = true;
    client.get(201, "/");
    assert_eq!(client.outcome(201).text(), "fine");
}

#[test]
fn a_client_that_opens_its_windows_and_does_not_read_is_cut_and_holds_little() {
    let origin = large();
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .listener("timeouts: { response_write_idle: 1s, keep_alive: 1s }")
        .start();
    let healthy = Healthy::begin(balancer.address);
    let mut client = Http2::connect(balancer.address);
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]));
    for number in 0..100 {
        client.get(number * 2 + 1, "/large");
    }
    let connections = || balancer.metric("evenkeel_connections{listener=\"web\"}");
    eventually("both are there", || connections() == 2.0, String::new);
    eventually("the client that does not read is closed", || connections() == 1.0, || balancer.log());
    assert!(balancer.memory() < MEMORY, "{} bytes", balancer.memory());
    let (_, slowest) = healthy.end();
    assert!(slowest < Duration::from_secs(2), "a healthy client waited {slowest:?}");
}

#[test]
fn a_head_that_is_never_finished_does_not_keep_its_connection() {
    let origin = fine();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { keep_alive: 1s }").start();
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    assert_eq!(client.outcome(1).text(), "fine");
    client.send(&frame(HEADERS, END_STREAM, 3, &block(&request("GET", "/"))));
    let begun = Instant::now();
    assert!(matches!(client.end_of_connection(Duration::from_secs(10)), End::Closed | End::GoAway(_)));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn more_requests_at_a_time_than_are_allowed_are_refused_and_may_be_asked_again() {
    let origin = fine();
    let balancer = balancer(&origin);
    let mut client = Http2::connect(balancer.address);
    for number in 0..129 {
        client.get(number * 2 + 1, "/flood");
    }
    const REFUSED_STREAM: u32 = 7;
    assert_eq!(client.outcome(257).end, End::Reset(REFUSED_STREAM));
    client.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    client.get(259, "/");
    assert_eq!(client.outcome(259).text(), "fine");
}

#[test]
fn a_flood_is_counted() {
    let origin = fine();
    let balancer = balancer(&origin);
    let mut client = Http2::connect(balancer.address);
    let (end, _) = flood(&mut client, |_| frame(PING, 0, 0, &[0; 8]), 1_000_000);
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
    let floods = "evenkeel_connections_refused_total{listener=\"web\",reason=\"flood\"}";
    eventually("it is counted", || balancer.metric(floods) == 1.0, || balancer.admin_get("/metrics").text());
}

#[test]
fn nine_thousand_tiny_messages_for_a_busy_backend_are_no_flood() {
    let origin = Origin::start(|request| Answer::Ok(request.body.len().to_string()));
    let balancer = balancer(&origin);
    let mut client = Http2::connect(balancer.address);
    let head = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "/")));
    client.send(&[head, frame(DATA, 0, 1, b"message").repeat(9000), frame(DATA, END_STREAM, 1, b"")].concat());
    assert_eq!(client.outcome(1).text(), "63000");
}
