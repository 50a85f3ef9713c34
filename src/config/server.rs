//! pingora's own keys, at the top level and in pingora's spelling.
//!
//! Invariant: every key of `ServerConf` is either read here or refused with what to use instead; pingora itself ignores
//! unknown keys and takes some that do nothing. Deliberately absent: looking up `user` and `group`, creating folders.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pingora_core::server::configuration::ServerConf;

use super::address::LONGEST_SOCKET_PATH;
use super::problem::Problem;
use super::section::{Entry, Section, Switch};
use super::tree::Value;
use super::{Folder, Folders};
use crate::units::Mistake;

/// How long requests in flight may go on after TERM or QUIT; pingora's own default, made visible.
const GRACE_PERIOD_SECONDS: u64 = 300;
/// Idle upstream connections kept per thread: pingora's 128 makes a thousand backends connect anew all the time.
const UPSTREAM_KEEPALIVE_POOL_SIZE: usize = 1024;
/// No machine that runs this has more cores, and each thread has its own pool of connections.
const MOST_THREADS: u64 = 1024;
/// A year: what is longer is a slip.
const MOST_SECONDS: u64 = 365 * 86_400;
/// pingora's pool: more is a slip.
const MOST_POOL: u64 = 1_000_000;

/// Keys of pingora that act on its own listeners and runtimes, which are not in use here, and what to use instead.
const REFUSED: [(&str, &str); 20] = [
    ("max_retries", "it is not our policy: use `retry` of an upstream, which has a budget"),
    ("work_stealing", "each core has its own runtime, and a connection stays on its core; remove the key"),
    ("listener_tasks_per_fd", "every thread accepts from the shared socket; use `threads`"),
    ("runtime_enable_alt_timer", "each core has its own runtime; remove the key"),
    ("runtime_metrics_poll_time_histogram", "each core has its own runtime; see `/metrics` of the admin address"),
    ("runtime_metrics_poll_time_histogram_scale", "each core has its own runtime; see `/metrics` of the admin address"),
    (
        "runtime_metrics_poll_time_histogram_resolution_micros",
        "each core has its own runtime; see `/metrics` of the admin address",
    ),
    (
        "runtime_metrics_poll_time_histogram_buckets",
        "each core has its own runtime; see `/metrics` of the admin address",
    ),
    ("downstream_tls_offload_threadpools", "handshakes run on the core that accepted the connection; use `threads`"),
    (
        "downstream_tls_offload_thread_per_pool",
        "handshakes run on the core that accepted the connection; use `threads`",
    ),
    (
        "upgrade_sock_connect_accept_max_retries",
        "pingora does not read it; `evenkeel upgrade` waits and says what it waits for",
    ),
    (
        "upstream_connect_offload_threadpools",
        "connections to backends are made on the core that serves the request; use `threads`",
    ),
    (
        "upstream_connect_offload_thread_per_pool",
        "connections to backends are made on the core that serves the request; use `threads`",
    ),
    ("max_blocking_threads", "nothing that a request needs blocks; remove the key"),
    ("blocking_threads_ttl_seconds", "nothing that a request needs blocks; remove the key"),
    (
        "fast_timeout_to_tokio_threshold_seconds",
        "either of pingora's two timers ends a wait when it is due; use `timeouts` of a listener, an upstream or a route",
    ),
    ("s2n_config_cache_size", "TLS is rustls in this build; remove the key"),
    ("daemon_wait_for_ready", "`evenkeel -d` tells its parent whether it could bind; remove the key"),
    ("daemon_ready_timeout_seconds", "`evenkeel -d` tells its parent whether it could bind; remove the key"),
    ("daemon_notify_timeout_seconds", "`evenkeel -d` tells its parent whether it could bind; remove the key"),
];

/// pingora's configuration with our defaults: what a file without any of its keys gives.
pub fn defaults() -> ServerConf {
    let folder = run_folder();
    ServerConf {
        version: 1,
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        pid_file: text_of(folder.join("evenkeel.pid")),
        upgrade_sock: text_of(folder.join("evenkeel.upgrade.sock")),
        grace_period_seconds: Some(GRACE_PERIOD_SECONDS),
        upstream_keepalive_pool_size: UPSTREAM_KEEPALIVE_POOL_SIZE,
        ..ServerConf::default()
    }
}

