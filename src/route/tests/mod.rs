//! The table against a slow, obvious matcher, against the rules of the Gateway API, and by itself.

mod gateway_api;
mod model;

use std::cell::Cell;
use std::net::IpAddr;

use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::pattern::Pattern;

/// A request with all that decides, owned.
#[derive(Clone, Debug)]
struct Asked {
    listener: usize,
    host: &'static str,
    path: String,
    query: String,
    method: Method,
    headers: HeaderMap,
    client: Option<IpAddr>,
}

impl Asked {
    fn request(&self) -> Request<'_> {
        Request {
            listener: self.listener,
            host: self.host.as_bytes(),
            path: &self.path,
            query: self.query.as_bytes(),
            method: &self.method,
            headers: &self.headers,
            client: self.client,
        }
    }
}

/// A GET of this host and path, with these fields.
fn get(host: &'static str, path: &str, fields: &[(&'static str, &'static str)]) -> Asked {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Asked {
        listener: 0,
        host,
        path: path.to_owned(),
        query: query.to_owned(),
        method: Method::GET,
        headers,
        client: None,
    }
}

const HOSTS: &[&str] = &["a.x", "b.x", "c.b.x", "d.c.b.x", "x", "y", "z.y", ""];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/b", "/b//a", "//", "/a/v1/u", "*"];
const PATTERNS: &[&str] =
    &["^/a/.*b", "b$", "^/a/v[0-9]+/", "^/$", "^/a/b/c$", "", "^/b/", "^/(a|b)", "^//", "(?i)^/A/", "^/a/|b"];
const VALUES: &[&str] = &["1", "2", "3", "4", "5", "6", "7", "8", "9"];

fn any_wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        12 => select(VALUES).prop_map(|value| Wanted::Exact(value.to_owned())),
        1 => Just(Wanted::Present),
        1 => Just(Wanted::Absent),
        1 => select(&["^[1-3]$", "9"][..]).prop_map(|text| Wanted::Pattern(Pattern::new(text).unwrap())),
    ]
}

fn any_path() -> impl Strategy<Value = Option<PathPattern>> {
    prop_oneof![
        2 => Just(None),
        3 => select(&PATHS[..PATHS.len() - 1]).prop_map(|path| Some(PathPattern::Exact(path.to_owned()))),
        4 => select(&PATHS[..PATHS.len() - 1]).prop_map(|path| Some(PathPattern::Prefix(path.to_owned()))),
        2 => select(PATTERNS).prop_map(|text| Some(PathPattern::Regex(Pattern::new(text).unwrap()))),
    ]
}

fn any_host() -> impl Strategy<Value = HostPattern> {
    (select(&HOSTS[..HOSTS.len() - 1]), any::<bool>()).prop_map(|(host, exact)| {
        if exact { HostPattern::Exact(host.to_owned()) } else { HostPattern::Below(host.to_owned()) }
    })
}

fn any_match() -> impl Strategy<Value = Match> {
    let few = |of: &'static [&'static str]| prop::collection::vec((select(of), any_wanted()), 0..2);
    let headers = prop::collection::vec((select(&["p", "q", "r"][..]), any_wanted()), 0..3);
    let methods = prop::collection::vec(select(&[Method::GET, Method::POST][..]), 0..2);
    let networks = &["10.0.0.0/8", "10.1.0.0/16", "::/0"][..];
    let clients = prop::collection::vec(select(networks), 0..2);
    let rest = (headers, few(&["s", "t"]), few(&["u", "w"]), clients);
    // Most rules are simple, as they are in life; and many must share a host and a path, or nothing is decided by them.
    let simple = prop_oneof![2 => Just(true), 1 => Just(false)];
    (prop::collection::vec(any_host(), 0..3), any_path(), methods, rest, simple).prop_map(
        |(hosts, path, methods, (headers, query, cookies, clients), simple)| {
            let headers = headers.into_iter().map(|(name, wanted)| (HeaderName::from_static(name), wanted)).collect();
            let named = |pairs: Vec<(&str, Wanted)>| -> Vec<(String, Wanted)> {
                pairs.into_iter().map(|(name, wanted)| (name.to_owned(), wanted)).collect()
            };
            if simple {
                let headers = if hosts.is_empty() { Vec::new() } else { headers };
                return Match { hosts, path, headers, ..Match::default() };
            }
            let clients = clients.into_iter().map(|network| network.parse().unwrap()).collect();
            Match { hosts, path, methods, headers, query: named(query), cookies: named(cookies), clients }
        },
    )
}

