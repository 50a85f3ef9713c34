//! The end of a request: its line in the access log, and what it adds to the metrics.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use http::Version;
use http::header::{REFERER, USER_AGENT};
use pingora::proxy::Session;

use super::context::Context;
use crate::identity::text::Text;
use crate::observe::{Counters, Protocol, Record};

/// Counts the request and writes its line.
pub fn write(session: &Session, context: &Context, counters: &Counters) {
    let duration = context.began.elapsed();
    let status = session.response_written().map(|response| response.status.as_u16());
    let (received, sent) = (session.body_bytes_read() as u64, session.body_bytes_sent() as u64);
    let reason = context.failed();
    if let Some(route) = &context.route {
        route.counters.codes.count(status);
        route.counters.duration.observe(duration);
    } else {
        counters.unrouted.count(status);
    }
    if let Some(reason) = reason {
        counters.fail(reason);
    }
    if let Some(client) = &context.client {
        client.listener.counters.bytes_received.fetch_add(received, Ordering::Relaxed);
        client.listener.counters.bytes_sent.fetch_add(sent, Ordering::Relaxed);
    }
    let waited = context.attempt.as_ref().and_then(|attempt| attempt.first_byte).unwrap_or(duration);
    let remembered = counters.recent.kind(status, reason.is_some(), waited);
    let log = context.snapshot.access_log.as_ref();
    if log.is_none() && remembered.is_none() {
        return;
    }
    let request = session.req_header();
    let address = context.client_address().map_or(Text::NONE, Text::of);
    let attempt = context.attempt.as_ref();
    let record = Record {
        // Where the clock was set meanwhile, or the machine slept, it is the present that is right.
        time: SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
        request_id: context.id.as_str(),
        client: address.as_str(),
        listener: context.client.as_ref().map_or("", |client| &client.listener.name),
        route: context.route.as_ref().map(|route| route.name.as_str()),
        method: request.method.as_str(),
        scheme: context.scheme().as_str(),
        host: context.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(""),
        path: request.uri.path_and_query().map_or("", |target| target.as_str()),
        normal_path: context.normal_path(),
        rewritten_path: context.rewritten_path(),
        generation: context.snapshot.generation,
        status,
        reason: reason.map(|reason| reason.token()),
        bytes_received: received,
        bytes_sent: sent,
        duration,
        connect: attempt.and_then(|attempt| attempt.connect),
        first_byte: attempt.and_then(|attempt| attempt.first_byte),
        attempts: context.attempts,
        hedge: context.race.hedged,
        upstream: context.destination().map(|destination| destination.upstream.name.as_str()),
        backend: attempt.map(|attempt| attempt.in_flight.backend.name.as_str()),
        protocol: match request.version {
            Version::HTTP_2 => Protocol::Http2,
            Version::HTTP_10 | Version::HTTP_09 => Protocol::Http10,
            _ => Protocol::Http11,
        },
        user_agent: request.headers.get(USER_AGENT).map(|value| value.as_bytes()),
        referer: request.headers.get(REFERER).map(|value| value.as_bytes()),
    };
    if let Some(log) = log {
        log.write(&record);
    }
    if let Some(kind) = remembered {
        counters.recent.keep(kind, &record);
    }
}
