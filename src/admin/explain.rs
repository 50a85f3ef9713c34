//! `POST /api/v1/explain`: where a request would go now, and why.

use http::StatusCode;
use serde_json::Value;

use super::answer::{Answer, data, fault};
use super::upstreams::of_backend;
use crate::explain::{Asked, Known, explain as explained};
use crate::server::Running;

pub fn explain(running: &Running, body: &Value) -> Answer {
    let asked = match asked(body) {
        Ok(asked) => asked,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    let in_force = running.in_force.load();
    match explained(&running.current.load(), &in_force.config, &asked, Known::Live(of_backend)) {
        Ok(explanation) => data(StatusCode::OK, &serde_json::to_value(explanation).unwrap_or_default()),
        Err(why) => fault(StatusCode::BAD_REQUEST, &why),
    }
}

/// `{"url": "http://a.example/", "method": "GET", "headers": ["x-a: 1"], "from": "10.0.0.1", "listener": "web"}`; all but
/// the first may be left out.
fn asked(body: &Value) -> Result<Asked, String> {
    const KEYS: [&str; 5] = ["url", "method", "headers", "from", "listener"];
    if let Some(other) =
        body.as_object().into_iter().flat_map(|fields| fields.keys()).find(|key| !KEYS.contains(&key.as_str()))
    {
        return Err(format!("`{other}` is not a key here; there are `{}`", KEYS.join("`, `")));
    }
    let text = |key: &str| match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("`{key}` is a text")),
    };
    let url = text("url")?.ok_or("`url` is missing")?;
    let mut asked = Asked::new(text("method")?.unwrap_or("GET"), url)?;
    match body.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Array(fields)) => {
            for field in fields {
                asked.add_field(field.as_str().ok_or("`headers` is a list of texts")?)?;
            }
        }
        Some(_) => return Err("`headers` is a list of texts".to_owned()),
    }
    if let Some(from) = text("from")? {
        asked.client = from.parse().map_err(|_| format!("`{from}` is not an address"))?;
    }
    asked.listener = text("listener")?.map(str::to_owned);
    Ok(asked)
}
