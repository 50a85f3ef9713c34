//! Every time-out: what it cuts, and what it leaves alone.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// What a limit of one second may take: its tick, and a machine that is busy.
fn about_a_second(began: Instant) -> bool {
    (Duration::from_millis(950)..Duration::from_secs(5)).contains(&began.elapsed())
}

/// Sends these bytes one by one until the other side closes; the answer.
fn drip(client: &mut Client, bytes: &str) -> String {
    let mut writer = client.stream().try_clone().unwrap();
    let bytes = bytes.to_owned();
    let dripping = std::thread::spawn(move || {
        for byte in bytes.bytes() {
            if writer.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    dripping.join().unwrap();
    rest
}

fn long_head() -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(100))
}

#[test]
fn a_head_that_drips_is_408_on_a_new_connection_and_on_a_kept_one() {
    let origin = Origin::named("a");
    let settings = "timeouts: { request_header: 1s, keep_alive: 20s }";
    let balancer = Balancer::before([origin.address]).listener(settings).start();
    for kept in [false, true] {
        let mut client = Client::connect(balancer.address).unwrap();
        if kept {
            assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "a");
        }
        let began = Instant::now();
        let answer = drip(&mut client, &long_head());
        assert!(answer.starts_with("HTTP/1.1 408 ") && about_a_second(began), "{:?} {answer}", began.elapsed());
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"request_timeout\"}"), 2.0);

    let patient = Balancer::before([origin.address]).listener("timeouts: { request_header: 20s }").start();
    let mut client = Client::connect(patient.address).unwrap();
    for piece in ["GET / HT", "TP/1.1\r\nho", "st: a\r\n", "connection: close\r\n\r\n"] {
        client.send(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(client.response(false).unwrap().text(), "a", "the same within its time");
}

#[test]
fn a_new_connection_that_says_nothing_is_closed() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).listener("timeouts: { request_header: 1s }").start();
    let began = Instant::now();
    let mut client = Client::connect(balancer.address).unwrap();
    assert_eq!(client.rest(), b"");
    assert!(about_a_second(began), "{:?}", began.elapsed());
}

#[test]
fn a_body_that_stalls_is_408_and_one_that_drips_is_not() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).listener("timeouts: { request_body_idle: 1s }").start();
    for head in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = Client::connect(balancer.address).unwrap();
        let began = Instant::now();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}").as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408 ") && about_a_second(began), "{:?} {answer}", began.elapsed());
        assert!(answer.contains("request_timeout"), "{answer}");
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(balancer.access_log(2)[0]["reason"], "request_timeout");

    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n").unwrap();
    for byte in b"abcdef" {
        std::thread::sleep(Duration::from_millis(400));
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.response(false).unwrap().text(), "a", "2.4 s in all, never 1 s in silence");
}

/// A response larger than all buffers between a backend and a client.
fn endless() -> Origin {
    Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            let piece = vec![b'x'; 1 << 20];
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n"));
            while stream.write_all(&piece).is_ok() {}
        }))
    })
}

#[test]
fn a_reader_that_stops_reading_is_cut() {
    let origin = endless();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { response_write_idle: 1s }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let open = || balancer.metric("evenkeel_connections{listener=\"web\"}");
    eventually("the connection is open", || open() == 1.0, String::new);
    let began = Instant::now();
    eventually("the reader is cut", || open() == 0.0, || open().to_string());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(client.rest().len() < 104_857_600, "it cannot take the answer for whole");
    assert_eq!(balancer.access_log(1)[0]["reason"], "client_gone");
}

#[test]
fn a_kept_connection_that_is_idle_is_closed_and_a_busy_one_is_not() {
    let origin = Origin::named("a");
    let balancer = Balancer::before([origin.address]).listener("timeouts: { keep_alive: 1s }").start();
    let mut idle = Client::connect(balancer.address).unwrap();
    let mut busy = Client::connect(balancer.address).unwrap();
    idle.request("GET", "/", &[], b"").unwrap();
    let began = Instant::now();
    for _ in 0..8 {
        assert_eq!(busy.request("GET", "/", &[], b"").unwrap().text(), "a");
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(idle.rest(), b"");
    assert!(began.elapsed() < Duration::from_secs(6));
    let mut idle = Client::connect(balancer.address).unwrap();
    idle.request("GET", "/", &[], b"").unwrap();
    let began = Instant::now();
    assert_eq!(idle.rest(), b"", "closed without a word: nothing was asked");
    assert!(about_a_second(began), "{:?}", began.elapsed());
}

/// A listener whose backlog is full, so that the kernel leaves connections to it unanswered.
pub fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    (listener, waiting)
}

