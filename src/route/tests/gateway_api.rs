//! The cases of the Gateway API's conformance tests for HTTPRoute, each under the name of its test, with its rules.

use http::Method;

use super::*;

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
