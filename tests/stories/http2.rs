//! HTTP/2 from clients, by prior knowledge.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};

use super::forwarding::{Known, LARGE, large_origin};
use crate::support::client::{Client, exchange};
use crate::support::{Answer, Balancer, Origin};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // Windows as browsers have them; the protocol's own 64 KiB make a large answer wait for each piece.
    let mut client = h2::client::Builder::new();
    client.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let (sender, connection) = client.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://story.example{path}"))
}

/// Sends a request with a body in these pieces; the last may be empty.
pub async fn ask(
    sender: &SendRequest<Bytes>,
    request: http::request::Builder,
    pieces: &[&'static [u8]],
) -> (Response<()>, Vec<u8>) {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = request.body(()).unwrap();
    let (response, mut body) = sender.send_request(request, pieces.is_empty()).unwrap();
    for (index, piece) in pieces.iter().enumerate() {
        body.send_data(Bytes::from_static(piece), index + 1 == pieces.len()).unwrap();
        tokio::task::yield_now().await;
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend(piece);
    }
    (Response::from_parts(head, ()), bytes)
}

fn echo() -> Origin {
    Origin::start(|request| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        Answer::Ok(format!("{path}:{}", String::from_utf8_lossy(&request.body)))
    })
}

#[tokio::test]
async fn a_client_may_speak_http2_without_tls_and_the_backend_sees_http_1_1() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).start();
    let sender = connect(balancer.address).await;
    let with_cookies = request("GET", "/a?b=%20c")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-forwarded-host", "bank.example")
        .header("te", "trailers");
    let (head, body) = ask(&sender, with_cookies, &[]).await;
    assert_eq!((head.status().as_u16(), body.as_slice()), (200, &b"/a?b=%20c:"[..]));
    assert!(head.headers().get("connection").is_none() && head.headers().get("transfer-encoding").is_none());
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.line, "GET /a?b=%20c HTTP/1.1");
    assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some("story.example"), Some("story.example")));
    assert_eq!((seen.field("x-forwarded-for"), seen.field("x-forwarded-proto")), (Some("127.0.0.1"), Some("http")));
    assert_eq!((seen.field("cookie"), seen.field("te")), (Some("a=1; b=2"), None));
    let (_, body) = ask(&sender, request("POST", "/p").header("content-length", 5), &[b"he", b"llo"]).await;
    assert_eq!(body, b"/p:hello");
    let (head, body) = ask(&sender, request("HEAD", "/h"), &[]).await;
    assert_eq!((head.status().as_u16(), body.len()), (200, 0));
    let lines = balancer.access_log(3);
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/2.0" && line["host"] == "story.example"), "{lines:?}");
}

#[tokio::test]
async fn a_body_that_ends_with_an_empty_frame_leaves_the_backend_connection_whole() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).top("threads: 1").upstream("retry: off").start();
    let sender = connect(balancer.address).await;
    for round in 0..20 {
        let pieces: &[&[u8]] = if round % 2 == 0 { &[b"hello", b""] } else { &[b""] };
        let (head, body) = ask(&sender, request("POST", "/"), pieces).await;
        assert_eq!(head.status(), 200, "round {round}: {}", String::from_utf8_lossy(&body));
        assert_eq!(body, if round % 2 == 0 { &b"/:hello"[..] } else { b"/:" });
        let (head, body) = ask(&sender, request("GET", "/next"), &[]).await;
        assert_eq!((head.status().as_u16(), body.as_slice()), (200, &b"/next:"[..]), "round {round}");
    }
    let used: BTreeSet<_> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!((origin.count(), used.len()), (40, 1), "one connection, each request once");
}

