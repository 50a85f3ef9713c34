//! The body of a request to the API: a small JSON object, or nothing.

use pingora::protocols::http::ServerSession;
use serde_json::{Map, Value};

/// No command needs more.
const LONGEST: usize = 4096;

/// Reads it; nothing is an object without keys.
///
/// # Errors
/// A sentence for who sent it.
pub async fn read(session: &mut ServerSession) -> Result<Value, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = session.read_request_body().await.map_err(|_| "the body could not be read".to_owned())? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST {
            return Err(format!("the body is larger than {LONGEST} bytes"));
        }
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("the body is not a JSON object".to_owned()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

/// The value of the one key that is known here.
///
/// # Errors
/// If there is another.
pub fn only<'a>(body: &'a Value, known: &str) -> Result<Option<&'a Value>, String> {
    let Value::Object(fields) = body else { return Ok(None) };
    match fields.keys().find(|key| *key != known) {
        Some(other) => Err(format!("`{other}` is not a key here; there is `{known}`")),
        None => Ok(fields.get(known)),
    }
}
