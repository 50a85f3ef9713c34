//! An explanation for people, from the same data that machines get.

use serde_json::Value;

/// As lines.
pub fn text(explanation: &Value) -> String {
    let mut lines = vec![field(explanation, "request")];
    let by = match field(explanation, "listener_by").as_str() {
        "named" => "as asked",
        "port" => "by its port",
        "scheme" => "by its scheme; say another with --listener",
        _ => "the first; say another with --listener",
    };
    lines.push(format!("  listener  {} ({by})", field(explanation, "listener")));
    if let Some(path) = explanation.get("normal_path").and_then(Value::as_str) {
        lines.push(format!("  path      {path} (in its one form)"));
    }
    for considered in items(explanation, "considered") {
        let outcome = match field(considered, "outcome").as_str() {
            "chosen" => "is taken".to_owned(),
            "outranked" => "matches, but a more specific or earlier one is taken".to_owned(),
            "other_path" => "is for another path".to_owned(),
            "other_host" => "is for another host".to_owned(),
            _ => field(considered, "condition"),
        };
        lines.push(format!("  route     {}: {outcome}", field(considered, "route")));
    }
    if let Some(reason) = explanation.get("reason").and_then(Value::as_str) {
        lines.push(format!("  refused   {reason}"));
    }
    if let Some(action) = explanation.get("action").filter(|action| !action.is_null()) {
        act(action, &mut lines);
    }
    lines.join("\n") + "\n"
}

fn act(action: &Value, lines: &mut Vec<String>) {
    match field(action, "kind").as_str() {
        "redirect" => lines.push(format!("  redirect  {} to {}", field(action, "status"), field(action, "location"))),
        "respond" => lines.push(format!("  respond   {}", field(action, "status"))),
        _ => {
            lines.push(format!("  forward   {} with host {}", field(action, "target"), field(action, "host")));
            for share in items(action, "upstreams") {
                let told = ["upstream", "weight", "balance", "retries", "hedge", "first_byte_timeout", "total_timeout"];
                let [upstream, weight, balance, retries, hedge, first_byte, total] = told.map(|key| field(share, key));
                let hedged = if hedge == "off" { String::new() } else { format!(", hedged after {hedge}") };
                lines.push(format!(
                    "  upstream  {upstream} (share {weight}, {balance}, tried again {retries} times{hedged}, \
                     first byte within {first_byte}, in all {total})"
                ));
                lines.extend(items(share, "candidates").iter().map(candidate));
            }
        }
    }
}

fn candidate(candidate: &Value) -> String {
    let [name, state, weight, tier] = ["name", "state", "weight", "tier"].map(|key| field(candidate, key));
    let mut line = format!("  backend   {name}  {state}, weight {weight}, tier {tier}");
    for (key, what) in [("in_flight", "in flight"), ("attempts", "attempts")] {
        if let Some(count) = candidate.get(key).filter(|count| !count.is_null()) {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    match candidate.get("next").and_then(Value::as_str) {
        Some("yes") => line.push_str(", is next"),
        Some("perhaps") => line.push_str(", may be next"),
        Some(_) | None => {}
    }
    if let Some(why) = candidate.get("why").and_then(Value::as_str) {
        line.push_str(&format!(" ({why})"));
    }
    line
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn field(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}
