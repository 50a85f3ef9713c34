//! Clients that stay at a backend, by a cookie.

use std::collections::BTreeSet;

use crate::support::client::{Client, Response};
use crate::support::{Answer, Balancer, Gate, Origin, eventually, free_address};
use crate::upgrading::upgrade_by_hand;

/// A browser: it keeps what it is given, and shows it.
#[derive(Default)]
struct Jar {
    cookie: Option<String>,
    /// All that it was ever given, with their attributes.
    given: Vec<String>,
}

impl Jar {
    fn get(&mut self, balancer: &Balancer) -> Response {
        let mut client = Client::connect(balancer.address).unwrap();
        let shown = self.cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect::<Vec<_>>();
        let response = client.request("GET", "/", &shown, b"").unwrap();
        for (_, set) in response.fields.iter().filter(|(name, _)| name == "set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
            self.given.push(set.clone());
        }
        response
    }

    /// Where `count` requests are answered.
    fn places(&mut self, balancer: &Balancer, count: usize) -> BTreeSet<String> {
        (0..count).map(|_| self.get(balancer).text()).collect()
    }

    /// Where all of them are.
    #[track_caller]
    fn place(&mut self, balancer: &Balancer, count: usize) -> String {
        let places = self.places(balancer, count);
        assert_eq!(places.len(), 1, "{places:?}");
        places.into_iter().next().unwrap()
    }
}

fn named(names: &[&'static str]) -> Vec<Origin> {
    names.iter().map(|name| Origin::named(name)).collect()
}

fn before(origins: &[Origin], settings: &str) -> Balancer {
    Balancer::before(origins.iter().map(|origin| origin.address)).upstream(settings).start()
}

/// The origin with this name, out of three.
fn take(origins: &mut Vec<Origin>, names: &[&str], name: &str) -> Origin {
    origins.remove(names.iter().position(|one| *one == name).unwrap())
}

#[test]
fn a_client_with_cookies_stays_for_fifty_requests_and_without_them_goes_round() {
    let origins = named(&["a", "b", "c"]);
    let balancer = before(&origins, "sticky: { cookie: { name: stay } }");
    let mut jar = Jar::default();
    jar.place(&balancer, 50);
    let [given] = jar.given.as_slice() else { panic!("set more than once: {:?}", jar.given) };
    let (pair, attributes) = given.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax", "and not Secure, for a client without TLS");
    assert!(pair.starts_with("stay=") && !pair.contains("127.0.0.1"), "{pair}");
    let places: BTreeSet<String> = (0..6).map(|_| balancer.get("/").text()).collect();
    assert_eq!(places.len(), 3);
    let other = before(&origins, "sticky: off");
    let mut jar = Jar::default();
    assert_eq!((jar.places(&other, 6).len(), jar.given.len()), (3, 0));
}

#[test]
fn a_backend_never_sees_the_cookie_that_is_between_the_client_and_the_balancer() {
    let origin = Origin::named("a");
    let balancer = before(std::slice::from_ref(&origin), "sticky: on");
    let mut client = Client::connect(balancer.address).unwrap();
    for shown in ["session=1; evenkeel=0123; theme=dark", "evenkeel=0123"] {
        client.request("GET", "/", &[("cookie", shown)], b"").unwrap();
    }
    let seen = origin.requests();
    assert_eq!((seen[0].field("cookie"), seen[1].field("cookie")), (Some("session=1; theme=dark"), None));
}

#[test]
fn the_cookies_of_a_backend_pass_beside_ours_and_ours_lasts_as_long_as_configured() {
    let origin = Origin::start(|_| {
        Answer::Raw(b"HTTP/1.1 200 OK\r\nset-cookie: session=1\r\ncontent-length: 2\r\n\r\nok".to_vec())
    });
    let balancer = before(std::slice::from_ref(&origin), "sticky: { cookie: { max_age: 2h } }");
    let mut jar = Jar::default();
    jar.get(&balancer);
    assert_eq!(jar.given.len(), 2, "{:?}", jar.given);
    assert!(jar.given.contains(&"session=1".to_owned()));
    assert!(jar.given.iter().any(|set| set.starts_with("evenkeel=") && set.contains("; Max-Age=7200;")));
}

#[test]
fn clients_stay_over_a_reload_that_adds_a_backend_and_over_an_upgrade() {
    let origins = named(&["a", "b", "c"]);
    let mut balancer = before(&origins[..2], "sticky: on");
    let mut jars: Vec<(Jar, String)> = (0..2)
        .map(|_| {
            let mut jar = Jar::default();
            let place = jar.place(&balancer, 3);
            (jar, place)
        })
        .collect();
    let more = origins[2].address;
    assert!(balancer.reload(|text| text.replace("backends: [", &format!("backends: [{more}, "))));
    for (jar, place) in &mut jars {
        assert_eq!(&jar.place(&balancer, 6), place);
    }
    let newcomers: BTreeSet<String> = (0..6).map(|_| Jar::default().get(&balancer).text()).collect();
    assert!(newcomers.contains("c"), "{newcomers:?}");
    let mut old = upgrade_by_hand(&mut balancer);
    for (jar, place) in &mut jars {
        assert_eq!(&jar.place(&balancer, 6), place);
        assert_eq!(jar.given.len(), 1, "nothing had to be set again");
    }
    eventually("the end of the old process", || old.try_wait().unwrap().is_some(), || balancer.log());
}

#[test]
fn processes_with_the_same_secret_file_agree_and_others_do_not() {
    let origins = named(&["a", "b", "c", "d"]);
    let with = |secret: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stay.secret"), secret).unwrap();
        let setup = Balancer::before(origins.iter().map(|origin| origin.address));
        setup.upstream("sticky: { cookie: { secret_file: stay.secret } }").start_in(folder)
    };
    let (one, same, other) =
        (with("one secret, long enough"), with("one secret, long enough\n"), with("another secret, long enough"));
    let mut jar = Jar::default();
    let place = jar.place(&one, 5);
    assert_eq!(jar.place(&same, 5), place);
    assert_eq!(jar.given.len(), 1);
    jar.get(&other);
    assert_eq!(jar.given.len(), 2, "that one did not believe it");
    std::fs::write(one.folder.path().join("stay.secret"), "short").unwrap();
    assert!(!one.reload(|text| text), "a secret that can be guessed is refused: {}", one.log());
}