#[test]
fn a_backend_that_does_not_accept_is_left_after_the_connect_timeout() {
    let (listener, _waiting) = black_hole();
    let hole = listener.local_addr().unwrap();
    let settings = "health_check: off, retry: off, timeouts: { connect: 1s }";
    let balancer = Balancer::before([hole]).upstream(settings).start();
    let began = Instant::now();
    let response = balancer.get("/");
    assert!(about_a_second(began), "{:?}", began.elapsed());
    assert_eq!(response.status, 504);
    assert!(response.text().contains("connect_timeout"), "{}", response.text());

    let alive = Origin::named("alive");
    let settings = "health_check: off, timeouts: { connect: 500ms }";
    let balancer = Balancer::before([hole, alive.address]).upstream(settings).start();
    for _ in 0..4 {
        assert_eq!(balancer.get("/").text(), "alive", "it is tried elsewhere");
    }
}

/// Answers `/slow` with its head late, `/stall` with half a body, `/drip` with a byte each 400 ms.
fn lazy() -> Origin {
    Origin::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        Answer::Take(Box::new(move |mut stream| {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\n";
            match &*target {
                "/slow" => {
                    std::thread::sleep(Duration::from_millis(2500));
                    drop(stream.write_all(format!("{head}slowly").as_bytes()));
                }
                "/stall" => {
                    drop(stream.write_all(format!("{head}abc").as_bytes()));
                    std::thread::sleep(Duration::from_millis(2500));
                    drop(stream.write_all(b"def"));
                }
                _ => {
                    drop(stream.write_all(head.as_bytes()));
                    for byte in b"abcdef" {
                        std::thread::sleep(Duration::from_millis(400));
                        drop(stream.write_all(&[*byte]));
                    }
                }
            }
            drop(stream.shutdown(std::net::Shutdown::Both));
        }))
    })
}

/// The answer as it came, and how long it took.
fn ask(balancer: &Balancer, target: &str) -> (String, Duration) {
    let began = Instant::now();
    let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answer = crate::support::client::exchange(balancer.address, request.as_bytes());
    (answer, began.elapsed())
}

fn is_cut(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nabc")
}

fn impatient(lazy: &Origin, timeouts: &str) -> Balancer {
    Balancer::before([lazy.address]).upstream(&format!("retry: off, timeouts: {{ {timeouts} }}")).start()
}

#[test]
fn a_head_that_is_late_is_504_whether_idle_is_longer_or_not() {
    let lazy = lazy();
    for timeouts in ["first_byte: 1s, idle: 20s", "first_byte: 1s, idle: 1s"] {
        let (answer, took) = ask(&impatient(&lazy, timeouts), "/slow");
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("first_byte_timeout"), "{timeouts}: {answer}");
        assert!(took < Duration::from_millis(2400), "{timeouts}: {took:?}");
    }
}

#[test]
fn a_long_wait_ends_neither_early_nor_much_too_late() {
    let silent = Gate::default();
    let waits = silent.clone();
    let origin = Origin::start(move |_| {
        waits.pass();
        Answer::Ok("too late".to_owned())
    });
    let (answer, took) = ask(&impatient(&origin, "first_byte: 3s, idle: 20s"), "/");
    silent.open();
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("first_byte_timeout"), "{answer}");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_millis(4400), "{took:?}");
}

#[test]
fn a_body_that_stalls_is_cut_at_idle_though_first_byte_is_longer() {
    let lazy = lazy();
    for timeouts in ["first_byte: 20s, idle: 1s", "first_byte: 1s, idle: 1s"] {
        let balancer = impatient(&lazy, timeouts);
        let (answer, took) = ask(&balancer, "/stall");
        assert!(is_cut(&answer) && took < Duration::from_millis(2400), "{timeouts}: {took:?} {answer}");
        assert_eq!(balancer.access_log(1)[0]["reason"], "idle_timeout");
    }
}

#[test]
fn what_is_slow_within_its_limit_is_served_though_the_other_limit_is_shorter() {
    let lazy = lazy();
    let patient_with_heads = impatient(&lazy, "first_byte: 20s, idle: 1s");
    assert!(ask(&patient_with_heads, "/slow").0.ends_with("slowly"));
    assert!(ask(&patient_with_heads, "/drip").0.ends_with("abcdef"), "2.4 s in all, never 1 s in silence");
    assert!(ask(&impatient(&lazy, "first_byte: 1s, idle: 20s"), "/stall").0.ends_with("abcdef"));
}

