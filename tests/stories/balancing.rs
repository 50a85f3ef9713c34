//! What each policy does over real sockets.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// How often each origin answered.
fn counted(answers: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in answers {
        *counts.entry(name).or_insert(0) += 1;
    }
    counts
}

/// A target and fields.
type Asked = (&'static str, &'static [(&'static str, &'static str)]);

fn named(names: &[&'static str]) -> Vec<Origin> {
    names.iter().map(|name| Origin::named(name)).collect()
}

fn before(origins: &[Origin], balance: &str) -> Balancer {
    Balancer::before(origins.iter().map(|origin| origin.address)).upstream(&format!("balance: {balance}")).start()
}

/// The answer to one request with these fields.
fn ask(balancer: &Balancer, target: &str, fields: &[(&str, &str)]) -> String {
    let mut client = Client::connect(balancer.address).unwrap();
    client.request("GET", target, fields, b"").unwrap().text()
}

#[test]
fn at_random_every_backend_has_its_share() {
    let origins = named(&["heavy", "light"]);
    let backends = origins.iter().zip([3, 1]);
    let backends = backends.map(|(origin, weight)| format!("{{ address: {}, weight: {weight} }}", origin.address));
    let balancer = Balancer::before(backends).upstream("balance: random").start();
    let counts = counted((0..400).map(|_| balancer.get("/").text()));
    // 100 expected of 400, a standard deviation of 8.7: five of them.
    assert!((57..=143).contains(&counts["light"]), "{counts:?}");
}

#[test]
fn the_backend_with_a_request_in_flight_gets_hardly_any_while_another_is_idle() {
    for policy in ["least_request", "peak_ewma"] {
        let gate = Gate::default();
        let held = gate.clone();
        let slow = Origin::start(move |request| {
            if request.line.contains("/hold") {
                held.pass();
            }
            Answer::Ok("slow".to_owned())
        });
        let origins = [slow, Origin::named("quick")];
        let balancer = before(&origins, policy);
        // Until one of them is at the slow one: it has a request in flight from then on.
        let mut holding = Vec::new();
        while origins[0].count() == 0 {
            let (asked, before) = (origins[1].count(), origins[0].count());
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let arrived = || origins[0].count() > before || origins[1].count() > asked;
            eventually("the request is at one of them", arrived, String::new);
            holding.push(client);
        }
        let counts = counted((0..30).map(|_| balancer.get("/").text()));
        // A request that the client has its answer of may still be counted for a moment, and makes the two equals.
        assert!(counts["quick"] >= 25, "{policy}: {counts:?}");
        gate.open();
        assert!(holding.iter_mut().all(|client| client.response(false).is_ok()));
    }
}

#[test]
fn peak_ewma_leaves_a_slow_backend_alone_and_a_failing_one_too() {
    // Slower than whatever a busy machine makes of the other.
    let slow = Origin::start(|_| {
        std::thread::sleep(Duration::from_secs(1));
        Answer::Ok("slow".to_owned())
    });
    let failing =
        Origin::start(|_| Answer::Raw(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nfail".to_vec()));
    for worse in [slow, failing] {
        let origins = [worse, Origin::named("quick")];
        let balancer = before(&origins, "peak_ewma");
        // One of which nothing is known is picked by chance.
        let both_known = || origins.iter().all(|origin| origin.count() > 0);
        let asked_until_known = (0..20).any(|_| {
            balancer.get("/");
            both_known()
        });
        assert!(asked_until_known);
        let counts = counted((0..40).map(|_| balancer.get("/").text()));
        assert!(counts.get("quick") >= Some(&35), "{counts:?}");
        let text = balancer.admin_get("/metrics").text();
        assert_eq!(text.matches("evenkeel_backend_latency_seconds{").count(), 2, "{text}");
    }
}

#[test]
fn the_same_key_goes_to_the_same_backend_and_keys_are_spread() {
    for policy in ["ring_hash", "maglev"] {
        let origins = named(&["a", "b", "c"]);
        let balancer = before(&origins, &format!("{{ {policy}: {{ key: {{ header: x-user }} }} }}"));
        let mut seen = BTreeMap::new();
        for user in (0..60).map(|number| format!("user-{number}")) {
            let first = ask(&balancer, "/", &[("x-user", &user)]);
            assert_eq!(ask(&balancer, "/other?x=1", &[("x-user", &user)]), first, "{policy} {user}");
            *seen.entry(first).or_insert(0) += 1;
        }
        assert!(seen.len() == 3 && seen.values().all(|count| *count >= 5), "{policy}: {seen:?}");
        let without = counted((0..60).map(|_| ask(&balancer, "/", &[])));
        assert_eq!(without.len(), 3, "without a key by chance: {without:?}");
    }
}

#[test]
fn every_part_of_a_request_can_be_the_key() {
    let same: [(&str, [Asked; 2]); 5] = [
        ("client_address", [("/1", &[("x-forwarded-for", "192.0.2.1")]), ("/2", &[("x-forwarded-for", "192.0.2.2")])]),
        ("path", [("/one?a=1", &[]), ("/one?b=2", &[("cookie", "a=b")])]),
        ("query", [("/one?a=1", &[]), ("/two?a=1", &[])]),
        ("{ query: user }", [("/one?user=7&x=1", &[]), ("/two?y=2&user=7", &[])]),
        ("{ cookie: session }", [("/1", &[("cookie", "a=1; session=s")]), ("/2", &[("cookie", "session=s; b=2")])]),
    ];
    for (key, requests) in same {
        let origins = named(&["a", "b", "c", "d"]);
        let balancer = before(&origins, &format!("{{ maglev: {{ key: {key} }} }}"));
        let answers = (0..10).flat_map(|_| requests.map(|(target, fields)| ask(&balancer, target, fields)));
        assert_eq!(counted(answers).len(), 1, "{key}");
    }
}

#[test]
fn a_key_stays_where_it_is_over_a_restart_and_moves_only_if_its_backend_is_gone() {
    let origins = named(&["a", "b", "c"]);
    let policy = "{ ring_hash: { key: path } }";
    let places = |balancer: &Balancer| -> Vec<String> {
        (0..30).map(|number| balancer.get(&format!("/{number}")).text()).collect()
    };
    let first = places(&before(&origins, policy));
    let second = before(&origins, policy);
    assert_eq!(places(&second), first);
    let mut origins = origins;
    let gone = origins.remove(0).die();
    second.wait_healthy(gone, false);
    for (before, after) in first.iter().zip(places(&second)) {
        assert!(after != "a" && (before == "a" || *before == after), "{before} to {after}");
    }
}

#[test]
fn what_was_learnt_of_latency_survives_a_reload() {
    let slow = Origin::start(|_| {
        std::thread::sleep(Duration::from_millis(500));
        Answer::Ok("slow".to_owned())
    });
    let quick = Origin::named("quick");
    let origins = [slow, quick];
    let balancer = before(&origins, "peak_ewma");
    for _ in 0..20 {
        balancer.get("/");
    }
    assert!(
        balancer.reload(|text| text.replace("balance: peak_ewma", "balance: peak_ewma, timeouts: { connect: 1s }"))
    );
    let counts = counted((0..20).map(|_| balancer.get("/").text()));
    assert!(counts.get("quick") >= Some(&18), "{counts:?}");
}

#[test]
fn the_second_tier_serves_while_the_first_is_down_and_gives_back() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let backends = [first.address.to_string(), format!("{{ address: {}, tier: 1 }}", second.address)];
    let check = "health_check: { interval: 100ms, timeout: 1s }";
    let balancer = Balancer::before(backends).upstream(check).start();
    assert_eq!(counted((0..5).map(|_| balancer.get("/").text())), BTreeMap::from([("first".to_owned(), 5)]));
    let address = first.die();
    assert_eq!(counted((0..5).map(|_| balancer.get("/").text())), BTreeMap::from([("second".to_owned(), 5)]));
    balancer.wait_healthy(address, false);
    let back = Origin::start_at(address, |_| Answer::Ok("back".to_owned()));
    balancer.wait_healthy(address, true);
    assert_eq!(counted((0..5).map(|_| balancer.get("/").text())), BTreeMap::from([("back".to_owned(), 5)]));
    drop(back);
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let (steady, gone) = (Origin::named("steady"), Origin::named("gone"));
    let address = gone.address;
    let settings = "slow_start: 1h, health_check: { interval: 100ms, timeout: 1s }";
    let balancer = Balancer::before([steady.address, address]).upstream(settings).start();
    let share = || counted((0..100).map(|_| balancer.get("/").text()));
    assert_eq!(share()["gone"], 50, "at the start of the process all have their share");
    drop(gone);
    balancer.wait_healthy(address, false);
    let back = Origin::start_at(address, |_| Answer::Ok("back".to_owned()));
    balancer.wait_healthy(address, true);
    // A tenth of its turns: 5 expected.
    assert!(share().get("back") <= Some(&20), "{:?}", share());
    drop(back);
}

#[test]
fn a_backend_that_a_reload_adds_starts_slowly_and_one_with_another_weight_does_not() {
    let origins = named(&["old", "new"]);
    let balancer = Balancer::before([origins[0].address]).upstream("slow_start: 1h").start();
    let (old, new) = (origins[0].address.to_string(), origins[1].address.to_string());
    assert!(balancer.reload(|text| text.replace(&format!("[{old}]"), &format!("[{old}, {new}]"))));
    let share = || counted((0..100).map(|_| balancer.get("/").text()));
    let added = share();
    assert!(added.get("new") <= Some(&20), "{added:?}");
    let weighed = format!("[{{ address: {old}, weight: 3 }}, {new}]");
    assert!(balancer.reload(|text| text.replace(&format!("[{old}, {new}]"), &weighed)));
    let weighed = share();
    assert!(weighed.get("old") >= Some(&80), "{weighed:?}");
}

#[test]
fn panic_is_said_once_and_shown() {
    let (alive, dead) = (Origin::named("alive"), crate::support::free_address());
    let also_dead = crate::support::free_address();
    let balancer = Balancer::before([alive.address, dead, also_dead]).start();
    assert_eq!(counted((0..10).map(|_| balancer.get("/").text())), BTreeMap::from([("alive".to_owned(), 10)]));
    assert_eq!(balancer.metric("evenkeel_upstream_panic{upstream=\"app\"}"), 1.0);
    assert_eq!(balancer.metric("evenkeel_panic_picks_total{upstream=\"app\"}"), 10.0);
    assert_eq!(balancer.log().matches("panic began").count(), 1);
    assert_eq!(balancer.api("upstreams")[0]["panic"], true);
}
