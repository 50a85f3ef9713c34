//! `GET /api/v1/routes`: what is asked and who answers, in the words of the file, with what was counted.

use serde_json::{Map, Value, json};

use crate::server::Running;
use crate::snapshot::RouteCounters;

pub fn read(running: &Running) -> Value {
    let snapshot = running.current.load();
    let in_force = running.in_force.load();
    let written = in_force.origin.as_ref().and_then(|origin| origin.written.get("routes")?.as_array());
    let route = |(place, route): (usize, &std::sync::Arc<crate::snapshot::Route>)| {
        // Both are in the order of the file.
        let written = written.and_then(|routes| routes.get(place)).cloned().unwrap_or_default();
        json!({ "name": route.name, "written": written, "counted": counters(&route.counters) })
    };
    snapshot.routes.iter().enumerate().map(route).collect()
}

fn counters(counters: &RouteCounters) -> Value {
    let codes: Map<String, Value> =
        counters.codes.read().map(|(code, count)| (code.to_owned(), count.into())).collect();
    let duration = counters.duration.read();
    json!({ "requests": duration.count(), "duration_seconds": duration.sum().as_secs_f64(), "codes": codes })
}
