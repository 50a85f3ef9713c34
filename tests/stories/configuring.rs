//! The configuration as its users write it: in several files, with what the environment says, and with mistakes.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;

use crate::support::balancer::program;
use crate::support::{Balancer, Origin, eventually, free_address};

/// Writes a file below the balancer's folder, and the folders on the way.
fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(path, text).expect("a file");
}

fn check(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = program(folder, &["-c", "evenkeel.yaml", "check"]);
    command.args(arguments).envs(variables.iter().copied()).output().expect("the program runs")
}

#[test]
fn what_is_included_serves_and_a_new_file_is_found_by_a_reload() {
    let (shop, app) = (Origin::named("shop"), Origin::named("app"));
    let (web, more) = (free_address(), free_address());
    let setup = Balancer::before([app.address]).top("include: [conf.d/*.yaml]");
    let folder = tempfile::tempdir().unwrap();
    let service = |address, origin: &Origin, name: &str| {
        format!(
            "listeners: {{ {name}: {{ address: {address} }} }}\nupstreams: {{ {name}: {{ backends: [{}] }} }}\n\
             routes: [ {{ name: {name}, listeners: [{name}], upstream: {name} }} ]\n",
            origin.address
        )
    };
    write(folder.path(), "conf.d/shop.yaml", &service(web, &shop, "shop"));
    let balancer = setup.routes("  - { listeners: [web], upstream: app }").start_in(folder);
    assert_eq!(balancer.get("/").text(), "app");
    assert_eq!(crate::support::client::get(web, "/").text(), "shop");

    write(balancer.folder.path(), "conf.d/store.yaml", &service(more, &app, "store"));
    assert!(balancer.reload(|text| text), "{}", balancer.log());
    assert_eq!(crate::support::client::get(more, "/").text(), "app");

    write(balancer.folder.path(), "conf.d/store.yaml", "upstreams:\n  app: { backends: [127.0.0.1:1] }\n");
    assert!(!balancer.reload(|text| text), "a name in two files is refused");
    let log = balancer.log();
    assert!(log.contains("conf.d/store.yaml:2:3") && log.contains("evenkeel.yaml:"), "both places: {log}");
    assert_eq!(crate::support::client::get(more, "/").text(), "app", "the former rules hold");
}

#[test]
fn the_environment_says_where_the_backends_are_and_an_unset_variable_is_exit_code_1() {
    let origin = Origin::named("here");
    let folder = tempfile::tempdir().unwrap();
    let text = Balancer::before(["\"${EVENKEEL_STORY_BACKEND}\""]).text();
    write(folder.path(), "evenkeel.yaml", &text);
    let missing = check(folder.path(), &[], &[]);
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("`EVENKEEL_STORY_BACKEND` is not set"), "{said}");

    let address = origin.address.to_string();
    let set = check(folder.path(), &[], &[("EVENKEEL_STORY_BACKEND", &address)]);
    assert_eq!(set.status.code(), Some(0), "{}", String::from_utf8_lossy(&set.stderr));
    let wrong = check(folder.path(), &[], &[("EVENKEEL_STORY_BACKEND", "s3cret,s3cret")]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains("s3cret"), "what it held is not shown");
}

#[test]
fn a_balancer_serves_what_the_environment_named() {
    let origin = Origin::named("here");
    let setup = Balancer::before(["\"${EVENKEEL_STORY_BACKEND:-127.0.0.1:1}\""]);
    let (text, web) = (setup.text(), setup.address());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "evenkeel.yaml", &text);
    let mut command = program(folder.path(), &["-c", "evenkeel.yaml"]);
    let mut child = command.env("EVENKEEL_STORY_BACKEND", origin.address.to_string()).spawn().unwrap();
    let answers = || {
        let mut client = crate::support::client::Client::connect(web).ok()?;
        client.request("GET", "/", &[("connection", "close")], b"").ok()
    };
    eventually("an answer", || answers().is_some_and(|answer| answer.text() == "here"), String::new);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
}