/// Where root, and who has no place of its own, keeps the pid file and the socket of a hand-over.
const SYSTEM_RUN_FOLDER: &str = "/run/evenkeel";

/// `/run/evenkeel` for root; else a folder of the user's own. Whoever creates it there gives it mode 0700.
fn run_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(SYSTEM_RUN_FOLDER);
    }
    if let Some(runtime) = set("XDG_RUNTIME_DIR") {
        return runtime.join("evenkeel");
    }
    match set("HOME") {
        Some(home) => home.join(".local/state/evenkeel"),
        // A container may run a user without a home. Never /tmp: everybody may write there.
        None => PathBuf::from(SYSTEM_RUN_FOLDER),
    }
}

/// Reads pingora's keys from the top of the file.
pub(super) fn read(top: &mut Section<'_>, folders: &Folders<'_>) -> ServerConf {
    for (key, help) in REFUSED {
        top.refuse(key, help);
    }
    let default = defaults();
    let seconds = |top: &mut Section<'_>, key, default: Option<u64>| {
        top.parsed(key, default, |text| super::section::number(key, text, 0..=MOST_SECONDS).map(Some))
    };
    let path = |top: &mut Section<'_>, key, default: Option<String>| {
        let report = top.report();
        let read = |entry: Entry<'_>| {
            entry.parsed(report, |text| folders.of(entry.node.place).file(text).map(|path| Some(text_of(path))))
        };
        top.entry(key).and_then(read).unwrap_or(default)
    };
    let word = |top: &mut Section<'_>, key| {
        top.parsed(key, None, |text| match text {
            "" => Err(Mistake::new(format!("`{key}` is empty"), "write a name, or leave the key out")),
            name => Ok(Some(name.to_owned())),
        })
    };
    ServerConf {
        version: default.version,
        daemon: switch(top, "daemon", default.daemon),
        error_log: path(top, "error_log", default.error_log),
        pid_file: path(top, "pid_file", Some(default.pid_file)).unwrap_or_default(),
        upgrade_sock: socket(top, folders).unwrap_or(default.upgrade_sock),
        user: word(top, "user"),
        group: word(top, "group"),
        working_directory: path(top, "working_directory", None).map(PathBuf::from),
        threads: number(top, "threads", default.threads, MOST_THREADS),
        listener_tasks_per_fd: default.listener_tasks_per_fd,
        work_stealing: default.work_stealing,
        runtime_enable_alt_timer: default.runtime_enable_alt_timer,
        ca_file: path(top, "ca_file", default.ca_file),
        grace_period_seconds: seconds(top, "grace_period_seconds", default.grace_period_seconds),
        graceful_shutdown_timeout_seconds: seconds(
            top,
            "graceful_shutdown_timeout_seconds",
            default.graceful_shutdown_timeout_seconds,
        ),
        client_bind_to_ipv4: source_addresses::<Ipv4Addr>(top, "client_bind_to_ipv4", "IPv4"),
        client_bind_to_ipv6: source_addresses::<Ipv6Addr>(top, "client_bind_to_ipv6", "IPv6"),
        upstream_keepalive_pool_size: number(
            top,
            "upstream_keepalive_pool_size",
            default.upstream_keepalive_pool_size,
            MOST_POOL,
        ),
        upstream_connect_offload_threadpools: default.upstream_connect_offload_threadpools,
        upstream_connect_offload_thread_per_pool: default.upstream_connect_offload_thread_per_pool,
        downstream_tls_offload_threadpools: default.downstream_tls_offload_threadpools,
        downstream_tls_offload_thread_per_pool: default.downstream_tls_offload_thread_per_pool,
        upstream_debug_ssl_keylog: switch(top, "upstream_debug_ssl_keylog", default.upstream_debug_ssl_keylog),
        max_retries: default.max_retries,
        upgrade_sock_connect_accept_max_retries: default.upgrade_sock_connect_accept_max_retries,
        max_blocking_threads: default.max_blocking_threads,
        blocking_threads_ttl_seconds: default.blocking_threads_ttl_seconds,
        fast_timeout_to_tokio_threshold_seconds: default.fast_timeout_to_tokio_threshold_seconds,
        runtime_metrics_poll_time_histogram: default.runtime_metrics_poll_time_histogram,
        runtime_metrics_poll_time_histogram_scale: default.runtime_metrics_poll_time_histogram_scale,
        runtime_metrics_poll_time_histogram_resolution_micros: default
            .runtime_metrics_poll_time_histogram_resolution_micros,
        runtime_metrics_poll_time_histogram_buckets: default.runtime_metrics_poll_time_histogram_buckets,
        daemon_wait_for_ready: default.daemon_wait_for_ready,
        daemon_ready_timeout_seconds: default.daemon_ready_timeout_seconds,
        daemon_notify_timeout_seconds: default.daemon_notify_timeout_seconds,
    }
}

