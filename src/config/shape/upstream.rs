//! What can be written of an upstream.

use super::{Key, OFF, PATH, Section, Shape, UNLIMITED, key, optional, required, section};

pub(super) const UPSTREAM: Section = section(
    "upstream",
    &[
        required(
            "backends",
            Shape::List(&Shape::Either(&[ADDRESS, Shape::Section(&BACKEND)])),
            "at least one, none twice; `host:port`, `\"[v6]:port\"`, `unix:/path`, or a mapping",
        ),
        key(
            "balance",
            Shape::Either(&[
                Shape::Words(&["round_robin", "random", "least_request", "peak_ewma"]),
                Shape::Names("ring_hash or maglev", &Shape::Section(&HASH_POLICY)),
            ]),
            "round_robin",
            "how a backend is picked",
        ),
        key(
            "panic_threshold",
            Shape::Either(&[OFF, Shape::Share]),
            "50%",
            "below this share of fit backends health is ignored",
        ),
        key(
            "slow_start",
            Shape::Either(&[OFF, Shape::Duration]),
            "off",
            "how long a backend that comes back or is added takes to its full share",
        ),
        key(
            "health_check",
            Shape::Either(&[SWITCHED, Shape::Section(&HEALTH_CHECK)]),
            "{}",
            "asking backends on a timer",
        ),
        key(
            "outlier_detection",
            Shape::Either(&[SWITCHED, Shape::Section(&OUTLIER_DETECTION)]),
            "{}",
            "judging backends by how they treat requests",
        ),
        key(
            "circuit_breaker",
            Shape::Either(&[SWITCHED, Shape::Section(&CIRCUIT_BREAKER)]),
            "{}",
            "ceilings of requests in flight",
        ),
        key(
            "adaptive_concurrency",
            Shape::Either(&[OFF, Shape::Section(&ADAPTIVE_CONCURRENCY)]),
            "off",
            "finding out how many requests are carried at once, and holding back what is more",
        ),
        key(
            "retry",
            Shape::Either(&[SWITCHED, Shape::Section(&RETRY)]),
            "{}",
            "trying again what failed at one backend",
        ),
        key(
            "sticky",
            Shape::Either(&[SWITCHED, Shape::Section(&STICKY)]),
            "off",
            "keeping a client at the backend that served it",
        ),
        key(
            "protocol",
            Shape::Words(&["http1", "http2"]),
            "http1",
            "what backends are spoken to in; HTTP/2 by ALPN over TLS, by prior knowledge without",
        ),
        key("tls", Shape::Either(&[SWITCHED, Shape::Section(&TLS)]), "off", "whether backends are spoken to over TLS"),
        key("timeouts", Shape::Section(&TIMEOUTS), "{}", "how long backends may take"),
        key("limits", Shape::Section(&LIMITS), "{}", "what requests may be"),
    ],
);

const SWITCHED: Shape = Shape::Switch;
const ADDRESS: Shape = Shape::Text("address");
const COUNT: Shape = Shape::Either(&[UNLIMITED, Shape::Number(1, u64::MAX)]);

const BACKEND: Section = section(
    "backend",
    &[
        required("address", ADDRESS, "its identity"),
        key("weight", Shape::Number(0, 1000), "1", "its share of the traffic, relative to the others; 0 takes none"),
        key("tier", Shape::Number(0, 15), "0", "it serves when the lower tiers cannot"),
    ],
);

const HASH_POLICY: Section = section(
    "hash policy",
    &[required(
        "key",
        Shape::Either(&[
            Shape::Words(&["client_address", "path", "query"]),
            Shape::Names("header, cookie or query", &Shape::Text("name")),
        ]),
        "what is hashed: `client_address`, `path`, `query`, `{ header: x-user }`, `{ cookie: session }`, `{ query: user }`",
    )],
);

