//! What can be written at the top of the file: of the process as a whole, and what goes to pingora.

use super::listener::LISTENERS;
use super::route::ROUTES;
use super::upstream::UPSTREAMS;
use super::{OFF, PATH, Section, Shape, key, optional, required, section};

pub(super) const FILE: Section = section(
    "",
    &[
        required("version", Shape::Words(&["1"]), "of this format"),
        key(
            "include",
            Shape::List(&PATH),
            "[]",
            "more files, or patterns: listeners, upstreams and routes go on in them, any other key may stand in one file only",
        ),
        key("watch", Shape::Switch, "off", "whether a change of the files is a reload"),
        key(
            "lame_duck",
            Shape::Either(&[OFF, Shape::Duration]),
            "1s",
            "after TERM: how long new connections are still answered while `/readyz` says no",
        ),
        key("admin", Shape::Either(&[Shape::Switch, Shape::Section(&ADMIN)]), "{}", "dashboard, metrics and API"),
        key(
            "access_log",
            Shape::Either(&[Shape::Switch, Shape::Section(&ACCESS_LOG)]),
            "{}",
            "a line for every request",
        ),
        key(
            "via",
            Shape::Either(&[OFF, Shape::Text("name")]),
            "off",
            "a name for us in the field `Via` of requests and responses",
        ),
        key(
            "error_pages",
            Shape::Names("4xx, 5xx or a status", &Shape::Either(&[PATH, Shape::List(&PATH)])),
            "{}",
            "pages of your own for failures: `.html`, `.txt` or `.json`, at most 1MiB each; `{status}` `{reason}` `{request_id}` are replaced",
        ),
        key(
            "client_address",
            Shape::Section(&CLIENT_ADDRESS),
            "{}",
            "whose word on the address of a client is believed",
        ),
        key(
            "path_normalization",
            Shape::Section(&PATH_NORMALIZATION),
            "{}",
            "what is done with paths that may be read in two ways",
        ),
        LISTENERS,
        UPSTREAMS,
        ROUTES,
        super::expectation::TESTS,
        optional("threads", Shape::Number(1, 1024), "as many as there are cores", "cores that serve"),
        key("daemon", Shape::Switch, "off", "run in the background; `-d` does the same"),
        optional("pid_file", PATH, "in /run/evenkeel, or the user's own folder", "of the daemon"),
        optional(
            "upgrade_sock",
            PATH,
            "in /run/evenkeel, or the user's own folder",
            "where an old process meets the new one",
        ),
        optional("error_log", PATH, "standard error is closed", "standard error of the daemon"),
        optional("user", Shape::Text("name"), "who starts it", "whose rights the daemon has"),
        optional("group", Shape::Text("name"), "the user's", "likewise"),
        optional("working_directory", PATH, "`/`", "the daemon's"),
        optional(
            "ca_file",
            PATH,
            "whom this machine trusts",
            "whom connections to backends trust where `tls` of their upstream names no `ca`",
        ),
        key("grace_period_seconds", SECONDS, "300", "how long requests may go on after TERM or QUIT"),
        optional(
            "graceful_shutdown_timeout_seconds",
            SECONDS,
            "nothing",
            "how much longer what is left after that may go on before it is cut",
        ),
        key("client_bind_to_ipv4", ADDRESSES, "[]", "source addresses of connections to backends"),
        key("client_bind_to_ipv6", ADDRESSES, "[]", "likewise"),
        key("upstream_keepalive_pool_size", POOL, "1024", "idle connections to backends, for each thread"),
        key("upstream_debug_ssl_keylog", Shape::Switch, "off", "write TLS keys to `$SSLKEYLOGFILE`: only to debug"),
    ],
);

const YEAR: u64 = 365 * 86_400;
const SECONDS: Shape = Shape::Number(0, YEAR);
const POOL: Shape = Shape::Number(1, 1_000_000);
const ADDRESSES: Shape = Shape::List(&Shape::Text("address"));

const ADMIN: Section = section(
    "admin",
    &[
        key(
            "address",
            Shape::Text("address"),
            "127.0.0.1:9901",
            "a loopback address and port, or `unix:/path`; with a token any address",
        ),
        optional("token_file", PATH, "no token", "what the API and the metrics ask for, in the first line of a file"),
        optional("token", Shape::Text("${NAME}"), "no token", "the same from the environment, never in the file"),
        optional(
            "hosts",
            Shape::List(&Shape::Text("host")),
            "none",
            "names that it answers to, besides addresses and localhost",
        ),
        key("slow_request", Shape::Duration, "1s", "a request whose answer begins later is remembered as slow"),
    ],
);

const ACCESS_LOG: Section = section(
    "access log",
    &[
        key("path", PATH, "stdout", "`stdout`, `stderr`, `off`, or the path of a file"),
        key(
            "format",
            Shape::Either(&[Shape::Words(&["json", "combined"]), Shape::Section(&ACCESS_LOG_FORMAT)]),
            "json",
            "what a line holds",
        ),
    ],
);

const ACCESS_LOG_FORMAT: Section = section(
    "access log format",
    &[required(
        "template",
        Shape::Text("template"),
        "a line with names in braces, as in `{client} {method} {path} {status}`",
    )],
);

const CLIENT_ADDRESS: Section = section(
    "client address",
    &[
        key(
            "trusted_proxies",
            Shape::List(&Shape::Text("network")),
            "[]",
            "networks and addresses whose word is believed; `unix:` is whoever connects to a UNIX socket",
        ),
        key(
            "field",
            Shape::Words(&["x_forwarded_for", "forwarded"]),
            "x_forwarded_for",
            "the field that all of them write",
        ),
        key("forwarded", Shape::Switch, "off", "whether backends are told in `Forwarded` (RFC 7239) too"),
    ],
);

const PATH_NORMALIZATION: Section = section(
    "path normalization",
    &[
        key("merge_slashes", Shape::Switch, "on", "`//` becomes `/`"),
        key(
            "encoded_slashes",
            Shape::Words(&["keep", "reject", "decode"]),
            "keep",
            "`%2F`: a slash to routes and passed on as it came, refused, or a slash",
        ),
    ],
);
