//! `GET /api/v1/config`: the configuration in force, in the words of its files; secrets never, since they stand in no file.

use serde_json::{Value, json};

use crate::server::Running;

pub fn read(running: &Running) -> Value {
    let in_force = running.in_force.load();
    let origin = in_force.origin.as_ref();
    json!({
        "generation": running.current.load().generation,
        "file": origin.map(|origin| &origin.path),
        "files": origin.map(|origin| &origin.files),
        "configuration": origin.map(|origin| &origin.written),
    })
}
