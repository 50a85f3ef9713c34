//! What can be written of a route.

use super::upstream::ROUTE_RETRY;
use super::{Key, Section, Shape, UNLIMITED, key, optional, required, section};

const ROUTE: Section = Section {
    kind: "route",
    one_of: &["upstream", "split", "redirect", "respond"],
    keys: &[
        optional("name", Shape::Text("name"), "`route-` and its number", "in logs, metrics and decisions; unique"),
        optional("listeners", Shape::List(&Shape::Text("listener")), "all", "the listeners that it serves"),
        key("match", Shape::Section(&MATCH), "{}", "which requests; every condition must hold"),
        optional("upstream", Shape::Text("upstream"), "another action", "who answers"),
        optional("split", Shape::Either(&[SHARES, Shape::Section(&SPLIT)]), "another action", "who answers, by shares"),
        optional("redirect", Shape::Section(&REDIRECT), "another action", "the client is sent elsewhere"),
        optional("respond", Shape::Section(&RESPOND), "another action", "we answer"),
        key("rewrite", Shape::Section(&REWRITE), "{}", "of what is forwarded; the path of a redirect too"),
        key("request_headers", Shape::Section(&HEADER_RULES), "{}", "what is changed in heads of requests"),
        key(
            "response_headers",
            Shape::Section(&HEADER_RULES),
            "{}",
            "what is changed in heads of all answers, redirects and failures too",
        ),
        key("timeouts", Shape::Section(&TIMEOUTS), "{}", "over the upstream's"),
        optional(
            "retry",
            Shape::Either(&[Shape::Switch, Shape::Section(&ROUTE_RETRY)]),
            "the upstream's",
            "over the upstream's, whose budget holds",
        ),
        key("limits", Shape::Section(&LIMITS), "{}", "over the upstream's"),
    ],
};

const MATCH: Section = section(
    "match",
    &[
        optional("hosts", TEXTS, "all", "without port; `*.example.com` is for all below, not for the domain itself"),
        optional("path", Shape::Section(&PATH), "all", "the path in its one form"),
        optional("methods", TEXTS, "all", "such as `[GET, HEAD]`"),
        optional("headers", WANTED, "all", "fields by name"),
        optional("query", WANTED, "all", "parameters by name"),
        optional("cookies", WANTED, "all", "cookies by name"),
        optional("clients", TEXTS, "all", "networks, or single addresses"),
    ],
);

const TEXTS: Shape = Shape::Either(&[Shape::Text("text"), Shape::List(&Shape::Text("text"))]);
const WANTED: Shape = Shape::Names("name", &Shape::Either(&[Shape::Text("value"), Shape::Section(&WANTED_VALUE)]));

const PATH: Section = Section {
    kind: "path",
    one_of: &["exact", "prefix", "regex"],
    keys: &[
        optional("exact", Shape::Text("path"), "another", "this path alone"),
        optional("prefix", Shape::Text("path"), "another", "this path and all below it, by segments"),
        optional("regex", Shape::Text("expression"), "another", "an expression for the whole or a part of it"),
    ],
};

const WANTED_VALUE: Section = Section {
    kind: "wanted value",
    one_of: &["regex", "present"],
    keys: &[
        optional("regex", Shape::Text("expression"), "another", "an expression that the value must match"),
        optional("present", Shape::Switch, "another", "whether there must be one, or must be none"),
    ],
};

const SHARES: Shape = Shape::List(&Shape::Section(&SHARE));

const SPLIT: Section = section(
    "split",
    &[
        required(
            "key",
            Shape::Either(&[Shape::Words(&["client_address"]), Shape::Section(&SPLIT_KEY)]),
            "same key, same upstream: `client_address`, `{ header: x-user }` or `{ cookie: session }`",
        ),
        required("upstreams", SHARES, "each with its share"),
    ],
);

const SPLIT_KEY: Section = Section {
    kind: "split key",
    one_of: &["header", "cookie"],
    keys: &[
        optional("header", Shape::Text("name"), "another", "the value of a field"),
        optional("cookie", Shape::Text("name"), "another", "the value of a cookie"),
    ],
};

const SHARE: Section = section(
    "share",
    &[
        required("upstream", Shape::Text("upstream"), "who answers"),
        required("weight", Shape::Number(0, 1_000_000), "its share relative to the others"),
    ],
);

const REDIRECT: Section = section(
    "redirect",
    &[
        required("to", Shape::Text("template"), "the field `Location`, as in `https://{host}{path_and_query}`"),
        key("status", Shape::Words(&["301", "302", "303", "307", "308"]), "308", "the status"),
    ],
);

const RESPOND: Section = section(
    "respond",
    &[
        required("status", Shape::Number(200, 599), "the status"),
        optional("body", Shape::Text("text"), "empty", "the body"),
        optional(
            "content_type",
            Shape::Text("media type"),
            "`text/plain; charset=utf-8` where there is a body",
            "what the body is",
        ),
    ],
);

const REWRITE: Section = section(
    "rewrite",
    &[
        optional("strip_prefix", Shape::Text("path"), "the path stays", "what is taken from the beginning of the path"),
        optional("replace_prefix", Shape::Section(&REPLACE_PREFIX), "the path stays", "what stands there instead"),
        optional(
            "regex",
            Shape::Section(&REGEX),
            "the path stays",
            "the first part of the path that an expression matches is replaced",
        ),
        optional("host", Shape::Text("host"), "the client's", "the host that backends are asked for"),
    ],
);

const REPLACE_PREFIX: Section = section(
    "replace prefix",
    &[
        required("from", Shape::Text("path"), "the beginning of the path"),
        required("to", Shape::Text("path"), "what stands there instead"),
    ],
);

const REGEX: Section = section(
    "rewrite regex",
    &[
        required("pattern", Shape::Text("expression"), "what is replaced"),
        required("replacement", Shape::Text("text"), "by what; `$1` is the first group"),
    ],
);

const HEADER_RULES: Section = section(
    "header rules",
    &[
        key(
            "set",
            Shape::Names("name", &Shape::Text("template")),
            "{}",
            "fields that are put in place of those of the name",
        ),
        key(
            "add",
            Shape::Names("name", &Shape::Text("template")),
            "{}",
            "fields that are put beside those of the name",
        ),
        key("remove", Shape::List(&Shape::Text("name")), "[]", "fields that go; first removed, then set, then added"),
    ],
);

const TIMEOUTS: Section = section(
    "route timeouts",
    &[
        optional("connect", Shape::Duration, "the upstream's", "to accept a connection"),
        optional(
            "first_byte",
            Shape::Duration,
            "the upstream's",
            "from the end of the request to the first byte of the response",
        ),
        optional("idle", Shape::Duration, "the upstream's", "between two reads or writes"),
        optional(
            "total",
            Shape::Either(&[UNLIMITED, Shape::Duration]),
            "the upstream's",
            "a whole request with all its attempts",
        ),
        optional("tunnel", Shape::Duration, "the upstream's", "between two bytes of an upgraded connection"),
    ],
);

const LIMITS: Section = section(
    "route limits",
    &[optional(
        "request_body",
        Shape::Either(&[UNLIMITED, Shape::Size]),
        "the upstream's",
        "the largest body of a request; beyond it the answer is 413",
    )],
);

/// All routes.
pub(super) const ROUTES: Key = optional(
    "routes",
    Shape::List(&Shape::Section(&ROUTE)),
    "required, here or in an included file",
    "what is asked, and what is done; the most specific wins: host, path, then conditions, then file order",
);
