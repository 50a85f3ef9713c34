//! The commands of an operator against a running process.

use std::time::Duration;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::{Answer, Balancer, EVERY_HABIT, Gate, Load, Origin, eventually, free_address};

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_reload_answers_with_what_came_of_it_and_its_exit_code() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let good = balancer.command(&["reload"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(said(&good).contains("generation 2 is in force"), "{}", said(&good));

    let text = std::fs::read_to_string(balancer.file()).unwrap();
    balancer.edit(|text| text.replace("backends:", "backend:"));
    let bad = balancer.command(&["reload"]);
    assert_eq!(bad.status.code(), Some(1));
    let shown = said(&bad);
    assert!(shown.contains("`backend` is not a key") && shown.contains("the former configuration stays"), "{shown}");
    let answer = balancer.admin_ask("POST", "/api/v1/reload", &[], "");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer.status, 422);
    assert!(body["problems"][0]["line"].as_u64() > Some(0), "{body:#}");
    let last = balancer.api("status")["last_reload"].clone();
    assert_eq!((&last["outcome"], &last["cause"]), (&"refused".into(), &"api".into()));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("listeners:\n  more: {{ address: {} }}\n", taken.local_addr().unwrap());
    balancer.edit(|_| text.replace("listeners:\n", &more));
    let machine = balancer.command(&["reload"]);
    assert_eq!(machine.status.code(), Some(3), "{}", said(&machine));
    assert!(said(&machine).contains("cannot listen on"), "{}", said(&machine));

    balancer.edit(|_| text.replace("threads: 2", "threads: 3"));
    let upgrade = balancer.command(&["reload"]);
    assert!(upgrade.status.success() && said(&upgrade).contains("evenkeel upgrade"), "{}", said(&upgrade));
}

#[test]
fn a_reload_on_trial_goes_back_by_itself_and_stays_if_it_is_confirmed() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let balancer = Balancer::before([one.address]).start();
    let (from, to) = (one.address.to_string(), two.address.to_string());
    assert_eq!(balancer.command(&["confirm"]).status.code(), Some(3), "nothing waits");
    balancer.edit(|text| text.replace(&from, &to));
    let trial = balancer.command(&["reload", "--confirm", "500ms"]);
    assert!(trial.status.success() && said(&trial).contains("on trial"), "{}", said(&trial));
    assert_eq!(balancer.get("/").text(), "two");
    eventually("the former rules", || balancer.get("/").text() == "one", || balancer.log());
    assert_eq!(balancer.api("status")["last_reload"]["cause"], "unconfirmed");
    assert_eq!(balancer.metric("evenkeel_reloads_total{state=\"reverted\"}"), 1.0);

    assert!(balancer.command(&["reload", "--confirm", "1h"]).status.success());
    assert_ne!(balancer.api("status")["confirm_until"], Value::Null);
    assert!(balancer.command(&["confirm"]).status.success());
    assert_eq!(balancer.api("status")["confirm_until"], Value::Null);
    assert_eq!(balancer.get("/").text(), "two");

    // Another on trial while one is: what comes back is what was trusted last.
    balancer.edit(|text| text.replace(&to, "127.0.0.9:1"));
    assert!(balancer.command(&["reload", "--confirm", "1h"]).status.success());
    balancer.edit(|text| text.replace("127.0.0.9:1", &from));
    assert!(balancer.command(&["reload", "--confirm", "300ms"]).status.success());
    eventually("what was trusted", || balancer.get("/").text() == "two", || balancer.log());
}

#[test]
fn a_file_that_is_watched_is_reloaded_when_it_changes() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let setup = Balancer::before([one.address]).top("watch: on\ninclude: [more/*.yaml]");
    let balancer = setup.start();
    balancer.edit(|text| text.replace(&one.address.to_string(), &two.address.to_string()));
    eventually("the new rules", || balancer.get("/").text() == "two", || balancer.log());
    assert_eq!(balancer.api("status")["last_reload"]["cause"], "watch");
    balancer.edit(|text| text.replace("upstreams:", "upstream:"));
    let outcome = || balancer.api("status")["last_reload"]["outcome"].clone();
    eventually("a refusal", || outcome() == "refused", || balancer.log());
    balancer.edit(|text| text.replace("upstream:\n", "upstreams:\n").replace("watch: on", "watch: off"));
    eventually("the mended file", || outcome() == "ok", || balancer.log());
    assert_eq!(balancer.api("status")["watch"], false);
}

#[test]
fn status_shows_backends_and_routes_and_top_without_a_terminal_once() {
    let (alive, dead) = (Origin::named("alive"), free_address());
    let balancer = Balancer::before([alive.address, dead]).start();
    balancer.get("/");
    for command in ["status", "top"] {
        let output = balancer.command(&[command]);
        let shown = said(&output);
        assert!(output.status.success(), "{shown}");
        for text in [alive.address.to_string(), dead.to_string(), "unhealthy".to_owned(), "route-1".to_owned()] {
            assert!(shown.contains(&text), "{text}: {shown}");
        }
        assert!(!shown.contains('\x1b'), "no escapes without a terminal");
    }
    let json = balancer.command(&["status", "--json"]);
    let seen: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(seen["upstreams"][0]["backends"][1]["state"], "unhealthy");
    balancer.edit(|_| "version: 1\n".to_owned());
    let elsewhere = balancer.command(&["status"]);
    assert_eq!(elsewhere.status.code(), Some(3), "{}", said(&elsewhere));
}

