//! Answers that a route gives itself: redirects and fixed responses.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::answer::body_may_not_come;
use super::context::Context;
use super::routing::location_of;
use crate::config::{Redirect, Respond};
use crate::forward::template::Values;
use crate::lifecycle::Lifecycle;
use crate::listen;
use crate::snapshot::Action;

/// Answers as the route says; nothing if it forwards.
///
/// # Errors
/// pingora's, when the client cannot be written to.
pub async fn answer(session: &mut Session, context: &Context, lifecycle: &Lifecycle) -> Result<()> {
    let (mut response, body) = match context.route.as_ref().map(|route| &route.action) {
        Some(Action::Redirect(redirect, _)) => (redirection(session, context, redirect)?, Bytes::new()),
        Some(Action::Respond(respond)) => (fixed(respond)?, respond.body.clone()),
        Some(Action::Forward(_)) | None => {
            debug_assert!(false, "only what is not forwarded is answered here");
            return Ok(());
        }
    };
    context.change_answer(session, &mut response)?;
    if lifecycle.draining() || body_may_not_come(session, context, response.status) {
        listen::close_after(session);
    }
    let head_only = body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(response), head_only).await?;
    if head_only { Ok(()) } else { session.write_response_body(Some(body), true).await }
}

fn redirection(session: &Session, context: &Context, redirect: &Redirect) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(redirect.status, Some(4))?;
    response.insert_header(CONTENT_LENGTH, 0)?;
    let location = context.with_values(session, |values| {
        let path = context.rewritten_path().unwrap_or(values.path);
        location_of(&redirect.to, &Values { path, ..*values })
    });
    if let Some(location) = location {
        response.insert_header(LOCATION, location)?;
    }
    Ok(response)
}

fn fixed(respond: &Respond) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(respond.status, Some(4))?;
    if let Some(kind) = &respond.content_type {
        response.insert_header(CONTENT_TYPE, kind.clone())?;
    }
    // RFC 9110, section 8.6: none where there can be no body.
    if !matches!(respond.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.insert_header(CONTENT_LENGTH, respond.body.len())?;
    }
    Ok(response)
}
