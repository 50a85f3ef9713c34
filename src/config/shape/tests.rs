use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `EVENKEEL_BLESS=1` writes what the program says instead.
fn same_as_file(name: &str, said: &str) {
    let path = root().join(name);
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(&path, said).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == said, "{name} is not what the declarations say; EVENKEEL_BLESS=1 writes it anew");
}

#[test]
fn the_schema_that_is_kept_is_the_one_that_is_printed() {
    same_as_file("conf/schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_reference_that_is_kept_is_the_one_that_is_declared() {
    same_as_file("docs/configuration.md", &reference());
}

/// `conf/reference.yaml` is compared with what an empty file gives elsewhere.
#[test]
fn every_default_that_is_declared_is_that_of_the_reference() {
    let written = crate::config::load_with_origin(&root().join("conf/reference.yaml")).1.written;
    let mut seen = 0;
    compare_defaults(&process::FILE, &written, "", &mut seen);
    assert!(seen > 60, "{seen}");
}

fn compare_defaults(section: &'static Section, written: &Value, path: &str, seen: &mut usize) {
    for key in section.keys {
        let path = format!("{path}.{}", key.name);
        let Some(value) = written.get(key.name) else {
            assert!(
                !matches!(key.written, Written::Default(default) if default != "{}"),
                "`{path}` has a default, and is not in conf/reference.yaml"
            );
            continue;
        };
        if let Written::Default(default) = key.written
            && default != "{}"
        {
            let text = value.as_array().map_or_else(
                || as_text(value),
                |items| format!("[{}]", items.iter().map(as_text).collect::<Vec<_>>().join(", ")),
            );
            assert_eq!(text, default, "`{path}`");
            *seen += 1;
        }
        descend(&key.shape, value, &path, seen);
    }
}

fn descend(shape: &'static Shape, value: &Value, path: &str, seen: &mut usize) {
    match (shape, value) {
        (Shape::Section(section), Value::Object(_)) => compare_defaults(section, value, path, seen),
        (Shape::Names(_, shape), Value::Object(fields)) if path == ".listeners" || path == ".upstreams" => {
            fields.values().for_each(|value| descend(shape, value, path, seen));
        }
        (Shape::List(shape), Value::Array(items)) if path == ".routes" => {
            items.iter().for_each(|value| descend(shape, value, path, seen));
        }
        (Shape::Either(shapes), Value::Object(_)) => shapes.iter().for_each(|shape| descend(shape, value, path, seen)),
        (_, _) => {}
    }
}

/// A key that enforces nothing is the worst bug of this field: none is added without a test that sees it act.
#[test]
fn every_key_has_a_test_that_shows_that_it_acts() {
    let declared: Vec<String> = sections()
        .into_iter()
        .flat_map(|section| {
            let kind = if section.kind.is_empty() { "file".to_owned() } else { section.kind.replace(' ', "_") };
            section.keys.iter().map(move |key| format!("{kind}.{}", key.name))
        })
        .collect();
    let list = std::fs::read_to_string(root().join("tests/keys.txt")).unwrap();
    let mut listed = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [path, file, test] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let name = path.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("fn {test}()")), "{file} has no test {test}");
        assert!(text.contains(name), "`{name}` is not in {file}");
        listed.push(path.to_owned());
    }
    let missing: Vec<_> = declared.iter().filter(|path| !listed.contains(path)).collect();
    let unknown: Vec<_> = listed.iter().filter(|path| !declared.contains(path)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in tests/keys.txt: {missing:?}; no keys: {unknown:?}");
    assert_eq!(listed.len(), declared.len(), "a key is listed twice");
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn files_that_are_right_fit_the_schema_and_slips_do_not() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let data = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
    for name in ["conf/reference.yaml", "conf/evenkeel.yaml"] {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&data(&text)).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
    }
    let right = "
version: 1
listeners: { web: { address: '${HOST}:80', http2: off, timeouts: { keep_alive: '${TIME:-5s}' }, limits: { connections: '${MOST}' } } }
upstreams:
  app:
    backends: ['127.0.0.1:1', { address: '127.0.0.1:2', weight: 0 }]
    balance: { ring_hash: { key: { header: x-user } } }
    retry: off
    circuit_breaker: { requests: unlimited, queue: off }
routes:
  - { match: { headers: { x-a: '1', x-b: { present: on } }, path: { prefix: /a } }, split: [{ upstream: app, weight: 1 }], retry: { attempts: 1 } }
  - { redirect: { to: 'https://{host}/', status: 301 } }
  - { respond: { status: 404, body: x } }
";
    assert!(
        validator.is_valid(&data(right)),
        "{:?}",
        validator.iter_errors(&data(right)).map(|error| error.to_string()).collect::<Vec<_>>()
    );
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("backends:", "backend:"),
        ("weight: 0", "weight: 1001"),
        ("keep_alive: '${TIME:-5s}'", "keep_alive: 5"),
        ("retry: off", "retry: none"),
        ("queue: off", "queue: 0"),
        ("status: 301", "status: 305"),
        ("prefix: /a", "prefix: /a, exact: /b"),
        ("{ respond: { status: 404, body: x } }", "{ name: nothing }"),
        ("http2: off", "htp2: off"),
    ] {
        let wrong = right.replacen(from, to, 1);
        assert_ne!(wrong, right);
        assert!(!validator.is_valid(&data(&wrong)), "{to}");
    }
}
