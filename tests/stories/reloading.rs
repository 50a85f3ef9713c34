//! Changing the rules while requests run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use crate::support::client::{Client, get};
use crate::support::{Answer, Balancer, EVERY_HABIT, Gate, Habit, Load, Origin, eventually, free_address};

#[test]
fn a_reload_changes_backends_and_weights_and_drops_neither_connection_nor_request() {
    let (one, two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    let balancer = Balancer::before([one.address, two.address]).start();
    let mut kept = Client::connect(balancer.address).unwrap();
    assert_eq!(kept.request("GET", "/", &[], b"").unwrap().status, 200);
    let load = Load::on(balancer.address, &EVERY_HABIT);
    assert_eq!(balancer.metric("evenkeel_generation"), 1.0);

    let (from, to) = (two.address.to_string(), format!("{{ address: {}, weight: 3 }}", three.address));
    assert!(balancer.reload(|text| text.replace(&from, &to)), "{}", balancer.log());
    assert_eq!(balancer.metric("evenkeel_generation"), 2.0);
    load.go_on(20);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "of {answered}: {failed:?}");

    let asked = two.count();
    let answers: Vec<_> = (0..8).map(|_| kept.request("GET", "/", &[], b"").unwrap().text()).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "three").count(), 6, "{answers:?}");
    assert_eq!(two.count(), asked, "the removed backend takes nothing more");
}

#[test]
fn a_reload_changes_timeouts_for_the_next_request_of_a_kept_connection() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |request| {
        if request.line.contains("/slow") {
            waits.pass();
        }
        Answer::Ok(String::new())
    });
    let balancer = Balancer::before([origin.address]).upstream("timeouts: { first_byte: 31s }, retry: off").start();
    let mut kept = Client::connect(balancer.address).unwrap();
    assert_eq!(kept.request("GET", "/", &[], b"").unwrap().status, 200);
    let mut under_way = Client::connect(balancer.address).unwrap();
    under_way.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
    eventually("a request under way", || origin.count() == 2, || balancer.log());

    assert!(balancer.reload(|text| text.replace("31s", "300ms")), "{}", balancer.log());
    assert_eq!(kept.request("GET", "/slow", &[], b"").unwrap().status, 504, "the new rules hold");
    gate.open();
    assert_eq!(under_way.response(false).unwrap().status, 200, "a request keeps the rules that it began with");
}

#[test]
fn a_listener_comes_and_goes_live() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let more = free_address();
    assert!(Client::connect(more).is_err());
    let added = format!("listeners:\n  more: {{ address: {more} }}\n");
    assert!(balancer.reload(|text| text.replace("listeners:\n", &added)), "{}", balancer.log());
    assert_eq!(get(more, "/").text(), "here");
    assert!(balancer.reload(|text| text.replace(&added, "listeners:\n")), "{}", balancer.log());
    eventually("a closed listener", || Client::connect(more).is_err(), || balancer.log());
    assert_eq!(get(balancer.address, "/").text(), "here");
    assert!(balancer.reload(|text| text.replace("listeners:\n", &added)), "{}", balancer.log());
    assert_eq!(get(more, "/").text(), "here", "it can come back");
}

#[test]
fn a_request_in_flight_on_a_listener_that_goes_is_answered() {
    let gate = Gate::default();
    let waits = gate.clone();
    let origin = Origin::start(move |_| {
        waits.pass();
        Answer::Ok("late".to_owned())
    });
    let more = free_address();
    let line = format!("  more: {{ address: {more} }}\n");
    let balancer = Balancer::before([origin.address]).more_listeners(&line).start();
    let mut client = Client::connect(more).unwrap();
    client.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
    eventually("the request at its origin", || origin.count() == 1, || balancer.log());
    assert!(balancer.reload(|text| text.replace(&line, "")), "{}", balancer.log());
    gate.open();
    assert_eq!(client.response(false).unwrap().text(), "late");
}

#[test]
fn a_listener_that_is_renamed_keeps_its_address_and_no_request_fails() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    for (from, to) in [("web", "shop"), ("shop", "web"), ("web", "store")] {
        load.go_on(20);
        let (from, to) = (format!("  {from}: {{ address"), format!("  {to}: {{ address"));
        assert!(balancer.reload(|text| text.replace(&from, &to)), "{}", balancer.log());
    }
    load.go_on(20);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
    assert!(balancer.metric("evenkeel_connections_total{listener=\"store\"}") > 0.0);
}

