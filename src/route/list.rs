//! Routes of one host and path, in the order in which they are asked.
//!
//! Where many of them ask for a header field with one value each (a tenant, a version), those that ask for another value
//! than the request has are passed over by a look-up, so that ten thousand of them cost no more than one.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::arena::{Arena, Id};
use super::condition::{AllConditions, Wanted, check};
use super::names::Names;
use super::request::Request;

/// Fewer are asked one by one: a look-up costs as much as a few comparisons.
const WORTH_A_LOOK_UP: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct List {
    candidates: Candidates,
    by_header: Option<Box<ByHeader>>,
}

/// Numbers of routes; the most specific first. Most lists have one, which is kept where it is looked for.
#[derive(Debug)]
enum Candidates {
    One([u32; 1]),
    Many(Box<[u32]>),
}

/// Places in `candidates`, each list ascending.
#[derive(Debug)]
struct ByHeader {
    names: Vec<HeaderName>,
    /// Under the place of the name in `names`: the value, and what asks for it.
    values: Names<Id<Box<[u32]>>>,
    places: Arena<Box<[u32]>>,
    /// Those that ask for no field, or not for one value.
    others: Box<[u32]>,
}

impl List {
    /// Of routes in the order in which they are asked.
    pub fn new(candidates: Vec<u32>, conditions: &AllConditions) -> List {
        let by_header = ByHeader::of(&candidates, conditions).map(Box::new);
        let candidates = match candidates.as_slice() {
            [one] => Candidates::One([*one]),
            _ => Candidates::Many(candidates.into()),
        };
        List { candidates, by_header }
    }

    /// Numbers of routes; the most specific first.
    pub fn candidates(&self) -> &[u32] {
        match &self.candidates {
            Candidates::One(one) => one,
            Candidates::Many(many) => many,
        }
    }

    /// The first route whose conditions hold.
    pub fn find(&self, request: &Request<'_>, conditions: &AllConditions) -> Option<u32> {
        let candidates = self.candidates();
        let holds = |route: &u32| check(conditions, *route, request).is_ok();
        let Some(by_header) = &self.by_header else { return candidates.iter().copied().find(holds) };
        let mut best = None;
        for places in by_header.lists(request.headers) {
            let better = places.iter().take_while(|place| best.is_none_or(|(best, _)| **place < best));
            let found = better.copied().find_map(|place| {
                let route = candidates.get(place as usize)?;
                holds(route).then_some((place, *route))
            });
            best = found.or(best);
        }
        best.map(|(_, route)| route)
    }
}

impl ByHeader {
    /// None if there is little to pass over.
    fn of(candidates: &[u32], conditions: &AllConditions) -> Option<ByHeader> {
        let asked = |route: u32| {
            let headers = conditions.get(route as usize).and_then(|asked| asked.as_ref()).map(|asked| asked.headers());
            headers.into_iter().flatten().filter_map(|(name, wanted)| match wanted {
                Wanted::Exact(value) => Some((name, value.as_str())),
                Wanted::Pattern(_) | Wanted::Present | Wanted::Absent => None,
            })
        };
        let mut shared: std::collections::HashMap<(&HeaderName, &str), usize> = std::collections::HashMap::new();
        for pair in candidates.iter().flat_map(|route| asked(*route)) {
            *shared.entry(pair).or_default() += 1;
        }
        let mut found =
            ByHeader { names: Vec::new(), values: Names::new(), places: Arena::new(), others: Box::default() };
        let mut drafts: Arena<Vec<u32>> = Arena::new();
        let mut others = Vec::new();
        for (place, route) in (0..).zip(candidates) {
            // What the fewest share tells most: not `x-env: production`, but `x-tenant: 17`.
            let Some((name, value)) = asked(*route).min_by_key(|pair| shared.get(pair).copied()) else {
                others.push(place);
                continue;
            };
            let known = found.names.iter().position(|known| known == name);
            let under = known.unwrap_or_else(|| {
                found.names.push(name.clone());
                found.names.len() - 1
            });
            let under = u32::try_from(under).unwrap_or(u32::MAX);
            let id = found.values.find(under, value.as_bytes()).map(Id::cast).unwrap_or_else(|| {
                let id = drafts.push(Vec::new());
                found.values.insert(under, value.as_bytes(), id.cast());
                id
            });
            if let Some(places) = drafts.get_mut(id) {
                places.push(place);
            }
        }
        let passed_over = candidates.len() - others.len();
        found.others = others.into();
        found.places = drafts.map(Vec::into_boxed_slice);
        found.values.shrink();
        (passed_over >= WORTH_A_LOOK_UP).then_some(found)
    }

    /// The places of all that can hold for a request with these fields.
    fn lists<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u32]> {
        let values = (0..).zip(&self.names).flat_map(move |(under, name)| {
            let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
            values.filter_map(move |value| self.places.get(self.values.find(under, value)?))
        });
        values.chain([&self.others]).map(|places| &**places)
    }
}
