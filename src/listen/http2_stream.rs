//! One request of an HTTP/2 connection, as a session of pingora's.
//!
//! What the backend says of its date stays; interim answers pass; and a client that takes nothing is given up after a
//! while, counted from the last that it took.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http::header;
use http::request::Parts;
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
use crate::http2::{Came, Code, Fault, Stream as Frames, is_of_connection};

type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// See the module's documentation.
pub struct Http2Stream {
    request: RequestHeader,
    stream: Frames<Parts>,
    /// Its length is said to be nothing.
    announces_none: bool,
    /// All of the request has come and was taken.
    taken: bool,
    /// The head of the final answer, without its fields.
    written: Option<ResponseHeader>,
    /// END_STREAM was sent.
    ended: bool,
    received: usize,
    sent: usize,
    kept: KeptBody,
    digest: Digest,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl Http2Stream {
    pub(super) fn new(request: Parts, stream: Frames<Parts>, digest: Digest) -> Http2Stream {
        Http2Stream {
            announces_none: request.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0"),
            request: request.into(),
            taken: stream.is_taken(),
            stream,
            written: None,
            ended: false,
            received: 0,
            sent: 0,
            kept: KeptBody::default(),
            digest,
            read_timeout: None,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    fn head(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        if self.ended || self.written.is_some() {
            return Ok(());
        }
        let is_interim = head.status.is_informational();
        let sent = self.stream.send_fields(end && !is_interim, |encoder, out| {
            encoder.status(out, head.status);
            for (name, value) in head.headers.iter().filter(|(name, _)| !is_of_connection(name)) {
                encoder.field(out, name, value);
            }
            if !is_interim && !head.headers.contains_key(header::DATE) {
                encoder.field(out, &header::DATE, &get_cached_date());
            }
        });
        sent.or_err(ErrorType::WriteError, "sending an answer")?;
        if !is_interim {
            // Of what was written pingora's phases and ours ask for no more than the status.
            self.written = Some(ResponseHeader::build_no_case(head.status, Some(0))?);
            self.ended = end;
        }
        Ok(())
    }

    /// Sends what the client has room for, again and again; each time it may take as long as the time-out.
    async fn data(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.written.is_none() {
            return Error::e_explain(ErrorType::InternalError, "a body before its head");
        }
        loop {
            let stream = &mut self.stream;
            // Mostly there is room, and no time to be measured.
            let sent = match poll_fn(|task| Poll::Ready(stream.poll_send(task, &mut data, end))).await {
                Poll::Ready(sent) => sent,
                Poll::Pending => {
                    let sent = poll_fn(|task| stream.poll_send(task, &mut data, end));
                    in_time(self.write_timeout, sent, (ErrorType::WriteTimedout, "the client takes no more")).await?
                }
            };
            let sent = sent.or_err(ErrorType::WriteError, "sending a part of an answer")?;
            self.sent += sent;
            if data.is_empty() {
                self.ended = end;
                return Ok(());
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.written.is_some() && !self.ended {
            self.stream.send_end().or_err(ErrorType::WriteError, "ending an answer")?;
            self.ended = true;
        }
        Ok(())
    }

    fn trailers(&mut self, trailers: &HeaderMap) -> Result<()> {
        if self.written.is_some() && !self.ended {
            self.stream.send_trailers(trailers).or_err(ErrorType::WriteError, "sending trailers")?;
            self.ended = true;
        }
        Ok(())
    }

    async fn body_piece(&mut self) -> Result<Option<Bytes>> {
        let came = poll_fn(|task| self.stream.poll_receive(task)).await;
        match came.or_err(ErrorType::ReadError, "reading the body of a request")? {
            Came::Piece(piece) => {
                self.received += piece.len();
                self.kept.keep(&piece);
                Ok(Some(piece))
            }
            Came::End(trailers) => {
                self.taken = true;
                if let Some(trailers) = trailers {
                    leave_trailers(&mut self.digest, trailers);
                }
                Ok(None)
            }
            Came::Head(_) => Error::e_explain(ErrorType::InternalError, "a second head of a request"),
        }
    }

    /// Whether all of the request has come and was taken; its end may have come meanwhile.
    fn is_taken(&mut self) -> bool {
        self.taken = self.taken || self.stream.is_taken();
        self.taken
    }

    /// Waits for the client to give up its request.
    async fn given_up(&mut self) -> Fault {
        poll_fn(|task| self.stream.poll_fault(task)).await
    }

    fn reset(&mut self) {
        if !self.ended {
            self.stream.reset(Code::INTERNAL_ERROR);
            self.ended = true;
        }
    }
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
        in_time(limit, drain, (ErrorType::ReadTimedout, "the rest of a body has not come in time")).await?
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(&head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(head, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.data(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.trailers(&trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        for task in tasks {
            ended |= match task {
                HttpTask::Header(head, end) => {
                    self.head(&head, end).map_err(Error::into_down)?;
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
                        self.trailers(&trailers).map_err(Error::into_down)?;
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
        self.is_body_empty() || self.is_taken()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.received == 0 && (self.announces_none || self.is_taken())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.body_piece().await;
        }
        let fault = self.given_up().await;
        Error::e_because(ErrorType::H2Error, "the client has given up its request", fault)
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

/// Waits for something that may take so long.
///
/// # Errors
/// It has taken longer.
async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = T>, late: Late) -> Result<T> {
    match limit {
        None => Ok(work.await),
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(done) => Ok(done),
            Err(_) => Error::e_explain(late.0, late.1),
        },
    }
}

/// What is said of a wait that was too long.
type Late = (ErrorType, &'static str);