#[test]
fn a_file_with_a_problem_changes_nothing_and_the_log_says_where_it_is() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let mut kept = Client::connect(balancer.address).unwrap();
    assert_eq!(kept.request("GET", "/", &[], b"").unwrap().status, 200);
    let text = std::fs::read_to_string(balancer.file()).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("backends:")).unwrap();

    assert!(!balancer.reload(|text| text.replace("backends:", "backend:").replace("admin:", "admim:")));
    balancer.wait_log("configuration refused; the former stays in force");
    let log = balancer.log();
    assert!(log.contains(&format!("evenkeel.yaml:{line}:")) && log.contains("admim"), "all problems: {log}");
    assert_eq!(balancer.metric("evenkeel_generation"), 1.0);
    assert_eq!(kept.request("GET", "/", &[], b"").unwrap().text(), "here");

    assert!(balancer.reload(|_| text), "and a good one is taken after it");
}

#[test]
fn a_listener_that_cannot_be_bound_leaves_the_former_rules_whole() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let balancer = Balancer::before([one.address]).start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fine = free_address();
    let added =
        format!("listeners:\n  fine: {{ address: {fine} }}\n  taken: {{ address: {} }}\n", taken.local_addr().unwrap());
    let change =
        |text: String| text.replace("listeners:\n", &added).replace(&one.address.to_string(), &two.address.to_string());
    assert!(!balancer.reload(change));
    balancer.wait_log("cannot listen on");
    assert_eq!(balancer.get("/").text(), "one");
    assert!(Client::connect(fine).is_err(), "not even in part");
}

#[test]
fn health_is_remembered_across_a_reload() {
    let alive = Origin::named("alive");
    let dead = free_address();
    let check = "health_check: { interval: 1h, timeout: 1s }";
    let balancer = Balancer::before([alive.address, dead]).upstream(check).start();
    assert!(!balancer.healthy(dead));
    // Were it asked again it would pass; an hour is not over, and a reload is no reason.
    let back = Origin::start_at(dead, |_| Answer::Ok("back".to_owned()));
    let weighted = format!("{{ address: {dead}, weight: 2 }}");
    assert!(balancer.reload(|text| text.replace(&dead.to_string(), &weighted)), "{}", balancer.log());
    assert_eq!(balancer.metric("evenkeel_generation"), 2.0);
    assert!(!balancer.healthy(dead));
    let answers: BTreeSet<_> = (0..6).map(|_| balancer.get("/").text()).collect();
    assert_eq!(answers, BTreeSet::from(["alive".to_owned()]));
    assert_eq!(back.count(), 0);
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_reload_moves_the_access_log_and_no_line_is_lost() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let folder = balancer.folder.path();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    load.go_on(50);
    assert!(balancer.reload(|text| text.replace("access.log", "moved.log")), "{}", balancer.log());
    load.go_on(50);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "{failed:?}");
    let count = |name: &str| lines(&folder.join(name)).len();
    let all = || count("access.log") + count("moved.log");
    eventually("a line for each request", || all() == answered, || format!("{} of {answered}", all()));
    assert!(count("access.log") >= 40 && count("moved.log") >= 40, "{} moved", count("moved.log"));
}

#[test]
fn after_a_rotation_new_lines_go_to_the_new_file_and_none_is_lost() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let path = |name: &str| balancer.folder.path().join(name);
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let rotations = 5;
    for number in 0..rotations {
        load.go_on(30);
        std::fs::rename(path("access.log"), path(&format!("access.log.{number}"))).unwrap();
        balancer.signal(Signal::USR1);
        eventually("a new file", || !lines(&path("access.log")).is_empty(), || balancer.log());
    }
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "{failed:?}");
    let all = || {
        let rotated = (0..rotations).map(|number| format!("access.log.{number}"));
        rotated.chain(["access.log".to_owned()]).flat_map(|name| lines(&path(&name))).collect::<Vec<_>>()
    };
    eventually("a line for each request", || all().len() == answered, || format!("{} of {answered}", all().len()));
    for line in all() {
        serde_json::from_str::<serde_json::Value>(&line).expect("a whole line");
    }
    assert_eq!(balancer.metric("evenkeel_access_log_dropped_total"), 0.0);
    let marker = "/after-the-rotation";
    balancer.get(marker);
    eventually("its line", || lines(&path("access.log")).iter().any(|line| line.contains(marker)), || balancer.log());
}