fn number(top: &mut Section<'_>, key: &'static str, default: usize, most: u64) -> usize {
    usize::try_from(top.number(key, default as u64, 1..=most)).unwrap_or(default)
}

fn switch(top: &mut Section<'_>, key: &'static str, default: bool) -> bool {
    top.switch(key, if default { Switch::On } else { Switch::Off }) == Switch::On
}

fn socket(top: &mut Section<'_>, folders: &Folders<'_>) -> Option<String> {
    let report = top.report();
    let entry = top.entry("upgrade_sock")?;
    entry.parsed(report, |text| socket_path(text, folders.of(entry.node.place)))
}

fn socket_path(text: &str, folder: Folder<'_>) -> Result<String, Mistake> {
    let path = text_of(folder.file(text)?);
    if path.len() > LONGEST_SOCKET_PATH {
        return Err(Mistake::new(
            format!("`{path}` is too long for a socket"),
            format!("the system allows {LONGEST_SOCKET_PATH} bytes"),
        ));
    }
    Ok(path)
}

/// Addresses that connections to backends come from; pingora would panic at a wrong one.
fn source_addresses<A: FromStr + ToString>(top: &mut Section<'_>, key: &'static str, family: &str) -> Vec<String> {
    let report = top.report();
    let Some(entry) = top.entry(key) else {
        return Vec::new();
    };
    let Value::Sequence(items) = &entry.node.value else {
        entry.items(report, &format!("write a list of {family} addresses"));
        return Vec::new();
    };
    let read = |item: &super::tree::Node| {
        let address = if let Value::Scalar(text) = &item.value { text.parse::<A>().ok() } else { None };
        if address.is_none() {
            report.add(
                Problem::at(item.place, format!("`{key}` must be a list of {family} addresses"))
                    .help("addresses of this machine, without a port"),
            );
        }
        address.map(|address| address.to_string())
    };
    items.iter().filter_map(read).collect()
}

