//! `evenkeel test`: whether the file's own expectations hold, by the code that routes requests.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::Options;
use crate::explain::{check, idle, text};
use crate::{exit, snapshot};

#[derive(Debug, StructOpt)]
pub struct Test {
    /// As JSON
    #[structopt(long)]
    json: bool,
}

pub fn run(options: &Options, test: &Test) -> i32 {
    let config = match options.config() {
        Ok((config, _)) => config,
        Err(code) => return code,
    };
    let compiled = snapshot::compile(&config, None, None).map_err(|error| error.to_string());
    let outcomes = match compiled.and_then(|compiled| check(&compiled.snapshot, &config)) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            complain!("error: {error}");
            return exit::PROBLEMS;
        }
    };
    let failed = outcomes.iter().filter(|outcome| !outcome.wrong.is_empty()).count();
    let warnings = idle(&config);
    let name = options.path().display().to_string();
    if test.json {
        say!("{:#}", json!({ "ok": failed == 0, "file": name, "tests": outcomes, "warnings": warnings }));
    } else {
        for outcome in &outcomes {
            let verdict = if outcome.wrong.is_empty() { "ok    " } else { "FAILED" };
            say!("{verdict} line {}: {}", outcome.line, outcome.request);
            for wrong in &outcome.wrong {
                say!("       {wrong}");
            }
            if !outcome.wrong.is_empty() {
                let explanation = serde_json::to_value(&outcome.explanation).unwrap_or(Value::Null);
                text(&explanation).lines().skip(1).for_each(|line| say!("     {line}"));
            }
        }
        warnings.iter().for_each(|warning| say!("warning: {warning}"));
        say!("{name}: {} tests, {failed} failed, {} warnings", outcomes.len(), warnings.len());
    }
    if failed == 0 { exit::OK } else { exit::PROBLEMS }
}
