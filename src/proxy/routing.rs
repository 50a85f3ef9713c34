//! Which route a request takes, where that leads, and with which path.
//!
//! Invariant: the path is brought into its one form before anything is decided, and that form is what is forwarded. A
//! request that is in its form and not rewritten is forwarded as it came, without a copy.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::Uri;
use http::header::{HOST, HeaderValue};
use http::uri::PathAndQuery;
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr as _, Result};

use super::context::Context;
use crate::config::Key;
use crate::cookies;
use crate::failure::Reason;
use crate::forward::header_rules::{Head, HeaderRules};
use crate::forward::request_head::RequestHead;
use crate::forward::rewrite::PathRewrite;
use crate::forward::template::{Piece, Template, Values};
use crate::route::{Host, Normalisation, Path, Request, normalise, path_and_query};
use crate::snapshot::{Action, Destination};

/// The paths of a request, where they are not as they came.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// In the one form.
    normal: Option<Box<str>>,
    /// Rewritten after that.
    rewritten: Option<Box<str>>,
}

/// What is to be done with a request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A backend answers.
    Forward,
    /// We answer.
    Answer,
}

impl Context {
    /// Finds the route and what it leads to.
    ///
    /// # Errors
    /// The path is in doubt, no route matches, or nobody can answer.
    pub(super) fn find_route(&mut self, session: &Session, listener: usize) -> std::result::Result<Next, Reason> {
        let request = session.req_header();
        let normalisation = self.snapshot.path_normalization;
        let (path, query) = path_and_query(request.raw_path());
        let path = normalise(path, normalisation).map_err(|_| Reason::BadRequest)?;
        let host = self.asked_host();
        let client = self.client_address();
        let asked = Request {
            listener,
            host: host.as_bytes(),
            path: path.seen_by_rules(),
            query: query.unwrap_or_default(),
            method: &request.method,
            headers: &request.headers,
            client,
        };
        let route = self.snapshot.routes.find(&asked).ok_or(Reason::NoRoute)?.clone();
        let route = &**self.route.insert(route);
        let rewrite = match &route.action {
            Action::Forward(forwarding) => {
                let key = |key: &Key| key_of(key, session, client);
                self.destination = forwarding.choose(key, fastrand::u64(..));
                forwarding.rewrite.path.as_ref()
            }
            Action::Redirect(_, rewrite) => rewrite.as_ref(),
            Action::Respond(_) => None,
        };
        self.paths.rewritten = rewrite.map_or(Ok(None), |rewrite| rewritten(rewrite, &path, normalisation))?;
        if !path.is_unchanged() {
            self.paths.normal = Some(path.forwarded().into());
        }
        let Some(destination) = route.destination(self.destination) else { return Ok(Next::Answer) };
        crate::admit::body(request, destination.request_body)?;
        // Said here the client keeps its connection: an outage must not cost everybody a handshake per request.
        if destination.upstream.has_fit() { Ok(Next::Forward) } else { Err(Reason::NoBackend) }
    }

    /// Where the request is forwarded; none before it has a route, and if we answer it.
    pub(super) fn destination(&self) -> Option<&Destination> {
        self.route.as_ref()?.destination(self.destination)
    }

    /// Makes the head for the backend that of the route: target and host, before [`fields`](crate::forward::fields) adds
    /// who asked.
    pub(super) fn retarget(&self, session: &Session, request: &mut RequestHead<'_>) -> Result<()> {
        let changed = self.paths.rewritten.as_ref().or(self.paths.normal.as_ref());
        if let Some(path) = changed {
            let (_, query) = path_and_query(session.req_header().raw_path());
            let target = match query {
                Some(query) => [path.as_bytes(), b"?", query].concat(),
                None => path.as_bytes().to_vec(),
            };
            let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
            let target = target.or_err(ErrorType::InvalidHTTPHeader, "a target that cannot be sent")?;
            request.uri = Cow::Owned(Uri::from(target));
        }
        let forwarding = self.route.as_ref().and_then(|route| route.forwarding());
        if let Some(host) = forwarding.and_then(|forwarding| forwarding.rewrite.host.as_ref()) {
            request.set(HOST, host.clone());
        }
        Ok(())
    }

    /// Names the backend itself where HTTP/1.0 has asked for no host: what we send is HTTP/1.1, which has one (RFC 9112,
    /// section 3.2).
    pub(super) fn name_host(&self, request: &mut RequestHead<'_>) {
        if self.host.is_none()
            && request.first(&HOST).is_none()
            && let Some(attempt) = &self.attempt
            && let Ok(name) = HeaderValue::from_str(&attempt.in_flight.backend.name)
        {
            request.set(HOST, name);
        }
    }

