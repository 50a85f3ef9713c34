//! What ties a request to a backend, and how its client is told.

use http::header::{COOKIE, SET_COOKIE};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::context::Context;
use crate::cookies;
use crate::forward::request_head::RequestHead;
use crate::upstream::Hashable;
use crate::upstream::sticky::{Affinity, Sticky};

impl Context {
    /// What ties this request to a backend of its upstream.
    pub(super) fn affinity_of(&self, request: &RequestHeader) -> Affinity {
        let Some(destination) = self.destination() else { return Affinity::default() };
        let key = destination.upstream.config.balance.key();
        Affinity {
            key: key.and_then(|key| self.hashable(request).by(key)),
            place: destination.upstream.sticky.as_ref().and_then(|sticky| sticky.place(&request.headers)),
        }
    }

    fn hashable<'a>(&'a self, request: &'a RequestHeader) -> Hashable<'a> {
        Hashable {
            client: self.client_address(),
            headers: &request.headers,
            path: self.normal_path().unwrap_or(request.uri.path()),
            query: request.uri.query(),
        }
    }

    /// Tells the client at which backend it stays, unless it knows.
    pub(super) fn stick(&self, response: &mut ResponseHeader) -> Result<()> {
        let (Some(sticky), Some(attempt)) = (self.sticky(), &self.attempt) else { return Ok(()) };
        let place = attempt.in_flight.index;
        match sticky.cookie(place, self.scheme()).filter(|_| self.affinity.place != Some(place)) {
            Some(cookie) => response.append_header(SET_COOKIE, cookie).map(drop),
            None => Ok(()),
        }
    }

    /// The cookie is between the client and us: the backend sees what it would see without.
    pub(super) fn conceal_sticky_cookie(&self, request: &mut RequestHead<'_>) {
        let Some(sticky) = self.sticky() else { return };
        match request.first(&COOKIE).and_then(|field| cookies::without(field, sticky.name())) {
            Some(rest) if rest.is_empty() => request.remove(&COOKIE),
            Some(rest) => request.set(COOKIE, rest),
            None => {}
        }
    }

    fn sticky(&self) -> Option<&Sticky> {
        self.destination()?.upstream.sticky.as_ref()
    }
}
