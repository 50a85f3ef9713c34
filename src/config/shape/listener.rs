//! What can be written of a listener.

use super::{Key, OFF, PATH, Section, Shape, UNLIMITED, key, optional, required, section};

pub(super) const LISTENER: Section = section(
    "listener",
    &[
        required("address", Shape::Text("address"), "where it listens: `host:port`, `\"[v6]:port\"` or `unix:/path`"),
        key("tls", Shape::Either(&[OFF, Shape::Section(&TLS)]), "off", "whether clients speak TLS"),
        key("http2", Shape::Switch, "on", "HTTP/2: by ALPN over TLS, by prior knowledge without"),
        key(
            "proxy_protocol",
            Shape::Words(&["off", "required"]),
            "off",
            "whether every connection begins with a header of the PROXY protocol, version 1 or 2",
        ),
        key("timeouts", Shape::Section(&TIMEOUTS), "{}", "how long clients may take"),
        key("limits", Shape::Section(&LIMITS), "{}", "how much clients may send and hold"),
    ],
);

const TLS: Section = section(
    "listener tls",
    &[
        required(
            "certificates",
            Shape::List(&Shape::Section(&CERTIFICATE)),
            "at least one; chosen by SNI, the first where no name fits",
        ),
        key("min_version", Shape::Words(&["1.2", "1.3"]), "1.2", "the oldest version of TLS"),
        key(
            "client_certificates",
            Shape::Either(&[OFF, Shape::Section(&CLIENT_CERTIFICATES)]),
            "off",
            "whether clients show certificates",
        ),
    ],
);

const CERTIFICATE: Section = section(
    "certificate",
    &[
        required("certificate", PATH, "a PEM file: the certificate, followed by its chain"),
        required("key", PATH, "a PEM file with its private key"),
    ],
);

const CLIENT_CERTIFICATES: Section = section(
    "client certificates",
    &[
        required("ca", PATH, "a PEM file: whose certificates clients must show"),
        key(
            "mode",
            Shape::Words(&["required", "optional"]),
            "required",
            "`optional`: none is fine too, a wrong one is not",
        ),
    ],
);

const TIMEOUTS: Section = section(
    "listener timeouts",
    &[
        key("request_header", Shape::Duration, "10s", "from the first byte of a request to the end of its header"),
        key("request_body_idle", Shape::Duration, "30s", "between two reads of a request's body"),
        key("response_write_idle", Shape::Duration, "30s", "between two writes of a response"),
        key("keep_alive", Shape::Duration, "60s", "between a response and the next request"),
    ],
);

const LIMITS: Section = section(
    "listener limits",
    &[
        key(
            "request_header",
            Shape::Size,
            "64KiB",
            "request line and fields together, 1KiB to 1023KiB; beyond it 414 or 431",
        ),
        key("request_headers", Shape::Number(1, 256), "100", "number of fields; beyond it 431"),
        key("connections", COUNT, "unlimited", "open at once; more are closed"),
        key("connections_per_client", COUNT, "unlimited", "of one IPv4 address, or of one /64 of IPv6"),
    ],
);

const COUNT: Shape = Shape::Either(&[UNLIMITED, Shape::Number(1, u64::MAX)]);

/// All listeners.
pub(super) const LISTENERS: Key = optional(
    "listeners",
    Shape::Names("name", &Shape::Section(&LISTENER)),
    "required, here or in an included file",
    "addresses that are accepted on, by name: 1 to 64 of a-z A-Z 0-9 - _ .",
);
