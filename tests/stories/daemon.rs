//! Starting, in the foreground and as a daemon: what a script that starts it is told, and what is left behind.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Pid;

use crate::support::balancer::{Killed, Setup, is_alive, is_ready, program};
use crate::support::client::get;
use crate::support::{Balancer, Origin, eventually, free_address};

/// How a run of the program ended: its code, and what it printed to standard error.
type Ended = (Option<i32>, String);

/// Runs the program to its end. Its output goes to files: a daemon holds its standard error for good.
fn run(folder: &Path, arguments: &[&str]) -> Ended {
    let name = format!("stderr-{}", fs::read_dir(folder).expect("the folder").count());
    let stderr = fs::File::create(folder.join(&name)).expect("a file for its output");
    let stdout = fs::File::create(folder.join("stdout")).expect("a file for its output");
    let status = program(folder, arguments).stdout(stdout).stderr(stderr).status().expect("the program starts");
    (status.code(), fs::read_to_string(folder.join(name)).expect("its output"))
}

fn folder_with(setup: &Setup) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("evenkeel.yaml"), setup.text()).expect("the file");
    folder
}

fn number_in(path: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

const AS_DAEMON: [&str; 3] = ["-d", "-c", "evenkeel.yaml"];
const IN_FRONT: [&str; 2] = ["-c", "evenkeel.yaml"];

#[test]
fn minus_d_returns_when_it_serves_and_stop_ends_it_and_leaves_nothing_behind() {
    let origin = Origin::named("here");
    let setup = Balancer::before([origin.address]).top("error_log: error.log\nlame_duck: off");
    let (address, admin) = (setup.address(), setup.admin());
    let folder = folder_with(&setup);
    let pid_file = folder.path().join("evenkeel.pid");

    let (code, said) = run(folder.path(), &AS_DAEMON);
    let daemon = Killed(number_in(&pid_file).expect("a number in the pid file"));
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(get(address, "/").text(), "here", "it serves from the moment on at which the command returns");
    assert!(is_ready(admin));
    assert!(is_alive(daemon.0));
    let program = fs::read_link(format!("/proc/{}/exe", daemon.0.as_raw_nonzero())).unwrap();
    assert_eq!(program, Path::new(env!("CARGO_BIN_EXE_evenkeel")));
    assert_eq!(mode(&pid_file) & 0o007, 0, "the pid file is not for everybody");
    let log = fs::read_to_string(folder.path().join("error.log")).expect("the error log");
    assert!(log.contains("serving"), "{log}");

    let (code, said) = run(folder.path(), &["stop", "-c", "evenkeel.yaml"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(!is_alive(daemon.0), "stop returns when it has ended");
    assert!(!pid_file.exists(), "a number that is free again could be anybody's");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".sock")), "{left:?}");
    let (code, said) = run(folder.path(), &["stop", "-c", "evenkeel.yaml"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("no running process is named in"), "{said}");
}

#[test]
fn a_daemon_of_the_file_has_the_folder_and_the_group_that_the_file_names() {
    let origin = Origin::named("here");
    let is_root = rustix::process::geteuid().is_root();
    // Only root may take another group on.
    let group = if is_root { "group: nogroup\n" } else { "" };
    let top = format!("daemon: on\n{group}working_directory: work\nerror_log: error.log");
    let setup = Balancer::before([origin.address]).top(&top);
    let folder = folder_with(&setup);
    fs::create_dir(folder.path().join("work")).unwrap();
    // The folder of the test must be one that the group can enter.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (code, said) = run(folder.path(), &IN_FRONT);
    assert_eq!((code, said.as_str()), (Some(0), ""), "it went to the background by itself");
    let daemon = Killed(number_in(&folder.path().join("evenkeel.pid")).expect("a number in the pid file"));
    assert_eq!(get(setup.address(), "/").text(), "here");
    let process = format!("/proc/{}", daemon.0.as_raw_nonzero());
    let work = fs::canonicalize(folder.path().join("work")).unwrap();
    assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap(), work);
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    assert_eq!(status.contains("Gid:\t0\t"), !is_root && status.contains("Uid:\t0\t"), "{status}");
}

#[test]
fn a_reload_sent_the_moment_a_daemon_is_ready_reloads_it() {
    let origin = Origin::named("here");
    let setup = Balancer::before([origin.address]).top("error_log: error.log");
    let folder = folder_with(&setup);
    assert_eq!(run(folder.path(), &AS_DAEMON).0, Some(0));
    let daemon = Killed(number_in(&folder.path().join("evenkeel.pid")).expect("a number in the pid file"));
    assert_eq!(run(folder.path(), &["reload", "-c", "evenkeel.yaml"]).0, Some(0));
    let log = || fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
    eventually("a reload", || log().contains("configuration reloaded"), log);
    assert!(is_alive(daemon.0));
}

