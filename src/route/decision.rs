//! A decision as a value: which routes were considered, and why they were not taken.
//!
//! Invariant: it is made of the steps that serve requests (the same lists in the same order, the same search in each,
//! the same conditions), and adds no rule of its own.

use std::collections::HashSet;

use super::condition::{AllConditions, Unmet, check};
use super::index::Index;
use super::request::Request;

/// How one request is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The route that is taken, by its place in the configuration.
    pub chosen: Option<usize>,
    /// Every route of the listener: those whose host and path match in the order of precedence, then those that fail by
    /// their path, then those that fail by their host.
    pub considered: Vec<Considered>,
}

/// One route and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Considered {
    /// By its place in the configuration.
    pub route: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is taken.
    Chosen,
    /// All of it matches, but a more specific route, or one that stands before it, is taken.
    Outranked,
    /// Its host and the beginning of its path match; this is the first of its conditions that is not met.
    Unmet(Unmet),
    /// Its path does not match.
    OtherPath,
    /// None of its hosts matches.
    OtherHost,
}

impl Decision {
    /// Searches, and tells of it.
    pub(super) fn of(index: &Index, request: &Request<'_>, conditions: &AllConditions) -> Decision {
        let mut decision = Decision { chosen: None, considered: Vec::new() };
        let mut known = HashSet::new();
        for list in index.lists(request) {
            let found = list.find(request, conditions).map(|route| route as usize);
            decision.chosen = decision.chosen.or(found);
            for route in list.candidates() {
                let outcome = match check(conditions, *route, request) {
                    Ok(()) if decision.chosen == Some(*route as usize) => Outcome::Chosen,
                    Ok(()) => Outcome::Outranked,
                    Err(unmet) => Outcome::Unmet(unmet),
                };
                decision.consider(&mut known, *route, outcome);
            }
        }
        for (is_of_host, outcome) in [(true, Outcome::OtherPath), (false, Outcome::OtherHost)] {
            for (_, list) in index.all_lists(request).filter(|(of_host, _)| *of_host == is_of_host) {
                for route in list.candidates() {
                    decision.consider(&mut known, *route, outcome);
                }
            }
        }
        decision
    }

    /// What was said of a route first stays: it may stand under several hosts.
    fn consider(&mut self, known: &mut HashSet<u32>, route: u32, outcome: Outcome) {
        if known.insert(route) {
            self.considered.push(Considered { route: route as usize, outcome });
        }
    }
}