#[test]
fn check_lists_problems_for_machines_with_the_file_that_each_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let text = Balancer::before(["127.0.0.1:9001"]).top("include: [more.yaml]\nthread: 2").text();
    write(folder.path(), "evenkeel.yaml", &text);
    write(folder.path(), "more.yaml", "upstreams:\n  app: { backends: [127.0.0.1:1] }\n");
    let output = check(folder.path(), &["--json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&listed["ok"], &listed["file"]), (&false.into(), &"evenkeel.yaml".into()));
    let problems = listed["problems"].as_array().expect("a list");
    let [key, twice] = problems.as_slice() else { panic!("{listed:#}") };
    assert_eq!(key["message"], "`thread` is not a key of the file");
    assert!(key["help"].as_str().is_some_and(|help| help.starts_with("did you mean `threads`?")), "{key:#}");
    assert_eq!((&key["file"], &key["column"], &key["length"]), (&"evenkeel.yaml".into(), &1.into(), &6.into()));
    assert_eq!((&twice["file"], &twice["line"], &twice["column"]), (&"more.yaml".into(), &2.into(), &3.into()));
    assert_eq!(twice["labels"][1]["file"], "evenkeel.yaml");
    assert_eq!(twice["labels"][1]["message"], "first here");

    std::fs::remove_file(folder.path().join("evenkeel.yaml")).unwrap();
    let output = check(folder.path(), &["--json"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(listed["problems"][0]["message"].as_str().is_some_and(|message| message.contains("cannot be read")));

    write(folder.path(), "evenkeel.yaml", &Balancer::before(["127.0.0.1:9001"]).text());
    let output = check(folder.path(), &["--json"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&listed["ok"], &listed["problems"]), (&true.into(), &serde_json::json!([])));
}

#[test]
fn whoever_stops_reading_changes_no_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "evenkeel.yaml", &(0..5_000).map(|n| format!("x{n}: 1\n")).collect::<String>());
    for arguments in [&["check"][..], &["check", "--json"], &["schema"]] {
        let mut command = program(folder.path(), &[&["-c", "evenkeel.yaml"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        let expected = if arguments == ["schema"] { 0 } else { 1 };
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{arguments:?}");
    }
    let output = check(folder.path(), &[], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("error: and 4004 more problems\n"), "{}", &said[said.len() - 200..]);
}

#[test]
fn files_that_people_really_have_are_read_and_others_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = Balancer::before(["127.0.0.1:9001"]).text();
    let anchors = text.replace("upstreams:\n", "upstreams:\n  shared: &shared { backends: [127.0.0.1:9002], slow_start: 30s }\n  same: *shared\n  other: { <<: *shared, slow_start: 10s }\n");
    for (name, bytes) in [
        ("bom", format!("\u{feff}{text}")),
        ("crlf", text.replace('\n', "\r\n")),
        ("both", format!("\u{feff}{text}").replace('\n', "\r\n")),
        ("anchors", anchors),
    ] {
        write(folder.path(), "evenkeel.yaml", &bytes);
        let output = check(folder.path(), &[], &[]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::rename(folder.path().join("evenkeel.yaml"), folder.path().join("real.yaml")).unwrap();
    let refused = |code: i32, why: &str| {
        let output = check(folder.path(), &[], &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(why), "no `{why}` in {said}");
        let path = folder.path().join("evenkeel.yaml");
        if path.is_dir() { std::fs::remove_dir(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    };
    std::os::unix::fs::symlink("real.yaml", folder.path().join("evenkeel.yaml")).unwrap();
    assert_eq!(check(folder.path(), &[], &[]).status.code(), Some(0));
    std::fs::remove_file(folder.path().join("evenkeel.yaml")).unwrap();
    std::os::unix::fs::symlink("evenkeel.yaml", folder.path().join("evenkeel.yaml")).unwrap();
    refused(2, "cannot be read");
    std::fs::create_dir(folder.path().join("evenkeel.yaml")).unwrap();
    refused(2, "cannot be read");
    write(folder.path(), "evenkeel.yaml", &" ".repeat((16 << 20) + 1));
    refused(1, "the file is larger than 16MiB");
    std::fs::write(folder.path().join("evenkeel.yaml"), b"version: 1\n# caf\xe9\n").unwrap();
    refused(1, "evenkeel.yaml:2:6");
    write(folder.path(), "evenkeel.yaml", &"[".repeat(1_000_000));
    refused(1, "nested more than 24 deep");
}

#[test]
fn the_schema_is_printed_as_it_is_kept() {
    let printed = program(std::env::temp_dir().as_path(), &["schema"]).output().unwrap();
    assert!(printed.status.success());
    let kept = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/schema.json")).unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&kept));
}
