//! `POST /api/v1/reload` and `/api/v1/confirm`: what HUP does, with an answer when it is done.
//!
//! With `{"confirm": "60s"}` the new rules are on trial: unless they are confirmed in time, the former come back.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::answer::{Answer, data, fault};
use crate::control::command::{Command, Outcome, Refused};
use crate::observe::timestamp::rfc3339_text;
use crate::server::Running;
use crate::units;

/// Beyond a day nobody waits for a confirmation.
const LONGEST_TRIAL: Duration = Duration::from_secs(86_400);

pub async fn reload(running: &Running, body: &Value) -> Answer {
    let confirm_within = match trial(body) {
        Ok(time) => time,
        Err(why) => return fault(StatusCode::BAD_REQUEST, &why),
    };
    let outcome = tell(running, |answer| Command::Reload { confirm_within, answer }).await;
    match outcome {
        Some(outcome) => answer(running, &outcome),
        None => ending(),
    }
}

pub async fn confirm(running: &Running) -> Answer {
    match tell(running, |answer| Command::Confirm { answer }).await {
        Some(true) => data(StatusCode::OK, &json!({ "ok": true, "generation": running.current.load().generation })),
        Some(false) => fault(StatusCode::CONFLICT, "nothing waits to be confirmed"),
        None => ending(),
    }
}

/// Gives a command and waits for what comes of it; None if the process is about to end.
pub async fn tell<T>(running: &Running, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (answer, told) = oneshot::channel();
    running.commands.send(command(answer)).await.ok()?;
    told.await.ok()
}

/// What came of new rules: 200, 422 for what is wrong with the file, 409 where the machine said no.
pub fn answer(running: &Running, outcome: &Outcome) -> Answer {
    match outcome {
        Ok(applied) => {
            let journal = running.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let value = json!({
                "ok": true,
                "generation": applied.generation,
                "needs_upgrade": applied.needs_upgrade,
                "confirm_until": journal.confirm_until.map(rfc3339_text),
                "problems": [],
            });
            data(StatusCode::OK, &value)
        }
        Err(refused) => {
            let status = match refused {
                Refused::File(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Refused::Machine(_) => StatusCode::CONFLICT,
            };
            let value = json!({
                "ok": false,
                "error": "the configuration was refused; the former stays in force",
                "problems": refused.listed(),
                "text": refused.to_string(),
            });
            data(status, &value)
        }
    }
}

pub fn ending() -> Answer {
    fault(StatusCode::SERVICE_UNAVAILABLE, "the process is about to end")
}

fn trial(body: &Value) -> Result<Option<Duration>, String> {
    match super::body::only(body, "confirm")? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match units::duration(text) {
            Ok(time) if time > Duration::ZERO && time <= LONGEST_TRIAL => Ok(Some(time)),
            Ok(_) => Err("`confirm` is from `1ms` to `1d`".to_owned()),
            Err(mistake) => Err(mistake.to_string()),
        },
        Some(_) => Err("`confirm` is a duration such as \"60s\"".to_owned()),
    }
}
