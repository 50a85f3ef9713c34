use std::path::Path;

use super::*;
use crate::config::{self, Origin};

const FORMER: &str = "
version: 1
listeners:
  web: { address: 127.0.0.1:8080 }
  old: { address: 127.0.0.1:8081 }
upstreams:
  app: { backends: [127.0.0.1:9001, 127.0.0.1:9002] }
  gone: { backends: [127.0.0.1:9009] }
routes:
  - { name: shop, match: { path: { prefix: /shop } }, upstream: app }
  - { name: legacy, upstream: gone }
  - { upstream: app, match: { path: { prefix: /last } } }
";

fn in_force(text: &str) -> InForce {
    let config = config::parse(text, "site.yaml", Path::new("/etc")).unwrap_or_else(|problems| panic!("{problems}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.yaml");
    std::fs::write(&path, text).unwrap();
    let written = config::load_with_origin(&path).1.written;
    InForce { config, origin: Some(Origin { path, files: Vec::new(), written }) }
}

fn plan(former: &str, next: &str) -> Plan {
    Plan::of(&in_force(former), &in_force(next), Backends::default(), Requests::default())
}

#[test]
fn the_same_written_otherwise_changes_nothing() {
    let spelt_out = FORMER
        .replace("127.0.0.1:9001,", "{ address: 127.0.0.1:9001, weight: 1 },")
        .replace("{ name: legacy, upstream: gone }", "{ name: legacy, listeners: [web, old], upstream: gone }")
        .replace("version: 1", "version: 1\nlame_duck: 1s");
    let plan = plan(FORMER, &spelt_out);
    assert!(!plan.changes, "{plan:#?}");
}

#[test]
fn what_comes_goes_and_changes_is_told_apart() {
    let next = FORMER
        .replace("old: { address: 127.0.0.1:8081 }", "new: { address: 127.0.0.1:8082 }")
        .replace("127.0.0.1:9002]", "{ address: 127.0.0.1:9001, weight: 3 }], balance: least_request")
        .replace("[127.0.0.1:9001, {", "[127.0.0.1:9003, {")
        .replace("path: { prefix: /shop }", "path: { prefix: /store }")
        .replace("version: 1", "version: 1\nvia: edge\nthreads: 7\nadmin: { address: 127.0.0.1:9911 }");
    let plan = plan(FORMER, &next);
    assert!(plan.changes);
    assert_eq!(
        (plan.listeners.added.as_slice(), plan.listeners.removed.as_slice()),
        (&["new".to_owned()][..], &["old".to_owned()][..])
    );
    let keys = |changes: &Changes| -> Vec<String> {
        changes
            .changed
            .iter()
            .flat_map(|one| one.differences.iter().map(|difference| format!("{}.{}", one.name, difference.key)))
            .collect()
    };
    assert_eq!(keys(&plan.upstreams), ["app.balance"]);
    // Which listeners serve `legacy` and the nameless one has turned, though nothing of theirs is written otherwise.
    assert!(keys(&plan.routes).contains(&"shop.match.path.prefix".to_owned()), "{:?}", plan.routes);
    let [added] = plan.backends.added.as_slice() else { panic!("{:?}", plan.backends) };
    let [removed] = plan.backends.removed.as_slice() else { panic!("{:?}", plan.backends) };
    let [turned] = plan.backends.changed.as_slice() else { panic!("{:?}", plan.backends) };
    assert_eq!((added.backend.as_str(), removed.backend.as_str()), ("127.0.0.1:9003", "127.0.0.1:9002"));
    assert_eq!((turned.backend.as_str(), turned.weight, turned.tier), ("127.0.0.1:9001", [1, 3], [0, 0]));
    let settings: Vec<&str> = plan.settings.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(settings, ["admin", "via"]);
    let upgrade: Vec<&str> = plan.needs_upgrade.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(upgrade, ["threads", "admin.address"]);
}

#[test]
fn routes_are_compared_by_what_they_refer_to_and_not_by_where_it_stands() {
    let inserted = FORMER.replace("upstreams:\n", "upstreams:\n  first: { backends: [127.0.0.1:9000] }\n");
    let inserted = plan(FORMER, &inserted);
    assert_eq!(inserted.upstreams.added, ["first"]);
    assert!(inserted.routes.is_empty(), "{:?}", inserted.routes);
    let other = FORMER.replace("name: legacy, upstream: gone", "name: legacy, upstream: app");
    assert_eq!(plan(FORMER, &other).routes.changed.len(), 1);
}

#[test]
fn another_order_is_a_change() {
    let (shop, legacy) = (FORMER.find("  - { name: shop").unwrap(), FORMER.find("  - { name: legacy").unwrap());
    let last = FORMER.find("  - { upstream: app").unwrap();
    let turned = [&FORMER[..shop], &FORMER[legacy..last], &FORMER[shop..legacy], &FORMER[last..]].concat();
    let plan = plan(FORMER, &turned);
    assert!(plan.routes_reordered && plan.changes && plan.routes.is_empty());
}
