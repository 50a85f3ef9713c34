//! `POST /api/v1/plan`: what a file would change, before it does.
//!
//! Invariant: of a file that is not the process's own nothing is told but what it would change. Who may ask here need not
//! be allowed to read all that the process can.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{Answer, data, fault};
use super::reload::{ending, tell};
use crate::control::command::{Command, Refused};
use crate::server::Running;

pub async fn plan(running: &Running, body: &Value) -> Answer {
    let file = match named(body) {
        Ok(file) => file,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    let is_ours = file.as_ref().is_none_or(|file| is_own(running, file));
    match tell(running, |answer| Command::Plan { file, answer }).await {
        None => ending(),
        Some(Ok(plan)) => data(StatusCode::OK, &serde_json::to_value(plan).unwrap_or_default()),
        Some(Err(refused)) => {
            let (status, told) = match (&refused, is_ours) {
                (Refused::File(_), true) => (StatusCode::UNPROCESSABLE_ENTITY, Some(&refused)),
                (Refused::Machine(_), true) => (StatusCode::CONFLICT, Some(&refused)),
                (Refused::File(_) | Refused::Machine(_), false) => (StatusCode::UNPROCESSABLE_ENTITY, None),
            };
            let value = json!({
                "error": "the file would be refused",
                "problems": told.map_or_else(|| json!([]), Refused::listed),
                "text": told.map(ToString::to_string),
            });
            data(status, &value)
        }
    }
}

fn is_own(running: &Running, file: &Path) -> bool {
    let in_force = running.in_force.load();
    let own = in_force.origin.as_ref().map(|origin| &origin.path);
    own.is_some_and(|own| {
        own == file || own.canonicalize().ok().is_some_and(|own| file.canonicalize().ok() == Some(own))
    })
}

/// A regular file: others may have no end.
fn named(body: &Value) -> Result<Option<PathBuf>, String> {
    match super::body::only(body, "file")? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(path)) if Path::new(path).is_absolute() => {
            let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
            if is_file { Ok(Some(path.into())) } else { Err("`file` is no file that the process can read".to_owned()) }
        }
        Some(_) => Err("`file` is an absolute path".to_owned()),
    }
}
