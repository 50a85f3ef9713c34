//! Who is at the other end of a connection, and how the proxy learns it.
//!
//! pingora gives its callbacks a session, not our stream: HTTP/1.1 sessions show the stream itself, HTTP/2
//! streams only the digest of their connection, where [`Client`] travels as user data.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::DATE;
use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_proxy::Session;

use super::listener::Listener;
use super::stream::{EdgeStream, HttpDate};
use crate::failure::Reason;
use crate::interrupt::Interrupt;

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

/// One stream of HTTP/2 whose wait for its client can be ended from elsewhere.
struct Watched {
    client: Client,
    interrupt: Arc<Interrupt>,
}

/// What a digest carries of ours.
pub(super) fn user_data(data: Box<dyn Any + Send + Sync>) -> Option<ProxyDigest> {
    let unused = ResponseHeader::build(http::StatusCode::OK, Some(0)).ok()?;
    Some(ProxyDigest::new(Box::new(unused), Some(data)))
}

/// What was made by `interrupt_of` for this stream of HTTP/2.
pub(super) fn interrupt_in(digest: &Digest) -> Option<&Arc<Interrupt>> {
    let data = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
    Some(&data.downcast_ref::<Watched>()?.interrupt)
}

/// The connection that a request came on. None only for sessions that did not come through the edge.
pub fn client_of(session: &Session) -> Option<&Client> {
    match session.stream() {
        Some(_) => stream_of(session).map(EdgeStream::client),
        None => {
            let data = session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
            data.downcast_ref::<Client>().or_else(|| Some(&data.downcast_ref::<Watched>()?.client))
        }
    }
}

/// Tells the connection that the proxy has the head of its request.
pub fn head_received(session: &Session) {
    if let Some(stream) = stream_of(session) {
        stream.head_received();
    }
}

/// Why the connection refuses the request that it has handed on, or the rest of it: what the proxy has then is a
/// stand-in for a head that cannot be understood without doubt, or a body that breaks off.
pub fn refusal_of(session: &Session) -> Option<Reason> {
    stream_of(session)?.refused()
}

/// Tells the connection that the backend has switched protocols: what the client sends is no HTTP any more.
pub fn open_tunnel(session: &Session) {
    if let Some(stream) = stream_of(session) {
        stream.open_tunnel();
    }
}

/// What can end the wait for the client of this request from elsewhere.
///
/// It is made when somebody asks for it; a stream of HTTP/2 finds it in its digest.
pub fn interrupt_of(session: &mut Session) -> Arc<Interrupt> {
    if let Some(stream) = stream_of(session) {
        return stream.interrupt();
    }
    let interrupt = Arc::new(Interrupt::default());
    if let (Some(client), Some(digest)) = (client_of(session).cloned(), session.downstream_session.digest_mut()) {
        let watched = Watched { client, interrupt: interrupt.clone() };
        digest.proxy_digest = user_data(Box::new(watched)).map(Arc::new);
    }
    interrupt
}

/// Ends the client's connection so that it cannot take the end for the end of the answer: where no framing says how
/// much was to come, an orderly end would say just that (RFC 9112, section 8).
pub fn break_off(session: &Session) {
    if let Some(stream) = stream_of(session) {
        stream.break_off();
    }
}

/// Keeps the `Date` of a backend's answer (RFC 9110, section 6.6.1), in whose place pingora's session for HTTP/1.1
/// puts the time.
pub fn keep_date(session: &Session, response: &ResponseHeader) {
    if let Some(date) = response.headers.get(DATE)
        && *date != get_cached_date()
        && let Ok(date) = HttpDate::try_from(date.as_bytes())
        && let Some(stream) = stream_of(session)
    {
        stream.keep_date(date);
    }
}

fn stream_of(session: &Session) -> Option<&EdgeStream> {
    session.stream()?.as_any().downcast_ref()
}
