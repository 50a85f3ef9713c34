//! Asking one backend once whether it is fit: by a connection, by a request of HTTP, by the health protocol of gRPC.
//!
//! A request goes the way that traffic goes: with the upstream's TLS and its version of HTTP, and without a pool, so that a
//! connection that only seems to live hides nothing. What is read of an answer is bounded.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::{Method, Uri};
use pingora::ErrorType;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use pingora_load_balancing::health_check::{HealthCheck as _, TcpHealthCheck};
use pingora_load_balancing::{Backend as Candidate, Extensions};

use super::backend::Backend;
use crate::config::{HealthCheck, HttpQuestion, Question};

/// The most of a body that is looked at.
const MOST_BODY: usize = 64 * 1024;

/// Where gRPC asks (gRPC Health Checking Protocol).
const GRPC_PATH: &str = "/grpc.health.v1.Health/Check";

/// Made when the first backend is asked over it.
pub type SharedConnector = Arc<LazyLock<Connector>>;

/// Asks backends what their upstream wants to know.
pub struct Probe {
    check: HealthCheck,
    tcp: Arc<TcpHealthCheck>,
    http: SharedConnector,
}

impl fmt::Debug for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Probe").field("check", &self.check).finish_non_exhaustive()
    }
}

/// Why a backend did not pass.
#[derive(Debug)]
pub enum Fault {
    /// We could not ask (out of descriptors, say): that says nothing of the backend.
    NotAsked(Box<pingora::Error>),
    /// In words.
    Unfit(String),
}

impl From<Box<pingora::Error>> for Fault {
    fn from(error: Box<pingora::Error>) -> Fault {
        if matches!(error.etype(), ErrorType::InternalError) {
            return Fault::NotAsked(error);
        }
        Fault::Unfit(error.etype().as_str().to_owned())
    }
}

impl Probe {
    /// A probe that shares its connectors with others: each reads the platform's trust store.
    pub fn new(check: HealthCheck, tcp: Arc<TcpHealthCheck>, http: SharedConnector) -> Probe {
        Probe { check, tcp, http }
    }

    /// Asks once.
    ///
    /// # Errors
    /// Why it did not pass.
    pub async fn ask(&self, backend: &Backend) -> Result<(), Fault> {
        let limit = self.check.timeout;
        let asked = async {
            match &self.check.question {
                Question::Tcp => {
                    let candidate =
                        Candidate { addr: backend.peer._address.clone(), weight: 1, ext: Extensions::new() };
                    self.tcp.check(&candidate).await.map_err(Fault::from)
                }
                Question::Http(question) => self.ask_http(backend, question).await,
                Question::Grpc(service) => self.ask_grpc(backend, service).await,
            }
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(found) => found,
            Err(_) => Err(Fault::Unfit(format!("no answer within {}", crate::units::show(limit)))),
        }
    }

    async fn ask_http(&self, backend: &Backend, question: &HttpQuestion) -> Result<(), Fault> {
        let mut request = RequestHeader::build(question.method.clone(), question.path.as_bytes(), None)?;
        for (name, value) in &question.headers {
            request.append_header(name.clone(), value.clone())?;
        }
        let mut exchange = self.send(backend, request, question.host.clone(), None).await?;
        let status = exchange.status().await?;
        let fault = if !question.expect.iter().any(|range| range.contains(&status)) {
            Some(format!("answered {status}, expected {}", question.expected()))
        } else if let Some(wanted) = &question.body
            && !holds(&exchange.body().await?, wanted.as_bytes())
        {
            Some("the body does not hold what was expected".to_owned())
        } else {
            None
        };
        exchange.end().await;
        fault.map_or(Ok(()), |why| Err(Fault::Unfit(why)))
    }

    async fn ask_grpc(&self, backend: &Backend, service: &str) -> Result<(), Fault> {
        let mut request = RequestHeader::build(Method::POST, GRPC_PATH.as_bytes(), None)?;
        request.insert_header(CONTENT_TYPE, "application/grpc")?;
        request.insert_header(TE, "trailers")?;
        let mut exchange = self.send(backend, request, None, Some(health_request(service))).await?;
        let status = exchange.status().await?;
        let refused = exchange.grpc_status();
        let body = exchange.body().await?;
        exchange.end().await;
        match (status, refused, serving_status(&body)) {
            (200, None | Some(0), Some(1)) => Ok(()),
            (200, None | Some(0), Some(status)) => {
                Err(Fault::Unfit(format!("grpc says {}", SERVING.get(status).unwrap_or(&"something unknown"))))
            }
            (200, Some(code), _) => Err(Fault::Unfit(format!("grpc status {code}"))),
            (200, None, None) => Err(Fault::Unfit("grpc said nothing".to_owned())),
            (status, ..) => Err(Fault::Unfit(format!("answered {status}, expected 200"))),
        }
    }

