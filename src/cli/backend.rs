//! `evenkeel drain`, `enable` and `weight`: what an operator decides about a backend of the running process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use structopt::StructOpt;

use super::Options;
use super::api::Api;
use crate::admin::encoded;
use crate::{exit, units};

/// How often we look whether requests in flight have ended.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, StructOpt)]
pub struct Which {
    /// The backend, as `evenkeel status` names it
    backend: String,
    /// Its upstream; without it, every upstream that has the backend
    #[structopt(long, value_name = "NAME")]
    upstream: Option<String>,
}

#[derive(Debug, StructOpt)]
pub struct Drain {
    #[structopt(flatten)]
    which: Which,
    /// Wait until nothing is in flight any more
    #[structopt(long)]
    wait: bool,
    /// How long to wait at most
    #[structopt(long, value_name = "TIME", default_value = "10m", parse(try_from_str = units::duration))]
    timeout: Duration,
}

#[derive(Debug, StructOpt)]
pub struct Weight {
    #[structopt(flatten)]
    which: Which,
    /// 0 to 1000, or `file` for that of the file
    weight: String,
}

pub fn drain(options: &Options, drain: &Drain) -> i32 {
    ended(Api::find(options).map(|api| {
        act(&api, &drain.which, "drain", &json!({}))?;
        if !drain.wait {
            return Ok(());
        }
        let end = Instant::now() + drain.timeout;
        let mut shown = None;
        loop {
            let in_flight = in_flight(&api, &drain.which)?;
            if shown != Some(in_flight) {
                say!("{in_flight} in flight");
                shown = Some(in_flight);
            }
            if in_flight == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!(
                    "{in_flight} were still in flight after {}; it stays drained",
                    units::show(drain.timeout)
                ));
            }
            sleep(LOOK);
        }
    }))
}

pub fn enable(options: &Options, which: &Which) -> i32 {
    ended(Api::find(options).map(|api| act(&api, which, "enable", &json!({}))))
}

pub fn weight(options: &Options, weight: &Weight) -> i32 {
    let value = match weight.weight.as_str() {
        "file" => Value::Null,
        text => match text.parse::<u32>() {
            Ok(number) => number.into(),
            Err(_) => {
                complain!("error: `{text}` is not a weight; write a whole number from 0 to 1000, or `file`");
                return exit::UNREADABLE;
            }
        },
    };
    ended(Api::find(options).map(|api| act(&api, &weight.which, "weight", &json!({ "weight": value }))))
}

fn ended(done: Result<Result<(), String>, i32>) -> i32 {
    match done {
        Ok(Ok(())) => exit::OK,
        Ok(Err(why)) => {
            complain!("error: {why}");
            exit::START
        }
        Err(code) => code,
    }
}

fn act(api: &Api, which: &Which, act: &str, body: &Value) -> Result<(), String> {
    for (upstream, backend) in found(api, which)? {
        let (upstream, backend) = (name(&upstream), name(&backend));
        let path = format!("upstreams/{}/backends/{}/{act}", encoded(upstream), encoded(backend));
        let answer = api.post(&path, body)?;
        if answer.status != 200 {
            return Err(answer.why());
        }
        let state = answer.body.get("state").and_then(Value::as_str).unwrap_or_default();
        let weight = answer.body.get("weight").and_then(Value::as_u64).unwrap_or_default();
        say!("{backend} of {upstream}: {state}, weight {weight}");
    }
    Ok(())
}

fn in_flight(api: &Api, which: &Which) -> Result<u64, String> {
    let found = found(api, which)?;
    Ok(found.iter().filter_map(|(_, backend)| backend.get("in_flight")?.as_u64()).sum())
}

/// Each upstream that is meant, with the backend; none is an error.
fn found(api: &Api, which: &Which) -> Result<Vec<(Value, Value)>, String> {
    let upstreams = api.get("upstreams")?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for upstream in list(&upstreams) {
        if which.upstream.as_ref().is_some_and(|wanted| wanted != name(&upstream)) {
            continue;
        }
        for backend in list(&upstream.get("backends").cloned().unwrap_or_default()) {
            if name(&backend) == which.backend {
                found.push((upstream.clone(), backend));
            }
        }
    }
    if found.is_empty() {
        return Err(format!("no upstream has a backend `{}`; `evenkeel status` lists them", which.backend));
    }
    Ok(found)
}

fn name(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}