#[test]
fn a_client_of_a_drained_backend_moves_and_is_told_so() {
    let origins = named(&["a", "b"]);
    let balancer = before(&origins, "sticky: on");
    let mut jar = Jar::default();
    let place = jar.place(&balancer, 3);
    let drained = origins[usize::from(place == "b")].address.to_string();
    assert!(balancer.command(&["drain", &drained]).status.success());
    assert_ne!(jar.place(&balancer, 5), place);
    assert_eq!(jar.given.len(), 2);
}

#[test]
fn a_client_of_a_dead_backend_moves_with_a_retry_and_its_answer_says_where_to() {
    let names = ["a", "b", "c"];
    let mut origins = named(&names);
    let balancer = before(&origins, "sticky: on");
    let mut jar = Jar::default();
    let place = jar.place(&balancer, 3);
    take(&mut origins, &names, &place).die();
    let response = jar.get(&balancer);
    assert_eq!(response.status, 200, "the client does not notice");
    assert_ne!(response.text(), place);
    assert_eq!(jar.given.len(), 2);
    assert_eq!(jar.place(&balancer, 5), response.text());
    assert_eq!(jar.given.len(), 2);
}

#[test]
fn a_client_of_a_backend_without_room_moves() {
    let gate = Gate::default();
    let origins: Vec<Origin> = ["a", "b"]
        .map(|name| {
            let gate = gate.clone();
            Origin::start(move |request| {
                if request.line.contains("/hold") {
                    gate.pass();
                }
                Answer::Ok(name.to_owned())
            })
        })
        .into();
    let balancer = before(&origins, "sticky: on, circuit_breaker: { requests_per_backend: 1 }");
    let mut jar = Jar::default();
    let place = jar.place(&balancer, 3);
    let at = usize::from(place == "b");
    let asked = origins[at].count();
    let mut holding = Client::connect(balancer.address).unwrap();
    let cookie = jar.cookie.clone().unwrap();
    holding.send(format!("GET /hold HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n").as_bytes()).unwrap();
    eventually("the request at its origin", || origins[at].count() > asked, || balancer.log());
    assert_ne!(jar.place(&balancer, 3), place);
    gate.open();
    assert_eq!(holding.response(false).unwrap().text(), place);
}

#[test]
fn forged_foreign_and_broken_cookies_are_none() {
    let origins = named(&["a", "b"]);
    let balancer = before(&origins, "sticky: on");
    let address = origins[0].address;
    for value in ["", "0", &"0".repeat(32), &"a".repeat(4000), &address.to_string(), "\u{e9}\u{e9}", "0; evenkeel=1"] {
        let mut client = Client::connect(balancer.address).unwrap();
        let cookie = format!("evenkeel={value}");
        let places: BTreeSet<String> = (0..4)
            .map(|_| {
                let answer = client.request("GET", "/", &[("cookie", &cookie)], b"").unwrap();
                assert!(answer.field("set-cookie").unwrap().starts_with("evenkeel="), "{value}");
                answer.text()
            })
            .collect();
        assert_eq!(places.len(), 2, "{value}");
    }
    assert!(!balancer.log().contains("cookie"), "{}", balancer.log());
}

#[test]
fn an_answer_of_the_balancers_own_sets_no_cookie() {
    let balancer = Balancer::before([free_address()]).upstream("sticky: on").start();
    let answer = balancer.get("/");
    assert!(answer.status >= 500);
    assert_eq!(answer.field("set-cookie"), None);
}
