//! Backends that are asked whether they are fit: over HTTP and by the health protocol of gRPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::origin2::{Origin2, begin};
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

const OFTEN: &str = "interval: 50ms, timeout: 500ms, healthy_after: 1, unhealthy_after: 1";

fn before(backends: &[std::net::SocketAddr], question: &str, settings: &str) -> Balancer {
    let upstream = format!("health_check: {{ {question}, {OFTEN} }}, panic_threshold: off{settings}");
    Balancer::before(backends).upstream(&upstream).start()
}

/// Answers its check with this status and body, and all else with 200.
fn checked(status: Arc<AtomicU16>, body: &'static str) -> Origin {
    Origin::start(move |request| {
        if !request.line.contains("/healthz") {
            return Answer::Ok("served".to_owned());
        }
        let head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n\r\n", status.load(Ordering::SeqCst), body.len());
        Answer::RawThenClose((head + body).into_bytes())
    })
}

fn checks(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.line.contains("/healthz")).count()
}

#[test]
fn a_backend_that_accepts_and_says_503_gets_no_requests_until_it_says_200() {
    let status = Arc::new(AtomicU16::new(503));
    let (sick, well) = (checked(status.clone(), "x"), checked(Arc::new(AtomicU16::new(204)), ""));
    let balancer = before(&[sick.address, well.address], "http: { path: \"/healthz?deep=1\" }", "");
    for _ in 0..20 {
        assert_eq!(balancer.get("/").text(), "served");
    }
    assert_eq!(sick.count(), checks(&sick), "nothing but checks: {:?}", sick.requests());
    let backends = balancer.api("upstreams")[0]["backends"].clone();
    assert_eq!(backends[0]["why"], "answered 503, expected 200-299");
    let shown = balancer.command(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("(answered 503, expected 200-299)"), "{shown:?}");
    balancer.wait_log("answered 503, expected 200-299");
    status.store(200, Ordering::SeqCst);
    balancer.wait_healthy(sick.address, true);
    assert_eq!(balancer.api("upstreams")[0]["backends"][0]["why"], serde_json::Value::Null);
    status.store(302, Ordering::SeqCst);
    balancer.wait_healthy(sick.address, false);
}

#[test]
fn a_check_by_tcp_goes_by_the_connection_alone() {
    let sick = checked(Arc::new(AtomicU16::new(503)), "x");
    let balancer = before(&[sick.address], "tcp: {}", "");
    assert_eq!((balancer.get("/").text(), checks(&sick)), ("served".to_owned(), 0), "it was asked nothing");
    let address = sick.die();
    balancer.wait_healthy(address, false);
}

#[test]
fn a_check_asks_as_it_was_told_and_goes_by_status_and_body() {
    let origin = checked(Arc::new(AtomicU16::new(301)), "all systems go");
    let question = "http: { path: /healthz, method: POST, host: probe.example, headers: { x-probe: \"1\" }, expect: [204, 300-302], body: \"systems go\" }";
    let balancer = before(&[origin.address], question, "");
    assert!(balancer.healthy(origin.address));
    let asked = origin.requests()[0].clone();
    assert_eq!(asked.line, "POST /healthz HTTP/1.1");
    assert_eq!((asked.field("host"), asked.field("x-probe")), (Some("probe.example"), Some("1")));
    assert!(asked.field("user-agent").is_some_and(|agent| agent.starts_with("evenkeel-health-check/")));
    assert!(balancer.reload(|text| text.replace("systems go", "systems stop")));
    balancer.wait_healthy(origin.address, false);
    balancer.wait_log("the body does not hold what was expected");
    assert!(balancer.reload(|text| text.replace(", body: \"systems stop\"", "")));
    balancer.wait_healthy(origin.address, true);
    assert!(balancer.reload(|text| text.replace("[204, 300-302]", "204")));
    balancer.wait_healthy(origin.address, false);
}

#[test]
fn a_check_that_hangs_ends_in_time_and_delays_no_other() {
    let gate = Gate::default();
    let waits = gate.clone();
    let hangs = Origin::start(move |_| {
        waits.pass();
        Answer::Close
    });
    let well = checked(Arc::new(AtomicU16::new(200)), "");
    let balancer = before(&[hangs.address, well.address], "http: { path: /healthz }", "");
    balancer.wait_healthy(hangs.address, false);
    balancer.wait_log("no answer within 500ms");
    let (slow, quick) = (hangs.count(), checks(&well));
    eventually("more checks", || hangs.count() >= slow + 2, || balancer.log());
    assert!(checks(&well) > quick + 4, "{} checks beside two that hung", checks(&well) - quick);
    gate.open();
}

#[test]
fn an_answer_without_an_end_is_read_to_a_limit() {
    let origin = Origin::start(|request| match request.line.contains("/healthz") {
        true => Answer::RawThenClose(
            [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 300_000], b"needle".to_vec()].concat(),
        ),
        false => Answer::Ok("served".to_owned()),
    });
    let balancer = before(&[origin.address], "http: { path: /healthz, body: needle }", "");
    balancer.wait_healthy(origin.address, false);
}

/// Answers health checks of gRPC with this status of its protocol; beyond 9 without a message.
fn grpc(status: Arc<AtomicU8>) -> Origin2 {
    Origin2::start(move |request, mut respond| {
        let status = status.load(Ordering::SeqCst);
        let is_check = request.uri().path() == "/grpc.health.v1.Health/Check";
        async move {
            if is_check && status > 9 {
                let head = http::Response::builder().status(200).header("grpc-status", "12").body(()).unwrap();
                respond.send_response(head, true).unwrap();
                return;
            }
            let mut answer = begin(&mut respond, 200);
            let body: Bytes = if is_check { vec![0, 0, 0, 0, 2, 8, status].into() } else { "served".into() };
            answer.send_data(body, false).unwrap();
            let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            answer.send_trailers(trailers).unwrap();
        }
    })
}

