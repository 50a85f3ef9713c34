//! Requests that wait are given to a second backend: which, when, and what becomes of the attempt that is not needed.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::frames::{END_STREAM, End, Http2, request};
use crate::support::{Answer, Balancer, Origin, eventually};
use crate::timeouts::black_hole;

/// Nothing but hedges decides where requests go.
fn before(backends: &[Origin], settings: &str) -> Balancer {
    let settings = format!("outlier_detection: off, health_check: off, {settings}");
    Balancer::before(backends.iter().map(|origin| origin.address)).upstream(&settings).start()
}

/// Two backends that do the same, by which of them was asked first.
struct Pair {
    origins: [Origin; 2],
    /// Connections that the balancer ended.
    ended: Arc<AtomicUsize>,
}

/// What one of the two does.
#[derive(Clone, Copy)]
enum Does {
    /// Nothing, until its connection is ended.
    Waits,
    /// Answers with this status after so many milliseconds.
    Answers(u64, &'static str),
    /// Ends its connection after so many milliseconds.
    Breaks(u64),
}

impl Pair {
    /// Of every two requests the first is met with `first`, the second with `second`.
    fn of(first: Does, second: Does) -> Pair {
        let (asked, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let origin = |name: &'static str| {
            let (asked, ended) = (asked.clone(), ended.clone());
            Origin::start(move |_| {
                let does = if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { first } else { second };
                let wait = |millis| std::thread::sleep(Duration::from_millis(millis));
                match does {
                    Does::Waits => {
                        let ended = ended.clone();
                        Answer::Take(Box::new(move |stream| until_ended(stream, &ended)))
                    }
                    Does::Answers(millis, status) => {
                        wait(millis);
                        let length = name.len();
                        Answer::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{name}").into_bytes())
                    }
                    Does::Breaks(millis) => {
                        wait(millis);
                        Answer::Close
                    }
                }
            })
        };
        Pair { origins: [origin("a"), origin("b")], ended }
    }

    fn asked(&self) -> usize {
        self.origins.iter().map(Origin::count).sum()
    }

    /// What was begun at the backends has ended there.
    fn settle(&self, balancer: &Balancer, ended: usize) {
        let all_ended = || self.ended.load(Ordering::SeqCst) == ended;
        eventually("the end of what waited", all_ended, || self.ended.load(Ordering::SeqCst).to_string());
        for origin in &self.origins {
            let series = format!("evenkeel_backend_in_flight{{upstream=\"app\",backend=\"{}\"}}", origin.address);
            eventually(
                "nothing in flight",
                || balancer.metric(&series) == 0.0,
                || balancer.metric(&series).to_string(),
            );
        }
    }
}

fn until_ended(mut stream: TcpStream, ended: &AtomicUsize) {
    drop(stream.read_to_end(&mut Vec::new()));
    ended.fetch_add(1, Ordering::SeqCst);
}

fn hedges(balancer: &Balancer, state: &str) -> f64 {
    balancer.metric(&format!("evenkeel_hedges_total{{upstream=\"app\",state=\"{state}\"}}"))
}

fn made(balancer: &Balancer) -> f64 {
    hedges(balancer, "won") + hedges(balancer, "lost")
}

#[test]
fn a_request_that_waits_is_answered_by_another_backend_and_its_first_connection_is_closed() {
    let pair = Pair::of(Does::Waits, Does::Answers(0, "200 OK"));
    let balancer = before(&pair.origins, "retry: { hedge: { after: 300ms } }");
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..4 {
        let began = Instant::now();
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
        // Alone the first would have waited for 30 s.
        assert!((Duration::from_millis(300)..Duration::from_secs(15)).contains(&began.elapsed()));
    }
    pair.settle(&balancer, 4);
    assert_eq!((hedges(&balancer, "won"), hedges(&balancer, "lost"), hedges(&balancer, "refused")), (4.0, 0.0, 0.0));
    for line in balancer.access_log(4) {
        assert_eq!(
            (&line["hedge"], &line["attempts"], &line["reason"]),
            (&"won".into(), &2.into(), &().into()),
            "{line}"
        );
    }
    // Who was slower has not failed.
    let metrics = balancer.admin_get("/metrics").text();
    assert!(!metrics.contains("evenkeel_attempt_failures_total{"), "{metrics}");
    assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), 0.0);
}

