//! `evenkeel status` and `top`: the running process, once or live.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use structopt::StructOpt;

use super::Options;
use super::api::Api;
use crate::exit;

#[derive(Debug, StructOpt)]
pub struct Status {
    /// As JSON: status, listeners, upstreams, routes
    #[structopt(long)]
    json: bool,
}

/// In raw mode it is a key, so that the terminal is set back before the end.
const CONTROL_C: u8 = 3;

/// Between two looks of `top`.
const PACE: Duration = Duration::from_secs(1);

pub fn status(options: &Options, status: &Status) -> i32 {
    let seen = Api::find(options).and_then(|api| look(&api));
    match seen {
        Ok(seen) if status.json => {
            say!("{seen:#}");
            exit::OK
        }
        Ok(seen) => {
            say_whole!("{}", page(&seen, None));
            exit::OK
        }
        Err(code) => code,
    }
}

pub fn top(options: &Options) -> i32 {
    let api = match Api::find(options) {
        Ok(api) => api,
        Err(code) => return code,
    };
    let raw = std::io::stdout().is_terminal().then(Raw::enter).flatten();
    let mut former = None;
    loop {
        let seen = match look(&api) {
            Ok(seen) => seen,
            Err(code) => return code,
        };
        let text = page(&seen, former.as_ref());
        let Some(raw) = &raw else {
            say_whole!("{text}");
            return exit::OK;
        };
        // Home, then each line to its end, then what is left of a longer page before.
        let text = text.replace('\n', "\x1b[K\r\n");
        say_whole!("\x1b[H{text}\x1b[K\r\nq ends\x1b[K\x1b[J");
        if std::io::stdout().flush().is_err()
            || raw.key_within_pace().is_some_and(|key| matches!(key, b'q' | CONTROL_C))
        {
            say_whole!("\r\n");
            return exit::OK;
        }
        former = Some(seen);
    }
}

fn look(api: &Api) -> Result<Value, i32> {
    let all = ["status", "listeners", "upstreams", "routes"].map(|resource| api.get(resource));
    let [Ok(status), Ok(listeners), Ok(upstreams), Ok(routes)] = all else {
        let why = all.into_iter().find_map(Result::err).unwrap_or_default();
        complain!("error: {why}");
        return Err(exit::START);
    };
    Ok(json!({ "status": status, "listeners": listeners, "upstreams": upstreams, "routes": routes }))
}

/// The whole as text; with what was seen a moment ago also how fast it goes.
fn page(seen: &Value, former: Option<&Value>) -> String {
    let mut out = String::new();
    let status = &at(seen, "status");
    line(
        &mut out,
        format_args!(
            "evenkeel {}   process {}   {}   up {} s   generation {}",
            text(status, "version"),
            text(status, "pid"),
            text(status, "state"),
            text(status, "uptime_seconds"),
            text(status, "generation")
        ),
    );
    line(
        &mut out,
        format_args!(
            "{} connections   {} requests in flight   file {}",
            text(status, "connections"),
            text(status, "requests_in_flight"),
            text(status, "file")
        ),
    );
    if let Some(reload) = status.get("last_reload").filter(|reload| !reload.is_null()) {
        let (outcome, time, cause) = (text(reload, "outcome"), text(reload, "time"), text(reload, "cause"));
        line(&mut out, format_args!("last reload {outcome} at {time} ({cause})"));
    }
    if let Some(until) = status.get("confirm_until").and_then(Value::as_str) {
        line(&mut out, format_args!("on trial until {until}: `evenkeel confirm` keeps it"));
    }
    table(
        &mut out,
        &["listener", "address", "connections", "in flight", "accepted"],
        items(seen, "listeners").map(|listener| {
            ["name", "address", "connections", "requests_in_flight", "connections_total"]
                .map(|key| text(listener, key))
                .to_vec()
        }),
    );
    let backends = items(seen, "upstreams").flat_map(|upstream| {
        items(upstream, "backends").map(move |backend| {
            let failures = backend.get("failures").and_then(Value::as_object);
            let failures: u64 = failures.into_iter().flat_map(|counts| counts.values()).filter_map(Value::as_u64).sum();
            let mut row = vec![text(upstream, "name")];
            let why = backend.get("why").and_then(Value::as_str).map(|why| format!(" ({why})"));
            row.push(text(backend, "name"));
            row.push(text(backend, "state") + &why.unwrap_or_default());
            row.extend(["weight", "in_flight", "attempts"].map(|key| text(backend, key)));
            row.push(failures.to_string());
            row
        })
    });
    table(&mut out, &["upstream", "backend", "state", "weight", "in flight", "attempts", "failures"], backends);
    let limited = items(seen, "upstreams").filter_map(|upstream| {
        let found = upstream.get("concurrency").filter(|found| found.is_object())?;
        let minimal = found.get("minimal_latency_seconds").and_then(Value::as_f64);
        let minimal = minimal.map_or("-".to_owned(), |seconds| format!("{:.1} ms", seconds * 1000.0));
        let mut row = vec![text(upstream, "name"), text(found, "mode"), text(found, "limit"), minimal];
        row.push(text(upstream, "in_flight"));
        row.extend(["beyond", "refused"].map(|key| text(found, key)));
        Some(row)
    });
    let limited: Vec<Vec<String>> = limited.collect();
    if !limited.is_empty() {
        let heads = ["upstream", "concurrency", "limit", "minimal latency", "in flight", "beyond", "refused"];
        table(&mut out, &heads, limited.into_iter());
    }
    let routes = items(seen, "routes").map(|route| {
        let requests = |of: &Value| of.pointer("/counted/requests").and_then(Value::as_u64).unwrap_or_default();
        let name = text(route, "name");
        let before = former.and_then(|former| items(former, "routes").find(|former| text(former, "name") == name));
        let rate = before.map_or("-".to_owned(), |before| requests(route).saturating_sub(requests(before)).to_string());
        let codes = route.pointer("/counted/codes").and_then(Value::as_object);
        let codes: Vec<String> = codes.into_iter().flatten().map(|(code, count)| format!("{code}:{count}")).collect();
        vec![name, requests(route).to_string(), rate, codes.join(" ")]
    });
    table(&mut out, &["route", "requests", "per second", "answers"], routes);
    out
}

fn at(value: &Value, key: &str) -> Value {
    value.get(key).cloned().unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.push_str(&std::fmt::format(text));
    out.push('\n');
}

/// Columns as wide as their widest cell.
fn table(out: &mut String, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> =
        std::iter::once(titles.iter().map(|title| title.to_uppercase()).collect()).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    line(out, format_args!(""));
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(out, format_args!("{}", cells.join("  ").trim_end()));
    }
}

/// A terminal that gives keys at once; as it was when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Raw> {
        let former = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = former.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        // A read ends after the pace, in tenths of a second, with or without a key.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = u8::try_from(PACE.as_millis() / 100).unwrap_or(10);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        say_whole!("\x1b[2J");
        Some(Raw(former))
    }

    fn key_within_pace(&self) -> Option<u8> {
        let mut key = [0];
        let read = std::io::stdin().read(&mut key).ok()?;
        if read == 0 { None } else { key.first().copied() }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0) {
            log::debug!(error:%; "terminal could not be set back");
        }
    }
}