const HEALTH_CHECK: Section = section(
    "health check",
    &[
        optional("http", Shape::Section(&HTTP), "`tcp`", "a backend that answers a request well is fit"),
        optional(
            "grpc",
            Shape::Section(&GRPC),
            "`tcp`",
            "a backend whose `grpc.health.v1.Health/Check` says SERVING is fit; with `protocol: http2`",
        ),
        optional("tcp", Shape::Section(&TCP), "where there is no other", "a backend that accepts a connection is fit"),
        key("interval", Shape::Duration, "5s", "between two checks of a backend"),
        key("timeout", Shape::Duration, "1s", "at most the interval"),
        key("healthy_after", Shape::Number(1, 100), "2", "successes in a row that bring a backend back"),
        key("unhealthy_after", Shape::Number(1, 100), "3", "failures in a row that take it out"),
    ],
);

const HTTP: Section = section(
    "http health check",
    &[
        required("path", Shape::Text("path"), "what is asked for, with its query"),
        key("method", Shape::Text("method"), "GET", "without a body"),
        optional("host", Shape::Text("host"), "the backend's address", "the host that is asked for"),
        key("headers", Shape::Names("name", &Shape::Text("value")), "{}", "more fields"),
        key(
            "expect",
            Shape::Either(&[STATUSES, Shape::List(&STATUSES)]),
            "200-299",
            "the statuses of a fit backend: one, a range, or a list",
        ),
        optional("body", Shape::Text("text"), "any body", "what the body must hold within its first 64 KiB"),
    ],
);

const STATUSES: Shape = Shape::Text("status or range");

const GRPC: Section = section(
    "grpc health check",
    &[optional("service", Shape::Text("name"), "the server as a whole", "the service that is asked about")],
);

const TCP: Section = section("tcp health check", &[]);

const OUTLIER_DETECTION: Section = section(
    "outlier detection",
    &[
        key(
            "consecutive_failures",
            Shape::Number(1, 1000),
            "5",
            "answers 5xx (but 501, 505) or none, in a row, take a backend out",
        ),
        key(
            "ejection",
            Shape::Duration,
            "30s",
            "how long the first time, longer each time; then one request probes it",
        ),
        key(
            "max_ejected",
            Shape::Share,
            "50%",
            "the share of backends that may be out; at least one of several, never all",
        ),
        key("stalls", Shape::Switch, "on", "whether a backend that answers nothing while others do is taken out"),
    ],
);

const CIRCUIT_BREAKER: Section = section(
    "circuit breaker",
    &[
        key("requests_per_backend", COUNT, "1024", "in flight at one backend"),
        key("requests", COUNT, "unlimited", "in flight at all backends of the upstream together"),
        key("queue", Shape::Either(&[OFF, Shape::Number(1, 1_000_000)]), "1024", "requests that wait for room"),
        key("queue_timeout", Shape::Duration, "1s", "how long they wait"),
        key("shed", Shape::Words(&["newest", "oldest"]), "newest", "whom a full queue refuses"),
    ],
);

const ADAPTIVE_CONCURRENCY: Section = section(
    "adaptive concurrency",
    &[
        required(
            "mode",
            Shape::Words(&["enforce", "observe"]),
            "`enforce` holds back what is beyond the limit, `observe` only shows the limit",
        ),
        key("min_limit", Shape::Number(1, 1_000_000), "3", "the lowest limit; more where more backends are fit"),
        key("max_limit", Shape::Number(1, 1_000_000), "1000", "the highest limit"),
        key("percentile", Shape::Share, "50%", "which latency of a window counts; not `0%`"),
        key("tolerance", Shape::Share, "25%", "how much longer than the minimal latency an answer may take"),
        key("measure_interval", Shape::Duration, "60s", "how often the minimal latency is measured"),
        key("measure_jitter", Shape::Share, "15%", "the interval is longer by a random part of this"),
        key("measure_requests", Shape::Number(1, 10_000), "50", "answers that the minimal latency is taken from"),
    ],
);

