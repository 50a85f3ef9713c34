//! Backends that speak HTTP/2 (`protocol: http2`), for clients of every version.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Request};

use crate::support::client::Client;
use crate::support::frames::{END_STREAM, End, Http2};
use crate::support::origin2::{Origin2, begin, whole};
use crate::support::{Answer, Balancer, Origin, eventually, free_address};

/// Says what it was asked.
pub fn mirror() -> Origin2 {
    Origin2::start(|request, mut respond| async move {
        let (head, body) = request.into_parts();
        let body = whole(body).await;
        let text = format!("{} {} {}", head.method, head.uri, String::from_utf8_lossy(&body));
        let mut answer = begin(&mut respond, 200);
        answer.send_data(text.into(), true).unwrap();
    })
}

pub fn before(origin: &Origin2, settings: &str) -> Balancer {
    Balancer::before([origin.address])
        .top("threads: 1")
        .upstream(&format!("protocol: http2, health_check: off{settings}"))
        .start()
}

pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub fn grpc(path: &str) -> Request<()> {
    let request = Request::builder().method("POST").uri(format!("http://grpc.example{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

#[test]
fn a_client_of_any_version_is_served_over_one_connection() {
    let origin = mirror();
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    let address = origin.address;
    assert_eq!(client.request("GET", "/a?b", &[], b"").unwrap().text(), "GET http://story.example/a?b ");
    let posted = client.request("POST", "/p", &[("connection", "keep-alive, x-hop"), ("x-hop", "1")], b"body").unwrap();
    assert_eq!(posted.text(), "POST http://story.example/p body");
    client
        .send(b"POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
        .unwrap();
    assert_eq!(client.response(false).unwrap().text(), "POST http://a/c body");
    assert_eq!(client.request("HEAD", "/h", &[], b"").unwrap().status, 200);
    let mut old = Client::connect(balancer.address).unwrap();
    old.send(b"GET /old HTTP/1.0\r\nhost: a\r\n\r\n").unwrap();
    let (answer, whole) = old.seen(false).unwrap();
    assert_eq!((answer.text().as_str(), whole), ("GET http://a/old ", true));
    assert_eq!(answer.field("transfer-encoding"), None, "chunks are unknown to HTTP/1.0");
    let mut new = Http2::connect(balancer.address);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/new"), ("te", "trailers")];
    new.headers(1, &fields, END_STREAM);
    assert_eq!(new.outcome(1).text(), "GET http://a/new ");
    assert_eq!(origin.connections(), 1, "{address}");
    for head in origin.requests() {
        let names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
        for gone in ["connection", "host", "transfer-encoding", "x-hop", "keep-alive"] {
            assert!(!names.contains(&gone), "{names:?}");
        }
        assert_eq!(head.headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(head.headers.contains_key("te"), head.uri.path() == "/new", "{names:?}");
    }
}

#[tokio::test]
async fn a_unary_call_of_grpc_gets_its_message_and_its_trailers() {
    let origin = Origin2::start(|request, mut respond| async move {
        let message = whole(request.into_body()).await;
        let mut answer = begin(&mut respond, 200);
        answer.send_data(message.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        answer.send_trailers(trailers).unwrap();
    });
    let balancer = before(&origin, "");
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (answer, mut message) = sender.send_request(grpc("/Echo/Say"), false).unwrap();
    message.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-origin"]), (200, &"two".parse().unwrap()));
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), &b"\0\0\0\0\x02hi"[..]);
    assert_eq!(answer.body_mut().trailers().await.unwrap().unwrap()["grpc-status"], "0");
    assert_eq!(origin.requests()[0].headers["te"], "trailers");
}

#[tokio::test]
async fn a_call_of_grpc_that_has_no_message_is_an_answer_of_trailers_alone() {
    let origin = Origin2::start(|request, mut respond| async move {
        whole(request.into_body()).await;
        let head = http::Response::builder().header("content-type", "application/grpc").header("grpc-status", "5");
        respond.send_response(head.body(()).unwrap(), true).unwrap();
    });
    let balancer = before(&origin, "");
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (answer, mut message) = sender.send_request(grpc("/Echo/Say"), false).unwrap();
    message.send_data(Bytes::new(), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn a_stream_of_grpc_goes_both_ways_message_by_message() {
    let origin = Origin2::start(|request, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        let mut body = request.into_body();
        while let Some(Ok(message)) = body.data().await {
            drop(body.flow_control().release_capacity(message.len()));
            answer.send_data(message, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        answer.send_trailers(trailers).unwrap();
    });
    let balancer = before(&origin, "");
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (answer, mut messages) = sender.send_request(grpc("/Echo/Chat"), false).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    for number in 0..200_u8 {
        messages.send_data(Bytes::from(vec![number; 10]), false).unwrap();
        let echoed = answer.data().await.unwrap().unwrap();
        assert_eq!(echoed, vec![number; 10], "each is answered before the next is sent");
        answer.flow_control().release_capacity(echoed.len()).unwrap();
    }
    messages.send_data(Bytes::new(), true).unwrap();
    assert!(answer.data().await.is_none());
    assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[test]
fn trailers_are_left_out_for_a_client_of_http_1_1() {
    let origin = Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        answer.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        answer.send_trailers(trailers).unwrap();
    });
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..2 {
        assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "hello");
    }
}

/// `/silent` is never answered, `/stalls` stops in its body, `/drips` sends a piece each 200 ms for 2 s.
fn lazy(resets: Arc<AtomicUsize>) -> Origin2 {
    Origin2::start(move |request, mut respond| {
        let resets = resets.clone();
        async move {
            match request.uri().path() {
                "/silent" => {
                    let reset = std::future::poll_fn(|context| respond.poll_reset(context)).await;
                    assert_eq!(reset.unwrap(), Reason::CANCEL);
                    resets.fetch_add(1, Ordering::SeqCst);
                }
                "/stalls" => {
                    let mut answer = begin(&mut respond, 200);
                    answer.send_data(Bytes::from_static(b"half"), false).unwrap();
                    let reset = std::future::poll_fn(|context| answer.poll_reset(context)).await;
                    assert_eq!(reset.unwrap(), Reason::CANCEL);
                    resets.fetch_add(1, Ordering::SeqCst);
                }
                "/drips" => {
                    let mut answer = begin(&mut respond, 200);
                    for _ in 0..10 {
                        answer.send_data(Bytes::from_static(b"drip"), false).unwrap();
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    answer.send_data(Bytes::new(), true).unwrap();
                }
                _ => {
                    let length = whole(request.into_body()).await.len();
                    begin(&mut respond, 200).send_data(length.to_string().into(), true).unwrap();
                }
            }
        }
    })
}

#[test]
fn a_late_stream_is_ended_and_no_other_of_its_connection() {
    // Limits that pingora's one time-out can keep, and limits that it cannot.
    for timeouts in ["first_byte: 700ms, idle: 700ms", "first_byte: 700ms, idle: 5s", "total: 3s, first_byte: 700ms"] {
        let resets = Arc::new(AtomicUsize::new(0));
        let origin = lazy(resets.clone());
        let balancer = before(&origin, &format!(", retry: off, timeouts: {{ {timeouts} }}"));
        let mut drips = Http2::connect(balancer.address);
        drips.get(1, "/drips");
        std::thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        let mut late = Client::connect(balancer.address).unwrap();
        late.send(
            b"POST /silent HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhiGET /next HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .unwrap();
        let mut late2 = Http2::connect(balancer.address);
        late2.get(1, "/silent");
        late2.headers(3, &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/silent")], 0);
        late2.send(&crate::support::frames::frame(0, END_STREAM, 3, b"hi"));
        let answer = late.response(false).unwrap();
        assert!(answer.status == 504 && answer.text().contains("first_byte_timeout"), "{timeouts}: {answer:?}");
        for stream in [1, 3] {
            let outcome = late2.outcome(stream);
            assert_eq!(outcome.status, Some(504), "{timeouts}: {outcome:?}");
            assert!(outcome.text().contains("first_byte_timeout"), "{timeouts}: {}", outcome.text());
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{timeouts}: {:?}", begun.elapsed());
        eventually("each is cancelled", || resets.load(Ordering::SeqCst) == 3, || format!("{resets:?}"));
        let dripped = drips.outcome(1);
        assert_eq!((dripped.text(), dripped.end), ("drip".repeat(10), End::Whole), "{timeouts}");
        late2.get(5, "/");
        assert_eq!(late2.outcome(5).text(), "0", "{timeouts}");
    }
}

#[test]
fn with_limits_that_we_keep_a_late_stream_costs_no_connection() {
    let resets = Arc::new(AtomicUsize::new(0));
    let origin = lazy(resets.clone());
    let balancer = before(&origin, ", retry: off, timeouts: { first_byte: 500ms, idle: 1s }");
    let mut client = Http2::connect(balancer.address);
    for round in 0..3 {
        client.get(round * 4 + 1, "/silent");
        assert_eq!(client.outcome(round * 4 + 1).status, Some(504));
        client.get(round * 4 + 3, "/");
        assert_eq!(client.outcome(round * 4 + 3).text(), "0");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_that_stalls_is_broken_off_at_idle_and_a_request_at_its_total() {
    let origin = lazy(Arc::default());
    let balancer = before(&origin, ", retry: off, timeouts: { idle: 500ms, total: 5s }");
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/stalls");
    let outcome = client.outcome(1);
    assert_eq!((outcome.status, outcome.text().as_str()), (Some(200), "half"));
    assert!(matches!(outcome.end, End::Reset(_)), "{outcome:?}");
    assert_eq!(balancer.access_log(1)[0]["reason"], "idle_timeout");
    let balancer = before(&origin, ", retry: off, timeouts: { total: 1s }");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET /drips HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let (answer, whole) = client.seen(false).unwrap();
    assert!(answer.status == 200 && !whole, "{answer:?}");
    assert_eq!(balancer.access_log(1)[0]["reason"], "total_timeout");
}

#[test]
fn a_client_that_is_slow_to_send_or_to_read_is_not_held_against_the_backend() {
    let origin = lazy(Arc::default());
    let balancer = before(&origin, ", retry: off, timeouts: { first_byte: 500ms, idle: 500ms }");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").unwrap();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(300));
        client.send(b"x").unwrap();
    }
    assert_eq!(client.response(false).unwrap().text(), "5");
    let large = Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        let mut left = 32 << 20_usize;
        while left > 0 {
            answer.reserve_capacity(left.min(64 << 10));
            let Some(Ok(room)) = std::future::poll_fn(|context| answer.poll_capacity(context)).await else { return };
            let now = room.min(left);
            left -= now;
            answer.send_data(vec![b'l'; now].into(), left == 0).unwrap();
        }
    });
    let balancer = before(&large, ", retry: off, timeouts: { first_byte: 500ms, idle: 600ms }");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let (answer, whole) = client.seen(false).unwrap();
    assert!(whole && answer.body.len() == 32 << 20, "{} bytes", answer.body.len());
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    std::thread::sleep(Duration::from_secs(2));
    let outcome = client.outcome(1);
    assert!(
        outcome.end == End::Whole && outcome.body.len() == 32 << 20,
        "{:?}, {} bytes",
        outcome.end,
        outcome.body.len()
    );
    assert!(balancer.memory() < 100 << 20, "{} bytes", balancer.memory());
}

#[test]
fn what_a_backend_has_refused_goes_to_another_even_if_it_is_a_post() {
    let refuses = Origin2::start(|_, mut respond| async move { respond.send_reset(Reason::REFUSED_STREAM) });
    let serves = mirror();
    let balancer = Balancer::before([refuses.address, serves.address])
        .top("threads: 1")
        .upstream("protocol: http2, health_check: off, retry: { budget: 100%, on: [refused] }")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..6 {
        assert_eq!(client.request("POST", "/", &[], b"once").unwrap().text(), "POST http://story.example/ once");
    }
    assert!(!refuses.requests().is_empty() && serves.requests().len() == 6);
}

#[test]
fn a_reset_is_502_and_a_get_goes_to_another_backend() {
    let resets = Origin2::start(|_, mut respond| async move { respond.send_reset(Reason::INTERNAL_ERROR) });
    let balancer = before(&resets, ", retry: off");
    let mut client = Client::connect(balancer.address).unwrap();
    let answer = client.request("GET", "/", &[], b"").unwrap();
    assert!(answer.status == 502 && answer.text().contains("reason: reset"), "{answer:?}");
    let serves = mirror();
    let balancer = Balancer::before([resets.address, serves.address])
        .top("threads: 1")
        .upstream("protocol: http2, health_check: off, retry: { budget: 100% }")
        .start();
    for _ in 0..6 {
        assert_eq!(balancer.get("/").status, 200);
    }
    assert_eq!(serves.requests().len(), 6);
}

#[test]
fn a_connection_that_is_given_up_in_order_costs_no_request() {
    let origin = mirror();
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    for round in 0..20 {
        let path = if round % 3 == 0 { "/goaway" } else { "/" };
        let answer = client.request("POST", path, &[], b"x").unwrap();
        assert_eq!(answer.status, 200, "{round}: {}", answer.text());
    }
    assert!(origin.connections() >= 6, "{}", origin.connections());
}

#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client() {
    let origin = Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        answer.send_data(Bytes::from_static(b"half"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer.send_reset(Reason::INTERNAL_ERROR);
    });
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let (answer, whole) = client.seen(false).unwrap();
    assert_eq!((answer.status, answer.text().as_str(), whole), (200, "half", false));
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    let outcome = client.outcome(1);
    assert_eq!((outcome.status, outcome.text().as_str()), (Some(200), "half"));
    assert!(matches!(outcome.end, End::Reset(_)), "{outcome:?}");
}

#[test]
fn a_backend_that_speaks_something_else_is_502() {
    let other = Origin::start(|_| Answer::Ok("HTTP/1.1".to_owned()));
    let balancer = Balancer::before([other.address]).upstream("protocol: http2, health_check: off, retry: off").start();
    let answer = balancer.get("/");
    assert!(answer.status == 502, "{answer:?}");
    let balancer =
        Balancer::before([free_address()]).upstream("protocol: http2, health_check: off, retry: off").start();
    assert!(balancer.get("/").text().contains("connect_failed"));
}

#[test]
fn a_client_that_leaves_takes_its_stream_with_it_and_no_other() {
    let resets = Arc::new(AtomicUsize::new(0));
    let origin = lazy(resets.clone());
    let balancer = before(&origin, "");
    let mut drips = Client::connect(balancer.address).unwrap();
    drips.send(b"GET /drips HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    eventually("it is asked", || origin.requests().len() == 1, String::new);
    let mut leaves = Http2::connect(balancer.address);
    leaves.get(1, "/silent");
    std::thread::sleep(Duration::from_millis(200));
    drop(leaves);
    eventually("it is cancelled", || resets.load(Ordering::SeqCst) == 1, String::new);
    assert_eq!(drips.response(false).unwrap().text(), "drip".repeat(10));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_head_request_that_fails_over_http2_is_whole() {
    let balancer = Balancer::before([free_address()]).upstream("health_check: off").start();
    let mut client = Http2::connect(balancer.address);
    client.headers(1, &[(":method", "HEAD"), (":scheme", "http"), (":authority", "a"), (":path", "/")], END_STREAM);
    let outcome = client.outcome(1);
    assert_eq!((outcome.status, outcome.end), (Some(502), End::Whole));
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_told_408_and_the_stream_is_cancelled() {
    let origin = Origin2::start(|request, mut respond| async move {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.data().await {}
        drop(std::future::poll_fn(|context| respond.poll_reset(context)).await);
    });
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .listener("timeouts: { request_body_idle: 500ms }")
        .upstream("protocol: http2, health_check: off")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhe").unwrap();
    assert_eq!(client.response(false).unwrap().status, 408);
    let mut client = Http2::connect(balancer.address);
    client.headers(1, &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")], 0);
    client.send(&crate::support::frames::frame(0, 0, 1, b"he"));
    assert_eq!(client.outcome(1).status, Some(408));
    assert_eq!(origin.connections(), 1);
}