/// Writes a new self-signed certificate; the result is what a client will be shown.
fn write_certificate(folder: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["story.example".to_owned()]).unwrap();
    std::fs::write(folder.join("site.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("site.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().to_vec()
}

fn trusting(folder: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("site.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>;

fn connect(balancer: &Balancer, config: Arc<rustls::ClientConfig>) -> Tls {
    let name = ServerName::try_from("story.example").unwrap();
    let stream = std::net::TcpStream::connect(balancer.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    rustls::StreamOwned::new(rustls::ClientConnection::new(config, name).unwrap(), stream)
}

fn ask(stream: &mut Tls) -> std::io::Result<()> {
    use std::io::{BufRead as _, Write as _};
    stream.write_all(b"GET / HTTP/1.1\r\nhost: story.example\r\n\r\n")?;
    let mut seen = String::new();
    while !seen.ends_with("here") {
        let bytes = stream.fill_buf()?.to_vec();
        if bytes.is_empty() {
            return Err(std::io::Error::other(seen));
        }
        seen.push_str(&String::from_utf8_lossy(&bytes));
        stream.consume(bytes.len());
    }
    if seen.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(std::io::Error::other(seen)) }
}

#[test]
fn a_certificate_that_was_replaced_is_shown_to_new_connections_and_kept_ones_go_on() {
    let origin = Origin::named("here");
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let tls = "tls: { certificates: [ { certificate: site.pem, key: site.key } ] }";
    let balancer = Balancer::before([origin.address]).listener(tls).start_in(folder);
    let folder = balancer.folder.path();
    let shown = |stream: &Tls| stream.conn.peer_certificates().unwrap()[0].to_vec();
    let mut kept = connect(&balancer, trusting(folder));
    ask(&mut kept).unwrap();
    assert_eq!(shown(&kept), first);

    let second = write_certificate(folder);
    assert!(balancer.reload(|text| text), "{}", balancer.log());
    let mut new = connect(&balancer, trusting(folder));
    ask(&mut new).expect("the new certificate is shown");
    assert_eq!(shown(&new), second);
    ask(&mut kept).expect("the kept connection goes on");

    std::fs::write(folder.join("site.key"), "nonsense").unwrap();
    assert!(!balancer.reload(|text| text), "a key that is none is refused");
    balancer.wait_log("site.key` cannot be used");
    let mut still = connect(&balancer, trusting(folder));
    ask(&mut still).expect("the former certificate stays");
}

#[test]
fn reloads_under_load_fail_no_request() {
    let origins = [Origin::named("one"), Origin::named("two")];
    let balancer = Balancer::before(origins.iter().map(|origin| origin.address)).start();
    let load = Load::on(balancer.address, &[Habit::NewGet, Habit::KeptGet, Habit::KeptPost, Habit::KeptGet]);
    let [one, two] = origins.each_ref().map(|origin| origin.address.to_string());
    for round in 0..20 {
        let (from, to) = if round % 2 == 0 {
            (format!("{one}, {two}"), one.clone())
        } else {
            (format!("backends: [{one}]"), format!("backends: [{one}, {two}]"))
        };
        assert!(balancer.reload(|text| text.replace(&from, &to)), "{}", balancer.log());
    }
    assert_eq!(balancer.metric("evenkeel_generation"), 21.0);
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
}

#[test]
fn a_backend_whose_checks_are_switched_off_while_it_is_out_is_tried_again() {
    let dead = crate::support::free_address();
    let balancer = Balancer::before([dead]).upstream("health_check: { interval: 5s }").start();
    assert_eq!(balancer.get("/").status, 503);
    let _back = crate::support::Origin::start_at(dead, |_| crate::support::Answer::Ok("back".to_owned()));
    assert!(balancer.reload(|text| text.replace("{ interval: 5s }", "off")));
    assert_eq!(balancer.get("/").text(), "back");
}
