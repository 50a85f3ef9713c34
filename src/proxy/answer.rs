//! What the client is told when a request was not served: status, reason and request id; never an address of
//! the inside.

use std::time::Duration;

use http::StatusCode;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER, TRANSFER_ENCODING,
};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::context::Context;
use crate::error_pages::Failure;
use crate::failure::Reason;
use crate::forward::fields::X_REQUEST_ID;
use crate::listen;

/// When a client may ask again after it was turned away for want of a backend, in seconds.
const RETRY_AFTER_SECONDS: &str = "1";

/// What is said to those who ask for another (RFC 9110, section 15.5.6). Not all: a method of any name is passed on.
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// How long a body is waited for whose client was answered before it was told to go on.
pub const BODY_THAT_MAY_NOT_COME: Duration = Duration::from_secs(1);

/// Answers with the status of the reason and a body in the form that the client asks for.
///
/// # Errors
/// pingora's, when the client cannot be written to.
pub async fn failure(session: &mut Session, context: &Context, reason: Reason) -> Result<()> {
    let Some(status) = reason.status() else { return Ok(()) };
    if closes(reason) || body_may_not_come(session, context, status) {
        session.set_keepalive(None);
    }
    let accept = session.req_header().headers.get_all(ACCEPT);
    let failed = Failure { status, reason, id: &context.id };
    let (kind, body) = context.snapshot.error_pages.body(&failed, accept.iter());
    let mut response = ResponseHeader::build(status, Some(6))?;
    response.insert_header(CONTENT_TYPE, kind.content_type())?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    response.insert_header(X_REQUEST_ID, context.id.value())?;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.insert_header(ALLOW, ALLOWED_METHODS)?;
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header(RETRY_AFTER, RETRY_AFTER_SECONDS)?;
    }
    context.change_answer(session, &mut response)?;
    if session.req_header().method == http::Method::HEAD {
        session.write_response_header(Box::new(response), true).await?;
        return session.as_mut().finish_body().await;
    }
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(body.into()), true).await
}

/// Answers an OPTIONS that goes no further (RFC 9110, section 7.6.2): there is nothing to tell of a balancer.
///
/// # Errors
/// pingora's, when the client cannot be written to.
pub async fn options(session: &mut Session, context: &Context) -> Result<()> {
    let mut response = ResponseHeader::build(StatusCode::OK, Some(2))?;
    response.insert_header(CONTENT_LENGTH, 0)?;
    response.insert_header(X_REQUEST_ID, context.id.value())?;
    session.write_response_header(Box::new(response), true).await
}

/// The same where an answer may have begun already; then nothing can be said any more. Returns the status.
pub async fn failure_if_possible(session: &mut Session, context: &Context, reason: Reason) -> u16 {
    let is_final = |status: StatusCode| !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(written) = session.response_written().filter(|response| is_final(response.status)) {
        let framed = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| written.headers.contains_key(name));
        if !framed && written.status != StatusCode::SWITCHING_PROTOCOLS {
            listen::break_off(session);
        }
        return 0;
    }
    // What is left of a body is not read: the connection ends with the answer.
    session.set_keepalive(None);
    match failure(session, context, reason).await {
        Ok(()) => reason.status().map_or(0, |status| status.as_u16()),
        Err(error) => {
            log::debug!(error:%; "client could not be told of a failure");
            0
        }
    }
}

/// A client of HTTP/1.0 knows no chunks: the end of the connection is the end of the body (RFC 9112, 6.3).
pub fn fit_http10(session: &mut Session, response: &mut ResponseHeader) {
    if response.headers.contains_key(TRANSFER_ENCODING) || !response.headers.contains_key(CONTENT_LENGTH) {
        response.remove_header(&TRANSFER_ENCODING);
        session.set_keepalive(None);
    }
}

/// Whether a client that waits for a 100 is answered without: it may then leave the body away or send it, and
/// nobody can tell what follows (RFC 9110, section 10.1.1).
pub fn body_may_not_come(session: &mut Session, context: &Context, status: StatusCode) -> bool {
    let waits = session.req_header().headers.contains_key(EXPECT) && !context.continued;
    waits && !status.is_informational() && session.body_bytes_read() == 0 && !session.is_body_done()
}

/// Whether it is in doubt where the request ends, or too far away, so that nothing more is read after it.
fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BadRequest
            | Reason::UnknownCoding
            | Reason::HeaderTooLarge
            | Reason::UriTooLong
            | Reason::MethodNotAllowed
            | Reason::VersionNotSupported
            | Reason::BodyTooLarge
            | Reason::RequestTimeout
    )
}
