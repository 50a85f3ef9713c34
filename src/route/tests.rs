//! The table against a slow, obvious matcher, and against the rules of the Gateway API.

use std::cell::Cell;
use std::cmp::Reverse;
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

/// What the table is compared with: every rule is tried on every route, word for word as they are documented.
mod model {
    use super::*;

    /// How specific the host is that matches best, if any does: the greater the more.
    fn host(patterns: &[HostPattern], host: &str) -> Option<usize> {
        if patterns.is_empty() {
            return Some(0);
        }
        let one = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) => (name == host).then_some(1000),
            HostPattern::Below(domain) => host.ends_with(&format!(".{domain}")).then_some(1 + domain.len()),
        };
        patterns.iter().filter_map(one).max()
    }

    fn is_below(folder: &str, path: &str) -> bool {
        let folder = folder.strip_suffix('/').unwrap_or(folder);
        folder.is_empty() || path == folder || path.starts_with(&format!("{folder}/"))
    }

    /// How specific the path is, if it matches.
    fn path(pattern: Option<&PathPattern>, path: &str) -> Option<(bool, usize, bool)> {
        let length = |folder: &str| folder.strip_suffix('/').unwrap_or(folder).len();
        match pattern {
            None => Some((false, 0, false)),
            Some(PathPattern::Exact(exact)) => (exact == path).then_some((true, 0, false)),
            Some(PathPattern::Prefix(prefix)) => is_below(prefix, path).then_some((false, length(prefix), false)),
            Some(PathPattern::Regex(regex)) => {
                regex.is_match(path.as_bytes()).then_some((false, length(&regex.folder()), true))
            }
        }
    }

    fn holds<'v>(wanted: &Wanted, values: impl IntoIterator<Item = &'v str>) -> bool {
        let values: Vec<&str> = values.into_iter().collect();
        match wanted {
            Wanted::Exact(text) => values.contains(&text.as_str()),
            Wanted::Pattern(pattern) => values.iter().any(|value| pattern.is_match(value.as_bytes())),
            Wanted::Present => !values.is_empty(),
            Wanted::Absent => values.is_empty(),
        }
    }

    fn conditions(wanted: &Match, asked: &Asked) -> bool {
        let fields = |name: &HeaderName| asked.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        let pairs = |text: &str, separator: char, name: &str| -> Vec<String> {
            let pairs = text.split(separator).map(|pair| pair.trim().split_once('=').unwrap_or((pair.trim(), "")));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
        };
        let of = |values: &Vec<String>, wanted: &Wanted| holds(wanted, values.iter().map(String::as_str));
        let cookies = asked.headers.get(COOKIE).map_or("", |value| value.to_str().unwrap());
        (wanted.methods.is_empty() || wanted.methods.contains(&asked.method))
            && wanted.headers.iter().all(|(name, wanted)| holds(wanted, fields(name)))
            && wanted.query.iter().all(|(name, wanted)| of(&pairs(&asked.query, '&', name), wanted))
            && wanted.cookies.iter().all(|(name, wanted)| of(&pairs(cookies, ';', name), wanted))
            && (wanted.clients.is_empty()
                || asked.client.is_some_and(|client| wanted.clients.iter().any(|network| network.contains(&client))))
    }

    /// The route that wins.
    pub fn find(routes: &[(Vec<usize>, Match)], asked: &Asked) -> Option<usize> {
        let matching = routes.iter().enumerate().filter_map(|(number, (listeners, wanted))| {
            let host = host(&wanted.hosts, asked.host)?;
            let path = path(wanted.path.as_ref(), &asked.path)?;
            let more = (
                !wanted.methods.is_empty(),
                wanted.headers.len(),
                wanted.query.len(),
                wanted.cookies.len(),
                !wanted.clients.is_empty(),
            );
            let serves = listeners.contains(&asked.listener) && conditions(wanted, asked);
            serves.then_some((host, path, more, Reverse(number)))
        });
        matching.max().map(|(_, _, _, Reverse(number))| number)
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

// The cases of the Gateway API's conformance tests for HTTPRoute, each under the name of its test, with its rules.

/// `HTTPRouteMatching`, and `HTTPRoutePathMatchOrder`.
#[test]
fn gateway_api_paths_are_matched_exactly_or_by_whole_segments_and_the_longest_wins() {
    let rules = vec![
        path(exact("/match/exact/one")),
        path(exact("/match/exact")),
        path(exact("/match")),
        path(prefix("/match/prefix/one/")),
        path(prefix("/match/prefix/")),
        path(prefix("/match/")),
    ];
    let cases = [
        ("/match/exact/one", Some(0)),
        ("/match/exact", Some(1)),
        ("/match", Some(2)),
        ("/match/prefix/one/any", Some(3)),
        ("/match/prefix/one", Some(3)),
        ("/match/prefix/any", Some(4)),
        ("/match/prefix", Some(4)),
        ("/match/any", Some(5)),
        ("/matched", None),
        ("/match/prefixed", Some(5)),
        ("/match/prefix/oneself", Some(4)),
        ("/match/exact/", Some(5)),
        ("/Match", None),
        ("/", None),
    ];
    let cases: Vec<_> = cases.map(|(path, rule)| (get("any.x", path, &[]), rule)).into();
    assert_routes(rules, &cases);
    let two = vec![
        Match { path: prefix("/"), ..Match::default() },
        Match { path: prefix("/v2"), ..header(&[("version", "two")]) },
    ];
    assert_routes(
        two,
        &[
            (get("x", "/", &[]), Some(0)),
            (get("x", "/example", &[]), Some(0)),
            (get("x", "/v2", &[]), Some(0)),
            (get("x", "/v2/example", &[("version", "two")]), Some(1)),
            (get("x", "/", &[("version", "two")]), Some(0)),
        ],
    );
}

/// `HTTPRouteHeaderMatching`.
#[test]
fn gateway_api_more_headers_win_and_then_the_order_of_the_file() {
    let rules = vec![
        header(&[("version", "one")]),
        header(&[("version", "two")]),
        header(&[("version", "two"), ("color", "orange")]),
        header(&[("color", "blue")]),
        header(&[("color", "green")]),
        header(&[("color", "red")]),
        header(&[("color", "yellow")]),
    ];
    assert_routes(
        rules,
        &[
            (get("x", "/", &[("version", "one")]), Some(0)),
            (get("x", "/", &[("version", "two")]), Some(1)),
            (get("x", "/", &[("version", "two"), ("color", "orange")]), Some(2)),
            (get("x", "/", &[("color", "blue")]), Some(3)),
            (get("x", "/", &[("color", "green")]), Some(4)),
            (get("x", "/", &[("color", "orange")]), None),
            (get("x", "/", &[("some-other-header", "one")]), None),
            // Both match: the first of the file.
            (get("x", "/", &[("version", "two"), ("color", "blue")]), Some(1)),
            (get("x", "/", &[("color", "yellow"), ("color", "red")]), Some(5)),
            (get("x", "/", &[("color", "Blue")]), None),
        ],
    );
}

/// `HTTPRouteQueryParamMatching`.
#[test]
fn gateway_api_more_parameters_win_and_headers_win_over_them() {
    let rules = vec![
        query(&[("animal", "whale")]),
        query(&[("animal", "dolphin")]),
        query(&[("animal", "dolphin"), ("color", "blue")]),
        query(&[("ANIMAL", "Whale")]),
        Match { path: prefix("/path1"), ..query(&[("animal", "whale")]) },
        header(&[("version", "one")]),
    ];
    assert_routes(
        rules,
        &[
            (get("x", "/?animal=whale", &[]), Some(0)),
            (get("x", "/?animal=dolphin", &[]), Some(1)),
            (get("x", "/?animal=dolphin&color=blue", &[]), Some(2)),
            (get("x", "/?color=blue", &[]), None),
            (get("x", "/?animal=dog", &[]), None),
            (get("x", "/?animal=whaledolphin", &[]), None),
            (get("x", "/?animal=", &[]), None),
            (get("x", "/?ANIMAL=Whale", &[]), Some(3)),
            (get("x", "/?animal=wh%61le&other=1", &[]), Some(0)),
            (get("x", "/path1?animal=whale", &[]), Some(4)),
            (get("x", "/?animal=whale", &[("version", "one")]), Some(5)),
        ],
    );
}

/// `HTTPRouteMethodMatching`.
#[test]
fn gateway_api_a_path_wins_over_a_method_and_a_method_over_headers() {
    let rules = vec![
        method(Method::POST),
        method(Method::GET),
        Match { path: prefix("/path1"), ..method(Method::GET) },
        Match { methods: vec![Method::PUT], ..header(&[("version", "one")]) },
        Match { path: prefix("/path1"), ..header(&[("version", "two")]) },
        path(prefix("/path1")),
        header(&[("version", "three")]),
    ];
    let with = |method: Method, path: &str, fields: &[(&'static str, &'static str)]| Asked {
        method,
        ..get("x", path, fields)
    };
    assert_routes(
        rules,
        &[
            (with(Method::POST, "/", &[]), Some(0)),
            (with(Method::GET, "/", &[]), Some(1)),
            (with(Method::GET, "/path1", &[("version", "two")]), Some(2)),
            (with(Method::PUT, "/", &[("version", "one")]), Some(3)),
            (with(Method::PUT, "/path1", &[("version", "two")]), Some(4)),
            (with(Method::HEAD, "/path1", &[]), Some(5)),
            (with(Method::GET, "/", &[("version", "three")]), Some(1)),
            (with(Method::HEAD, "/", &[("version", "three")]), Some(6)),
            (with(Method::HEAD, "/", &[]), None),
        ],
    );
}

/// `HTTPRouteListenerHostnameMatching`, `HTTPRouteHostnameIntersection`, `HTTPRouteMatchingAcrossRoutes`.
#[test]
fn gateway_api_an_exact_host_wins_over_wildcards_and_the_longest_of_those_over_others() {
    let rules = vec![
        host(&["*.example.com"], prefix("/")),
        host(&["very.specific.example.com"], prefix("/s")),
        host(&["*.specific.example.com"], prefix("/")),
        path(exact("/s/deep")),
        host(&["bar.com", "*.bar.com"], prefix("/v2")),
        host(&["bar.com"], None),
    ];
    assert_routes(
        rules,
        &[
            (get("foo.example.com", "/x", &[]), Some(0)),
            (get("foo.bar.example.com", "/x", &[]), Some(0)),
            (get("example.com", "/x", &[]), None),
            (get("very.specific.example.com", "/s/x", &[]), Some(1)),
            // The host decides before the path, and what no route of the exact host serves goes to the wildcard.
            (get("very.specific.example.com", "/s/deep", &[]), Some(1)),
            (get("very.specific.example.com", "/x", &[]), Some(2)),
            (get("other.specific.example.com", "/s", &[]), Some(2)),
            (get("specific.example.com", "/s", &[]), Some(0)),
            (get("elsewhere.org", "/s/deep", &[]), Some(3)),
            (get("bar.com", "/v2/x", &[]), Some(4)),
            (get("www.bar.com", "/v2", &[]), Some(4)),
            (get("bar.com", "/v2x", &[]), Some(5)),
            (get("www.bar.com", "/", &[]), None),
        ],
    );
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