    /// Connects and sends; a body makes it a request of gRPC.
    async fn send(
        &self,
        backend: &Backend,
        mut request: RequestHeader,
        host: Option<HeaderValue>,
        body: Option<Bytes>,
    ) -> Result<Exchange<'_>, Fault> {
        let unfit = |_| Fault::Unfit("its address cannot be asked for by name".to_owned());
        let named = || HeaderValue::from_str(backend.name.strip_prefix("unix:").map_or(&backend.name, |_| "localhost"));
        let host = host.map_or_else(named, Ok).map_err(|_| Fault::Unfit("it has no name".to_owned()))?;
        request.insert_header(USER_AGENT, concat!("evenkeel-health-check/", env!("CARGO_PKG_VERSION")))?;
        let mut peer = backend.peer.clone();
        // The time of the check is the only one: upstreams that share it may differ in theirs.
        peer.options.connection_timeout = None;
        peer.options.total_connection_timeout = None;
        peer.options.read_timeout = None;
        peer.options.write_timeout = None;
        let (mut session, _) = self.http.get_http_session(&peer).await?;
        if matches!(session, HttpSession::H2(_)) {
            let scheme = if peer.tls() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host.as_bytes());
            let uri = uri.path_and_query(request.raw_path()).build();
            request.set_uri(uri.map_err(unfit)?);
            request.set_version(http::Version::HTTP_2);
        } else {
            request.insert_header(HOST, host)?;
            request.insert_header(CONNECTION, "close")?;
        }
        let ends = body.is_none();
        session.write_request_header(Box::new(request)).await?;
        if let Some(body) = body {
            session.write_request_body(body, true).await?;
        }
        session.finish_request_body().await?;
        debug_assert!(ends || matches!(session, HttpSession::H2(_)), "gRPC is HTTP/2");
        Ok(Exchange { session, connector: &self.http, peer })
    }
}

/// A request that was sent.
struct Exchange<'a> {
    session: HttpSession,
    connector: &'a Connector,
    peer: HttpPeer,
}

impl Exchange<'_> {
    /// The status of its answer; interim ones are passed over.
    async fn status(&mut self) -> Result<u16, Fault> {
        loop {
            self.session.read_response_header().await?;
            match self.session.response_header().map(|head| head.status.as_u16()) {
                Some(100..=199) => {}
                Some(status) => return Ok(status),
                None => return Err(Fault::Unfit("answered without a head".to_owned())),
            }
        }
    }

    /// `grpc-status` of a head that has no message behind it.
    fn grpc_status(&self) -> Option<u32> {
        let value = self.session.response_header()?.headers.get("grpc-status")?;
        value.to_str().ok()?.parse().ok()
    }

    async fn body(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while body.len() < MOST_BODY
            && let Some(piece) = self.session.read_response_body().await?
        {
            body.extend_from_slice(&piece);
        }
        body.truncate(MOST_BODY);
        Ok(body)
    }

    /// A connection of HTTP/1.1 is closed; one of HTTP/2 must be given back, or is never closed.
    async fn end(self) {
        if matches!(self.session, HttpSession::H2(_)) {
            self.connector.release_http_session(self.session, &self.peer, Some(Duration::from_millis(1))).await;
        }
    }
}

fn holds(body: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(body, wanted).is_some()
}

/// What `HealthCheckResponse.ServingStatus` is called.
const SERVING: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// A `HealthCheckRequest` with field 1 as text, framed: no compression, and its length in four bytes.
fn health_request(service: &str) -> Bytes {
    let length = u8::try_from(service.len()).unwrap_or_default();
    let message = if length == 0 { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
    let framed = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    [&[0], &framed[..], &message].concat().into()
}

/// Field 1 of a `HealthCheckResponse`; left out it is 0. None for what is no such message.
fn serving_status(body: &[u8]) -> Option<usize> {
    let [0, a, b, c, d, message @ ..] = body else { return None };
    if u32::from_be_bytes([*a, *b, *c, *d]) as usize != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(usize::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_health_protocol_are_those_of_its_definition() {
        assert_eq!(health_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(health_request("shop")[..], *b"\0\0\0\0\x06\x0a\x04shop");
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for garbage in [&b""[..], b"hello", &[0, 0, 0, 0, 3, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 2, 16, 1]] {
            assert_eq!(serving_status(garbage), None, "{garbage:?}");
        }
    }
}