/// Routes that often share one host and path, so that conditions decide.
fn any_routes() -> impl Strategy<Value = Vec<(Vec<usize>, Match)>> {
    let shared = prop::option::of((any_host(), any_path()));
    const LISTENERS: &[&[usize]] = &[&[0], &[0, 1], &[0, 1, 2], &[1]];
    let listeners = select(LISTENERS);
    let routes = prop::collection::vec((listeners, any_match(), any::<bool>()), 0..50);
    (routes, shared).prop_map(|(routes, shared)| {
        let routes = routes.into_iter().map(|(listeners, mut wanted, shares)| {
            if let (true, Some((host, path))) = (shares, &shared) {
                wanted.hosts = vec![host.clone()];
                wanted.path = path.clone();
            }
            (listeners.to_vec(), wanted)
        });
        routes.collect()
    })
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let pairs = |names: &'static [&'static str]| prop::collection::vec((select(names), select(VALUES)), 0..4);
    let client = prop::option::of(select(&["10.1.2.3", "10.2.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.1.2.3"][..]));
    (
        (
            prop_oneof![5 => 0..2_usize, 1 => 2..4_usize],
            select(HOSTS),
            select(PATHS),
            select(&[Method::GET, Method::POST, Method::HEAD][..]),
        ),
        (pairs(&["p", "q", "r"]), pairs(&["s", "t"]), pairs(&["u", "w"]), client),
    )
        .prop_map(|((listener, host, path, method), (fields, query, cookies, client))| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let joined = |pairs: Vec<(&str, &str)>, separator: &str| {
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(separator)
            };
            if !cookies.is_empty() {
                headers.insert(COOKIE, HeaderValue::from_str(&joined(cookies, "; ")).unwrap());
            }
            let client: Option<IpAddr> = client.map(|address| address.parse::<IpAddr>().unwrap().to_canonical());
            Asked { listener, host, path: path.to_owned(), query: joined(query, "&"), method, headers, client }
        })
}

/// A hundred thousand requests over a thousand tables: the table and the model are of one mind, and what `explain`
/// tells is what was done.
#[test]
fn the_table_decides_as_the_slow_obvious_matcher_does() {
    const TABLES: u32 = 1000;
    const REQUESTS: usize = 100;
    let routed = Cell::new(0);
    let cases = (any_routes(), prop::collection::vec(any_asked(), REQUESTS));
    let mut runner = TestRunner::new(Config { cases: TABLES, max_shrink_iters: 2000, ..Config::default() });
    let outcome = runner.run(&cases, |(routes, requests)| {
        let numbered =
            routes.iter().enumerate().map(|(number, (listeners, wanted))| (listeners.clone(), wanted.clone(), number));
        let table = Table::new(3, numbered);
        for asked in &requests {
            let expected = model::find(&routes, asked);
            prop_assert_eq!(table.find(&asked.request()).copied(), expected, "{:?}", asked);
            routed.set(routed.get() + usize::from(expected.is_some()));
        }
        let asked = &requests[0];
        let decision = table.explain(&asked.request());
        prop_assert_eq!(decision.chosen, model::find(&routes, asked));
        let mut told: Vec<usize> = decision.considered.iter().map(|considered| considered.route).collect();
        told.sort_unstable();
        let serving: Vec<usize> =
            (0..routes.len()).filter(|number| routes[*number].0.contains(&asked.listener)).collect();
        prop_assert_eq!(told, serving, "each route of the listener is told of once");
        for considered in &decision.considered {
            // Alone, a route is taken exactly if it was not refused.
            let alone = [routes[considered.route].clone()];
            let taken = model::find(&alone, asked).is_some();
            prop_assert_eq!(
                taken,
                matches!(considered.outcome, Outcome::Chosen | Outcome::Outranked),
                "{:?} of {:?}",
                considered,
                asked
            );
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // The run would prove little if hardly any request found a route.
    let (routed, asked) = (routed.get(), TABLES as usize * REQUESTS);
    assert!(routed > asked / 3, "only {routed} of {asked} requests find a route");
}

fn exact(path: &str) -> Option<PathPattern> {
    Some(PathPattern::Exact(path.to_owned()))
}

fn prefix(path: &str) -> Option<PathPattern> {
    Some(PathPattern::Prefix(path.to_owned()))
}

fn regex(text: &str) -> Option<PathPattern> {
    Some(PathPattern::Regex(Pattern::new(text).unwrap()))
}

fn path(path: Option<PathPattern>) -> Match {
    Match { path, ..Match::default() }
}

fn host(hosts: &[&str], path: Option<PathPattern>) -> Match {
    let hosts = hosts.iter().map(|host| HostPattern::new(host).unwrap()).collect();
    Match { hosts, path, ..Match::default() }
}

fn header(pairs: &[(&'static str, &str)]) -> Match {
    let wanted = |value: &&str| Wanted::Exact((*value).to_owned());
    let headers = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), wanted(value)));
    Match { headers: headers.collect(), ..Match::default() }
}

fn query(pairs: &[(&str, &str)]) -> Match {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), Wanted::Exact((*value).to_owned())));
    Match { query: pairs.collect(), ..Match::default() }
}

fn method(method: Method) -> Match {
    Match { methods: vec![method], ..Match::default() }
}