#[test]
fn a_client_of_http_2_is_answered_by_the_second_too() {
    let pair = Pair::of(Does::Waits, Does::Answers(0, "200 OK"));
    let balancer = before(&pair.origins, "retry: { hedge: { after: 300ms } }");
    let mut client = Http2::connect(balancer.address);
    client.headers(1, &request("GET", "/"), END_STREAM);
    let outcome = client.outcome(1);
    assert_eq!((outcome.status, outcome.end), (Some(200), End::Whole));
    pair.settle(&balancer, 1);
}

#[test]
fn the_first_backend_may_still_be_the_quicker_one() {
    let pair = Pair::of(Does::Answers(900, "200 OK"), Does::Waits);
    let balancer = before(&pair.origins, "retry: { hedge: { after: 300ms } }");
    assert_eq!(balancer.get("/").status, 200);
    pair.settle(&balancer, 1);
    assert_eq!((hedges(&balancer, "won"), hedges(&balancer, "lost")), (0.0, 1.0));
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["hedge"], &line["attempts"]), (&"lost".into(), &2.into()), "{line}");
}

#[test]
fn a_request_that_is_answered_in_time_is_asked_once() {
    let pair = Pair::of(Does::Answers(0, "200 OK"), Does::Answers(0, "200 OK"));
    let balancer = before(&pair.origins, "retry: { hedge: { after: 10s } }");
    assert!((0..20).all(|_| balancer.get("/").status == 200));
    assert_eq!(pair.asked(), 20);
    assert_eq!(balancer.access_log(20)[0]["hedge"], serde_json::Value::Null);
}

#[test]
fn what_may_not_be_made_twice_is_not_hedged() {
    let pair = Pair::of(Does::Answers(400, "200 OK"), Does::Answers(400, "200 OK"));
    let settings = "sticky: on, retry: { hedge: { after: 50ms } }";
    let balancer = before(&pair.origins, settings);
    let mut asked = 0;
    let mut ask = |method: &str, fields: &[(&str, &str)], body: &[u8], attempts: usize| {
        let answer = Client::connect(balancer.address).unwrap().request(method, "/", fields, body).unwrap();
        assert_eq!(answer.status, 200);
        asked += attempts;
        eventually("all that is asked", || pair.asked() == asked, || format!("{method} {fields:?}: {}", pair.asked()));
        answer
    };
    ask("POST", &[], b"", 1);
    ask("PUT", &[], b"body", 1);
    ask("GET", &[], b"body", 1);
    ask("PATCH", &[], b"", 1);
    ask("GET", &[("connection", "upgrade"), ("upgrade", "websocket")], b"", 1);
    let stays = ask("GET", &[], b"", 2);
    let cookie = stays.field("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap().to_owned();
    ask("GET", &[("cookie", &cookie)], b"", 1);
    ask("DELETE", &[], b"", 2);
    ask("HEAD", &[], b"", 2);
}

#[test]
fn where_there_is_no_other_backend_or_no_attempt_left_nothing_is_hedged() {
    let slow = || {
        Origin::start(|_| {
            std::thread::sleep(Duration::from_millis(300));
            Answer::Ok("slow".to_owned())
        })
    };
    let (alone, spare) = (slow(), slow());
    let settings = "retry: { hedge: { after: 50ms } }";
    let balancer = before(std::slice::from_ref(&alone), settings);
    assert_eq!((balancer.get("/").status, alone.count()), (200, 1));
    let backends = [alone.address.to_string(), format!("{{ address: {}, tier: 1 }}", spare.address)];
    let settings = format!("outlier_detection: off, health_check: off, {settings}");
    let tiers = Balancer::before(backends).upstream(&settings).start();
    assert_eq!((tiers.get("/").status, alone.count(), spare.count()), (200, 2, 0), "another tier is not in charge");
    assert_eq!(balancer.access_log(1)[0]["attempts"], 1);
}

#[test]
fn a_routes_word_on_hedges_wins_over_its_upstreams() {
    let pair = Pair::of(Does::Answers(300, "200 OK"), Does::Answers(300, "200 OK"));
    let settings = "outlier_detection: off, health_check: off, retry: { hedge: { after: 50ms } }";
    let routes = "  - { name: off, match: { path: { prefix: /off } }, upstream: app, retry: { hedge: off } }\n  - { name: late, match: { path: { prefix: /late } }, upstream: app, retry: { hedge: { after: 10s } } }\n  - { name: rest, upstream: app }";
    let backends = pair.origins.iter().map(|origin| origin.address);
    let balancer = Balancer::before(backends).upstream(settings).routes(routes).start();
    for (path, attempts, told) in [("/off", 1, "off"), ("/late", 1, "10s"), ("/", 2, "50ms")] {
        let asked = pair.asked();
        assert_eq!(balancer.get(path).status, 200);
        let all = || pair.asked() == asked + attempts;
        eventually("all attempts", all, || format!("{path}: {}", pair.asked() - asked));
        let explained = balancer.command(&["explain", "--json", &format!("http://x{path}")]);
        let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
        assert_eq!(explained["action"]["upstreams"][0]["hedge"], told, "{explained}");
    }
}

#[test]
fn where_one_of_the_two_fails_the_other_goes_on() {
    let other = Does::Answers(900, "200 OK");
    for first in [Does::Breaks(400), Does::Answers(400, "503 Busy")] {
        let pair = Pair::of(first, other);
        let balancer = before(&pair.origins, "retry: { attempts: 1, on: [connect, http_503], hedge: { after: 50ms } }");
        assert_eq!(balancer.get("/").status, 200);
        assert_eq!((pair.asked(), made(&balancer)), (2, 1.0));
        assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), 0.0, "nothing was tried again");
        pair.settle(&balancer, 0);
    }
    for second in [Does::Breaks(100), Does::Answers(100, "503 Busy")] {
        let pair = Pair::of(other, second);
        let balancer = before(&pair.origins, "retry: { attempts: 1, on: [connect, http_503], hedge: { after: 50ms } }");
        assert_eq!(balancer.get("/").status, 200);
        assert_eq!((pair.asked(), made(&balancer)), (2, 1.0));
        pair.settle(&balancer, 0);
    }
}

