//! All routes of a configuration, built once and never changed.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::condition::{Conditions, Match};
use super::decision::Decision;
use super::index::{Draft, Index};
use super::path::PathPattern;
use super::request::Request;

/// Routes, and the way from a request to the one that is meant. What they lead to is the caller's.
#[derive(Debug)]
pub struct Table<T> {
    routes: Vec<T>,
    conditions: Vec<Option<Box<Conditions>>>,
    /// One for all listeners that have the same routes.
    indexes: Vec<Index>,
    /// By the listener's number.
    by_listener: Vec<Option<usize>>,
}

impl<T> Table<T> {
    /// Builds the table from routes in file order, each with the numbers of the listeners that it serves.
    pub fn new(listeners: usize, routes: impl IntoIterator<Item = (Vec<usize>, Match, T)>) -> Table<T> {
        let mut payloads = Vec::new();
        let mut matches = Vec::new();
        let mut served: Vec<Vec<u32>> = vec![Vec::new(); listeners];
        for (route, (serves, wanted, payload)) in (0..).zip(routes) {
            for listener in serves {
                if let Some(routes) = served.get_mut(listener) {
                    routes.push(route);
                }
            }
            matches.push(wanted);
            payloads.push(payload);
        }
        let conditions: Vec<Option<Box<Conditions>>> = matches.iter().map(Conditions::of).collect();
        let mut indexes = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut by_listener = Vec::new();
        for mut routes in served {
            if routes.is_empty() {
                by_listener.push(None);
                continue;
            }
            let place = known.get(&routes).copied().unwrap_or_else(|| {
                known.insert(routes.clone(), indexes.len());
                routes.sort_by_key(|route| matches.get(*route as usize).map(rank));
                let mut draft = Draft::new();
                for route in routes {
                    if let Some(wanted) = matches.get(route as usize) {
                        draft.add(route, wanted);
                    }
                }
                indexes.push(draft.finish(&conditions));
                indexes.len() - 1
            });
            by_listener.push(Some(place));
        }
        Table { routes: payloads, conditions, indexes, by_listener }
    }

    /// The route for a request.
    pub fn find(&self, request: &Request<'_>) -> Option<&T> {
        let route = self.index_of(request.listener)?.find(request, &self.conditions)?;
        self.routes.get(route as usize)
    }

    /// The same, with every route of the listener and what became of it.
    pub fn explain(&self, request: &Request<'_>) -> Decision {
        match self.index_of(request.listener) {
            Some(index) => Decision::of(index, request, &self.conditions),
            None => Decision { chosen: None, considered: Vec::new() },
        }
    }

    /// All routes, in file order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.routes.iter()
    }

    fn index_of(&self, listener: usize) -> Option<&Index> {
        self.indexes.get((*self.by_listener.get(listener)?)?)
    }
}

/// What goes before what where host and folder are the same; the lesser goes first, equals in file order.
fn rank(wanted: &Match) -> impl Ord + use<> {
    let is_regex = matches!(wanted.path, Some(PathPattern::Regex(_)));
    Reverse((
        is_regex,
        !wanted.methods.is_empty(),
        wanted.headers.len(),
        wanted.query.len(),
        wanted.cookies.len(),
        !wanted.clients.is_empty(),
    ))
}
