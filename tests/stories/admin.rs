//! The admin address: what it shows, to whom, and what it refuses.

use serde_json::Value;

use crate::support::{Answer, Balancer, Origin, eventually, free_address};

#[test]
fn the_api_shows_the_process_its_listeners_backends_and_routes() {
    let (one, two) = (Origin::named("one"), free_address());
    let balancer = Balancer::before([one.address, two]).start();
    balancer.get("/a");
    let status = balancer.api("status");
    assert_eq!(status["pid"], i64::from(balancer.pid().as_raw_nonzero().get()));
    assert_eq!((&status["state"], &status["generation"]), (&"serving".into(), &1.into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["last_reload"], Value::Null);
    let listeners = balancer.api("listeners");
    assert_eq!(
        (&listeners[0]["name"], &listeners[0]["address"]),
        (&"web".into(), &balancer.address.to_string().into())
    );
    assert!(listeners[0]["connections_total"].as_u64() >= Some(1));
    let upstreams = balancer.api("upstreams");
    let backends = &upstreams[0]["backends"];
    assert_eq!(backends[0]["name"], one.address.to_string());
    assert_eq!((&backends[0]["state"], &backends[0]["weight"]), (&"fit".into(), &1.into()));
    assert!(backends[0]["attempts"].as_u64() >= Some(1));
    assert_eq!((&backends[1]["state"], &backends[1]["healthy"]), (&"unhealthy".into(), &false.into()));
    let counted = || balancer.api("routes")[0]["counted"].clone();
    eventually("the request counted", || counted()["codes"]["200"] == 1, || counted().to_string());
    assert_eq!(balancer.api("routes")[0]["written"]["upstream"], "app");
}

#[test]
fn the_latest_failed_and_slow_requests_are_remembered_and_the_others_are_not() {
    let origin = Origin::start(|request| {
        if request.line.contains("/late") {
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        match request.line.contains("/broken") {
            true => Answer::Raw(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()),
            false => Answer::Ok("well".to_owned()),
        }
    });
    let setup = Balancer::before([origin.address]).admin_settings("slow_request: 100ms").top("access_log: off");
    let balancer = setup.start();
    for path in ["/fine", "/late?token=1", "//x/../broken"] {
        balancer.get(path);
    }
    let mut client = crate::support::client::Client::connect(balancer.address).unwrap();
    assert_eq!(client.request("TRACE", "/", &[], b"").unwrap().status, 405);
    let requests = || balancer.api("requests");
    eventually("three requests", || requests().as_array().is_some_and(|all| all.len() == 3), || requests().to_string());
    let all = requests();
    let kinds: Vec<(&str, &str)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap(), one["path"].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [("refused", "/"), ("failed", "//x/../broken"), ("slow", "/late?token=1")]);
    assert_eq!((&all[1]["status"], &all[1]["backend"]), (&500.into(), &origin.address.to_string().into()));
    assert!(all[2]["first_byte_ms"].as_f64() >= Some(100.0));
    assert_eq!(all[0]["reason"], "method_not_allowed");
    // The decision, as the answer tells it to who holds the token.
    assert_eq!((&all[1]["normal_path"], &all[2]["normal_path"]), (&"/broken".into(), &serde_json::Value::Null));
    assert_eq!((&all[1]["route"], &all[1]["upstream"]), (&"route-1".into(), &"app".into()));
    assert_eq!((&all[1]["attempts"], &all[1]["generation"]), (&1.into(), &1.into()));
}

#[test]
fn pages_of_other_sites_foreign_names_and_wrong_methods_are_refused() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).admin_settings("hosts: [lb1.internal]").start();
    let ask = |method: &str, path: &str, fields: &[(&str, &str)]| balancer.admin_ask(method, path, fields, "");
    assert_eq!(ask("GET", "/api/v1/status", &[("host", "evil.example")]).status, 403);
    assert_eq!(ask("GET", "/metrics", &[("host", "evil.example:80")]).status, 403);
    assert_eq!(ask("GET", "/api/v1/status", &[("host", "lb1.internal:9901")]).status, 200);
    assert_eq!(ask("POST", "/api/v1/reload", &[("origin", "http://evil.example")]).status, 403);
    assert_eq!(ask("POST", "/api/v1/reload", &[("sec-fetch-site", "cross-site")]).status, 403);
    let wrong = ask("GET", "/api/v1/reload", &[]);
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("POST")));
    let wrong = ask("DELETE", "/api/v1/status", &[]);
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("GET, HEAD")));
    let missing = ask("GET", "/api/v1/secrets", &[]);
    assert_eq!((missing.status, missing.field("content-type")), (404, Some("application/json")));
    let body: Value = serde_json::from_slice(&missing.body).unwrap();
    assert!(body["error"].as_str().is_some_and(|error| error.contains("upstreams")));
    let head = ask("HEAD", "/api/v1/status", &[]);
    assert!(head.status == 200 && head.field("content-length") != Some("0"));
    assert_eq!(balancer.metric("evenkeel_reloads_total{state=\"ok\"}"), 0.0, "nothing was done");
    let large = balancer.admin_ask("POST", "/api/v1/reload", &[], &"x".repeat(5000));
    assert_eq!(large.status, 400);
}