#[tokio::test]
async fn many_streams_of_one_connection_are_all_answered() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).start();
    let sender = connect(balancer.address).await;
    // The server allows 128; one more, begun as another ends, it may refuse (RFC 9113, section 5.1.2).
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(80));
    let asked: Vec<_> = (0..500)
        .map(|number| {
            let (sender, places) = (sender.clone(), places.clone());
            tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                (number, ask(&sender, request("POST", &format!("/{number}")), &[b"x"]).await)
            })
        })
        .collect();
    for task in asked {
        let (number, (head, body)) = task.await.unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(String::from_utf8(body).unwrap(), format!("/{number}:x"));
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_disturbs_no_other() {
    let origin = Origin::start(|request| {
        if request.line.starts_with("GET /slow") { Answer::Raw(Vec::new()) } else { Answer::Ok("fine".to_owned()) }
    });
    let balancer = Balancer::before([origin.address]).start();
    let sender = connect(balancer.address).await;
    let mut ready = sender.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(request("GET", "/slow").body(()).unwrap(), true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    let (head, body) = ask(&sender, request("GET", "/"), &[]).await;
    assert_eq!((head.status().as_u16(), body.as_slice()), (200, &b"fine"[..]));
    let gone = tokio::task::spawn_blocking(move || balancer.access_log(2)).await.unwrap();
    assert!(gone.iter().any(|line| line["reason"] == "client_gone" && line["path"] == "/slow"), "{gone:?}");
}

#[test]
fn half_a_preface_is_closed_at_the_deadline_of_the_head_and_a_word_like_it_is_http_1() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { request_header: 1s }").start();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(&PREFACE[..20]).unwrap();
    let began = Instant::now();
    client.rest();
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");

    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"PRI").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    client.send(b"VATE / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert_eq!(client.response(false).unwrap().text(), "/:");
    assert_eq!(origin.requests()[0].line, "PRIVATE / HTTP/1.1");
}

#[test]
fn with_http2_off_its_preface_is_a_version_that_is_not_spoken() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).listener("http2: off").start();
    let answer = exchange(balancer.address, &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat());
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    assert_eq!(origin.count(), 0);
    assert_eq!(balancer.get("/").text(), "/:");
}

#[tokio::test]
async fn a_failure_is_told_over_http2_too() {
    let balancer = Balancer::before([crate::support::free_address()]).upstream("health_check: off").start();
    let sender = connect(balancer.address).await;
    let (head, body) = ask(&sender, request("GET", "/"), &[]).await;
    assert_eq!(head.status(), 502);
    assert!(String::from_utf8_lossy(&body).contains("connect_failed"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_stream() {
    let origin = Origin::start(|_| {
        Answer::RawThenClose(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec())
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (response, _) = sender.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
    let broken = match response.await {
        Err(_) => true,
        Ok(response) => {
            let mut body = response.into_body();
            loop {
                match body.data().await {
                    None => break false,
                    Some(Err(_)) => break true,
                    Some(Ok(_)) => {}
                }
            }
        }
    };
    assert!(broken, "the end of the stream would look like the end of the answer");
}

#[tokio::test]
async fn a_large_request_over_http2_passes_whole_in_little_memory() {
    const PIECE: usize = 64 << 10;
    let total: usize = 1 << 30;
    // The bodies of origins are held whole: this one counts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Read, Write};
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let (mut left, mut sum, mut buffer) = (total, 0_u64, vec![0; PIECE]);
                while left > 0 {
                    let most = left.min(PIECE);
                    reader.read_exact(&mut buffer[..most]).unwrap();
                    sum = sum
                        .wrapping_mul(31)
                        .wrapping_add(u64::from(buffer[0]))
                        .wrapping_add(u64::from(buffer[most - 1]));
                    left -= most;
                }
                let sum = sum.to_string();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sum}", sum.len());
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            });
        }
    });
    let balancer = Balancer::before([address]).start();
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let head = request("POST", "/").header("content-length", total).body(()).unwrap();
    let (response, mut body) = sender.send_request(head, false).unwrap();
    let (mut sent, mut sum) = (0, 0_u64);
    while sent < total {
        let number = (sent / PIECE) as u8;
        let mut piece = Bytes::from(vec![number; PIECE]);
        sum = sum.wrapping_mul(31).wrapping_add(2 * u64::from(number));
        sent += piece.len();
        while !piece.is_empty() {
            body.reserve_capacity(piece.len());
            let room = std::future::poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
            let now = piece.split_to(room.min(piece.len()));
            body.send_data(now, sent == total && piece.is_empty()).unwrap();
        }
    }
    let mut answer = response.await.unwrap().into_body();
    let text = answer.data().await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&text), sum.to_string());
    assert!(balancer.memory() < 100 << 20, "{} bytes", balancer.memory());
}

