//! One request of an HTTP/1.1 connection, as a session of pingora's.
//!
//! It has the connection's stream for as long as the request lasts, and leaves it for the next one where it is dropped
//! ([`Returned`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::header::TE;
use http::{HeaderMap, Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;

use super::control::{Control, control_in};
use super::http1_answer::{Asked, Rest};
use super::http1_incoming::{Incoming, Mode};
use super::http1_outgoing::Outgoing;
use super::inbound::Arrived;
use super::kept_body::KeptBody;
use super::stream::EdgeStream;
use crate::wire::{Body, lists};

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// What a session leaves of its connection.
pub(super) struct Returned {
    /// The connection.
    pub stream: Box<EdgeStream>,
    /// What has not been read of the request.
    pub body: Body,
    /// How long that is waited for.
    pub drain: Option<Duration>,
    /// How the answer ended.
    pub answer: Answer,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// All of it was said.
    Complete,
    /// In a tunnel, which is over.
    Switched,
    /// In the middle, or before it began. The end of the connection tells.
    Broken,
    /// In the middle, where nothing says how much was to come: an orderly end of the connection would say that it was
    /// complete (RFC 9112, section 8).
    BrokenUnframed,
}

/// See the module's documentation.
pub(super) struct Http1Session {
    /// Until it is dropped.
    stream: Option<Box<EdgeStream>>,
    request: RequestHeader,
    /// Another protocol is asked for.
    upgrade: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    digest: Digest,
    drain_timeout: Option<Duration>,
}

/// A session taken apart.
struct Parts<'a> {
    stream: &'a mut EdgeStream,
    control: &'a Control,
    incoming: &'a mut Incoming,
    outgoing: &'a mut Outgoing,
}

impl Http1Session {
    pub(super) fn new(stream: Box<EdgeStream>, arrived: Box<Arrived>, control: Arc<ProxyDigest>) -> Http1Session {
        let Arrived { request, first, body, trailers, bodiless, connection, refused } = *arrived;
        let digest = Digest { proxy_digest: Some(control), ..Digest::default() };
        let mut incoming = Incoming {
            end_untold: !bodiless && body.is_complete() && first.is_empty(),
            first,
            body,
            bodiless,
            trailers,
            mode: Mode::Http,
            received: 0,
            kept: KeptBody::default(),
            limit: None,
            waiting: None,
        };
        if let Some(control) = control_in(&digest) {
            let mut state = control.state();
            state.ends |= connection.ends;
            state.refused = refused;
            drop(state);
            incoming.leave_trailers(control);
        }
        let asked = Asked { head_only: request.method == Method::HEAD, old: request.version == Version::HTTP_10 };
        let outgoing = Outgoing { asked, rest: Rest::Head, head_waits: false, written: None, sent: 0, limit: None };
        Http1Session {
            stream: Some(stream),
            request,
            upgrade: connection.upgrade,
            incoming,
            outgoing,
            digest,
            drain_timeout: None,
        }
    }

    fn parts(&mut self) -> Result<Parts<'_>> {
        let over = || Error::explain(ErrorType::InternalError, "a session that is over");
        let stream = self.stream.as_deref_mut().ok_or_else(over)?;
        let control = control_in(&self.digest).ok_or_else(over)?;
        Ok(Parts { stream, control, incoming: &mut self.incoming, outgoing: &mut self.outgoing })
    }

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let Parts { stream, control, incoming, .. } = self.parts()?;
        incoming.piece(stream, control).await
    }

    fn head(&mut self, head: Box<ResponseHeader>, bodiless: bool) -> Result<()> {
        let upgrade = self.upgrade;
        let Parts { stream, control, incoming, outgoing } = self.parts()?;
        if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            if !upgrade {
                return Error::e_explain(ErrorType::InternalError, "a switch of protocols that was not asked for");
            }
            incoming.mode = Mode::Tunnel;
        }
        outgoing.head(stream, control, head, bodiless);
        Ok(())
    }

    async fn data(&mut self, data: Bytes, last: bool) -> Result<()> {
        let Parts { stream, outgoing, .. } = self.parts()?;
        outgoing.data(stream, data, last).await
    }

    /// Ends the answer, or the tunnel.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<()> {
        // RFC 9110, section 10.1.4. One of HTTP/1.0 is sent no chunks.
        let trailers = trailers
            .filter(|_| self.request.headers.get_all(TE).iter().any(|codings| lists(codings.as_bytes(), b"trailers")));
        let Parts { stream, control, incoming, outgoing } = self.parts()?;
        if incoming.mode == Mode::Tunnel {
            incoming.mode = Mode::Over;
        }
        outgoing.end(stream, control, trailers);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let Parts { stream, outgoing, .. } = self.parts()?;
        outgoing.flush(stream).await
    }

    async fn tasks(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        let mut tasks = tasks.into_iter().peekable();
        while let Some(task) = tasks.next() {
            match task {
                HttpTask::Header(head, end) => {
                    self.head(head, end)?;
                    ended |= end && self.incoming.mode == Mode::Http;
                }
                HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                    let last = end || tasks.peek().is_some_and(only_ends);
                    self.data(data.unwrap_or_default(), last).await?;
                    ended |= end;
                }
                HttpTask::Trailer(trailers) => {
                    self.end(trailers.as_deref())?;
                    ended = true;
                }
                HttpTask::Done => ended = true,
                HttpTask::Failed(error) => {
                    self.flush().await?;
                    return Err(error);
                }
            }
        }
        if ended {
            self.end(None)?;
        }
        if ended || !self.outgoing.head_waits {
            self.flush().await?;
        }
        Ok(ended || self.outgoing.rest == Rest::Nothing)
    }
}