const RETRY: Section = section(
    "retry",
    &[
        key("attempts", Shape::Number(1, 10), "2", "how often a request is tried again"),
        key("budget", Shape::Share, "20%", "the share of served requests that may be retries"),
        key(
            "backoff",
            Shape::Either(&[SWITCHED, Shape::Section(&BACKOFF)]),
            "{}",
            "the pause before a retry: a random part of it",
        ),
        key(
            "per_try_timeout",
            Shape::Either(&[OFF, Shape::Duration]),
            "off",
            "how long one try may take until its answer begins",
        ),
        key("on", RETRY_ON, "[connect, reset, refused]", "what is tried again"),
        key(
            "hedge",
            Shape::Either(&[SWITCHED, Shape::Section(&HEDGE)]),
            "off",
            "giving a request that waits to a second backend too",
        ),
    ],
);

const HEDGE: Section = section(
    "hedge",
    &[
        key(
            "after",
            Shape::Either(&[Shape::Words(&["p90", "p95", "p99"]), Shape::Duration]),
            "p95",
            "the wait: longer than that share of requests lately, or a fixed time",
        ),
        key("min", Shape::Duration, "5ms", "the shortest wait, however quick the upstream is; not beside a fixed time"),
    ],
);

/// What a route says over its upstream.
pub(super) const ROUTE_RETRY: Section = section(
    "route retry",
    &[
        optional("attempts", Shape::Number(1, 10), "the upstream's", "how often a request is tried again"),
        optional("on", RETRY_ON, "the upstream's", "what is tried again"),
        optional(
            "hedge",
            Shape::Either(&[SWITCHED, Shape::Section(&HEDGE)]),
            "the upstream's",
            "giving a request that waits to a second backend too",
        ),
    ],
);

const RETRY_ON: Shape = Shape::List(&Shape::Words(&[
    "connect", "reset", "refused", "http_429", "http_500", "http_502", "http_503", "http_504",
]));

const BACKOFF: Section = section(
    "backoff",
    &[
        key(
            "base",
            Shape::Duration,
            "25ms",
            "the longest pause before the first retry; twice as long before each further",
        ),
        key("max", Shape::Duration, "250ms", "the longest pause of all"),
    ],
);

const STICKY: Section =
    section("sticky", &[required("cookie", Shape::Section(&STICKY_COOKIE), "by a cookie, which is signed")]);

const STICKY_COOKIE: Section = section(
    "sticky cookie",
    &[
        key("name", Shape::Text("name"), "evenkeel", "what it is called"),
        key(
            "max_age",
            Shape::Either(&[Shape::Words(&["session"]), Shape::Duration]),
            "session",
            "how long clients keep it, in whole seconds",
        ),
        optional("secret_file", PATH, "one that the process makes up", "what it is signed with, at least 16 bytes"),
    ],
);

const TLS: Section = section(
    "upstream tls",
    &[
        optional("server_name", Shape::Text("name"), "the host of each backend's address", "asked for and verified"),
        optional("ca", PATH, "whom this machine trusts", "a PEM file: whom certificates must be from"),
        key("verify", Shape::Switch, "on", "`off`: whoever answers is believed"),
        optional("certificate", PATH, "none", "a PEM file, shown to backends that ask"),
        optional("key", PATH, "none", "a PEM file with its private key"),
    ],
);

const TIMEOUTS: Section = section(
    "upstream timeouts",
    &[
        key("connect", Shape::Duration, "2s", "to accept a connection"),
        key("first_byte", Shape::Duration, "30s", "from the end of the request to the first byte of the response"),
        key("idle", Shape::Duration, "30s", "between two reads or writes"),
        key(
            "total",
            Shape::Either(&[UNLIMITED, Shape::Duration]),
            "unlimited",
            "a whole request with all its attempts",
        ),
        key("keep_alive", Shape::Duration, "60s", "how long an idle connection is kept for reuse"),
        key("tunnel", Shape::Duration, "1h", "between two bytes of an upgraded connection (WebSocket)"),
    ],
);

const LIMITS: Section = section(
    "upstream limits",
    &[key(
        "request_body",
        Shape::Either(&[UNLIMITED, Shape::Size]),
        "unlimited",
        "the largest body of a request; beyond it the answer is 413",
    )],
);

/// All upstreams.
pub(super) const UPSTREAMS: Key = optional(
    "upstreams",
    Shape::Names("name", &Shape::Section(&UPSTREAM)),
    "required, here or in an included file",
    "backends that serve one purpose, by name",
);
