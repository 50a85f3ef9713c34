//! What can be written of the file's own tests.

use super::{Key, PATH, Section, Shape, key, optional, required, section};

const TEST: Section = section(
    "test",
    &[
        required(
            "request",
            Shape::Text("request"),
            "a method and an address, as in `GET https://shop.example.com/api/x`",
        ),
        key("headers", Shape::Names("name", &Shape::Text("value")), "{}", "header fields of the request"),
        optional("from", Shape::Text("address"), "127.0.0.1", "the client's address"),
        optional("listener", Shape::Text("listener"), "by the port or the scheme of the address", "where it comes to"),
        required("expect", Shape::Section(&EXPECTATION), "what must hold; at least one thing"),
    ],
);

const EXPECTATION: Section = section(
    "expectation",
    &[
        optional("route", Shape::Text("route"), "any", "the route that is taken"),
        optional("upstream", Shape::Text("upstream"), "any", "an upstream that may answer; of a split any share"),
        optional(
            "status",
            Shape::Number(200, 599),
            "any",
            "of what we answer ourselves: a redirect, a fixed answer, 404 without a route",
        ),
        optional("location", Shape::Text("address"), "any", "where the client is sent"),
        optional("path", PATH, "any", "path and query that a backend is asked for"),
        optional("host", Shape::Text("host"), "any", "the host that a backend is asked for"),
    ],
);

/// All tests.
pub(super) const TESTS: Key = key(
    "tests",
    Shape::List(&Shape::Section(&TEST)),
    "[]",
    "what `evenkeel test` asks of the routes; they change nothing else",
);