#[test]
fn a_backend_of_grpc_is_asked_by_its_health_protocol() {
    let status = Arc::new(AtomicU8::new(1));
    let origin = grpc(status.clone());
    let balancer = before(&[origin.address], "grpc: { service: shop }", ", protocol: http2");
    assert_eq!(balancer.get("/").text(), "served");
    let asked = origin.requests()[0].clone();
    assert_eq!((asked.method.as_str(), asked.headers["content-type"].to_str().unwrap()), ("POST", "application/grpc"));
    for (says, why) in [(2, "grpc says NOT_SERVING"), (3, "grpc says SERVICE_UNKNOWN"), (10, "grpc status 12")] {
        status.store(says, Ordering::SeqCst);
        let because = || balancer.api("upstreams")[0]["backends"][0]["why"] == why;
        eventually(why, because, || balancer.log());
        status.store(1, Ordering::SeqCst);
        balancer.wait_healthy(origin.address, true);
    }
}

#[test]
fn a_backend_of_http2_is_asked_in_http2() {
    let origin = Origin2::start(|_, mut respond| async move {
        begin(&mut respond, 200).send_data("fine".into(), true).unwrap();
    });
    let balancer =
        before(&[origin.address], "http: { path: /healthz, host: probe.example, body: fine }", ", protocol: http2");
    assert!(balancer.healthy(origin.address));
    assert_eq!(origin.requests()[0].uri.to_string(), "http://probe.example/healthz");
}

const EACH_SECOND: &str = "interval: 400ms, timeout: 300ms, unhealthy_after: 1";

/// Two upstreams before the same backend, of which the other is asked like this.
fn twice(origin: &Origin, other: &str) -> Balancer {
    let settings = |more: &str| format!("health_check: {{ http: {{ path: /healthz }}, {EACH_SECOND}{more} }}");
    let other = format!("  other: {{ backends: [{}], {} }}", origin.address, settings(other));
    let routes = "  - { match: { path: { prefix: /other } }, upstream: other }\n  - upstream: app";
    Balancer::before([origin.address]).upstream(&settings("")).more_upstreams(&other).routes(routes).start()
}

/// How often it is asked in eight intervals.
fn asked_in_eight_intervals(origin: &Origin, balancer: &Balancer) -> usize {
    let (before, start) = (checks(origin), Instant::now());
    let over = || start.elapsed() >= Duration::from_millis(8 * 400);
    eventually("eight intervals", over, || balancer.log());
    checks(origin) - before
}

#[test]
fn a_backend_of_two_upstreams_is_asked_once_for_both() {
    let status = Arc::new(AtomicU16::new(200));
    let origin = checked(status.clone(), "");
    let balancer = twice(&origin, "");
    let asked = asked_in_eight_intervals(&origin, &balancer);
    assert!((4..=9).contains(&asked), "{asked} in eight intervals");
    let healthy = |upstream: usize| balancer.api("upstreams")[upstream]["backends"][0]["healthy"].as_bool();
    status.store(500, Ordering::SeqCst);
    eventually("both hear of it", || (healthy(0), healthy(1)) == (Some(false), Some(false)), || balancer.log());
    // The check was begun for the first, which goes.
    let without = |text: String| {
        let kept = |line: &&str| !line.contains("  app:") && *line != "  - upstream: app";
        text.lines().filter(kept).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert!(balancer.reload(without));
    assert_eq!(healthy(0), Some(false), "what was heard is kept");
    let asked = asked_in_eight_intervals(&origin, &balancer);
    assert!((4..=9).contains(&asked), "{asked} after the reload");
    status.store(200, Ordering::SeqCst);
    eventually("it is heard still", || healthy(0) == Some(true), || balancer.log());
}

#[test]
fn checks_that_differ_are_made_apart() {
    let origin = checked(Arc::new(AtomicU16::new(200)), "");
    let balancer = twice(&origin, ", healthy_after: 7");
    let asked = asked_in_eight_intervals(&origin, &balancer);
    assert!((10..=18).contains(&asked), "{asked} in eight intervals, by two");
}

#[test]
fn an_upstream_that_joins_a_check_knows_at_once_what_it_found_last() {
    let origin = checked(Arc::new(AtomicU16::new(500)), "");
    let settings = "health_check: { http: { path: /healthz }, interval: 1h }, panic_threshold: off";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let other = format!("  other: {{ backends: [{}], {settings} }}\n\nroutes:", origin.address);
    assert!(balancer.reload(|text| text.replace("\nroutes:", &other)));
    let upstreams = balancer.api("upstreams");
    assert_eq!(upstreams[1]["backends"][0]["why"], "answered 500, expected 200-299");
    assert_eq!(checks(&origin), 1);
}

#[test]
fn a_backend_that_was_restarted_is_back_soon_whatever_the_interval() {
    let (steady, gone) = (Origin::named("steady"), Origin::named("gone"));
    let settings = "health_check: { interval: 1h }";
    let balancer = Balancer::before([steady.address, gone.address]).upstream(settings).start();
    let address = gone.die();
    let out = || balancer.get("/").status == 200 && !balancer.healthy(address);
    eventually("requests find it gone", out, || balancer.log());
    let _back = Origin::start_at(address, |_| Answer::Ok("back".to_owned()));
    balancer.wait_healthy(address, true);
}
