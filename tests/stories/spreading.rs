//! Which backend a request goes to, and what a dead one costs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::support::{Answer, Balancer, Origin, free_address};

fn names(balancer: &Balancer, count: usize) -> Vec<String> {
    (0..count).map(|_| balancer.get("/").text()).collect()
}

fn counted(names: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.as_str()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn requests_go_to_the_backends_in_turn() {
    let origins = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let names = names(&balancer, 9);
    assert_eq!(counted(&names), BTreeMap::from([("a", 3), ("b", 3), ("c", 3)]));
    assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
}

#[test]
fn weights_hold_in_counts_and_do_not_come_in_bursts() {
    let origins = [Origin::named("heavy"), Origin::named("b"), Origin::named("c")];
    let backends = origins.iter().zip([3, 1, 1]);
    let backends = backends.map(|(origin, weight)| format!("{{ address: {}, weight: {weight} }}", origin.address));
    let balancer = Balancer::before(backends).start();
    let names = names(&balancer, 50);
    assert_eq!(counted(&names), BTreeMap::from([("heavy", 30), ("b", 10), ("c", 10)]));
    assert!(names.windows(3).all(|three| three.iter().any(|name| name != "heavy")), "{names:?}");
}

#[test]
fn a_backend_of_weight_zero_takes_nothing_and_without_any_other_the_answer_is_503() {
    let (idle, busy) = (Origin::named("idle"), Origin::named("busy"));
    let zero = |origin: &Origin| format!("{{ address: {}, weight: 0 }}", origin.address);
    let balancer = Balancer::before([zero(&idle), busy.address.to_string()]).start();
    assert_eq!(counted(&names(&balancer, 6)), BTreeMap::from([("busy", 6)]));
    assert_eq!(idle.count(), 0);

    let balancer = Balancer::before([zero(&idle)]).start();
    let response = balancer.get("/");
    assert_eq!(response.status, 503);
    assert!(response.text().contains("no_backend"), "{}", response.text());
    assert!(response.field("retry-after").is_some());
}

#[test]
fn a_backend_that_refuses_costs_nothing_is_taken_out_and_comes_back() {
    let alive = Origin::named("alive");
    let dead: SocketAddr = free_address();
    let check = "health_check: { interval: 100ms, timeout: 1s }";
    let balancer = Balancer::before([alive.address, dead]).upstream(check).start();
    assert!(!balancer.healthy(dead), "the first round of checks comes before the first request");
    assert_eq!(counted(&names(&balancer, 10)), BTreeMap::from([("alive", 10)]));

    let back = Origin::start_at(dead, |_| Answer::Ok("back".to_owned()));
    balancer.wait_healthy(dead, true);
    assert_eq!(counted(&names(&balancer, 10)), BTreeMap::from([("alive", 5), ("back", 5)]));

    drop(back);
    assert_eq!(counted(&names(&balancer, 20)), BTreeMap::from([("alive", 20)]), "not even at the moment of its death");
    balancer.wait_healthy(dead, false);
    let turns = |word: &str| balancer.log().matches(word).count();
    assert_eq!(
        (turns("turned unhealthy"), turns("turned healthy")),
        (2, 1),
        "a turn is logged once:\n{}",
        balancer.log()
    );
}

#[test]
fn a_get_that_a_backend_drops_before_it_answers_goes_to_another_and_a_post_does_not() {
    let rude = Origin::start(|_| Answer::Close);
    let kind = Origin::named("kind");
    let balancer = Balancer::before([rude.address, kind.address]).upstream("outlier_detection: off").start();
    assert_eq!(counted(&names(&balancer, 6)), BTreeMap::from([("kind", 6)]));

    let mut statuses = Vec::new();
    let (rude_before, kind_before) = (rude.count(), kind.count());
    for _ in 0..6 {
        let mut client = crate::support::client::Client::connect(balancer.address).unwrap();
        statuses.push(client.request("POST", "/", &[], b"once").unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
    assert_eq!((rude.count() - rude_before, kind.count() - kind_before), (3, 3), "each was sent exactly once");
}

#[test]
fn with_retry_off_the_first_failure_is_the_answer() {
    let dead = free_address();
    let balancer = Balancer::before([dead]).upstream("retry: off, health_check: off").start();
    let response = balancer.get("/");
    assert_eq!(response.status, 502);
    assert!(response.text().contains("connect_failed"), "{}", response.text());
    assert!(!response.text().contains(&dead.to_string()), "no address of the inside");
    assert_eq!(balancer.metric("evenkeel_retries_total{upstream=\"app\"}"), 0.0);
}

#[test]
fn a_fit_backend_is_found_however_small_its_weight_beside_one_that_is_out() {
    let (dead, alive) = (free_address(), Origin::named("alive"));
    let heavy = format!("{{ address: {dead}, weight: 1000 }}");
    let balancer = Balancer::before([heavy, alive.address.to_string()]).start();
    assert!(!balancer.healthy(dead));
    assert_eq!(counted(&names(&balancer, 40)), BTreeMap::from([("alive", 40)]));
}

#[test]
fn refused_connections_alone_may_be_what_is_tried_again() {
    let (dead, alive) = (free_address(), Origin::named("alive"));
    let settings = "health_check: off, retry: { on: [refused] }";
    let balancer = Balancer::before([dead, alive.address]).upstream(settings).start();
    assert_eq!(counted(&names(&balancer, 10)), BTreeMap::from([("alive", 10)]));
}
