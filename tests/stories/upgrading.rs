//! Replacing the program while it serves, and what an upgrade that fails costs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketType, accept, bind, listen, recv, socket};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::balancer::{Killed, is_alive, is_ready};
use crate::support::client::Client;
use crate::support::{Answer, Balancer, EVERY_HABIT, Gate, Load, Origin, eventually, free_address, free_addresses};

fn echo() -> Origin {
    Origin::start(|request| Answer::Ok(format!("{} bytes", request.body.len())))
}

/// Waits until a successor listens for the hand-over; asking the socket itself would be part of the story.
fn wait_for_successor(balancer: &Balancer) {
    let path = balancer.folder.path().join("upgrade.sock");
    let listens = || {
        let table = std::fs::read_to_string("/proc/net/unix").expect("the list of UNIX sockets");
        // 00010000 marks a socket that listens.
        table.lines().any(|line| line.ends_with(&*path.to_string_lossy()) && line.contains(" 00010000 "))
    };
    eventually("a successor that waits", listens, || balancer.log());
}

/// An upgrade by hand: a new process beside the old one, then QUIT to the old one, which is returned.
#[track_caller]
pub fn upgrade_by_hand(balancer: &mut Balancer) -> Child {
    let successor = balancer.spawn_beside(&["-u"]);
    wait_for_successor(balancer);
    balancer.signal(Signal::QUIT);
    let new = Pid::from_child(&successor);
    eventually("the new number in the pid file", || balancer.pid_in_file() == Some(new), || balancer.log());
    balancer.succeeded_by(successor)
}

#[track_caller]
fn wait_end_of(mut process: Child, balancer: &Balancer) {
    let ended = || process.try_wait().expect("a child").is_some();
    eventually("the end of the old process", ended, || balancer.log());
    assert!(process.wait().expect("its status").success(), "{}", balancer.log());
}

#[track_caller]
fn assert_nothing_failed(load: Load) {
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "{} failed, {answered} were answered: {failed:?}", failed.len());
}

#[test]
fn five_upgrades_by_hand_under_load_fail_no_request_and_each_old_process_ends() {
    let origins = [echo(), echo()];
    let mut balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    for _ in 0..5 {
        load.go_on(50);
        let old = upgrade_by_hand(&mut balancer);
        wait_end_of(old, &balancer);
    }
    load.go_on(50);
    assert_nothing_failed(load);
}

#[test]
fn five_upgrades_by_command_under_load_fail_no_request_and_each_old_process_ends() {
    let origins = [echo(), echo()];
    let mut balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let mut daemons = Vec::new();
    for round in 0..5 {
        load.go_on(50);
        let old = balancer.pid_in_file().expect("a number in the pid file");
        let upgraded = balancer.spawn_beside(&["upgrade"]).wait().expect("its status");
        let new = balancer.pid_in_file().expect("a number in the pid file");
        daemons.push(Killed(new));
        assert!(upgraded.success(), "{}", balancer.log());
        assert!(new != old && is_alive(new), "the pid file names the new process, which runs");
        if round == 0 {
            assert!(balancer.wait_end().success());
        }
        eventually("the end of the old process", || !is_alive(old), || balancer.log());
        assert!(is_ready(balancer.admin), "the admin address has changed hands too");
    }
    load.go_on(50);
    assert_nothing_failed(load);
}

#[test]
fn a_request_in_flight_when_the_process_is_replaced_is_answered_by_the_old_one() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |request| {
        if request.line.contains("/slow") {
            waits.pass();
        }
        Answer::Ok("late but whole".to_owned())
    });
    let mut balancer = Balancer::before([origin.address]).start();
    let mut slow = Client::connect(balancer.address).unwrap();
    slow.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
    eventually("the slow request at its origin", || origin.count() == 1, || balancer.log());

    let old = upgrade_by_hand(&mut balancer);
    assert_eq!(balancer.get("/quick").status, 200, "the new process serves meanwhile");
    gate.open();
    let response = slow.response(false).unwrap();
    assert_eq!((response.status, response.text()), (200, "late but whole".to_owned()));
    assert_eq!(response.field("connection"), Some("close"));
    wait_end_of(old, &balancer);
}

