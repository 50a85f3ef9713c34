//! A backend that is killed while it works: a process of its own, since only the kernel tells the truth about that.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::support::{Answer, Balancer, Habit, Load, Origin, eventually};

/// Where the backend that this binary becomes is to listen; without it [`backend_process`] does nothing.
const LISTEN: &str = "STORY_BACKEND";

/// A backend as a process; killed when dropped.
struct Backend {
    address: SocketAddr,
    child: Child,
}

impl Backend {
    /// Starts one; port 0 stands for any.
    fn start(listen: &str) -> Backend {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "killing::backend_process", "--ignored", "--nocapture"])
            .env(LISTEN, listen)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let said = lines.find_map(|line| line.ok()?.split_once("listening on ")?.1.trim().parse().ok());
        Backend { address: said.expect("its address"), child }
    }

    /// SIGKILL: the kernel ends its connections as it finds them.
    fn kill(&mut self) {
        self.child.kill().expect("a living process");
        self.child.wait().expect("its end");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Not a story: what [`Backend::start`] runs.
#[test]
#[ignore = "it is a backend, which other stories start and kill"]
fn backend_process() {
    let Ok(listen) = std::env::var(LISTEN) else { return };
    let origin = Origin::start_at(listen.parse().expect("an address"), |request| {
        Answer::Ok(format!("{} has {} bytes", std::process::id(), request.body.len()))
    });
    println!("\nlistening on {}", origin.address);
    // Until it is killed, or whoever started it is gone.
    let lines = std::io::stdin().lines().count();
    eprintln!("standard input ended after {lines} lines");
}

#[test]
fn a_backend_killed_under_load_fails_no_get_and_no_post_but_those_in_flight_on_it() {
    const POSTING: usize = 3;
    let survivor = Backend::start("127.0.0.1:0");
    let mut victim = Backend::start("127.0.0.1:0");
    // What is killed three times within seconds would be left out for a while.
    let check = "health_check: { interval: 200ms, timeout: 1s }, outlier_detection: off";
    let balancer = Balancer::before([survivor.address, victim.address]).upstream(check).start();
    let mut habits = vec![Habit::NewGet, Habit::NewGet, Habit::KeptGet, Habit::KeptGet];
    habits.extend([Habit::KeptPost; POSTING]);
    let load = Load::on(balancer.address, &habits);
    let served = |address: SocketAddr| {
        balancer.metric(&format!("evenkeel_attempts_total{{upstream=\"app\",backend=\"{address}\"}}"))
    };
    let mut seen_failed = 0;
    for _ in 0..3 {
        load.go_on(200);
        assert!(served(victim.address) > 0.0);
        victim.kill();
        balancer.wait_healthy(victim.address, false);
        let before = served(victim.address);
        load.go_on(200);
        assert_eq!(served(victim.address), before, "all goes to the other");

        victim = Backend::start(&victim.address.to_string());
        balancer.wait_healthy(victim.address, true);
        eventually("requests for the backend that is back", || served(victim.address) > before, || balancer.log());
        seen_failed += POSTING;
    }
    let (answered, failed) = load.stop();
    let (posts, gets): (Vec<_>, Vec<_>) = failed.iter().partition(|(habit, _)| *habit == Habit::KeptPost);
    assert!(gets.is_empty(), "of {answered}: {gets:?}");
    assert!(posts.len() <= seen_failed, "more than were in flight: {posts:?}");
    assert!(posts.iter().all(|(_, what)| what.contains(": 502 ")), "the client is told: {posts:?}");
}