/// pingora keeps paths as text; ours come from text, so nothing is lost.
fn text_of(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// `ServerConf` cannot be cloned by itself; every field by name, so that a new one cannot be forgotten.
pub fn copy(of: &ServerConf) -> ServerConf {
    ServerConf {
        version: of.version,
        daemon: of.daemon,
        error_log: of.error_log.clone(),
        pid_file: of.pid_file.clone(),
        upgrade_sock: of.upgrade_sock.clone(),
        user: of.user.clone(),
        group: of.group.clone(),
        working_directory: of.working_directory.clone(),
        threads: of.threads,
        listener_tasks_per_fd: of.listener_tasks_per_fd,
        work_stealing: of.work_stealing,
        runtime_enable_alt_timer: of.runtime_enable_alt_timer,
        ca_file: of.ca_file.clone(),
        grace_period_seconds: of.grace_period_seconds,
        graceful_shutdown_timeout_seconds: of.graceful_shutdown_timeout_seconds,
        client_bind_to_ipv4: of.client_bind_to_ipv4.clone(),
        client_bind_to_ipv6: of.client_bind_to_ipv6.clone(),
        upstream_keepalive_pool_size: of.upstream_keepalive_pool_size,
        upstream_connect_offload_threadpools: of.upstream_connect_offload_threadpools,
        upstream_connect_offload_thread_per_pool: of.upstream_connect_offload_thread_per_pool,
        downstream_tls_offload_threadpools: of.downstream_tls_offload_threadpools,
        downstream_tls_offload_thread_per_pool: of.downstream_tls_offload_thread_per_pool,
        upstream_debug_ssl_keylog: of.upstream_debug_ssl_keylog,
        max_retries: of.max_retries,
        upgrade_sock_connect_accept_max_retries: of.upgrade_sock_connect_accept_max_retries,
        max_blocking_threads: of.max_blocking_threads,
        blocking_threads_ttl_seconds: of.blocking_threads_ttl_seconds,
        fast_timeout_to_tokio_threshold_seconds: of.fast_timeout_to_tokio_threshold_seconds,
        runtime_metrics_poll_time_histogram: of.runtime_metrics_poll_time_histogram,
        runtime_metrics_poll_time_histogram_scale: of.runtime_metrics_poll_time_histogram_scale,
        runtime_metrics_poll_time_histogram_resolution_micros: of.runtime_metrics_poll_time_histogram_resolution_micros,
        runtime_metrics_poll_time_histogram_buckets: of.runtime_metrics_poll_time_histogram_buckets,
        daemon_wait_for_ready: of.daemon_wait_for_ready,
        daemon_ready_timeout_seconds: of.daemon_ready_timeout_seconds,
        daemon_notify_timeout_seconds: of.daemon_notify_timeout_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn with(line: &str) -> Result<ServerConf, String> {
        let text = format!(
            "version: 1\n{line}\nlisteners: {{ a: {{ address: 127.0.0.1:1 }} }}\nupstreams: {{ b: {{ backends: [127.0.0.1:2] }} }}\nroutes: [ {{ upstream: b }} ]\n"
        );
        crate::config::parse(&text, "x.yaml", Path::new("/etc/x"))
            .map(|Config { server, .. }| server)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn every_key_of_pingora_is_read_or_refused_with_a_reason() {
        let keys = serde_json::to_value(ServerConf::default()).unwrap();
        for key in keys.as_object().unwrap().keys().filter(|key| *key != "version") {
            let refused = REFUSED.iter().any(|(name, _)| name == key);
            let said = with(&format!("{key}: {{ a: b }}")).unwrap_err();
            assert!(!said.contains("is not a key of"), "`{key}` is unknown: {said}");
            assert_eq!(refused, said.contains("has no effect"), "{said}");
        }
    }

    #[test]
    fn a_key_reaches_pingora() {
        assert_eq!(with("threads: 3").unwrap().threads, 3);
        assert!(with("daemon: on").unwrap().daemon);
        assert_eq!(with("error_log: logs/e.log").unwrap().error_log.as_deref(), Some("/etc/x/logs/e.log"));
        assert_eq!(with("pid_file: /run/x.pid").unwrap().pid_file, "/run/x.pid");
        assert_eq!(with("upgrade_sock: x.sock").unwrap().upgrade_sock, "/etc/x/x.sock");
        assert_eq!(with("user: www").unwrap().user.as_deref(), Some("www"));
        assert_eq!(with("group: www").unwrap().group.as_deref(), Some("www"));
        assert_eq!(with("working_directory: w").unwrap().working_directory.as_deref(), Some(Path::new("/etc/x/w")));
        assert_eq!(with("ca_file: ca.pem").unwrap().ca_file.as_deref(), Some("/etc/x/ca.pem"));
        assert_eq!(with("grace_period_seconds: 0").unwrap().grace_period_seconds, Some(0));
        assert_eq!(with("graceful_shutdown_timeout_seconds: 7").unwrap().graceful_shutdown_timeout_seconds, Some(7));
        assert_eq!(with("client_bind_to_ipv4: [127.0.0.2]").unwrap().client_bind_to_ipv4, ["127.0.0.2"]);
        assert_eq!(with("client_bind_to_ipv6: [\"::1\"]").unwrap().client_bind_to_ipv6, ["::1"]);
        assert_eq!(with("upstream_keepalive_pool_size: 9").unwrap().upstream_keepalive_pool_size, 9);
        assert!(with("upstream_debug_ssl_keylog: true").unwrap().upstream_debug_ssl_keylog);
    }
}
