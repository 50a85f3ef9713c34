//! How two ways of writing something differ: key by key, down to what is no mapping.

use serde::Serialize;
use serde_json::Value;

/// One key that is not written as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// With the keys that it stands under: `health_check.interval`.
    pub key: String,
    /// None: it was not written.
    pub from: Option<Value>,
    /// None: it is not written any more.
    pub to: Option<Value>,
}

/// The differences between two mappings, in the order of their keys, without the keys `but`. What is no mapping is one
/// without keys.
pub fn differences(former: &Value, next: &Value, but: &[&str]) -> Vec<Difference> {
    let mut found = Vec::new();
    collect("", former, next, but, &mut found);
    found
}

fn collect(path: &str, former: &Value, next: &Value, but: &[&str], found: &mut Vec<Difference>) {
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    let mut all = keys(former);
    all.extend(keys(next).into_iter().filter(|key| former.get(key).is_none()));
    for key in all.into_iter().filter(|key| !but.contains(&key.as_str())) {
        let (from, to) = (former.get(&key), next.get(&key));
        if from == to {
            continue;
        }
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        match (from, to) {
            (Some(from @ Value::Object(_)), Some(to @ Value::Object(_))) => collect(&path, from, to, &[], found),
            (from, to) => found.push(Difference { key: path, from: from.cloned(), to: to.cloned() }),
        }
    }
}
