//! What a rule asks of a request beyond its host and the beginning of its path.
//!
//! Invariant: conditions are looked at in one order (path expression, method, header fields, query, cookies, client),
//! and all must hold. Of several values of one name one that holds is enough.

use http::header::HeaderName;
use http::{HeaderValue, Method};
use ipnet::IpNet;

use super::host::HostPattern;
use super::path::PathPattern;
use super::request::{QueryText, Request};
use crate::pattern::Pattern;

/// Which requests a route is for. What is empty or none asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// One of these.
    pub hosts: Vec<HostPattern>,
    /// This path.
    pub path: Option<PathPattern>,
    /// One of these.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<(HeaderName, Wanted)>,
    /// All of these parameters.
    pub query: Vec<(String, Wanted)>,
    /// All of these.
    pub cookies: Vec<(String, Wanted)>,
    /// From one of these networks.
    pub clients: Vec<IpNet>,
}

/// What is asked of the values of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// There is this one.
    Exact(String),
    /// There is one that this expression matches.
    Pattern(Pattern),
    /// There is any.
    Present,
    /// There is none.
    Absent,
}

/// A condition that a request does not meet; the numbers are places in the lists of [`Match`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The expression for the path.
    Path,
    /// The method.
    Method,
    /// This header field.
    Header(usize),
    /// This parameter of the query.
    Query(usize),
    /// This cookie.
    Cookie(usize),
    /// The address of the client.
    Client,
}

/// The conditions of one route, but for its hosts and the beginning of its path.
#[derive(Debug)]
pub(super) struct Conditions {
    path: Option<Pattern>,
    methods: Box<[Method]>,
    headers: Box<[(HeaderName, Wanted)]>,
    query: Box<[(String, Wanted)]>,
    cookies: Box<[(String, Wanted)]>,
    clients: Box<[IpNet]>,
}

impl Conditions {
    /// None if nothing is asked: most routes are decided by host and path alone.
    pub fn of(wanted: &Match) -> Option<Box<Conditions>> {
        let conditions = Conditions {
            path: match &wanted.path {
                Some(PathPattern::Regex(pattern)) => Some(pattern.clone()),
                Some(PathPattern::Exact(_) | PathPattern::Prefix(_)) | None => None,
            },
            methods: wanted.methods.clone().into(),
            headers: wanted.headers.clone().into(),
            query: wanted.query.clone().into(),
            cookies: wanted.cookies.clone().into(),
            clients: wanted.clients.clone().into(),
        };
        let Conditions { path, methods, headers, query, cookies, clients } = &conditions;
        let none = path.is_none()
            && methods.is_empty()
            && headers.is_empty()
            && query.is_empty()
            && cookies.is_empty()
            && clients.is_empty();
        (!none).then(|| Box::new(conditions))
    }

    /// The header fields that are asked for.
    pub fn headers(&self) -> &[(HeaderName, Wanted)] {
        &self.headers
    }

    fn check(&self, request: &Request<'_>) -> Result<(), Unmet> {
        if self.path.as_ref().is_some_and(|pattern| !pattern.is_match(request.path.as_bytes())) {
            return Err(Unmet::Path);
        }
        if !self.methods.is_empty() && !self.methods.contains(request.method) {
            return Err(Unmet::Method);
        }
        for (index, (name, wanted)) in self.headers.iter().enumerate() {
            let values = request.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
            if !wanted.holds_for(values) {
                return Err(Unmet::Header(index));
            }
        }
        for (index, (name, wanted)) in self.query.iter().enumerate() {
            if !wanted.holds_for(request.query_values(name)) {
                return Err(Unmet::Query(index));
            }
        }
        for (index, (name, wanted)) in self.cookies.iter().enumerate() {
            if !wanted.holds_for(request.cookie_values(name)) {
                return Err(Unmet::Cookie(index));
            }
        }
        let client = request.client.map(|address| address.to_canonical());
        if !self.clients.is_empty()
            && !client.is_some_and(|address| self.clients.iter().any(|network| network.contains(&address)))
        {
            return Err(Unmet::Client);
        }
        Ok(())
    }
}

/// What routes ask, by their numbers; none where nothing is asked.
pub(super) type AllConditions = [Option<Box<Conditions>>];

/// Whether the conditions of a route hold.
///
/// # Errors
/// The first that does not.
pub(super) fn check(all: &AllConditions, route: u32, request: &Request<'_>) -> Result<(), Unmet> {
    all.get(route as usize).and_then(Option::as_ref).map_or(Ok(()), |conditions| conditions.check(request))
}

impl Wanted {
    fn holds_for(&self, mut values: impl Iterator<Item: Text>) -> bool {
        match self {
            Wanted::Exact(text) => values.any(|value| value.is(text.as_bytes())),
            Wanted::Pattern(pattern) => values.any(|value| value.matches(pattern)),
            Wanted::Present => values.next().is_some(),
            Wanted::Absent => values.next().is_none(),
        }
    }
}

/// A value of a request, escaped or not.
trait Text {
    fn is(&self, text: &[u8]) -> bool;
    fn matches(&self, pattern: &Pattern) -> bool;
}

impl Text for &[u8] {
    fn is(&self, text: &[u8]) -> bool {
        *self == text
    }

    fn matches(&self, pattern: &Pattern) -> bool {
        pattern.is_match(self)
    }
}

impl Text for QueryText<'_> {
    fn is(&self, text: &[u8]) -> bool {
        QueryText::is(*self, text)
    }

    fn matches(&self, pattern: &Pattern) -> bool {
        pattern.is_match(&self.decoded())
    }
}
