//! `evenkeel explain` and `evenkeel test`: why a request goes where it goes, and whether it goes where it should.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::balancer::program;
use crate::support::client::Client;
use crate::support::{Balancer, Origin};

const FILE: &str = r#"
version: 1
listeners:
  web: { address: 127.0.0.1:8080 }
  more: { address: 127.0.0.1:8081 }
upstreams:
  app: { backends: [127.0.0.1:9001, { address: 127.0.0.1:9002, weight: 3 }] }
  next: { backends: [127.0.0.1:9003] }
  unused: { backends: [127.0.0.1:9004] }
routes:
  - name: canary
    match: { hosts: [shop.example.com], path: { prefix: /api }, headers: { x-canary: "1" }, methods: [POST] }
    rewrite: { strip_prefix: /api, host: internal.example }
    split: [ { upstream: app, weight: 95 }, { upstream: next, weight: 5 } ]
  - { name: shop, match: { hosts: [shop.example.com], path: { prefix: /api } }, upstream: app }
  - { name: again, match: { hosts: [shop.example.com], path: { prefix: /api } }, upstream: app }
  - { name: old, match: { path: { prefix: /old } }, redirect: { to: "https://{host}/new{path_and_query}" } }
  - { name: inside, match: { hosts: [inside.example], clients: [10.0.0.0/8] }, respond: { status: 204 } }
  - { name: gone, listeners: [web], match: { path: { exact: /gone } }, respond: { status: 410 } }
tests:
  - { request: "POST http://shop.example.com/api/x?a=1", headers: { x-canary: "1" }, expect: { route: canary, upstream: next, path: "/x?a=1", host: internal.example } }
  - { request: "GET http://shop.example.com/api/x", expect: { route: shop, upstream: app, host: shop.example.com } }
  - { request: "GET http://any.example/old/a?b", expect: { status: 308, location: "https://any.example/new/old/a?b" } }
  - { request: "GET http://any.example/gone", listener: web, expect: { status: 410 } }
  - { request: "GET http://any.example/gone", listener: more, expect: { status: 404 } }
  - { request: "GET http://inside.example/", from: 10.1.2.3, expect: { route: inside, status: 204 } }
"#;

