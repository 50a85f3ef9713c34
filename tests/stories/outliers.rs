//! Backends that accept every connection and are of no use all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Origin, eventually};

const FAILURE: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nfail";

/// An origin that answers 500 while it is told so.
fn moody(sick: &Arc<AtomicBool>) -> Origin {
    let sick = sick.clone();
    Origin::start(move |_| match sick.load(Ordering::SeqCst) {
        true => Answer::Raw(FAILURE.to_vec()),
        false => Answer::Ok("moody".to_owned()),
    })
}

fn ejected(balancer: &Balancer, backend: SocketAddr, reason: &str) -> bool {
    let series = format!("evenkeel_backend_ejected{{upstream=\"app\",backend=\"{backend}\",reason=\"{reason}\"}}");
    balancer.metric(&series) == 1.0
}

#[test]
fn five_failures_in_a_row_take_a_backend_out_until_a_probe_is_served() {
    let sick = Arc::new(AtomicBool::new(true));
    let (moody, well) = (moody(&sick), Origin::named("well"));
    let settings = "outlier_detection: { ejection: 1s }";
    let balancer = Balancer::before([moody.address, well.address]).upstream(settings).start();
    let failed = (0..40).filter(|_| balancer.get("/").status == 500).count();
    assert!((5..=6).contains(&failed), "{failed}: five, and a probe if this took a second");
    assert!(ejected(&balancer, moody.address, "consecutive_failures"));
    let shown = balancer.command(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("ejected (consecutive_failures)"), "{shown:?}");
    sick.store(false, Ordering::SeqCst);
    eventually("a probe brings it back", || balancer.get("/").text() == "moody", || balancer.log());
    let wait = || !ejected(&balancer, moody.address, "consecutive_failures");
    eventually("it has returned", wait, || balancer.log());
    assert_eq!(balancer.log().matches("ejected backend returned").count(), 1, "{}", balancer.log());
    assert!(balancer.log().contains("reason=consecutive_failures"), "{}", balancer.log());
}

#[test]
fn a_backend_without_another_is_never_taken_out_and_with_outlier_detection_off_none_is() {
    let sick = Arc::new(AtomicBool::new(true));
    let lone = moody(&sick);
    let balancer = Balancer::before([lone.address]).start();
    assert!((0..20).all(|_| balancer.get("/").status == 500));
    assert!(balancer.metric("evenkeel_ejections_refused_total{upstream=\"app\"}") > 0.0);
    let (first, second) = (moody(&sick), Origin::named("well"));
    let balancer = Balancer::before([first.address, second.address]).upstream("outlier_detection: off").start();
    assert_eq!((0..40).filter(|_| balancer.get("/").status == 500).count(), 20);
}

#[test]
fn an_ejection_survives_a_reload_and_ends_with_the_key() {
    let sick = Arc::new(AtomicBool::new(true));
    let (moody, well) = (moody(&sick), Origin::named("well"));
    let settings = "outlier_detection: { ejection: 1h }";
    let balancer = Balancer::before([moody.address, well.address]).upstream(settings).start();
    let failures = || (0..20).filter(|_| balancer.get("/").status == 500).count();
    assert_eq!(failures(), 5);
    assert!(balancer.reload(|text| text.replace("{ ejection: 1h }", "{ ejection: 2h }")));
    assert_eq!(failures(), 0);
    assert!(balancer.reload(|text| text.replace("{ ejection: 2h }", "off")));
    assert_eq!(failures(), 10);
}

#[test]
fn so_many_failures_take_a_backend_out_and_so_many_backends_may_be_out_as_the_file_says() {
    let sick = Arc::new(AtomicBool::new(true));
    let failed = |panic: &str, settings: &str| {
        let (first, second, well) = (moody(&sick), moody(&sick), Origin::named("well"));
        let settings = format!("panic_threshold: {panic}, outlier_detection: {{ ejection: 1h, {settings} }}");
        let setup = Balancer::before([first.address, second.address, well.address]).upstream(&settings);
        let balancer = setup.top("threads: 1").start();
        (0..60).filter(|_| balancer.get("/").status == 500).count()
    };
    assert_eq!(failed("off", "consecutive_failures: 2, max_ejected: 100%"), 4, "two of each, and then both are out");
    assert_eq!(failed("off", "consecutive_failures: 7, max_ejected: 100%"), 14);
    let one_stays = failed("off", "consecutive_failures: 2, max_ejected: 34%");
    assert!(one_stays > 20, "one is out, and the other is asked every second time: {one_stays}");
    let in_panic = failed("90%", "consecutive_failures: 2, max_ejected: 100%");
    assert!(in_panic > 20, "too few are fit, and all are asked: {in_panic}");
}

/// The story that is measured: three backends, of which one accepts and never answers. Requests come evenly, whatever
/// became of those before, and whoever waits for a second leaves.
#[test]
fn a_backend_that_accepts_and_never_answers_troubles_few_requests_for_a_short_time() {
    const PAUSE: Duration = Duration::from_millis(10);
    const LASTS: Duration = Duration::from_secs(8);
    const SETTLED: Duration = Duration::from_millis(2500);
    let silent = Origin::start(|_| {
        Answer::Take(Box::new(|stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }))
    });
    let origins = [silent, Origin::named("a"), Origin::named("b")];
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let address = balancer.address;
    let start = Instant::now();
    let mut asked = Vec::new();
    while start.elapsed() < LASTS {
        let at = start.elapsed();
        let ask = move || {
            let mut client = Client::connect(address)?;
            client.stream().set_read_timeout(Some(Duration::from_secs(1)))?;
            client.request("GET", "/", &[("connection", "close")], b"").map(|response| response.status == 200)
        };
        asked.push((at, std::thread::spawn(ask)));
        std::thread::sleep(PAUSE);
    }
    let asked: Vec<(Duration, bool)> =
        asked.into_iter().map(|(at, client)| (at, client.join().unwrap().unwrap_or(false))).collect();
    let troubled = |from: Duration, to: Duration| {
        let of: Vec<bool> = asked.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, well)| *well).collect();
        (of.iter().filter(|well| !**well).count(), of.len())
    };
    let (before, after) = (troubled(Duration::ZERO, SETTLED), troubled(SETTLED, LASTS));
    println!("troubled before 2.5 s: {before:?}, after: {after:?}");
    assert!(after.0 * 50 < after.1, "{after:?} of the requests after 2.5 s\n{}", balancer.log());
    let series =
        format!("evenkeel_ejections_total{{upstream=\"app\",backend=\"{}\",reason=\"stalled\"}}", origins[0].address);
    assert_eq!(balancer.metric(&series), 1.0);
}

#[test]
fn with_stalls_off_a_silent_backend_is_left_alone() {
    let silent = Origin::start(|_| {
        Answer::Take(Box::new(|stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }))
    });
    let origins = [silent, Origin::named("a"), Origin::named("b")];
    let settings = "outlier_detection: { stalls: off }";
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).upstream(settings).start();
    let mut held = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        held.push(client);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(balancer.healthy(origins[0].address));
    assert!(origins[0].count().abs_diff(held.len() / 3) <= 1, "{} of {}", origins[0].count(), held.len());
}