/// The same failure in the foreground and as a daemon has the same code, and a sentence on standard error.
#[track_caller]
fn assert_refused(folder: &Path, expected: i32, words: &[&str]) {
    for arguments in [&IN_FRONT[..], &AS_DAEMON[..]] {
        let (code, said) = run(folder, arguments);
        assert_eq!(code, Some(expected), "{arguments:?} said: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not say `{word}`: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(!folder.join("evenkeel.pid").exists(), "nobody runs");
}

#[test]
fn a_port_that_is_taken_is_said_with_its_address_and_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let line = format!("  other: {{ address: {address} }}\n");
    let folder = folder_with(&Balancer::before([free_address()]).more_listeners(&line));
    assert_refused(folder.path(), 3, &["error: ", &address.to_string(), "`other`"]);
}

#[test]
fn an_account_that_does_not_exist_is_said_and_code_3() {
    let folder = folder_with(&Balancer::before([free_address()]).top("user: nobody-such"));
    assert_refused(folder.path(), 3, &["there is no user `nobody-such` on this machine"]);
    let folder = folder_with(&Balancer::before([free_address()]).top("group: nobody-such"));
    assert_refused(folder.path(), 3, &["there is no group `nobody-such` on this machine"]);
}

#[test]
fn a_log_that_cannot_be_opened_is_said_and_code_3() {
    let folder = folder_with(&Balancer::before([free_address()]).top("access_log: { path: nowhere/access.log }"));
    assert_refused(folder.path(), 3, &["nowhere/access.log"]);
    let folder = folder_with(&Balancer::before([free_address()]).top("error_log: nowhere/error.log"));
    let (code, said) = run(folder.path(), &AS_DAEMON);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nowhere/error.log") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_said_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(folder.path(), 2, &["`", "evenkeel.yaml` cannot be read"]);
    for arguments in [&["-t", "-c", "evenkeel.yaml"][..], &["check", "-c", "evenkeel.yaml"]] {
        assert_eq!(run(folder.path(), arguments).0, Some(2));
    }
}

#[test]
fn a_file_with_problems_is_refused_with_their_places_and_help_and_code_1() {
    let setup = Balancer::before([free_address()]).upstream("balanse: random");
    let folder = folder_with(&setup);
    let line = 1 + setup.text().lines().position(|line| line.contains("balanse")).unwrap();
    let place = format!("evenkeel.yaml:{line}:");
    assert_refused(folder.path(), 1, &["error: ", &place, "help: ", "`balance`"]);
    for arguments in [&["-t", "-c", "evenkeel.yaml"][..], &["check", "-c", "evenkeel.yaml"]] {
        let (code, said) = run(folder.path(), arguments);
        assert_eq!(code, Some(1));
        assert!(said.contains(&place), "{said}");
    }
}

#[test]
fn a_file_without_problems_is_fine_and_checking_it_starts_nothing() {
    let setup = Balancer::before([free_address()]);
    let folder = folder_with(&setup);
    for arguments in [&["-t", "-c", "evenkeel.yaml"][..], &["check", "-c", "evenkeel.yaml"]] {
        let (code, said) = run(folder.path(), arguments);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        assert!(fs::read_to_string(folder.path().join("stdout")).unwrap().contains("evenkeel.yaml: fine"));
    }
    assert!(!folder.path().join("access.log").exists() && !folder.path().join("evenkeel.pid").exists());
}

#[test]
fn a_command_line_that_is_not_understood_is_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--no-such-flag"][..], &["no-such-command"], &["--listen", "127.0.0.1:0"]] {
        let (code, said) = run(folder.path(), arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

#[test]
fn pid_file_and_upgrade_socket_are_where_they_were_put_and_not_for_everybody() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let pid_file = balancer.folder.path().join("evenkeel.pid");
    assert_eq!(number_in(&pid_file), Some(balancer.pid()));
    assert_eq!(mode(&pid_file) & 0o007, 0, "{:o}", mode(&pid_file));
    let mut successor = balancer.spawn_beside(&["-u"]);
    let socket = balancer.folder.path().join("upgrade.sock");
    eventually("the socket", || socket.exists(), || balancer.log());
    let found = mode(&socket);
    successor.kill().unwrap();
    successor.wait().unwrap();
    assert_eq!(found & 0o077, 0, "only its user may connect: {found:o}");
}

#[test]
fn it_balances_without_a_file() {
    let origins = [Origin::named("a"), Origin::named("b")];
    let listen = free_address().to_string();
    let [one, two] = origins.each_ref().map(|origin| origin.address.to_string());
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", &listen, "--backend", &one, "--backend", &two];
    let mut command = program(folder.path(), &arguments);
    // Its pid file goes to the user's own place, which for this story is the folder.
    command.env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path());
    let log = fs::File::create(folder.path().join("stderr")).unwrap();
    let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let said = || fs::read_to_string(folder.path().join("stderr")).unwrap();
    let up = || std::net::TcpStream::connect(&listen).is_ok();
    let mut ended = false;
    eventually(
        "it listens, or cannot since another story has the admin address",
        || {
            ended = child.try_wait().unwrap().is_some();
            up() || ended
        },
        said,
    );
    if ended {
        // Without a file the admin address is the default one, which only one process can have.
        assert!(said().contains("127.0.0.1:9901 (admin)"), "{}", said());
        return;
    }
    let address = listen.parse().unwrap();
    let mut answers = [get(address, "/").text(), get(address, "/").text()];
    answers.sort_unstable();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answers, ["a", "b"]);
}
