//! `evenkeel reload` and `confirm`: new rules for the running process, with its answer.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use structopt::StructOpt;

use super::Options;
use super::api::{Answer, Api};
use super::operate::{running, signal};
use crate::config::Whereabouts;
use crate::{exit, units};

#[derive(Debug, StructOpt)]
pub struct Reload {
    /// Go back to the former configuration after this time (such as 60s), unless `evenkeel confirm` comes first
    #[structopt(long, value_name = "TIME", parse(try_from_str = units::duration))]
    confirm: Option<Duration>,
}

pub fn reload(options: &Options, reload: &Reload) -> i32 {
    let found = match options.locate() {
        Ok(found) => found,
        Err(code) => return code,
    };
    let api = match Api::of(&found) {
        Some(Ok(api)) => api,
        None if reload.confirm.is_none() => return by_signal(&found),
        Some(Err(why)) if reload.confirm.is_none() => {
            // Its address may have changed in the file since it started.
            complain!("warning: {why}");
            return by_signal(&found);
        }
        Some(Err(why)) => {
            complain!("error: {why}");
            return exit::START;
        }
        None => {
            complain!("error: `--confirm` needs the admin address, and the file has `admin: off`");
            return exit::START;
        }
    };
    let body = json!({ "confirm": reload.confirm.map(units::show) });
    match api.post("reload", &body) {
        Ok(answer) => told(&answer),
        Err(why) => {
            complain!("error: {why}");
            exit::START
        }
    }
}

fn by_signal(found: &Whereabouts) -> i32 {
    running(found, |pid| {
        signal(pid, Signal::HUP)?;
        say!("process {} was told to reload by a signal; its log says how it went", pid.as_raw_nonzero());
        Ok(())
    })
}

pub fn confirm(options: &Options) -> i32 {
    match Api::find(options).map(|api| api.post("confirm", &json!({}))) {
        Ok(Ok(answer)) if answer.status == 200 => {
            say!("the configuration stays in force");
            exit::OK
        }
        Ok(Ok(answer)) => {
            complain!("error: {}", answer.why());
            exit::START
        }
        Ok(Err(why)) => {
            complain!("error: {why}");
            exit::START
        }
        Err(code) => code,
    }
}

/// 0 if it is in force, 1 if the file is wrong, 3 if the machine said no.
fn told(answer: &Answer) -> i32 {
    if answer.status == 200 {
        let generation = answer.body.get("generation").and_then(Value::as_u64).unwrap_or_default();
        say!("generation {generation} is in force");
        if answer.body.get("needs_upgrade") == Some(&Value::Bool(true)) {
            say!("process settings or the admin address changed; they take effect with `evenkeel upgrade`");
        }
        if let Some(until) = answer.body.get("confirm_until").and_then(Value::as_str) {
            say!("it is on trial until {until}: `evenkeel confirm` keeps it, else the former comes back");
        }
        return exit::OK;
    }
    match answer.body.get("text").and_then(Value::as_str) {
        Some(text) if text.starts_with("error") => complain_whole!("{text}"),
        Some(text) => complain!("error: {text}"),
        None => complain!("error: {}", answer.why()),
    }
    complain!("the former configuration stays in force");
    if answer.status == 422 { exit::PROBLEMS } else { exit::START }
}