impl Drop for Http1Session {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let answer = match self.outgoing.rest {
            Rest::Nothing => Answer::Complete,
            Rest::Tunnel if self.incoming.mode == Mode::Over => Answer::Switched,
            Rest::UntilClose => Answer::BrokenUnframed,
            Rest::Head | Rest::Length(_) | Rest::Chunks | Rest::Tunnel | Rest::Torn => Answer::Broken,
        };
        let returned = Returned { stream, body: self.incoming.body, drain: self.drain_timeout, answer };
        if let Some(control) = control_in(&self.digest) {
            control.state().returned = Some(returned);
        }
    }
}

/// Whether a task says no more than that the answer is over.
fn only_ends(task: &HttpTask) -> bool {
    match task {
        HttpTask::Done | HttpTask::Trailer(None) => true,
        HttpTask::Body(data, end) => *end && data.as_ref().is_none_or(Bytes::is_empty),
        HttpTask::Header(..) | HttpTask::UpgradedBody(..) | HttpTask::Trailer(Some(_)) | HttpTask::Failed(_) => false,
    }
}

#[async_trait]
impl Session for Http1Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.piece().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout.unwrap_or(Duration::MAX);
        let drain = async {
            while self.piece().await?.is_some() {}
            Ok(())
        };
        match tokio::time::timeout(limit, drain).await {
            Ok(drained) => drained,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the rest of a body has not come in time"),
        }
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end)?;
        if self.outgoing.head_waits { Ok(()) } else { self.flush().await }
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.data(data, end).await?;
        if end { self.finish().await } else { Ok(()) }
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.end(Some(&trailers))?;
        self.flush().await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.tasks(tasks).await.map_err(|error| match error.esource() {
            ErrorSource::Unset => error.into_down(),
            ErrorSource::Upstream | ErrorSource::Downstream | ErrorSource::Internal => error,
        })
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.incoming.limit = timeout;
        self.incoming.waiting = None;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.incoming.limit
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.outgoing.limit = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.outgoing.limit
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} over HTTP/1", self.request.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.outgoing.written.as_deref()
    }

    /// In a tunnel nothing more is said to the client, which may still speak. An answer is given up: what has been said of it
    /// must not look like all of it.
    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if self.incoming.mode == Mode::Tunnel
            && let Some(stream) = self.stream.as_deref_mut()
        {
            return stream.end_sending().await;
        }
        if let Some(control) = control_in(&self.digest) {
            control.state().ends = true;
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.incoming.is_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end(None)?;
        self.flush().await
    }

    fn is_body_empty(&mut self) -> bool {
        self.incoming.bodiless
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let Parts { stream, control, incoming, .. } = self.parts()?;
        if no_body_expected || incoming.is_done() {
            return Err(incoming.gone(stream).await);
        }
        incoming.piece(stream, control).await
    }

    fn body_bytes_sent(&self) -> usize {
        self.outgoing.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.incoming.received
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    /// Of use only to requests that pingora makes of others, which we have none of.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.incoming.kept.enable();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.incoming.kept.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.incoming.kept.whole()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.upgrade
    }

    fn was_upgraded(&self) -> bool {
        self.incoming.mode != Mode::Http
    }
}
