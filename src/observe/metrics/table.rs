//! Every metric family there is: name, kind, labels and what it means. The reference page is made of this table.
//!
//! Invariant: names are `evenkeel_<what>_<unit>` in base units, counters end in `_total`, and labels are closed sets
//! that the configuration bounds. No series sums others.
//!
//! Deliberately absent: labels that a stranger fills (path, client, host), and families that could be computed.

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for a restart.
    Counter,
    /// What is now.
    Gauge,
    /// How durations are spread.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What tells the series of a family apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// The name of a listener.
    Listener,
    /// The name of a route.
    Route,
    /// The name of an upstream.
    Upstream,
    /// The address of a backend.
    Backend,
    /// A status code, `other` for those without a registered meaning, `none` when nothing was answered.
    Code,
    /// Why something failed: a token of the table of failures.
    Reason,
    /// How an upstream picks.
    Policy,
    /// The version of the program.
    Version,
    /// How something went.
    State,
}

impl Label {
    /// The name in the exposition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Backend => "backend",
            Self::Code => "code",
            Self::Reason => "reason",
            Self::Policy => "policy",
            Self::Version => "version",
            Self::State => "state",
        }
    }
}

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The full name.
    pub name: &'static str,
    /// What its values mean.
    pub kind: Kind,
    /// One sentence for whoever reads a dashboard.
    pub help: &'static str,
    /// The labels of each of its series, in this order.
    pub labels: &'static [Label],
}

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:ident)*] $help:literal)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family {
                name: $name,
                kind: Kind::$kind,
                help: $help,
                labels: &[$(Label::$label),*],
            };
        )*

        /// The whole table, in the order of the page.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO Gauge "evenkeel_build_info" [Version]
        "Always 1; the label tells which version runs."
    PROCESS_START_TIME_SECONDS Gauge "evenkeel_process_start_time_seconds" []
        "When the process began, in seconds since 1970-01-01."
    PROCESS_RESIDENT_MEMORY_BYTES Gauge "evenkeel_process_resident_memory_bytes" []
        "Memory of the process that is in RAM."
    PROCESS_OPEN_FDS Gauge "evenkeel_process_open_fds" []
        "Descriptors that the process has open."
    GENERATION Gauge "evenkeel_generation" []
        "Number of the configuration that is served; it grows by one with each reload that was accepted."
    RELOADS_TOTAL Counter "evenkeel_reloads_total" [State]
        "Reloads that were asked for; state is ok, refused when the file had problems and nothing changed, or reverted when nobody confirmed."
    DRAINING Gauge "evenkeel_draining" []
        "1 while the process finishes what it has and takes nothing new, else 0."

    CONNECTIONS Gauge "evenkeel_connections" [Listener]
        "Connections of clients that are open."
    CONNECTIONS_TOTAL Counter "evenkeel_connections_total" [Listener]
        "Connections of clients that were accepted."
    CONNECTIONS_REFUSED_TOTAL Counter "evenkeel_connections_refused_total" [Listener Reason]
        "Connections of clients that were closed before a request was read from them."
    BYTES_RECEIVED_TOTAL Counter "evenkeel_bytes_received_total" [Listener]
        "Bytes of request bodies that clients sent."
    BYTES_SENT_TOTAL Counter "evenkeel_bytes_sent_total" [Listener]
        "Bytes of response bodies that clients were sent."
    REQUESTS_IN_FLIGHT Gauge "evenkeel_requests_in_flight" [Listener]
        "Requests that have begun and not ended."

    REQUESTS_TOTAL Counter "evenkeel_requests_total" [Route Code]
        "Requests that ended, by the status that the client was sent."
    REQUEST_DURATION_SECONDS Histogram "evenkeel_request_duration_seconds" [Route]
        "From the first byte of a request to the last of its response."
    FAILURES_TOTAL Counter "evenkeel_failures_total" [Reason]
        "Requests that were not served as they should, by why."

    ATTEMPTS_TOTAL Counter "evenkeel_attempts_total" [Upstream Backend]
        "Times a request was given to a backend; retries count again."
    ATTEMPT_FAILURES_TOTAL Counter "evenkeel_attempt_failures_total" [Upstream Backend Reason]
        "Attempts that failed, whether or not another one served the request."
    RETRIES_TOTAL Counter "evenkeel_retries_total" [Upstream]
        "Attempts after a former one of the same request had failed."
    RETRIES_REFUSED_TOTAL Counter "evenkeel_retries_refused_total" [Upstream]
        "Retries that were due but not made because the retry budget was spent."
    HEDGES_TOTAL Counter "evenkeel_hedges_total" [Upstream State]
        "Attempts beside the first of a request that waited; state is won when their answer was passed on, lost when it was not, refused when they were due but not made because the retry budget was spent."
    UPSTREAM_PANIC Gauge "evenkeel_upstream_panic" [Upstream]
        "1 while too few backends are fit and health is ignored, else 0."
    PANIC_PICKS_TOTAL Counter "evenkeel_panic_picks_total" [Upstream]
        "Times a backend was picked with health ignored."
    QUEUE_LENGTH Gauge "evenkeel_queue_length" [Upstream]
        "Requests that wait since all backends have as many as they may."
    QUEUED_TOTAL Counter "evenkeel_queued_total" [Upstream]
        "Requests that waited since all backends had as many as they may."
    SHED_TOTAL Counter "evenkeel_shed_total" [Upstream]
        "Requests that were refused since all backends had as many as they may."
    CONCURRENCY_LIMIT Gauge "evenkeel_concurrency_limit" [Upstream]
        "Requests at once that the backends are found to carry. Absent without adaptive_concurrency."
    CONCURRENCY_MINIMAL_LATENCY_SECONDS Gauge "evenkeel_concurrency_minimal_latency_seconds" [Upstream]
        "Time to the head of an answer while few requests are in flight. Absent before it was measured."
    CONCURRENCY_BEYOND_TOTAL Counter "evenkeel_concurrency_beyond_total" [Upstream]
        "Requests that came when the limit was reached: they waited or were refused, or would have where it is only observed."
    CONCURRENCY_REFUSED_TOTAL Counter "evenkeel_concurrency_refused_total" [Upstream]
        "Requests that were refused since the limit was reached."
    BACKEND_HEALTHY Gauge "evenkeel_backend_healthy" [Upstream Backend]
        "1 if the backend is fit to serve, else 0."
    BACKEND_DRAINED Gauge "evenkeel_backend_drained" [Upstream Backend]
        "1 if an operator has drained the backend, so that it takes no new requests, else 0."
    BACKEND_EJECTED Gauge "evenkeel_backend_ejected" [Upstream Backend Reason]
        "1 while the traffic of the backend has taken it out for this reason, else 0."
    EJECTIONS_TOTAL Counter "evenkeel_ejections_total" [Upstream Backend Reason]
        "Times the traffic of the backend has taken it out."
    EJECTIONS_REFUSED_TOTAL Counter "evenkeel_ejections_refused_total" [Upstream]
        "Ejections that were due but not made because too many backends were out."
    BACKEND_IN_FLIGHT Gauge "evenkeel_backend_in_flight" [Upstream Backend]
        "Requests that the backend is working on."
    BACKEND_LATENCY_SECONDS Gauge "evenkeel_backend_latency_seconds" [Upstream Backend]
        "Time to the head of an answer: a peak that decays over ten seconds. Absent before the first answer."
    BACKEND_TIER Gauge "evenkeel_backend_tier" [Upstream Backend]
        "Tier of the backend; the lowest with enough fit backends serves."
    BACKEND_WEIGHT Gauge "evenkeel_backend_weight" [Upstream Backend]
        "Share of the backend relative to the others of its upstream."

    ACCESS_LOG_DROPPED_TOTAL Counter "evenkeel_access_log_dropped_total" []
        "Records of the access log that were not written because the disk or the reader could not keep up."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_follows_the_rule() {
        for family in ALL {
            let Family { name, kind, help, labels } = family;
            assert!(name.starts_with("evenkeel_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(*kind == Kind::Histogram, name.ends_with("_duration_seconds"), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}");
            assert_eq!(labels.iter().collect::<HashSet<_>>().len(), labels.len(), "{name}");
        }
    }

    #[test]
    fn no_name_is_given_twice() {
        let names: HashSet<_> = ALL.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
