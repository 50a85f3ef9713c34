//! What is said to pingora and of the process as a whole: that it acts.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::balancer::program;
use crate::support::client::Client;
use crate::support::{Answer, Balancer, Gate, Origin, eventually};

/// A backend that tells where a connection came from, in an answer or in a switch of protocols.
fn mirror() -> SocketAddr {
    Origin::start_raw(|mut stream, head| {
        let from = stream.peer_addr().unwrap().ip().to_string();
        let answer = if head.to_ascii_lowercase().contains("upgrade: websocket") {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-from: {from}\r\n\r\n"
            )
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nx-from: {from}\r\n\r\n")
        };
        drop(stream.write_all(answer.as_bytes()));
    })
}

const UPGRADE: [(&str, &str); 2] = [("connection", "upgrade"), ("upgrade", "websocket")];

/// Where the backend sees an ordinary request, and one for an upgrade, come from.
fn seen_from(backend: &str, top: &str) -> [String; 2] {
    let balancer = Balancer::before([format!("\"{backend}\"")]).upstream("health_check: off").top(top).start();
    [&[][..], &UPGRADE].map(|fields| {
        let mut client = Client::connect(balancer.address).unwrap();
        let answer = client.request("GET", "/", fields, b"").unwrap();
        answer.field("x-from").unwrap_or_else(|| panic!("{}: {}", answer.status, answer.text())).to_owned()
    })
}

#[test]
fn connections_to_backends_come_from_the_addresses_that_the_file_names() {
    let backend = mirror();
    let v4 = backend.to_string();
    // The same backend in the other family's words: loopback has no second address of its own there.
    let v6 = format!("[::ffff:127.0.0.1]:{}", backend.port());
    assert_eq!(seen_from(&v4, ""), ["127.0.0.1", "127.0.0.1"]);
    assert_eq!(seen_from(&v4, "client_bind_to_ipv4: [127.0.0.2]"), ["127.0.0.2", "127.0.0.2"]);
    let both = "client_bind_to_ipv4: [127.0.0.2]\nclient_bind_to_ipv6: [\"::ffff:127.0.0.3\"]";
    assert_eq!(seen_from(&v6, both), ["127.0.0.3", "127.0.0.3"]);
}

#[test]
fn an_address_that_is_not_of_this_machine_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = Balancer::before(["127.0.0.1:1"]).top("client_bind_to_ipv4: [192.0.2.1]").text();
    std::fs::write(folder.path().join("evenkeel.yaml"), text).unwrap();
    let output = program(folder.path(), &["-c", "evenkeel.yaml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("connections cannot come from `192.0.2.1`"), "{said}");
}

#[test]
fn so_many_idle_connections_to_backends_are_kept_and_no_more() {
    let opened = |size: &str| {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let top = format!("threads: 1\n{size}");
        let setup = Balancer::before([one.address, two.address]).upstream("health_check: off").top(&top);
        let balancer = setup.start();
        let mut client = Client::connect(balancer.address).unwrap();
        for _ in 0..20 {
            assert_eq!(client.request("GET", "/", &[], b"").unwrap().status, 200);
        }
        let connections =
            |origin: &Origin| origin.requests().iter().map(|request| request.connection).collect::<HashSet<_>>().len();
        connections(&one) + connections(&two)
    };
    assert_eq!(opened(""), 2, "one to each");
    let with_one_place = opened("upstream_keepalive_pool_size: 1");
    assert!(with_one_place >= 19, "each pushes the other out: {with_one_place}");
}

#[test]
fn as_many_cores_serve_as_the_file_says() {
    for cores in [1, 3] {
        let balancer = Balancer::before(["127.0.0.1:1"]).top(&format!("threads: {cores}")).start();
        let tasks = format!("/proc/{}/task", balancer.pid().as_raw_nonzero());
        let names = || -> Vec<String> {
            let tasks = std::fs::read_dir(&tasks).unwrap();
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()).collect()
        };
        // A thread gives itself its name, once it runs.
        let as_many = || names().iter().filter(|name| name.starts_with("core")).count() == cores;
        eventually("as many cores", as_many, || format!("{:?}", names()));
    }
}

#[test]
fn what_is_left_after_the_grace_period_may_have_a_little_longer() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |_| {
        waits.pass();
        Answer::Ok("late".to_owned())
    });
    let top = "lame_duck: off\ngrace_period_seconds: 1\ngraceful_shutdown_timeout_seconds: 60";
    let mut balancer = Balancer::before([origin.address]).upstream("health_check: off").top(top).start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("the request at its origin", || origin.count() == 1, || balancer.log());
    let told = Instant::now();
    balancer.signal(Signal::TERM);
    let over = || told.elapsed() > Duration::from_secs(2);
    eventually("the end of the grace period", over, String::new);
    assert!(balancer.is_running(), "{}", balancer.log());
    gate.open();
    assert_eq!(client.response(false).unwrap().text(), "late");
    assert_eq!(balancer.wait_end().code(), Some(0));
    assert!(balancer.log().contains("nothing was cut"), "{}", balancer.log());
}

#[test]
fn memory_is_in_small_pages_so_that_it_is_what_is_in_use() {
    let origin = Origin::named("fine");
    let balancer = Balancer::before([origin.address]).start();
    assert_eq!(balancer.get("/").text(), "fine");
    let of_process =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", balancer.pid().as_raw_nonzero())).unwrap();
    assert!(of_process("status").lines().any(|line| line.split_whitespace().eq(["THP_enabled:", "0"])));
    // What the program had before it could refuse them: nothing where the system leaves it to programs to ask.
    if std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").is_ok_and(|on| on.contains("[madvise]")) {
        let large = of_process("smaps_rollup");
        let large = large.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
        assert_eq!(large.trim(), "0 kB");
    }
}