fn run(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("site.yaml"), text).unwrap();
    let all = [&["-c", "site.yaml"], arguments].concat();
    let Output { status, stdout, stderr } = program(folder.path(), &all).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_request_is_explained_by_the_file() {
    let ask = ["explain", "-X", "POST", "-H", "x-canary: 1", "http://shop.example.com/api//x/../y"];
    let (code, said, _) = run(FILE, &ask);
    assert_eq!(code, 0, "{said}");
    for line in [
        "listener  web (by its scheme; say another with --listener)",
        "path      /api/y (in its one form)",
        "route     canary: is taken",
        "route     shop: matches, but a more specific or earlier one is taken",
        "route     old: is for another path",
        "forward   /y with host internal.example",
        "upstream  app (share 95, round_robin, tried again 2 times, first byte within 30s, in all unlimited)",
        "backend   127.0.0.1:9002  unknown, weight 3, tier 0",
        "upstream  next (share 5",
    ] {
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
    let (code, said, _) = run(FILE, &["explain", "--json", "http://shop.example.com:8081/api"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["route"], &told["listener"]), (0, &"shop".into(), &"more".into()));
    assert_eq!(told["considered"][0]["condition"], "the method is not POST");
}

#[test]
fn what_is_not_served_is_explained_too() {
    let (code, said, _) = run(FILE, &["explain", "--listener", "more", "http://any.example/gone"]);
    assert!(code == 1 && said.contains("refused   no_route"), "{said}");
    let (code, said, _) = run(FILE, &["explain", "http://any.example/a%00b"]);
    assert!(code == 1 && said.contains("refused   bad_request"), "{said}");
    for (ask, why) in [
        (&["explain", "shop.example.com"][..], "has no scheme"),
        (&["explain", "--listener", "none", "http://a/"], "no listener is called `none`"),
        (&["explain", "-H", "nothing", "http://a/"], "is not a header field"),
    ] {
        let (code, _, said) = run(FILE, ask);
        assert!(code == 2 && said.contains(why), "{code} {said}");
    }
    let (code, _, said) = run(&FILE.replace("upstream: app }", "upstream: ap }"), &["explain", "http://a/"]);
    assert!(code == 1 && said.contains("did you mean `app`"), "{said}");
}

#[test]
fn the_running_process_explains_with_what_it_knows() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    balancer.get("/");
    let backend = origin.address.to_string();
    assert!(balancer.command(&["drain", &backend]).status.success());
    let url = format!("http://{}/x", balancer.address);
    let output = balancer.command(&["explain", "--live", "--json", &url]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let candidate = &told["action"]["upstreams"][0]["candidates"][0];
    assert_eq!((&candidate["name"], &candidate["drained"]), (&backend.as_str().into(), &true.into()), "{told:#}");
    assert_eq!((&candidate["attempts"], &told["listener_by"]), (&1.into(), &"port".into()));
    assert_eq!((&told["reason"], output.status.code()), (&"no_backend".into(), Some(1)), "as a request would be told");
    assert_eq!(origin.count(), 1, "nothing was asked of it");
    for bad in [
        "{}",
        "{\"url\":1}",
        "{\"url\":\"http://a/\",\"method\":\"G T\"}",
        "{\"url\":\"http://a/\",\"headers\":[\"x\"]}",
        "{\"url\":\"http://a/\",\"from\":\"b\"}",
        "{\"uri\":\"http://a/\"}",
    ] {
        assert_eq!(balancer.admin_ask("POST", "/api/v1/explain", &[], bad).status, 400, "{bad}");
    }
}

#[test]
fn who_is_next_is_said_and_nobodys_turn_is_used_up() {
    let origins = [Origin::named("one"), Origin::named("two"), Origin::named("three")];
    let backends = origins.each_ref().map(|origin| origin.address);
    let next = |balancer: &Balancer, ask: &[&str]| -> Vec<(String, String)> {
        let url = format!("http://{}/x", balancer.address);
        let output = balancer.command(&[&["explain", "--live", "--json"], ask, &[&url]].concat());
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let candidates = told["action"]["upstreams"][0]["candidates"].as_array().unwrap();
        let text = |candidate: &Value, key: &str| candidate[key].as_str().unwrap().to_owned();
        candidates.iter().map(|candidate| (text(candidate, "name"), text(candidate, "next"))).collect()
    };
    let balancer = Balancer::before(backends).start();
    assert!(next(&balancer, &[]).iter().all(|(_, next)| next == "perhaps"));
    let former = balancer.get("/").text();
    for _ in 0..4 {
        next(&balancer, &[]);
    }
    let others: Vec<String> = (0..2).map(|_| balancer.get("/").text()).collect();
    assert!(!others.contains(&former) && others[0] != others[1], "the turns went on: {former} {others:?}");
    for drained in &backends[..2] {
        assert!(balancer.command(&["drain", &drained.to_string()]).status.success());
    }
    let said: Vec<String> = next(&balancer, &[]).into_iter().map(|(_, next)| next).collect();
    assert_eq!(said, ["no", "no", "yes"]);
    let page = balancer.command(&["explain", "--live", &format!("http://{}/x", balancer.address)]).stdout;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains(&format!("{}  fit", backends[2])) && page.contains(", is next"), "{page}");

    let hashed = "balance: { ring_hash: { key: { header: x-user } } }";
    let balancer = Balancer::before(backends).upstream(hashed).start();
    for user in ["ann", "ben", "cleo", "dan"] {
        let said = next(&balancer, &["-H", &format!("x-user: {user}")]);
        let chosen: Vec<&String> = said.iter().filter(|(_, next)| next == "yes").map(|(name, _)| name).collect();
        let mut client = Client::connect(balancer.address).unwrap();
        let answered = client.request("GET", "/x", &[("x-user", user)], b"").unwrap().text();
        let who = origins.iter().zip(["one", "two", "three"]).find(|(_, name)| **name == answered).unwrap().0;
        assert_eq!(chosen, [&who.address.to_string()], "{user}");
    }
}