/// Which of the rules each request takes; rules are named by their place.
#[track_caller]
fn assert_routes(rules: Vec<Match>, requests: &[(Asked, Option<usize>)]) {
    let table = Table::new(1, rules.into_iter().enumerate().map(|(number, wanted)| (vec![0], wanted, number)));
    for (asked, expected) in requests {
        assert_eq!(table.find(&asked.request()).copied(), *expected, "{asked:?}");
        assert_eq!(table.explain(&asked.request()).chosen, *expected);
    }
}

/// What the Gateway API leaves to implementations.
#[test]
fn an_expression_stands_where_the_folder_is_that_it_begins_with() {
    let rules = vec![
        path(regex("^/app/.*\\.php$")),
        path(prefix("/app")),
        path(prefix("/app/admin")),
        path(regex("\\.png$")),
        path(prefix("/")),
        path(exact("/app/index.php")),
    ];
    assert_routes(
        rules,
        &[
            (get("x", "/app/a.php", &[]), Some(0)),
            (get("x", "/app/a.html", &[]), Some(1)),
            (get("x", "/app/admin/a.php", &[]), Some(2)),
            (get("x", "/app/a.png", &[]), Some(1)),
            (get("x", "/a.png", &[]), Some(3)),
            (get("x", "/a.gif", &[]), Some(4)),
            (get("x", "/app/index.php", &[]), Some(5)),
        ],
    );
}

#[test]
fn a_field_that_must_be_there_or_not_is_told_from_one_with_a_value() {
    let name = HeaderName::from_static("x-debug");
    let rules = vec![
        Match { headers: vec![(name.clone(), Wanted::Present)], path: prefix("/there"), ..Match::default() },
        Match { headers: vec![(name, Wanted::Absent)], path: prefix("/not"), ..Match::default() },
    ];
    assert_routes(
        rules,
        &[
            (get("x", "/there", &[("x-debug", "")]), Some(0)),
            (get("x", "/there", &[]), None),
            (get("x", "/not", &[]), Some(1)),
            (get("x", "/not", &[("x-debug", "1")]), None),
        ],
    );
}

#[test]
fn a_decision_tells_of_every_route_why_it_was_not_taken() {
    let rules = vec![
        header(&[("version", "one")]),
        Match { methods: vec![Method::POST], ..path(prefix("/a")) },
        path(prefix("/b")),
        host(&["else.where"], None),
        path(prefix("/a")),
        path(None),
    ];
    let table = Table::new(2, rules.into_iter().enumerate().map(|(number, wanted)| (vec![0], wanted, number)));
    let decision = table.explain(&get("x", "/a/b", &[]).request());
    assert_eq!(decision.chosen, Some(4));
    let told: Vec<_> = decision.considered.iter().map(|considered| (considered.route, considered.outcome)).collect();
    let expected = [
        (1, Outcome::Unmet(Unmet::Method)),
        (4, Outcome::Chosen),
        (0, Outcome::Unmet(Unmet::Header(0))),
        (5, Outcome::Outranked),
        (2, Outcome::OtherPath),
        (3, Outcome::OtherHost),
    ];
    assert_eq!(told, expected);
    let elsewhere = Asked { listener: 1, ..get("x", "/a", &[]) };
    assert_eq!(table.explain(&elsewhere.request()), Decision { chosen: None, considered: Vec::new() });
    assert_eq!(table.find(&Asked { listener: 7, ..elsewhere }.request()), None);
}

#[test]
fn a_search_allocates_nothing_whatever_decides() {
    let mut rules: Vec<Match> = (0..20).map(|_| path(prefix("/tenants"))).collect();
    for (number, rule) in rules.iter_mut().enumerate() {
        rule.headers = vec![(HeaderName::from_static("x-tenant"), Wanted::Exact(format!("{number}")))];
    }
    rules.push(host(&["*.b.x", "a.x"], prefix("/deep/er/than")));
    rules.push(Match { cookies: vec![("c".to_owned(), Wanted::Present)], ..query(&[("a b", "1")]) });
    rules.push(Match { clients: vec!["10.0.0.0/8".parse().unwrap()], ..path(exact("/exact")) });
    let table = Table::new(1, rules.into_iter().enumerate().map(|(number, wanted)| (vec![0], wanted, number)));
    let client = Some(IpAddr::from([10, 1, 2, 3]));
    for (asked, expected) in [
        (get("any.x", "/tenants/x", &[("x-tenant", "17")]), Some(17)),
        (get("c.d.b.x", "/deep/er/than/that", &[]), Some(20)),
        (get("a.x", "/?a+b=%31", &[("cookie", "a=b; c=d")]), Some(21)),
        (Asked { client, ..get("a.x", "/exact", &[]) }, Some(22)),
        (get("none.b.x", "/none/of/these", &[]), None),
    ] {
        let request = asked.request();
        let mut found = None;
        let taken = allocation_counter::measure(|| found = table.find(&request).copied());
        assert_eq!((found, taken.count_total), (expected, 0), "{asked:?}");
    }
}