#[test]
fn where_both_fail_the_client_is_told_why_the_last_did() {
    let pair = Pair::of(Does::Waits, Does::Waits);
    let settings = "retry: { hedge: { after: 100ms } }, timeouts: { first_byte: 900ms }";
    let balancer = before(&pair.origins, settings);
    let began = Instant::now();
    let answer = balancer.get("/");
    assert_eq!((answer.status, answer.text().contains("first_byte_timeout")), (504, true), "{}", answer.text());
    assert!(began.elapsed() >= Duration::from_secs(1), "each has its time");
    pair.settle(&balancer, 2);
    let line = &balancer.access_log(1)[0];
    assert_eq!((&line["attempts"], &line["hedge"]), (&2.into(), &"lost".into()));
    let busy = Pair::of(Does::Answers(300, "503 Busy"), Does::Answers(600, "503 Busy"));
    let balancer = before(&busy.origins, "retry: { attempts: 1, on: [http_503], hedge: { after: 100ms } }");
    assert_eq!((balancer.get("/").status, busy.asked()), (503, 2), "the last answer is passed on as it is");
}

#[test]
fn the_time_of_the_whole_request_ends_both() {
    let pair = Pair::of(Does::Waits, Does::Waits);
    let balancer = before(&pair.origins, "retry: { hedge: { after: 100ms } }, timeouts: { total: 900ms }");
    let answer = balancer.get("/");
    assert_eq!((answer.status, answer.text().contains("total_timeout")), (504, true), "{}", answer.text());
    pair.settle(&balancer, 2);
}

#[test]
fn a_client_that_leaves_ends_both() {
    let pair = Pair::of(Does::Waits, Does::Waits);
    let balancer = before(&pair.origins, "retry: { hedge: { after: 300ms } }");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("both are asked", || pair.asked() == 2, || pair.asked().to_string());
    client.reset();
    pair.settle(&balancer, 2);
    assert_eq!(balancer.access_log(1)[0]["reason"], "client_gone");
    assert_eq!(hedges(&balancer, "lost"), 1.0);
}