#[test]
fn certificates_and_listeners_that_nothing_uses_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let issue = |file: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.path().join(format!("{file}.pem")), issued.cert.pem()).unwrap();
        std::fs::write(folder.path().join(format!("{file}.key")), issued.signing_key.serialize_pem()).unwrap();
    };
    issue("site", &["shop.example", "www.shop.example"]);
    issue("again", &["www.shop.example"]);
    issue("old", &["old.example"]);
    issue("wild", &["*.tenants.example"]);
    let certificates =
        ["site", "again", "old", "wild"].map(|name| format!("{{ certificate: {name}.pem, key: {name}.key }}"));
    let text = format!(
        "version: 1\nadmin: off\nlisteners:\n  web: {{ address: 127.0.0.1:8443, tls: {{ certificates: [{}] }} }}\n  idle: {{ address: 127.0.0.1:8444 }}\n\
         upstreams: {{ app: {{ backends: [127.0.0.1:9001] }} }}\n\
         routes: [ {{ listeners: [web], match: {{ hosts: [shop.example, a.tenants.example] }}, upstream: app }} ]\n",
        certificates.join(", ")
    );
    std::fs::write(folder.path().join("site.yaml"), text).unwrap();
    let output = program(folder.path(), &["-c", "site.yaml", "test", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said: Vec<&str> = told["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let [again, old, idle] = said.as_slice() else { panic!("{said:#?}") };
    assert!(again.contains("again.pem` of listener `web` is never shown"), "{again}");
    assert!(old.contains("old.pem` of listener `web` is for no host of its routes"), "{old}");
    assert!(idle.contains("listener `idle` is served by no route"), "{idle}");
}

#[test]
fn the_tests_of_a_file_are_run_and_what_never_acts_is_named() {
    let (code, said, _) = run(FILE, &["test"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("6 tests, 0 failed, 2 warnings"), "{said}");
    assert!(said.contains("warning: route `again` can never match: `shop` takes all that it would"), "{said}");
    assert!(said.contains("warning: upstream `unused` is used by no route"), "{said}");
    for (from, to, why) in [
        (
            "route: shop, upstream: app, host",
            "route: again, upstream: app, host",
            "expected route `again`, it is `shop`",
        ),
        ("upstream: next, path", "upstream: unused, path", "expected upstream `unused`, it is `app`, `next`"),
        ("path: \"/x?a=1\"", "path: /x", "expected path `/x`, it is `/x?a=1`"),
        ("host: shop.example.com }", "host: other }", "expected host `other`, it is `shop.example.com`"),
        ("status: 410", "status: 200", "expected status `200`, it is `410`"),
        (
            "location: \"https://any.example/new/old/a?b\"",
            "location: /",
            "expected location `/`, it is `https://any.example/new/old/a?b`",
        ),
        ("from: 10.1.2.3, ", "", "expected route `inside`, there is none"),
    ] {
        let broken = FILE.replacen(from, to, if from == "status: 410" { 2 } else { 1 });
        assert_ne!(broken, FILE);
        let (code, said, _) = run(&broken.replace("respond: { status: 200 }", "respond: { status: 410 }"), &["test"]);
        assert!(code == 1 && said.contains(why) && said.contains("route     "), "{why}\n{said}");
    }
    let (code, said, _) = run(FILE, &["test", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["ok"], told["tests"].as_array().unwrap().len()), (0, &true.into(), 6));
    let missing = program(Path::new("/"), &["-c", "/nowhere.yaml", "test"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn who_holds_the_token_is_told_in_the_answer_and_nobody_else() {
    let origin = Origin::named("here");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "secret-token\n").unwrap();
    let setup = Balancer::before([origin.address]).admin_settings("token_file: token");
    let balancer =
        setup.routes("  - { name: shop, match: { path: { prefix: /shop } }, upstream: app }").start_in(folder);
    let mut client = Client::connect(balancer.address).unwrap();
    let mut ask = |path: &str, token: &str| client.request("GET", path, &[("x-evenkeel-explain", token)], b"").unwrap();
    let told = ask("/shop//a", "secret-token");
    let decision = told.field("x-evenkeel-decision").unwrap().to_owned();
    let backend = origin.address.to_string();
    assert_eq!(
        decision,
        format!("listener=web; path=/shop/a; route=shop; upstream=app; backend={backend}; attempts=1; generation=1")
    );
    let refused = ask("/other", "secret-token");
    assert_eq!(
        refused.field("x-evenkeel-decision").unwrap(),
        "listener=web; attempts=0; reason=no_route; generation=1"
    );
    assert_eq!(ask("/shop", "secret-toke").field("x-evenkeel-decision"), None);
    assert!(
        origin.requests().iter().all(|request| request.field("x-evenkeel-explain").is_none()),
        "{:?}",
        origin.requests()
    );
}