#[test]
fn a_unix_socket_and_forty_listeners_change_hands() {
    let origin = Origin::named("here");
    let addresses = free_addresses(40);
    let mut lines: String = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| format!("  more-{number}: {{ address: {address} }}\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("local.sock");
    lines.push_str(&format!("  local: {{ address: \"unix:{}\" }}\n", path.display()));
    let mut balancer = Balancer::before([origin.address]).more_listeners(&lines).start_in(folder);
    let over_unix = || {
        let mut stream = UnixStream::connect(&path).expect("a listening socket");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: story.example\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(over_unix().starts_with("HTTP/1.1 200"));
    let load = Load::on(addresses[39], &EVERY_HABIT);

    let old = upgrade_by_hand(&mut balancer);
    wait_end_of(old, &balancer);
    assert!(over_unix().starts_with("HTTP/1.1 200"), "the old process left the socket's file alone");
    for address in addresses {
        assert_eq!(crate::support::client::get(address, "/").text(), "here", "{address}");
    }
    load.go_on(10);
    assert_nothing_failed(load);
}

#[test]
fn what_the_new_file_adds_is_bound_and_what_it_lacks_is_closed() {
    let origin = Origin::named("here");
    let (former, added) = (free_address(), free_address());
    let line = format!("  other: {{ address: {former} }}\n");
    let mut balancer = Balancer::before([origin.address]).more_listeners(&line).start();
    balancer.edit(|text| text.replace(&former.to_string(), &added.to_string()));
    let old = upgrade_by_hand(&mut balancer);
    wait_end_of(old, &balancer);
    assert_eq!(crate::support::client::get(added, "/").text(), "here");
    assert!(Client::connect(former).is_err(), "nobody listens there any more");
}

#[test]
fn quit_without_a_successor_changes_nothing_and_the_log_says_so() {
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    balancer.signal(Signal::QUIT);
    balancer.wait_log("sockets were not handed over; serving on");
    load.go_on(50);
    assert!(balancer.is_running() && is_ready(balancer.admin));
    assert_nothing_failed(load);
}

#[test]
fn a_successor_that_dies_with_the_sockets_in_hand_changes_nothing_and_the_next_one_takes_over() {
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);

    let path = balancer.folder.path().join("upgrade.sock");
    let false_successor = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    bind(&false_successor, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&false_successor, 1).unwrap();
    balancer.signal(Signal::QUIT);
    let from = accept(&false_successor).unwrap();
    let (length, _) = recv(&from, &mut [0_u8; 256], RecvFlags::empty()).unwrap();
    assert!(length > 0, "it was given a socket");
    drop((from, false_successor));
    balancer.wait_log("sockets were not handed over; serving on");
    load.go_on(50);
    assert!(balancer.is_running() && is_ready(balancer.admin));

    // Its socket's file is still there, as after a kill.
    assert!(path.exists());
    let old = upgrade_by_hand(&mut balancer);
    wait_end_of(old, &balancer);
    load.go_on(50);
    assert_nothing_failed(load);
}

#[test]
fn a_successor_that_hangs_keeps_nobody_from_ending_the_process() {
    for signal in [Signal::TERM, Signal::INT] {
        let origin = echo();
        let mut balancer = Balancer::before([origin.address]).top("lame_duck: off").start();
        let path = balancer.folder.path().join("upgrade.sock");
        let hanging = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        bind(&hanging, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&hanging, 1).unwrap();
        balancer.signal(Signal::QUIT);
        let _from = accept(&hanging).unwrap();
        assert_eq!(balancer.get("/").status, 200, "it serves on while it waits");
        let told = std::time::Instant::now();
        balancer.signal(signal);
        assert_eq!(balancer.wait_end().code(), Some(0));
        assert!(told.elapsed() < Duration::from_secs(4), "{signal:?} took {:?}", told.elapsed());
    }
}

#[test]
fn a_new_process_that_cannot_read_its_file_never_asks_for_the_sockets() {
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    balancer.edit(|text| text.replace("backends:", "backend:"));
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let by_hand = balancer.spawn_beside(&["-u"]).wait().unwrap();
    assert_eq!(by_hand.code(), Some(1));
    let by_command = balancer.spawn_beside(&["upgrade"]).wait().unwrap();
    assert_eq!(by_command.code(), Some(1));
    assert!(balancer.is_running() && is_ready(balancer.admin));
    assert_eq!(balancer.pid_in_file(), Some(balancer.pid()));

    balancer.edit(|text| text.replace("backend:", "backends:"));
    let old = upgrade_by_hand(&mut balancer);
    wait_end_of(old, &balancer);
    load.go_on(50);
    assert_nothing_failed(load);
}

#[test]
fn a_new_process_that_cannot_bind_what_is_new_leaves_the_old_one_serving_under_its_number() {
    let origin = echo();
    let balancer = &mut Balancer::before([origin.address]).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("listeners:\n  taken: {{ address: {} }}\n", taken.local_addr().unwrap());
    balancer.edit(|text| text.replace("listeners:\n", &more));
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let upgraded = balancer.spawn_beside(&["upgrade"]).wait().unwrap();
    assert_eq!(upgraded.code(), Some(3), "{}", balancer.log());
    balancer.wait_log("cannot listen on");
    balancer.wait_log("sockets were not handed over; serving on");
    load.go_on(50);
    assert!(balancer.is_running() && is_ready(balancer.admin));
    assert_eq!(balancer.pid_in_file(), Some(balancer.pid()));
    assert_nothing_failed(load);
}

#[test]
fn an_upgrade_is_not_misled_by_a_socket_file_that_a_killed_successor_left() {
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    let mut killed = balancer.spawn_beside(&["-u"]);
    wait_for_successor(&balancer);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(balancer.folder.path().join("upgrade.sock").exists(), "a kill leaves it behind");

    let upgraded = balancer.spawn_beside(&["upgrade"]).wait().unwrap();
    let _daemon = balancer.pid_in_file().filter(|new| *new != balancer.pid()).map(Killed);
    assert!(upgraded.success(), "{}", balancer.log());
    assert!(balancer.wait_end().success());
    assert_eq!(balancer.get("/").status, 200);
}

#[test]
fn a_second_successor_is_turned_away_and_does_not_spoil_the_first() {
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    let first = balancer.spawn_beside(&["-u"]);
    wait_for_successor(&balancer);
    let second = balancer.spawn_beside(&["-u"]).wait().unwrap();
    assert_eq!(second.code(), Some(3));
    balancer.wait_log("another process waits to take over");

    balancer.signal(Signal::QUIT);
    let new = Pid::from_child(&first);
    eventually("the first successor in charge", || balancer.pid_in_file() == Some(new), || balancer.log());
    let old = balancer.succeeded_by(first);
    wait_end_of(old, &balancer);
    assert_eq!(balancer.get("/").status, 200);
}

#[test]
fn a_daemon_that_gave_up_root_hands_over_and_is_handed_over_to() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let origin = echo();
    let mut balancer = Balancer::before([origin.address]).start();
    // Its folder must be one that the other user can enter, as /run is.
    let folder = balancer.folder.path().to_owned();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&folder, open).unwrap();
    balancer.signal(Signal::TERM);
    balancer.wait_end();
    balancer.edit(|text| {
        text.replace("pid_file: ", "user: nobody\npid_file: run/").replace("upgrade_sock: ", "upgrade_sock: run/")
    });
    let number = || {
        let text = std::fs::read_to_string(folder.join("run/evenkeel.pid")).unwrap_or_default();
        Pid::from_raw(text.trim().parse().ok()?)
    };

    let mut launcher = balancer.spawn_beside(&["-d"]);
    let limit = std::time::Instant::now() + Duration::from_secs(15);
    while launcher.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > limit {
            drop(launcher.kill());
            drop(number().map(Killed));
            panic!("`-d` does not return: {}", balancer.log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = Killed(number().expect("a number in the pid file"));
    assert!(launcher.wait().unwrap().success(), "{}", balancer.log());
    let status = std::fs::read_to_string(format!("/proc/{}/status", first.0.as_raw_nonzero())).unwrap();
    assert!(!status.contains("Uid:\t0\t"), "it runs as nobody");

    let load = Load::on(balancer.address, &EVERY_HABIT);
    let upgraded = balancer.spawn_beside(&["upgrade"]).wait().unwrap();
    let second = Killed(number().expect("a number in the pid file"));
    assert!(upgraded.success(), "{}", balancer.log());
    assert_ne!(first.0, second.0);
    eventually("the end of the old process", || !is_alive(first.0), || balancer.log());
    load.go_on(50);
    assert_nothing_failed(load);
    kill_process(second.0, Signal::TERM).unwrap();
    eventually("the end of the new process", || !is_alive(second.0), || balancer.log());
}

#[test]
fn what_an_operator_decided_about_backends_holds_in_the_successor() {
    let names = [Origin::named("one"), Origin::named("two"), Origin::named("three")];
    let mut balancer = Balancer::before(names.iter().map(|origin| origin.address)).start();
    let [one, two, _] = names.each_ref().map(|origin| origin.address.to_string());
    assert!(balancer.command(&["drain", &one]).status.success());
    assert!(balancer.command(&["weight", &two, "0"]).status.success());
    let old = upgrade_by_hand(&mut balancer);
    wait_end_of(old, &balancer);
    let backends = balancer.api("upstreams")[0]["backends"].clone();
    assert_eq!((&backends[0]["state"], &backends[1]["weight"]), (&"drained".into(), &0.into()), "{backends:#}");
    for _ in 0..6 {
        assert_eq!(balancer.get("/").text(), "three");
    }
    assert!(balancer.command(&["enable", &one]).status.success());
    assert!(balancer.command(&["weight", &two, "file"]).status.success());
    let answers: std::collections::BTreeSet<String> = (0..6).map(|_| balancer.get("/").text()).collect();
    assert_eq!(answers.len(), 3);
}
