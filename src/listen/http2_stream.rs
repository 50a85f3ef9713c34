//! One request of an HTTP/2 connection, as a session of pingora's.
//!
//! What the backend says of its date stays; interim answers pass; and a client that takes nothing is given up after a
//! while, counted from the last that it took.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{self, Entry, HeaderName};
use http::response::Parts;
use http::{HeaderMap, Request, Response};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, OrErr, Result};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;

use super::client::leave_trailers;
use super::kept_body::KeptBody;
use super::metered::Traffic;

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// See the module's documentation.
pub struct Http2Stream {
    request: RequestHeader,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// Once the head of the final answer was sent.
    answer: Option<SendStream<Bytes>>,
    /// The head of the final answer, without its fields.
    written: Option<ResponseHeader>,
    /// END_STREAM was sent.
    ended: bool,
    received: usize,
    sent: usize,
    kept: KeptBody,
    digest: Digest,
    traffic: Arc<Traffic>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl Http2Stream {
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        digest: Digest,
        traffic: Arc<Traffic>,
    ) -> Http2Stream {
        let (head, body) = request.into_parts();
        Http2Stream {
            request: head.into(),
            body,
            respond,
            answer: None,
            written: None,
            ended: false,
            received: 0,
            sent: 0,
            kept: KeptBody::default(),
            digest,
            traffic,
            read_timeout: None,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    fn head(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.ended || self.written.is_some() {
            return Ok(());
        }
        let mut head = Parts::from(*head);
        // Hardly any answer has one: to look through its names once is cheaper than to look for each of these.
        while let Some(name) = head.headers.keys().find(|name| is_of_connection(name)).cloned() {
            head.headers.remove(name);
        }
        if head.status.is_informational() {
            // A client of HTTP/2 knows no switch of protocols (RFC 9113, section 8.6).
            let interim = Response::from_parts(head, ());
            return self.respond.send_informational(interim).or_err(ErrorType::WriteError, "sending an interim answer");
        }
        if let Entry::Vacant(date) = head.headers.entry(header::DATE) {
            date.insert(get_cached_date());
        }
        // Of what was written pingora's phases and ours ask for no more than the status.
        let written = ResponseHeader::build_no_case(head.status, Some(0))?;
        let response = Response::from_parts(head, ());
        let answer = self.respond.send_response(response, end).or_err(ErrorType::WriteError, "sending an answer")?;
        self.answer = Some(answer);
        self.written = Some(written);
        self.ended = end;
        Ok(())
    }

    /// Sends what the client has room for, again and again; each time it may take as long as the time-out.
    async fn data(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let limit = self.write_timeout;
        let headless = || Error::explain(ErrorType::InternalError, "a body before its head");
        let answer = self.answer.as_mut().ok_or_else(headless)?;
        if data.is_empty() {
            answer.send_data(data, end).or_err(ErrorType::WriteError, "ending an answer")?;
            self.ended = end;
            return Ok(());
        }
        while !data.is_empty() {
            answer.reserve_capacity(data.len());
            if answer.capacity() == 0 {
                wait_for_room(answer, limit).await?;
            }
            let now = data.split_to(answer.capacity().min(data.len()));
            self.sent += now.len();
            self.traffic.given.fetch_add(now.len() as u64, Ordering::Relaxed);
            let last = end && data.is_empty();
            answer.send_data(now, last).or_err(ErrorType::WriteError, "sending a part of an answer")?;
            self.ended = last;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(answer) = self.answer.as_mut().filter(|_| !self.ended) {
            answer.send_data(Bytes::new(), true).or_err(ErrorType::WriteError, "ending an answer")?;
            self.ended = true;
        }
        Ok(())
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if let Some(answer) = self.answer.as_mut().filter(|_| !self.ended) {
            answer.send_trailers(trailers).or_err(ErrorType::WriteError, "sending trailers")?;
            self.ended = true;
        }
        Ok(())
    }

    async fn body_piece(&mut self) -> Result<Option<Bytes>> {
        let piece = poll_fn(|context| self.body.poll_data(context)).await;
        let piece = piece.transpose().or_err(ErrorType::ReadError, "reading the body of a request")?;
        if let Some(piece) = &piece {
            self.received += piece.len();
            self.kept.keep(piece);
            // Gives the window back; a stream that has ended needs none.
            drop(self.body.flow_control().release_capacity(piece.len()));
        } else if !self.body.is_end_stream() {
            let trailers = poll_fn(|context| self.body.poll_trailers(context)).await;
            if let Some(trailers) = trailers.or_err(ErrorType::ReadError, "reading the trailers of a request")? {
                leave_trailers(&mut self.digest, trailers);
            }
        }
        Ok(piece)
    }

    /// Waits for the client to give up its request.
    async fn given_up(&mut self) -> Result<Reason> {
        let reset = poll_fn(|context| match &mut self.answer {
            Some(answer) => answer.poll_reset(context),
            None => self.respond.poll_reset(context),
        });
        reset.await.or_err(ErrorType::H2Error, "waiting for the client")
    }

    fn reset(&mut self) {
        if !self.ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
            self.ended = true;
        }
    }
}

/// Whether it is a field that no message of HTTP/2 has (RFC 9113, section 8.2.2).
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade")
}

#[async_trait]
impl Session for Http2Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.body_piece().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout;
        let drain = async {
            while !self.is_body_done() && self.body_piece().await?.is_some() {}
            Ok(())
        };
        in_time(limit, drain).await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.data(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Header(head, end) => {
                    self.head(head, end).map_err(Error::into_down)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.data(data, end).await.map_err(Error::into_down)?;
                    }
                    end
                }
                HttpTask::UpgradedBody(..) => {
                    return Error::e_explain(ErrorType::InternalError, "a tunnel over HTTP/2");
                }
                HttpTask::Trailer(trailers) => {
                    if let Some(trailers) = trailers {
                        self.trailers(*trailers).map_err(Error::into_down)?;
                    }
                    true
                }
                HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if ended {
            self.end().map_err(Error::into_down)?;
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} over HTTP/2", self.request.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_ref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.reset();
    }

    fn is_body_done(&mut self) -> bool {
        self.is_body_empty() || self.body.is_end_stream()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        let no_length = || self.request.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        self.received == 0 && (self.body.is_end_stream() || no_length())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.body_piece().await;
        }
        let reason = self.given_up().await?;
        Error::e_explain(ErrorType::H2Error, format!("the client has given up its request: {reason}"))
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.received
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
        self.kept.enable();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.kept.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.kept.whole()
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
}

/// Waits until the client has room for some more of its answer.
///
/// # Errors
/// It has given up, or takes nothing for so long.
async fn wait_for_room(answer: &mut SendStream<Bytes>, limit: Option<Duration>) -> Result<()> {
    let room = poll_fn(|context| answer.poll_capacity(context));
    let room = match limit {
        None => room.await,
        Some(limit) => match tokio::time::timeout(limit, room).await {
            Ok(room) => room,
            Err(_) => return Error::e_explain(ErrorType::WriteTimedout, "the client takes no more"),
        },
    };
    let room =
        room.ok_or_else(|| Error::explain(ErrorType::ConnectionClosed, "the client has given up its request"))?;
    room.map(drop).or_err(ErrorType::WriteError, "waiting for room")
}

async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match limit {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the rest of a body has not come in time"),
        },
    }
}
