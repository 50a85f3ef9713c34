//! The JSON Schema of the file (draft 2020-12), for editors and pipelines.
//!
//! Invariant: what the reader takes, the schema takes. The other way round it says less: names that must resolve, and what
//! cannot stand together, the reader alone knows. A value may always be a reference to the environment.

use serde_json::{Map, Value, json};

use super::{Section, Shape, Written, process, sections};

/// The schema as JSON.
pub fn schema() -> Value {
    let mut schema = object(&process::FILE);
    let mut definitions = Map::new();
    for section in sections().into_iter().filter(|section| !section.kind.is_empty()) {
        definitions.insert(identifier(section.kind), object(section));
    }
    definitions.insert("environment".to_owned(), json!({ "type": "string", "pattern": "\\$\\{" }));
    let patterns = [
        ("duration", "^[0-9]+(ms|s|m|h|d)$", json!(["250ms", "10s", "5m", "1h", "1d"])),
        ("size", "^[0-9]+(B|KiB|MiB|GiB|KB|MB|GB)$", json!(["512B", "64KiB", "1MiB"])),
        ("percentage", "^(100|[0-9]{1,2})%$", json!(["20%"])),
    ];
    for (name, pattern, examples) in patterns {
        let written = json!({ "type": "string", "pattern": pattern, "examples": examples });
        definitions.insert(name.to_owned(), or_environment(written));
    }
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        fields.insert("title".to_owned(), "Evenkeel".into());
        fields.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn object(section: &Section) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in section.keys {
        let mut shape = any_of(&key.shape);
        if let Value::Object(fields) = &mut shape {
            let about = match key.written {
                Written::Otherwise(otherwise) => format!("{} (default: {otherwise})", key.about),
                Written::Required | Written::Default(_) => key.about.to_owned(),
            };
            fields.insert("description".to_owned(), about.into());
            if let Written::Default(default) = key.written {
                fields.insert("default".to_owned(), value_of(default));
            }
        }
        if key.written == Written::Required {
            required.push(key.name);
        }
        properties.insert(key.name.to_owned(), shape);
    }
    let mut object = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if let Value::Object(fields) = &mut object {
        if !required.is_empty() {
            fields.insert("required".to_owned(), required.into());
        }
        if !section.one_of.is_empty() {
            let choices = section.one_of.iter().map(|key| json!({ "required": [key] }));
            fields.insert("oneOf".to_owned(), choices.collect());
        }
    }
    object
}

fn any_of(shape: &Shape) -> Value {
    match shape {
        Shape::Duration => json!({ "$ref": "#/$defs/duration" }),
        Shape::Size => json!({ "$ref": "#/$defs/size" }),
        Shape::Share => json!({ "$ref": "#/$defs/percentage" }),
        Shape::Number(least, u64::MAX) => or_environment(json!({ "type": "integer", "minimum": least })),
        Shape::Number(least, most) => or_environment(json!({ "type": "integer", "minimum": least, "maximum": most })),
        Shape::Switch => or_environment(json!({ "enum": ["on", "off", true, false] })),
        Shape::Text(_) => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Words(words) => or_environment(json!({ "enum": spellings(words) })),
        Shape::List(item) => json!({ "type": "array", "items": any_of(item) }),
        Shape::Names(_, value) => json!({ "type": "object", "additionalProperties": any_of(value) }),
        Shape::Section(section) => json!({ "$ref": format!("#/$defs/{}", identifier(section.kind)) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(any_of).collect::<Vec<_>>() }),
    }
}

fn or_environment(value: Value) -> Value {
    json!({ "anyOf": [value, { "$ref": "#/$defs/environment" }] })
}

/// Words, and what YAML readers may make of them.
fn spellings(words: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for word in words {
        all.push(Value::from(*word));
        match *word {
            "off" => all.push(false.into()),
            number => all.extend(serde_json::from_str(number).ok().filter(Value::is_number)),
        }
    }
    all
}

/// A default as it is written, as data.
fn value_of(written: &str) -> Value {
    match written {
        "{}" => json!({}),
        list if list.starts_with('[') => {
            let items = list.trim_matches(['[', ']']).split(", ").filter(|item| !item.is_empty());
            items.map(Value::from).collect()
        }
        number => number.parse::<u64>().map_or_else(|_| number.into(), Value::from),
    }
}

fn identifier(kind: &str) -> String {
    kind.replace(' ', "_")
}
