//! Who is at the other end of a connection, and how the proxy learns it.
//!
//! pingora gives its callbacks a session, not our stream: HTTP/1.1 sessions show the stream itself, HTTP/2
//! streams only the digest of their connection, where [`Client`] travels as user data.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use pingora::http::ResponseHeader;
use pingora_core::protocols::Digest;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_proxy::Session;

use super::listener::Listener;
use super::stream::EdgeStream;
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

/// What was made by [`interrupt_of`] for this stream of HTTP/2.
pub(super) fn interrupt_in(digest: &Digest) -> Option<&Arc<Interrupt>> {
    let data = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
    Some(&data.downcast_ref::<Watched>()?.interrupt)
}

/// The connection that a request came on. None only for sessions that did not come through the edge.
pub fn client_of(session: &Session) -> Option<&Client> {
    match session.stream() {
        Some(stream) => stream.as_any().downcast_ref::<EdgeStream>().map(EdgeStream::client),
        None => {
            let data = session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?;
            data.downcast_ref::<Client>().or_else(|| Some(&data.downcast_ref::<Watched>()?.client))
        }
    }
}

/// What can end the wait for the client of this request from elsewhere.
///
/// It is made when somebody asks for it; a stream of HTTP/2 finds it in its digest.
pub fn interrupt_of(session: &mut Session) -> Arc<Interrupt> {
    if let Some(stream) = session.stream().and_then(|stream| stream.as_any().downcast_ref::<EdgeStream>()) {
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
    if let Some(stream) = session.stream().and_then(|stream| stream.as_any().downcast_ref::<EdgeStream>()) {
        stream.break_off();
    }
}

/// Tells the connection that a request's head has arrived: its deadline ends, and where the request ends on
/// the wire is known (none: it has a body of unknown length).
pub fn head_received(session: &Session) {
    let Some(stream) = session.stream().and_then(|stream| stream.as_any().downcast_ref::<EdgeStream>()) else { return };
    let request = session.req_header();
    let head = session.as_http1().map(|http1| http1.get_headers_raw_bytes().len() as u64);
    let body = match request.headers.get(http::header::CONTENT_LENGTH) {
        // What follows a switch of protocols is no request.
        _ if session.is_upgrade_req() => None,
        _ if request.headers.contains_key(http::header::TRANSFER_ENCODING) => None,
        None => Some(0),
        Some(length) => length.to_str().ok().and_then(|length| length.parse::<u64>().ok()),
    };
    stream.head_received(head.zip(body).and_then(|(head, body)| head.checked_add(body)));
}