#[tokio::test]
async fn a_large_response_over_http2_passes_whole_in_little_memory() {
    let balancer = Balancer::before([large_origin()]).start();
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (response, _) = sender.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let (known, mut offset) = (Known::new(), 0);
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        assert!(piece[..] == *known.at(offset, piece.len()), "the stream is wrong near {offset}");
        offset += piece.len() as u64;
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    assert_eq!(offset, LARGE);
    assert!(balancer.memory() < 100 << 20, "{} bytes", balancer.memory());
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_body_is_told_so_in_time_and_one_that_goes_on_is_not() {
    let origin = echo();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { request_body_idle: 1s }").start();
    let sender = connect(balancer.address).await;
    let begun = Instant::now();
    let (answer, mut body) =
        sender.clone().ready().await.unwrap().send_request(request("POST", "/p").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"half"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 408);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(origin.count(), 0, "no whole request reached it");

    let (answer, mut body) =
        sender.clone().ready().await.unwrap().send_request(request("POST", "/p").body(()).unwrap(), false).unwrap();
    for piece in [&b"a"[..], b"b", b"c", b"d"] {
        body.send_data(Bytes::copy_from_slice(piece), false).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200, "two seconds, but no pause of one");
}

#[tokio::test]
async fn what_a_backend_says_of_its_date_and_before_its_answer_reaches_a_client_of_http_2() {
    const DATE: &str = "Mon, 23 Nov 2026 13:44:05 GMT";
    let origin = Origin::start(|request| {
        let date = if request.line.contains("/dated") { format!("date: {DATE}\r\n") } else { String::new() };
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
        Answer::Raw(format!("{hints}HTTP/1.1 200 OK\r\n{date}content-length: 2\r\n\r\nok").into_bytes())
    });
    let balancer = Balancer::before([origin.address]).start();
    let sender = connect(balancer.address).await;
    let mut ready = sender.clone().ready().await.unwrap();
    let (mut answer, _) = ready.send_request(request("GET", "/dated").body(()).unwrap(), true).unwrap();
    let hints = std::future::poll_fn(|context| answer.poll_informational(context)).await.unwrap().unwrap();
    assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</a.css>".parse().unwrap()));
    assert_eq!(answer.await.unwrap().headers()["date"], DATE);
    let (head, _) = ask(&sender, request("GET", "/"), &[]).await;
    assert!(head.headers().contains_key("date") && head.headers()["date"] != DATE, "added, since there was none");
}

#[tokio::test]
async fn a_client_of_http_2_that_waits_for_100_gets_it_from_the_backend() {
    let origin = Origin::start_raw(|mut stream, _| {
        use std::io::{Read, Write};
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(&[b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &body[..]].concat()).unwrap();
    });
    let balancer = Balancer::before([origin]).start();
    let mut ready = connect(balancer.address).await.ready().await.unwrap();
    let expects = request("POST", "/").header("expect", "100-continue").header("content-length", 5);
    let (mut answer, mut body) = ready.send_request(expects.body(()).unwrap(), false).unwrap();
    let interim = std::future::poll_fn(|context| answer.poll_informational(context)).await.unwrap().unwrap();
    assert_eq!(interim.status(), 100);
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.body_mut().data().await.unwrap().unwrap(), "hello");
}
