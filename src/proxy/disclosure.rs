//! How a request was decided, told in its answer to who asks with the admin token.
//!
//! Invariant: a token goes to no backend, be it right or wrong. Without a token in the configuration nobody is told, and
//! nothing is looked for.

use http::{HeaderName, HeaderValue};
use pingora::Result;

use super::context::Context;
use crate::admin::{DECISION_ASKED, Disclosure};
use crate::forward::header_rules::Head;
use crate::forward::request_head::RequestHead;

/// The field that tells.
const DECISION: HeaderName = HeaderName::from_static("x-evenkeel-decision");

impl Context {
    /// Tells the client, if it may know.
    pub(super) fn disclose(&self, answer: &mut impl Head) -> Result<()> {
        match self.disclosure {
            Disclosure::NotAsked | Disclosure::Refused => Ok(()),
            Disclosure::Granted => match HeaderValue::try_from(self.decision()) {
                Ok(decision) => answer.set(DECISION, decision),
                Err(_) => Ok(()),
            },
        }
    }

    /// Takes the token out of what a backend gets.
    pub(super) fn conceal_token(&self, request: &mut RequestHead<'_>) {
        match self.disclosure {
            Disclosure::NotAsked => {}
            Disclosure::Refused | Disclosure::Granted => request.remove(&DECISION_ASKED),
        }
    }

    /// `key=value` for all that is known, in the order in which it was decided.
    fn decision(&self) -> String {
        let attempt = self.attempt.as_ref();
        let known = [
            ("listener", self.client.as_ref().map(|client| client.listener.name.clone())),
            ("path", self.normal_path().map(str::to_owned)),
            ("route", self.route.as_ref().map(|route| route.name.clone())),
            ("rewritten", self.rewritten_path().map(str::to_owned)),
            ("upstream", self.destination().map(|destination| destination.upstream.name.clone())),
            ("backend", attempt.map(|attempt| attempt.in_flight.backend.name.clone())),
            ("attempts", Some(self.attempts.to_string())),
            ("hedge", self.race.hedged.map(|hedged| hedged.as_str().to_owned())),
            ("reason", self.failed().map(|reason| reason.token().to_owned())),
            ("generation", Some(self.snapshot.generation.to_string())),
        ];
        let known = known.into_iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}")));
        known.collect::<Vec<_>>().join("; ")
    }
}
