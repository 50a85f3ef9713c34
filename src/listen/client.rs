//! Who is at the other end of a connection, and how the proxy learns it.
//!
//! pingora gives its callbacks a session without its type. What we need of it travels as user data of its digest: the
//! [`Control`](super::control::Control) of a request of HTTP/1.1, the [`Client`] of a stream of HTTP/2.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::server::Session as Downstream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_proxy::Session;

use super::control::{Control, control_in};
use super::listener::Listener;
use crate::failure::Reason;

/// One client connection as the rest of the program sees it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it was accepted.
    pub listener: Arc<Listener>,
    /// Its address; none for a UNIX socket.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// One stream of HTTP/2 whose request has ended with trailers.
struct Trailed {
    client: Client,
    trailers: HeaderMap,
}

/// What a digest carries of ours.
pub(super) fn user_data(data: Box<dyn Any + Send + Sync>) -> Option<ProxyDigest> {
    let unused = ResponseHeader::build(http::StatusCode::OK, Some(0)).ok()?;
    Some(ProxyDigest::new(Box::new(unused), Some(data)))
}

/// The session of ours within pingora's, without pingora's ways to sessions of its own, which would make larger whatever waits for
/// one.
///
/// # Errors
/// None of ours is within it, which would be a fault of ours.
pub fn within(session: &mut Session) -> Result<&mut Box<dyn Downstream>> {
    let foreign = || Error::explain(ErrorType::InternalError, "a session that is none of ours");
    session.downstream_session.as_custom_mut().ok_or_else(foreign)
}

/// The connection that a request came on. None only for sessions that did not come through the edge.
pub fn client_of(session: &Session) -> Option<&Client> {
    let data = session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
    if let Some(control) = data.downcast_ref::<Control>() {
        return control.client();
    }
    data.downcast_ref::<Client>().or_else(|| Some(&data.downcast_ref::<Trailed>()?.client))
}

/// Ends the client's connection with its request, where it is the request's alone: HTTP/1.1. Before the head of the answer,
/// which says so, or after.
pub fn close_after(session: &Session) {
    if let Some(control) = control_of(session) {
        control.state().ends = true;
    }
}

/// Why the connection refuses the request that it has handed on, or the rest of it: what the proxy has then is as much of
/// a head as was understood, or a body that breaks off.
pub fn refusal_of(session: &Session) -> Option<Reason> {
    control_of(session)?.state().refused
}

/// The trailers of a request, if it had any; they are here when its body has been read to its end.
pub fn trailers_of(session: &Session) -> Option<HeaderMap> {
    match control_of(session) {
        Some(control) => control.state().trailers.clone(),
        None => Some(trailed(session)?.trailers.clone()),
    }
}

/// Whether the request has had trailers so far.
pub fn has_trailers(session: &Session) -> bool {
    match control_of(session) {
        Some(control) => control.state().trailers.is_some(),
        None => trailed(session).is_some(),
    }
}

fn trailed(session: &Session) -> Option<&Trailed> {
    session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

/// Leaves the trailers of a stream of HTTP/2 for whoever wants them.
pub(super) fn leave_trailers(digest: &mut Digest, trailers: HeaderMap) {
    let data = digest.proxy_digest.as_ref().and_then(|digest| digest.user_data.as_ref());
    if let Some(client) = data.and_then(|data| data.downcast_ref::<Client>()).cloned() {
        digest.proxy_digest = user_data(Box::new(Trailed { client, trailers })).map(Arc::new);
    }
}

fn control_of(session: &Session) -> Option<&Control> {
    control_in(session.digest()?)
}
