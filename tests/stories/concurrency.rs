//! Backends that carry so much and no more: how many requests at once is found out, and what is more is held back.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// What a request takes where it waits for nobody.
const TAKES: Duration = Duration::from_millis(50);
/// Requests that the backend works on at once: 80 per second.
const CARRIES: usize = 4;
/// Clients that ask all the time: for more than twelve times as much as the backend carries at its best.
const CLIENTS: usize = 100;
/// What a client that was refused waits before it asks again.
const PAUSE: Duration = Duration::from_millis(100);
const LASTS: Duration = Duration::from_secs(5);
/// What comes later finds a limit that has settled.
const SETTLES: Duration = Duration::from_secs(1);

/// A backend that works on a few requests at once and lets all others wait.
fn small() -> Origin {
    let free = Arc::new((Mutex::new(CARRIES), Condvar::new()));
    Origin::start(move |_| {
        let (places, came) = &*free;
        *came.wait_while(places.lock().unwrap(), |places| *places == 0).unwrap() -= 1;
        std::thread::sleep(TAKES);
        *places.lock().unwrap() += 1;
        came.notify_one();
        Answer::Ok("done".to_owned())
    })
}

/// One request that was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    text: String,
    took: Duration,
    /// When it came, from the begin of the overload.
    came: Duration,
}

/// What became of the requests of all clients.
fn overload(address: SocketAddr) -> Vec<Answered> {
    let start = Instant::now();
    let ask = move |_| {
        std::thread::spawn(move || {
            let (mut client, mut answered) = (Client::connect(address).unwrap(), Vec::new());
            while start.elapsed() < LASTS {
                let came = start.elapsed();
                let response = client.request("GET", "/", &[], b"").unwrap();
                let took = start.elapsed() - came;
                answered.push(Answered { status: response.status, text: response.text(), took, came });
                if response.status != 200 {
                    std::thread::sleep(PAUSE);
                }
            }
            answered
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

/// What an answer takes in the middle, of those who were served once the limit had settled.
fn median(answered: &[Answered]) -> Duration {
    let served = answered.iter().filter(|one| one.status == 200 && one.came >= SETTLES);
    let mut served: Vec<Duration> = served.map(|one| one.took).collect();
    served.sort_unstable();
    served[served.len() / 2]
}

fn found(balancer: &Balancer) -> Value {
    balancer.api("upstreams")[0]["concurrency"].clone()
}

/// Asks one request after the other, until it is known what one takes.
fn warm_up(balancer: &Balancer) -> f64 {
    let known = || {
        assert_eq!(balancer.get("/").status, 200);
        found(balancer)["minimal_latency_seconds"].is_number()
    };
    eventually("the minimal latency", known, || found(balancer).to_string());
    found(balancer)["minimal_latency_seconds"].as_f64().unwrap()
}

/// The same overload twice, on the same machine: how busy that is matters to both.
#[test]
fn overload_is_shed_where_it_is_enforced_and_where_it_is_observed_only_the_figures_tell() {
    let observed = observe_overload();
    let origin = small();
    let settings = "adaptive_concurrency: { mode: enforce, measure_requests: 10 }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    warm_up(&balancer);
    let answered = overload(balancer.address);
    let refused: Vec<&Answered> = answered.iter().filter(|one| one.status == 503).collect();
    assert!(refused.iter().all(|one| one.text.contains("reason: adaptive_limit")), "{refused:?}");
    assert!(refused.len() > CLIENTS, "{} of {}", refused.len(), answered.len());
    let enforced = median(&answered);
    println!("observed {observed:?}, enforced {enforced:?}, {}", found(&balancer));
    assert!(enforced * 3 < observed, "{enforced:?} instead of {observed:?}, {}", found(&balancer));
    assert!(found(&balancer)["limit"].as_u64().is_some_and(|limit| (3..=16).contains(&limit)), "{}", found(&balancer));
    let counted = balancer.metric("evenkeel_concurrency_refused_total{upstream=\"app\"}");
    assert_eq!(counted, refused.len() as f64);
    assert_eq!(balancer.metric("evenkeel_failures_total{reason=\"adaptive_limit\"}"), counted);
}

/// What an answer takes while the limit is only observed, where nothing but the figures may differ from no limit at all.
fn observe_overload() -> Duration {
    let origin = small();
    let settings = "adaptive_concurrency: { mode: observe, measure_requests: 10 }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let minimal = warm_up(&balancer);
    assert!(minimal >= TAKES.as_secs_f64(), "{minimal}");
    let answered = overload(balancer.address);
    assert!(answered.iter().all(|one| one.status == 200), "nobody is refused");
    assert!(median(&answered) > TAKES * 8, "everybody waits: {:?}", median(&answered));
    let found = found(&balancer);
    assert_eq!((found["mode"].as_str(), found["refused"].as_u64()), (Some("observe"), Some(0)));
    assert!(found["beyond"].as_u64().is_some_and(|beyond| beyond > CLIENTS as u64), "{found}");
    assert!(balancer.metric("evenkeel_concurrency_limit{upstream=\"app\"}") < 30.0, "{found}");
    let shown = balancer.command(&["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("observe"), "{shown:?}");
    median(&answered)
}

#[test]
fn what_was_found_outlives_a_reload_and_ends_with_the_key() {
    let origin = Origin::named("quick");
    let settings = "adaptive_concurrency: { mode: enforce, measure_requests: 10 }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    warm_up(&balancer);
    let before = found(&balancer);
    assert!(balancer.reload(|text| text.replace("measure_requests: 10", "measure_requests: 20, max_limit: 7")));
    let after = found(&balancer);
    assert_eq!(after["minimal_latency_seconds"], before["minimal_latency_seconds"]);
    assert_eq!((after["measuring"].as_bool(), after["limit"].as_u64()), (Some(false), Some(7)));
    assert!(balancer.reload(|text| {
        text.replace("adaptive_concurrency: {", "circuit_breaker: on, x-no: {")
            .replace(", x-no: { mode: enforce, measure_requests: 20, max_limit: 7 }", "")
    }));
    assert_eq!(found(&balancer), Value::Null);
    assert_eq!(balancer.metric("evenkeel_concurrency_limit{upstream=\"app\"}"), 0.0);
}

#[test]
fn the_lowest_limit_holds_requests_in_line_before_anything_is_known() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |_| {
        waits.pass();
        Answer::Ok("done".to_owned())
    });
    let settings = "adaptive_concurrency: { mode: enforce, min_limit: 2 }, circuit_breaker: { queue_timeout: 20s }";
    let balancer = Balancer::before([origin.address]).upstream(settings).start();
    let ask = |_| {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        client
    };
    let mut clients: Vec<Client> = (0..5).map(ask).collect();
    let waiting = || balancer.metric("evenkeel_queue_length{upstream=\"app\"}") == 3.0;
    eventually("three wait", waiting, || found(&balancer).to_string());
    eventually("two are there", || origin.count() == 2, || found(&balancer).to_string());
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response(false).unwrap().status == 200));
}
