//! Requests that are tried again: after which answers, after which pauses, and whom they leave alone.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Response};
use crate::support::origin2::{Origin2, begin};
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

/// An origin that answers everything with this head and what it was sent.
fn answering(head: &'static str) -> Origin {
    Origin::start(move |request| {
        let length = request.body.len();
        Answer::Raw([format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n").as_bytes(), &request.body].concat())
    })
}

const BUSY: &str = "503 Service Unavailable";

/// Nothing but retries decides where requests go.
fn before<B: ToString>(backends: impl IntoIterator<Item = B>, settings: &str) -> Balancer {
    let settings = format!("outlier_detection: off, health_check: off, panic_threshold: off, {settings}");
    Balancer::before(backends).upstream(&settings).start()
}

fn send(balancer: &Balancer, method: &str, body: &[u8]) -> Response {
    Client::connect(balancer.address).unwrap().request(method, "/", &[], body).unwrap()
}

#[test]
fn an_answer_that_was_named_is_left_for_that_of_another_backend_and_others_pass() {
    for (status, word) in [
        ("429 Too Many Requests", "http_429"),
        ("500 Internal Server Error", "http_500"),
        ("502 Bad Gateway", "http_502"),
        (BUSY, "http_503"),
        ("504 Gateway Timeout", "http_504"),
    ] {
        let (busy, good) = (answering(status), answering("200 OK"));
        let balancer = before([busy.address, good.address], &format!("retry: {{ on: [{word}] }}"));
        let statuses: Vec<u16> = (0..6).map(|_| balancer.get("/").status).collect();
        assert_eq!(statuses, [200; 6], "{word}");
        assert!(busy.count() >= 3 && good.count() == 6, "{word}: {} and {}", busy.count(), good.count());
        assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), busy.count() as f64);
        for other in ["connect, reset, refused", if word == "http_503" { "http_502" } else { "http_503" }] {
            let balancer = before([busy.address], &format!("retry: {{ on: [{other}] }}"));
            assert_eq!(balancer.get("/").status, status[..3].parse::<u16>().unwrap(), "{word} for {other}");
        }
    }
}

#[test]
fn only_what_may_be_repeated_is_and_with_its_whole_body() {
    let (busy, good) = (answering(BUSY), answering("200 OK"));
    let balancer = before([busy.address, good.address], "retry: { on: [http_503] }");
    let statuses = |method: &str, body: &[u8]| {
        let mut statuses: Vec<u16> = (0..2).map(|_| send(&balancer, method, body).status).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses("POST", b"once"), [200, 503], "a POST may have been processed");
    let body = vec![b'x'; 60 * 1024];
    assert_eq!(statuses("PUT", &body), [200, 200]);
    assert!(good.requests().iter().filter(|request| request.line.starts_with("PUT")).all(|put| put.body == body));
    assert_eq!(statuses("PUT", &vec![b'x'; 300 * 1024]), [200, 503], "of a large body a part is gone");
}

#[test]
fn where_nobody_has_a_better_answer_the_client_gets_that_of_the_last() {
    let origins = [0, 1].map(|_| {
        Origin::start(|_| {
            let head = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\nx-why: busy";
            Answer::Raw(format!("{head}\r\ncontent-length: 4\r\n\r\nbusy").into_bytes())
        })
    });
    let balancer =
        before(origins.iter().map(|origin| origin.address), "retry: { attempts: 5, on: [http_503], backoff: off }");
    let answer = balancer.get("/");
    assert_eq!((answer.status, answer.text()), (503, "busy".to_owned()));
    assert_eq!((answer.field("retry-after"), answer.field("x-why")), (Some("7"), Some("busy")));
    assert_eq!((origins[0].count(), origins[1].count()), (1, 1), "nobody is asked twice");
    assert_eq!(balancer.access_log(1)[0]["attempts"], 2);
}

