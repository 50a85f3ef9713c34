//! `evenkeel explain`: where a request goes, and why; by the file, or in the running process.

use std::net::IpAddr;

use serde_json::{Value, json};
use structopt::StructOpt;

use super::Options;
use super::api::Api;
use crate::explain::{Asked, Known, explain, text};
use crate::{exit, snapshot};

#[derive(Debug, StructOpt)]
pub struct Explain {
    /// The address that is asked for, such as https://shop.example.com/api/x
    url: String,
    /// The method
    #[structopt(short = "X", long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header field, `name: value`; may be repeated
    #[structopt(short = "H", long = "header", value_name = "FIELD", number_of_values = 1)]
    headers: Vec<String>,
    /// The address of the client [default: 127.0.0.1]
    #[structopt(long, value_name = "ADDR")]
    from: Option<IpAddr>,
    /// The listener [default: by the port or the scheme of the address]
    #[structopt(long, value_name = "NAME")]
    listener: Option<String>,
    /// Ask the running process: with health, ejections and load
    #[structopt(long)]
    live: bool,
    /// As JSON
    #[structopt(long)]
    json: bool,
}

pub fn run(options: &Options, wanted: &Explain) -> i32 {
    let explained = if wanted.live { live(options, wanted) } else { by_file(options, wanted) };
    match explained {
        Ok(explanation) => {
            if wanted.json {
                say!("{explanation:#}");
            } else {
                say_whole!("{}", text(&explanation));
            }
            if explanation.get("reason").is_some_and(Value::is_null) { exit::OK } else { exit::PROBLEMS }
        }
        Err(code) => code,
    }
}

fn by_file(options: &Options, wanted: &Explain) -> Result<Value, i32> {
    let said = |why: String| {
        complain!("error: {why}");
        exit::UNREADABLE
    };
    let mut asked = Asked::new(&wanted.method, &wanted.url).map_err(said)?;
    for field in &wanted.headers {
        asked.add_field(field).map_err(said)?;
    }
    asked.client = wanted.from.unwrap_or(asked.client);
    asked.listener.clone_from(&wanted.listener);
    let (config, _) = options.config()?;
    let compiled = snapshot::compile(&config, None, None).map_err(|error| {
        complain!("error: {error}");
        exit::PROBLEMS
    })?;
    let explanation = explain(&compiled.snapshot, &config, &asked, Known::Written).map_err(said)?;
    Ok(serde_json::to_value(explanation).unwrap_or_default())
}

fn live(options: &Options, wanted: &Explain) -> Result<Value, i32> {
    let api = Api::find(options)?;
    let body = json!({
        "method": wanted.method, "url": wanted.url, "headers": wanted.headers, "from": wanted.from,
        "listener": wanted.listener,
    });
    let fault = |why: String, code| {
        complain!("error: {why}");
        code
    };
    match api.post("explain", &body) {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) if answer.status == 400 => Err(fault(answer.why(), exit::UNREADABLE)),
        Ok(answer) => Err(fault(answer.why(), exit::START)),
        Err(why) => Err(fault(why, exit::START)),
    }
}