    /// Applies the route's rules to the head for the backend.
    pub(super) fn change_request(&self, session: &Session, request: &mut RequestHead<'_>) -> Result<()> {
        match self.request_rules().filter(|rules| !rules.is_empty()) {
            Some(rules) => self.with_values(session, |values| rules.apply(request, values)),
            None => Ok(()),
        }
    }

    /// The route's rules for the fields of requests.
    pub(super) fn request_rules(&self) -> Option<&HeaderRules> {
        Some(&self.route.as_ref()?.forwarding()?.request_headers)
    }

    /// Applies the route's rules to the head of an answer, be it a backend's or ours.
    pub(super) fn change_answer(&self, session: &Session, answer: &mut impl Head) -> Result<()> {
        self.disclose(answer)?;
        let rules = self.route.as_ref().map(|route| &route.response_headers);
        match rules.filter(|rules| !rules.is_empty()) {
            Some(rules) => self.with_values(session, |values| rules.apply(answer, values)),
            None => Ok(()),
        }
    }

    /// What templates may name, with the path that the client asked for.
    pub(super) fn with_values<T>(&self, session: &Session, use_them: impl FnOnce(&Values<'_>) -> T) -> T {
        let request = session.req_header();
        let (path, query) = path_and_query(request.raw_path());
        let path = self.paths.normal.as_deref().or(std::str::from_utf8(path).ok());
        let host = self.asked_host();
        let listener = self.client.as_ref().map(|client| client.listener.name.as_str());
        use_them(&Values {
            client: self.client_address(),
            request_id: self.id.as_str(),
            host: host.as_str(),
            path: path.unwrap_or_default(),
            query,
            scheme: self.scheme().as_str(),
            method: request.method.as_str(),
            listener: listener.unwrap_or_default(),
            route: self.route.as_ref().map_or("", |route| &route.name),
            upstream: self.destination().map_or("", |destination| &destination.upstream.name),
            headers: &request.headers,
        })
    }

    /// The path in its one form, if it did not come in it.
    pub(super) fn normal_path(&self) -> Option<&str> {
        self.paths.normal.as_deref()
    }

    /// The path after the rewrite, if that has changed it.
    pub(super) fn rewritten_path(&self) -> Option<&str> {
        self.paths.rewritten.as_deref()
    }

    fn asked_host(&self) -> Host {
        Host::of(self.host.as_ref().map_or(&[][..], HeaderValue::as_bytes))
    }
}

/// The path after a rewrite; an expression may have made one that must be refused.
///
/// # Errors
/// `bad_request`, if it has made none.
pub fn rewritten(
    rewrite: &PathRewrite,
    path: &Path<'_>,
    normalisation: Normalisation,
) -> std::result::Result<Option<Box<str>>, Reason> {
    let Some(rewritten) = rewrite.apply(path.forwarded()) else { return Ok(None) };
    let normal = normalise(rewritten.as_bytes(), normalisation).map_err(|_| Reason::BadRequest)?;
    Ok(Some(normal.forwarded().into()))
}

/// What a split goes by; none if the request has no such thing.
fn key_of<'a>(key: &Key, session: &'a Session, client: Option<IpAddr>) -> Option<Cow<'a, [u8]>> {
    let headers = &session.req_header().headers;
    Some(match key {
        Key::ClientAddress => Cow::Owned(match client?.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }),
        Key::Header(name) => Cow::Borrowed(headers.get(name)?.as_bytes()),
        Key::Cookie(name) => Cow::Borrowed(cookies::values(headers, name).next()?),
    })
}

/// Where a redirect leads, as the value of a field; none if what stands in it cannot be one. No value of a request can
/// make a path into another host (`//host`).
pub fn location_of(to: &Template, values: &Values<'_>) -> Option<HeaderValue> {
    let written_as_host = matches!(to.0.first(), Some(Piece::Text(text)) if text.starts_with("//"));
    let rendered = to.render(values);
    let slashes = rendered.iter().take_while(|byte| **byte == b'/').count();
    let superfluous = if written_as_host { 0 } else { slashes.saturating_sub(1) };
    HeaderValue::from_maybe_shared(Bytes::from(rendered).slice(superfluous..)).ok()
}