#[test]
fn a_backend_that_asks_for_a_pause_is_left_alone_by_retries_until_that_is_over() {
    let (busy, resting, good) = (answering(BUSY), answering("503 Busy\r\nretry-after: 2"), answering("200 OK"));
    let spare = [&resting, &good].map(|origin| format!("{{ address: {}, tier: 1 }}", origin.address));
    let backends = spare.into_iter().chain([busy.address.to_string()]);
    let balancer = before(backends, "retry: { on: [http_503], budget: 100%, backoff: off }");
    // Retries alone come to the second tier.
    let asked = Instant::now();
    while resting.count() == 0 {
        assert_eq!(balancer.get("/").status, 200);
    }
    let told = Instant::now();
    while told.elapsed() < Duration::from_millis(1500) {
        assert_eq!(balancer.get("/").status, 200);
        assert_eq!(resting.count(), 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = || balancer.get("/").status == 200 && resting.count() == 2;
    eventually("another try", again, || balancer.log());
    assert!(asked.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_retry_waits_but_not_beyond_the_time_of_the_request_and_not_where_nobody_heard_it() {
    let (busy, good, dead) = (answering(BUSY), answering("200 OK"), free_address());
    let with = |backoff: &str, first: String| {
        let backends = [first, format!("{{ address: {}, tier: 1 }}", good.address)];
        before(
            backends,
            &format!("retry: {{ on: [connect, http_503], backoff: {backoff} }}, timeouts: {{ total: 1s }}"),
        )
    };
    // Of a day something is waited for but by one chance in a hundred thousand.
    let long = "{ base: 1d, max: 1d }";
    let began = Instant::now();
    let balancer = with(long, busy.address.to_string());
    let answer = balancer.get("/");
    assert_eq!((answer.status, answer.text().contains("total_timeout")), (504, true), "{}", answer.text());
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(with("off", busy.address.to_string()).get("/").status, 200);
    assert_eq!(with("{ base: 1ms, max: 1ms }", busy.address.to_string()).get("/").status, 200);
    assert_eq!(with(long, dead.to_string()).get("/").status, 200, "no backend has heard it: at once");
}

#[test]
fn over_http2_a_left_answer_costs_its_stream_alone() {
    let busy = Origin2::start(|_, mut respond| async move {
        drop(begin(&mut respond, 503).send_data("busy".into(), true));
    });
    let good = Origin2::start(|_, mut respond| async move {
        drop(begin(&mut respond, 200).send_data("good".into(), true));
    });
    let balancer = before([busy.address, good.address], "protocol: http2, retry: { on: [http_503], budget: 100% }");
    let answers: Vec<String> = (0..12).map(|_| balancer.get("/").text()).collect();
    assert!(answers.iter().all(|answer| answer == "good"), "{answers:?}");
    assert!(busy.requests().len() >= 6);
    // One for each core.
    assert!(busy.connections() <= 2, "{}", busy.connections());
}

#[test]
fn a_try_that_takes_too_long_is_made_again_elsewhere_if_its_method_may_be() {
    let slow = Origin::start(|_| {
        Answer::Take(Box::new(|mut stream| {
            // Until the balancer has enough of it.
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }))
    });
    let good = answering("200 OK");
    let backends = || [slow.address.to_string(), format!("{{ address: {}, tier: 1 }}", good.address)];
    let balancer = before(backends(), "retry: { per_try_timeout: 300ms, on: [connect] }");
    let began = Instant::now();
    assert_eq!(balancer.get("/").status, 200);
    assert_eq!(send(&balancer, "PUT", b"body").body, b"body");
    assert!(began.elapsed() >= Duration::from_millis(600) && began.elapsed() < Duration::from_secs(20));
    let posted = send(&balancer, "POST", b"body");
    assert_eq!((posted.status, posted.text().contains("try_timeout")), (504, true));
    assert_eq!((slow.count(), good.count()), (3, 2));
    let patient = before(backends(), "retry: { per_try_timeout: off }, timeouts: { first_byte: 1s }");
    let answer = patient.get("/");
    assert!(answer.text().contains("first_byte_timeout"), "{}", answer.text());
}

/// How many attempts were made for 400 requests, one after the other.
fn attempts_for_400(balancer: &Balancer, backends: &[std::net::SocketAddr]) -> f64 {
    for _ in 0..400 {
        assert!(balancer.get("/").status >= 500);
    }
    let attempts = |backend: &std::net::SocketAddr| {
        balancer.metric(&format!("evenkeel_attempts_total{{upstream=\"app\",backend=\"{backend}\"}}"))
    };
    backends.iter().map(attempts).sum()
}

#[test]
fn in_a_full_outage_backends_see_at_most_a_fifth_more_than_clients_ask() {
    for kind in ["answers 503", "resets"] {
        let origins = [0; 3].map(|_| match kind {
            "resets" => Origin::start(|_| Answer::Close),
            _ => answering(BUSY),
        });
        let backends = origins.each_ref().map(|origin| origin.address);
        let settings = "retry: { attempts: 3, on: [connect, reset, http_503], backoff: off }";
        let balancer = Balancer::before(backends).upstream(settings).start();
        let attempts = attempts_for_400(&balancer, &backends);
        assert!((401.0..=480.0).contains(&attempts), "{kind}: {attempts}");
        assert_eq!(origins.iter().map(Origin::count).sum::<usize>() as f64, attempts, "{kind}");
        assert!(balancer.metric("evenkeel_retries_refused_total{upstream=\"app\"}") > 0.0, "{kind}");
    }
    let dead = [0; 3].map(|_| free_address());
    for settings in ["retry: { attempts: 3 }", "retry: { attempts: 3, backoff: off }, health_check: off"] {
        let balancer = Balancer::before(dead).upstream(settings).start();
        let attempts = attempts_for_400(&balancer, &dead);
        assert!(attempts <= 480.0, "{settings}: {attempts}");
    }
}