#[test]
fn with_a_token_the_api_is_for_those_who_have_it_and_probes_need_none() {
    let origin = Origin::named("here");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "open-sesame\n").unwrap();
    let balancer = Balancer::before([origin.address]).admin_settings("token_file: token").start_in(folder);
    let ask = |path: &str, token: &str| balancer.admin_ask("GET", path, &[("authorization", token)], "").status;
    for path in ["/api/v1/status", "/api/v1/config", "/metrics", "/api/v1/nothing"] {
        assert_eq!(balancer.admin_ask("GET", path, &[], "").status, 401, "{path}");
        assert_eq!(ask(path, "Bearer open-sesam"), 401, "{path}");
    }
    assert_eq!(balancer.admin_get("/api/v1/status").field("www-authenticate"), Some("Bearer"));
    assert_eq!(ask("/api/v1/status", "Bearer open-sesame"), 200);
    for path in ["/livez", "/readyz", "/"] {
        assert_eq!(balancer.admin_get(path).status, 200, "{path}");
    }
    let status = balancer.command(&["status"]);
    assert!(status.status.success(), "the commands know the token: {}", String::from_utf8_lossy(&status.stderr));

    std::fs::write(balancer.folder.path().join("token"), "another\n").unwrap();
    assert!(balancer.command(&["reload"]).status.success(), "by a signal, since its token is not yet known");
    eventually("the new token", || ask("/api/v1/status", "Bearer another") == 200, || balancer.log());
    assert_eq!(ask("/api/v1/status", "Bearer open-sesame"), 401);
}

#[test]
fn the_configuration_is_shown_as_it_is_written_and_never_what_a_variable_holds() {
    let origin = Origin::named("here");
    let setup = Balancer::before([origin.address]).top("lame_duck: ${EVENKEEL_STORY_DUCK:-70ms}");
    let balancer = setup.start();
    let config = balancer.api("config");
    assert_eq!(config["configuration"]["lame_duck"], "${EVENKEEL_STORY_DUCK:-70ms}");
    assert_eq!(config["configuration"]["upstreams"]["app"]["backends"][0], origin.address.to_string());
    assert_eq!(config["generation"], 1);
    assert!(config["files"][0].as_str().is_some_and(|file| file.ends_with("evenkeel.yaml")));
}

#[test]
fn the_page_is_one_file_that_loads_nothing_from_elsewhere() {
    let origin = Origin::named("here");
    let balancer = Balancer::before([origin.address]).start();
    let page = balancer.admin_get("/");
    let text = page.text();
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains(" src="), "{text}");
    assert!(text.contains("lang=\"en\"") && text.contains("prefers-color-scheme: dark") && text.contains("aria-live"));
    let policy = page.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}
