//! `evenkeel plan`: what the file would change in the running process, before it does.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::api::Api;
use super::{Options, report};
use crate::{config, exit};

#[derive(Debug, StructOpt)]
pub struct Which {
    /// As JSON
    #[structopt(long)]
    json: bool,
}

pub fn run(options: &Options, which: &Which) -> i32 {
    let path = options.path();
    let path = std::path::absolute(&path).unwrap_or(path);
    let api = match Api::find(options) {
        Ok(api) => api,
        Err(code) => return code,
    };
    match api.post("plan", &json!({ "file": path })) {
        Ok(answer) if answer.status == 200 => {
            if which.json {
                say!("{:#}", answer.body);
            } else {
                say_whole!("{}", page(&answer.body));
            }
            exit::OK
        }
        Ok(answer) => {
            match answer.body.get("text").and_then(Value::as_str) {
                Some(text) if text.starts_with("error") => complain_whole!("{text}"),
                Some(text) => complain!("error: {text}"),
                // The process does not show files that are not its own; we may read it ourselves.
                None => match config::load(&path) {
                    Err(error) => return report(&error),
                    Ok(_) => complain!("error: {}", answer.why()),
                },
            }
            if answer.status == 422 { exit::PROBLEMS } else { exit::START }
        }
        Err(why) => {
            complain!("error: {why}");
            exit::START
        }
    }
}

/// `+` is new, `-` goes, `~` stays and changes.
fn page(plan: &Value) -> String {
    let mut page = String::new();
    for (kind, word) in [("listeners", "listener"), ("upstreams", "upstream"), ("routes", "route")] {
        let changes = plan.get(kind).unwrap_or(&Value::Null);
        list(&mut page, &format!("+ {word}"), changes.get("added"), text);
        list(&mut page, &format!("- {word}"), changes.get("removed"), text);
        for changed in items(changes.get("changed")) {
            line(&mut page, &format!("~ {word} {}", field(changed, "name")));
            differences(&mut page, changed.get("differences"));
        }
        if kind == "upstreams" {
            backends(&mut page, plan.get("backends").unwrap_or(&Value::Null));
        }
    }
    if plan.get("routes_reordered") == Some(&Value::Bool(true)) {
        line(&mut page, "~ routes stand in another order, which decides between equals");
    }
    for setting in items(plan.get("settings")) {
        line(&mut page, &format!("~ {}", difference(setting)));
    }
    for setting in items(plan.get("needs_upgrade")) {
        line(&mut page, &format!("! {}  (takes effect with `evenkeel upgrade`)", difference(setting)));
    }
    if page.is_empty() {
        line(&mut page, "nothing would change");
    }
    requests(&mut page, plan.get("requests").unwrap_or(&Value::Null));
    page
}

fn backends(page: &mut String, changes: &Value) {
    let named = |backend: &Value| format!("{} of upstream {}", field(backend, "backend"), field(backend, "upstream"));
    list(page, "+ backend", changes.get("added"), named);
    list(page, "- backend", changes.get("removed"), |backend| match backend.get("in_flight").and_then(Value::as_u64) {
        None | Some(0) => named(backend),
        Some(in_flight) => format!("{}, which ends {in_flight} in flight", named(backend)),
    });
    for backend in items(changes.get("changed")) {
        line(page, &format!("~ backend {}", named(backend)));
        for key in ["weight", "tier"] {
            let values = items(backend.get(key));
            if let [from, to] = values
                && from != to
            {
                line(page, &format!("    {key}: {from} -> {to}"));
            }
        }
    }
}

fn requests(page: &mut String, requests: &Value) {
    let elsewhere = items(requests.get("elsewhere"));
    let considered = requests.get("considered").and_then(Value::as_u64).unwrap_or_default();
    if considered == 0 {
        return;
    }
    line(page, "");
    line(
        page,
        &format!(
            "{} of the {considered} recorded requests would go elsewhere (asked without their header fields)",
            elsewhere.len()
        ),
    );
    for request in elsewhere {
        let [from, to] = ["from", "to"].map(|side| goal(request.get(side).unwrap_or(&Value::Null)));
        let said = ["method", "host", "path"].map(|key| field(request, key));
        line(page, &format!("    {} {}{}: {from} -> {to}", said[0], said[1], said[2]));
    }
}

fn goal(goal: &Value) -> String {
    let Some(route) = goal.get("route").and_then(Value::as_str) else { return "no route".to_owned() };
    let upstreams: Vec<String> = items(goal.get("upstreams")).iter().map(text).collect();
    if upstreams.is_empty() { route.to_owned() } else { format!("{route} ({})", upstreams.join(", ")) }
}

fn differences(page: &mut String, list: Option<&Value>) {
    let all = items(list);
    for one in all {
        line(page, &format!("    {}", difference(one)));
    }
    if all.is_empty() {
        line(page, "    by a variable of the environment");
    }
}

fn difference(one: &Value) -> String {
    let side =
        |key: &str, absent: &str| one.get(key).filter(|value| !value.is_null()).map_or_else(|| absent.to_owned(), text);
    format!("{}: {} -> {}", field(one, "key"), side("from", "(default)"), side("to", "(default)"))
}

fn list(page: &mut String, what: &str, all: Option<&Value>, shown: impl Fn(&Value) -> String) {
    for one in items(all) {
        line(page, &format!("{what} {}", shown(one)));
    }
}

/// Names and addresses as they are, all else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn field(value: &Value, key: &str) -> String {
    value.get(key).map(text).unwrap_or_default()
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}