#[test]
fn a_request_takes_no_longer_than_its_total_whatever_it_waits_for() {
    let lazy = lazy();
    let balancer = Balancer::before([lazy.address]).upstream("timeouts: { total: 1s }").start();
    let (answer, took) = ask(&balancer, "/slow");
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("total_timeout"), "{answer}");
    assert!(took < Duration::from_millis(2400), "{took:?}");
    let (answer, took) = ask(&balancer, "/drip");
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.ends_with("abcdef"), "{answer}");
    assert!(took < Duration::from_millis(2400), "{took:?}");
    assert_eq!(balancer.access_log(2)[1]["reason"], "total_timeout");
    assert_eq!(lazy.count(), 2, "not tried again");
}

#[test]
fn a_slow_upload_is_not_held_against_the_backend() {
    let origin = Origin::named("a");
    let settings = "timeouts: { first_byte: 1s, idle: 2s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n").unwrap();
    for byte in b"abcdefgh" {
        std::thread::sleep(Duration::from_millis(400));
        client.send(&[*byte]).unwrap();
    }
    let response = client.response(false).unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "a"),
        "first_byte counts from the end of the request"
    );
}

#[test]
fn a_client_that_pauses_in_its_body_is_not_held_against_the_backend() {
    let origin = Origin::named("a");
    for timeouts in ["first_byte: 1s, idle: 1s", "first_byte: 500ms, idle: 1s"] {
        let balancer = Balancer::before([origin.address]).upstream(&format!("timeouts: {{ {timeouts} }}")).start();
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf").unwrap();
        std::thread::sleep(Duration::from_millis(1700));
        client.send(b"rest").unwrap();
        assert_eq!(client.response(false).unwrap().status, 200, "{timeouts}");
    }
    let silent = Origin::start(|_| Answer::Raw(Vec::new()));
    let settings = "timeouts: { first_byte: 1s, idle: 1s }";
    let balancer = Balancer::before([silent.address]).upstream(settings).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let response = client.request("POST", "/", &[], b"body").unwrap();
    assert_eq!(response.status, 504, "but it has its second when the body is there");
    assert!(response.text().contains("first_byte_timeout"), "{}", response.text());
}

#[test]
fn an_idle_connection_to_a_backend_is_kept_as_long_as_it_says() {
    let origin = Origin::named("a");
    let used = || origin.requests().iter().map(|request| request.connection).collect::<BTreeSet<_>>().len();
    let settings = "health_check: off, timeouts: { keep_alive: 1s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).top("threads: 1").start();
    balancer.get("/");
    balancer.get("/");
    assert_eq!(used(), 1);
    std::thread::sleep(Duration::from_secs(2));
    balancer.get("/");
    assert_eq!(used(), 2, "after its time another is made");
}

#[test]
fn what_a_backend_has_said_reaches_the_client_though_the_backend_pauses() {
    let lazy = lazy();
    let balancer = Balancer::before([lazy.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /stall HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let began = Instant::now();
    let mut seen = Vec::new();
    while !seen.ends_with(b"abc") {
        let mut byte = [0];
        std::io::Read::read_exact(client.stream(), &mut byte).unwrap();
        seen.push(byte[0]);
    }
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    client.read_exact(&mut [0; 3]).unwrap();
}

#[test]
fn the_limit_of_a_whole_request_bounds_its_connecting_and_its_retries_too() {
    let (listener, _waiting) = black_hole();
    let hole = listener.local_addr().unwrap();
    let settings = "health_check: off, timeouts: { connect: 2s, total: 1s }";
    let balancer = Balancer::before([hole]).upstream(settings).start();
    let began = Instant::now();
    let response = balancer.get("/");
    assert!(about_a_second(began), "{:?}", began.elapsed());
    assert_eq!(response.status, 504);
}

#[test]
fn a_client_that_pauses_in_its_reading_is_not_held_against_the_backend() {
    const LENGTH: usize = 20_000_000;
    let origin = Origin::start(|_| Answer::Ok("x".repeat(LENGTH)));
    let settings = "timeouts: { first_byte: 5s, idle: 1s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(client.response(false).unwrap().body.len(), LENGTH);
}
