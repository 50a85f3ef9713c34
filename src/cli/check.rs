//! `evenkeel check` and `-t`: every problem of the file, and whether this machine can run it.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::{Options, report};
use crate::{config, exit, snapshot};

#[derive(Debug, Default, StructOpt)]
pub struct Check {
    /// List the problems as JSON on standard output
    #[structopt(long)]
    json: bool,
}

pub fn run(options: &Options, check: &Check) -> i32 {
    let path = options.path();
    let name = path.display().to_string();
    // Certificates and names are part of the answer; sockets and logs are left alone.
    let outcome = match config::load(&path) {
        Ok(config) => snapshot::compile(&config, None, None).map(drop).map_err(Fault::Machine),
        Err(error) => Err(Fault::File(error)),
    };
    if check.json {
        let problems = outcome.as_ref().err().map_or_else(|| json!([]), |fault| fault.listed(&name));
        say!("{:#}", json!({ "ok": outcome.is_ok(), "file": name, "problems": problems }));
        return outcome.map_or_else(|fault| fault.exit_code(), |()| exit::OK);
    }
    match outcome {
        Ok(()) => {
            say!("{name}: fine");
            exit::OK
        }
        Err(Fault::File(error)) => report(&error),
        Err(Fault::Machine(error)) => {
            complain!("error: {error}");
            exit::PROBLEMS
        }
    }
}

enum Fault {
    File(config::LoadError),
    Machine(snapshot::CompileError),
}

impl Fault {
    fn listed(&self, name: &str) -> Value {
        match self {
            Fault::File(error) => error.listed(),
            Fault::Machine(error) => Value::Array(vec![config::without_place(Some(name), &error.to_string())]),
        }
    }

    fn exit_code(&self) -> i32 {
        match self {
            Fault::File(error) => error.exit_code().into(),
            Fault::Machine(_) => exit::PROBLEMS,
        }
    }
}