#[test]
fn when_all_backends_are_slow_the_budget_bounds_hedges() {
    const CLIENTS: usize = 20;
    const EACH: usize = 25;
    let slow = || {
        Origin::start(|_| {
            std::thread::sleep(Duration::from_millis(200));
            Answer::Ok("slow".to_owned())
        })
    };
    let origins = [slow(), slow(), slow()];
    let balancer = before(&origins, "retry: { budget: 10%, hedge: { after: 20ms } }");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(balancer.address).unwrap();
                assert!((0..EACH).all(|_| client.request("GET", "/", &[], b"").unwrap().status == 200));
            });
        }
    });
    let requests = (CLIENTS * EACH) as f64;
    let made = made(&balancer);
    // A tenth, five for each second, and what an upstream begins with.
    let most = requests * 0.1 + 5.0 * began.elapsed().as_secs_f64() + 20.0;
    assert!(made >= 20.0 && made <= most, "{made} of {requests}");
    assert!(hedges(&balancer, "refused") > 0.0);
    let asked = origins.iter().map(Origin::count).sum::<usize>() as f64;
    assert!((requests..=requests + most).contains(&asked), "{asked} for {requests}");
}

/// Backends of which each answers quickly but for every thirtieth request.
fn mostly_quick(slow: u64) -> [Origin; 3] {
    [0, 10, 20].map(|shift| {
        let count = AtomicUsize::new(shift);
        Origin::start(move |_| {
            let is_slow = count.fetch_add(1, Ordering::SeqCst) % 30 == 29;
            std::thread::sleep(Duration::from_millis(if is_slow { slow } else { 3 }));
            Answer::Ok("ok".to_owned())
        })
    })
}

/// How long requests of some clients took, in milliseconds and in order.
fn measure(balancer: &Balancer, each: usize) -> Vec<u128> {
    let mut took: Vec<u128> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(balancer.address).unwrap();
                    let ask = |_| {
                        let began = Instant::now();
                        assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
                        began.elapsed().as_millis()
                    };
                    (0..each).map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    took.sort_unstable();
    took
}

#[test]
fn once_it_is_known_how_long_answers_take_the_slowest_are_hedged_and_a_reload_forgets_nothing() {
    let mut p99 = Vec::new();
    for hedge in ["off", "{ min: 20ms }"] {
        let origins = mostly_quick(1000);
        let balancer = before(&origins, &format!("retry: {{ hedge: {hedge} }}"));
        assert!(*measure(&balancer, 24).last().unwrap() >= 1000);
        assert_eq!(made(&balancer), 0.0, "fewer than a hundred are too few to tell");
        measure(&balancer, 20);
        // A second passes until what was counted is known.
        std::thread::sleep(Duration::from_millis(1500));
        assert!(balancer.reload(|text| text.replace("health_check: off", "health_check: off, slow_start: 1s")));
        let took = measure(&balancer, 100);
        let [p50, p95, p99_of] = [50, 95, 99].map(|share| took[took.len() * share / 100]);
        println!(
            "hedge {hedge}: p50 {p50} ms, p95 {p95} ms, p99 {p99_of} ms; {} of {} hedged",
            made(&balancer),
            took.len()
        );
        p99.push(p99_of);
        assert_eq!(hedges(&balancer, "won") > 0.0, hedge != "off");
    }
    assert!(p99[0] >= 1000 && p99[1] < 700, "{p99:?}");
}

#[test]
fn a_backend_that_accepts_no_connection_is_not_waited_for() {
    let (listener, _waiting) = black_hole();
    let alive = Origin::named("alive");
    let settings =
        "outlier_detection: off, health_check: off, timeouts: { connect: 60s }, retry: { hedge: { after: 100ms } }";
    let balancer = Balancer::before([listener.local_addr().unwrap(), alive.address]).upstream(settings).start();
    let began = Instant::now();
    assert!((0..4).all(|_| balancer.get("/").text() == "alive"));
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(hedges(&balancer, "won") >= 2.0);
}