#[test]
fn a_drained_backend_takes_nothing_new_what_is_in_flight_ends_and_it_comes_back() {
    let gate = Gate::default();
    let waits = gate.clone();
    let one = Origin::start(move |request| {
        if request.line.contains("/slow") {
            waits.pass();
        }
        Answer::Ok("one".to_owned())
    });
    let two = Origin::named("two");
    let balancer = Balancer::before([one.address, two.address]).upstream("health_check: off").start();
    let name = one.address.to_string();
    let mut slow = Vec::new();
    while one.requests().iter().filter(|request| request.line.contains("/slow")).count() == 0 {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET /slow HTTP/1.1\r\nhost: story.example\r\n\r\n").unwrap();
        slow.push(client);
        std::thread::sleep(Duration::from_millis(20));
    }
    let state = || balancer.api("upstreams")[0]["backends"][0].clone();
    let mut draining =
        crate::support::balancer::program(balancer.folder.path(), &["-c", "evenkeel.yaml", "drain", "--wait", &name])
            .spawn()
            .unwrap();
    eventually("a drained backend", || state()["state"] == "drained", || state().to_string());
    assert_eq!(state()["in_flight"], 1);
    let asked = one.count();
    for _ in 0..6 {
        assert_eq!(balancer.get("/").text(), "two");
    }
    assert_eq!(one.count(), asked);
    assert_eq!(balancer.metric(&format!("evenkeel_backend_drained{{upstream=\"app\",backend=\"{name}\"}}")), 1.0);
    assert!(balancer.reload(|text| text + "\n"), "it outlives a reload");
    assert_eq!(balancer.get("/").text(), "two");
    assert!(draining.try_wait().unwrap().is_none(), "it waits for what is in flight");
    gate.open();
    assert!(draining.wait().unwrap().success());
    for mut client in slow {
        assert_eq!(client.response(false).unwrap().status, 200);
    }
    assert_eq!(state()["in_flight"], 0);

    let enabled = balancer.command(&["enable", "--upstream", "app", &name]);
    assert!(enabled.status.success() && said(&enabled).contains("fit"), "{}", said(&enabled));
    let answers: std::collections::BTreeSet<String> = (0..4).map(|_| balancer.get("/").text()).collect();
    assert_eq!(answers.len(), 2);
    let unknown = balancer.command(&["drain", "127.0.0.1:1"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(said(&unknown).contains("no upstream has a backend `127.0.0.1:1`"), "{}", said(&unknown));
}

#[test]
fn all_backends_drained_is_a_503_and_no_connection_is_lost() {
    let one = Origin::named("one");
    let balancer = Balancer::before([one.address]).start();
    let mut kept = Client::connect(balancer.address).unwrap();
    let mut ask = || kept.request("GET", "/", &[], b"").unwrap();
    assert_eq!(ask().status, 200);
    let name = one.address.to_string();
    assert!(balancer.command(&["drain", &name]).status.success());
    let refused = ask();
    assert!(refused.status == 503 && refused.text().contains("no_backend"), "{}", refused.text());
    assert_eq!(balancer.metric("evenkeel_upstream_panic{upstream=\"app\"}"), 0.0, "{}", balancer.log());
    assert!(balancer.command(&["enable", &name]).status.success());
    assert_eq!(ask().status, 200);
}

#[test]
fn a_weight_holds_until_it_is_taken_back_also_over_reloads() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let balancer = Balancer::before([one.address, two.address]).start();
    let load = Load::on(balancer.address, &EVERY_HABIT);
    let name = one.address.to_string();
    let of_eight = || (0..8).filter(|_| balancer.get("/").text() == "one").count();
    assert!(balancer.command(&["weight", &name, "0"]).status.success());
    assert_eq!(of_eight(), 0);
    assert!(balancer.reload(|text| text + "\n"), "{}", balancer.log());
    assert_eq!(of_eight(), 0, "a reload changes nothing about it");
    assert!(balancer.command(&["weight", &name, "file"]).status.success());
    let (answered, failed) = load.stop();
    assert!(failed.is_empty(), "of {answered}: {failed:?}");
    assert_eq!(of_eight(), 4);
    let path = format!("/api/v1/upstreams/app/backends/{name}/weight");
    for wrong in ["{}", "{\"weight\": 1001}", "{\"weight\": \"much\"}", "{\"wait\": 1}", "[1]", "nonsense"] {
        assert_eq!(balancer.admin_ask("POST", &path, &[], wrong).status, 400, "{wrong}");
    }
    assert_eq!(balancer.admin_ask("POST", "/api/v1/upstreams/app/backends/x/drain", &[], "").status, 404);
}

#[test]
fn stop_and_status_work_while_the_file_is_in_the_middle_of_a_change() {
    let origin = Origin::named("here");
    let mut balancer = Balancer::before([origin.address]).top("lame_duck: off").start();
    balancer.edit(|text| text.replace("backends:", "backend: \"${EVENKEEL_STORY_UNSET}\", backends:"));
    assert!(balancer.command(&["status"]).status.success());
    let mut stop = balancer.spawn_beside(&["stop"]);
    assert!(balancer.wait_end().success());
    assert!(stop.wait().unwrap().success(), "{}", balancer.log());
}

#[test]
fn the_commands_find_an_admin_address_on_a_unix_socket_and_one_for_all_addresses_with_its_token() {
    let origin = Origin::named("here");
    for everywhere in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let setup = Balancer::before([origin.address]);
        let (admin, text) = (setup.admin(), setup.text());
        let written = match everywhere {
            true => format!("address: \"0.0.0.0:{}\", token: \"${{EVENKEEL_STORY_TOKEN}}\"", admin.port()),
            false => format!("address: \"unix:{}\"", folder.path().join("admin.sock").display()),
        };
        let text = text.replace(&format!("address: {admin}"), &written);
        std::fs::write(folder.path().join("evenkeel.yaml"), text).unwrap();
        let command = |arguments: &[&str]| {
            let mut all = vec!["-c", "evenkeel.yaml"];
            all.extend(arguments);
            let mut command = crate::support::balancer::program(folder.path(), &all);
            command.env("EVENKEEL_STORY_TOKEN", "open-sesame");
            command
        };
        let mut child = command(&[]).spawn().unwrap();
        let status = || command(&["status", "--json"]).output().unwrap();
        eventually("a process that answers", || status().status.success(), || said(&status()));
        assert!(command(&["reload"]).status().unwrap().success());
        let name = origin.address.to_string();
        assert!(command(&["drain", "--wait", &name]).status().unwrap().success());
        let seen: Value = serde_json::from_slice(&status().stdout).unwrap();
        assert_eq!(seen["upstreams"][0]["backends"][0]["state"], "drained");
        assert_eq!(seen["status"]["generation"], 2);
        let without =
            crate::support::balancer::program(folder.path(), &["-c", "evenkeel.yaml", "status"]).output().unwrap();
        assert_eq!(without.status.code(), Some(if everywhere { 1 } else { 0 }), "{}", said(&without));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let (dead, alive) = (free_address(), Origin::named("alive"));
    let balancer = Balancer::before([dead]).start();
    let nothing = balancer.command(&["plan"]);
    assert!(nothing.status.success() && said(&nothing).contains("nothing would change"), "{}", said(&nothing));
    assert!(balancer.get("/lost").status >= 500, "it is recorded");

    let text = std::fs::read_to_string(balancer.file()).unwrap();
    let (from, to) = (dead.to_string(), alive.address.to_string());
    balancer.edit(|text| {
        text.replace(&from, &to).replace("threads: 2", "threads: 3").replace(
            "routes:\n",
            "routes:\n  - { name: lost, match: { path: { exact: /lost } }, respond: { status: 410 } }\n",
        )
    });
    let planned = balancer.command(&["plan"]);
    let shown = said(&planned);
    assert!(planned.status.success(), "{shown}");
    for line in [
        format!("- backend {from} of upstream app"),
        format!("+ backend {to} of upstream app"),
        "+ route lost".to_owned(),
        "! threads: 2 -> 3  (takes effect with `evenkeel upgrade`)".to_owned(),
        "/lost: route-1 (app) -> lost".to_owned(),
    ] {
        assert!(shown.contains(&line), "no `{line}` in\n{shown}");
    }
    assert_eq!(balancer.api("status")["generation"], 1);
    let json: Value = serde_json::from_slice(&balancer.command(&["plan", "--json"]).stdout).unwrap();
    assert_eq!((&json["changes"], &json["routes"]["added"][0]), (&true.into(), &"lost".into()));

    // Another file is compared as well, and what is wrong with it is read by who asks.
    let other = balancer.file().with_file_name("other.yaml");
    std::fs::write(&other, &text).unwrap();
    let same = balancer.command_on(&other, &["plan"]);
    assert!(said(&same).contains("nothing would change"), "{}", said(&same));
    std::fs::write(&other, text.replace("backends:", "backend:")).unwrap();
    let wrong = balancer.command_on(&other, &["plan"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("`backend` is not a key"), "{}", said(&wrong));
    let body = serde_json::json!({ "file": other }).to_string();
    let told = balancer.admin_ask("POST", "/api/v1/plan", &[], &body);
    assert!(told.status == 422 && !told.text().contains("backend"), "{}", told.text());
    for bad in ["{\"file\":\"relative\"}", "{\"file\":\"/dev/zero\"}", "{\"fil\":1}"] {
        assert_eq!(balancer.admin_ask("POST", "/api/v1/plan", &[], bad).status, 400, "{bad}");
    }
    balancer.edit(|text| text.replace("backends:", "backend:"));
    assert_eq!(balancer.command(&["plan"]).status.code(), Some(1));
}
