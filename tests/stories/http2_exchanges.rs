//! What passes over the streams that requests share on a connection to a backend of HTTP/2: who holds up whom, what is lost when
//! connections end, and what else than a head and a body goes both ways.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use crate::http2_backends::{before, connect, grpc, mirror};
use crate::support::client::Client;
use crate::support::frames::{END_STREAM, End, Http2, frame};
use crate::support::origin2::{Origin2, begin, whole};
use crate::support::{Balancer, eventually};
use crate::timeouts::black_hole;

/// Says the same for as long as there is room for it, and counts its bytes.
async fn endless(mut answer: SendStream<Bytes>, said: Arc<AtomicUsize>) {
    loop {
        answer.reserve_capacity(64 << 10);
        let Some(Ok(room)) = poll_fn(|task| answer.poll_capacity(task)).await else { return };
        said.fetch_add(room, Ordering::SeqCst);
        if answer.send_data(vec![b'x'; room].into(), false).is_err() {
            return;
        }
    }
}

/// Answers `/endless` without end; others are answered.
fn talkative() -> (Origin2, Arc<AtomicUsize>) {
    let said = Arc::new(AtomicUsize::new(0));
    let counted = said.clone();
    let origin = Origin2::start(move |request, mut respond| {
        let said = counted.clone();
        async move {
            let mut answer = begin(&mut respond, 200);
            match request.uri().path() {
                "/endless" => endless(answer, said).await,
                _ => answer.send_data(Bytes::from_static(b"fine"), true).unwrap(),
            }
        }
    });
    (origin, said)
}

fn who_do_not_read(balancer: &Balancer, count: usize) -> Vec<Client> {
    let client = |_| {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        client
    };
    (0..count).map(client).collect()
}

#[test]
fn a_client_that_does_not_read_stops_its_stream_and_none_beside_it() {
    const CLIENTS: usize = 60;
    let (origin, said) = talkative();
    let balancer = before(&origin, "");
    assert_eq!(balancer.get("/").text(), "fine");
    let memory = balancer.memory();
    let stalled = who_do_not_read(&balancer, CLIENTS);
    let mut last = 0;
    eventually(
        "the origin is not read any more, while others are served",
        || {
            assert_eq!(balancer.get("/").text(), "fine");
            std::thread::sleep(Duration::from_millis(300));
            let now = said.load(Ordering::SeqCst);
            std::mem::replace(&mut last, now) == now && now > 0
        },
        || format!("{} bytes", said.load(Ordering::SeqCst)),
    );
    assert_eq!(origin.connections(), 1, "they were all on one");
    let each = balancer.memory().saturating_sub(memory) / CLIENTS as u64;
    assert!(each < 600 << 10, "{each} bytes for each");
    drop(stalled);
}

#[test]
fn who_takes_nothing_of_a_stream_leaves_its_place_to_those_who_wait_for_it() {
    let (origin, said) = talkative();
    let balancer = before(&origin, ", circuit_breaker: { requests_per_backend: 3, queue_timeout: 10s }");
    let hostile = who_do_not_read(&balancer, 3);
    let taken = format!("evenkeel_backend_in_flight{{upstream=\"app\",backend=\"{}\"}}", origin.address);
    eventually("all places are taken", || balancer.metric(&taken) == 3.0, || balancer.metric(&taken).to_string());
    eventually("answers stand still", || said.load(Ordering::SeqCst) > 64 << 10, String::new);
    let began = Instant::now();
    assert_eq!(balancer.get("/").text(), "fine");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(hostile);
}

#[test]
fn of_a_request_that_its_backend_does_not_read_little_is_held() {
    const LENGTH: usize = 64 << 20;
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let asked = Arc::new(std::sync::Mutex::new(asked));
    let origin = Origin2::start(move |request, mut respond| {
        let asked = asked.clone();
        async move {
            let waits = tokio::task::spawn_blocking(move || asked.lock().unwrap().recv());
            waits.await.unwrap().unwrap();
            let length = whole(request.into_body()).await.len();
            begin(&mut respond, 200).send_data(length.to_string().into(), true).unwrap();
        }
    });
    let balancer = before(&origin, "");
    let before = balancer.memory();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes()).unwrap();
    let mut writer = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![b'x'; LENGTH]).unwrap());
    eventually("it is asked", || origin.requests().len() == 1, String::new);
    std::thread::sleep(Duration::from_secs(1));
    let held = balancer.memory().saturating_sub(before);
    assert!(held < 4 << 20, "{held} bytes");
    ask.send(()).unwrap();
    assert_eq!(client.response(false).unwrap().text(), LENGTH.to_string());
    sending.join().unwrap();
}

#[test]
fn an_answer_before_the_end_of_the_request_reaches_the_client_whole() {
    let origin = Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 413);
        answer.send_data(Bytes::from_static(b"too much"), true).unwrap();
        // That it needs no more of the request the library says by itself.
    });
    let balancer = before(&origin, ", retry: off");
    for _ in 0..10 {
        let mut client = Client::connect(balancer.address).unwrap();
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nhi").unwrap();
        let answer = client.response(false).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_that_its_backend_ends_without_an_end_is_no_whole_answer() {
    let origin = Origin2::start(|_, mut respond| async move {
        let mut answer = begin(&mut respond, 200);
        answer.send_data(Bytes::from_static(b"half a page"), false).unwrap();
        // The library takes back with the reset what has not left: then it is a 502.
        tokio::time::sleep(Duration::from_millis(300)).await;
        answer.send_reset(Reason::NO_ERROR);
    });
    let balancer = before(&origin, ", retry: off");
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    let outcome = client.outcome(1);
    assert!(outcome.status == Some(502) || matches!(outcome.end, End::Reset(_)), "{outcome:?}");
    let answer = Client::connect(balancer.address).unwrap().request("GET", "/", &[], b"");
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 502) || answer.is_err(), "{answer:?}");
}

#[test]
fn a_length_that_does_not_come_is_no_whole_answer() {
    let origin = Origin2::start(|request, mut respond| async move {
        let head = Response::builder().header("content-length", "5").body(()).unwrap();
        match request.uri().path() {
            "/none" => drop(respond.send_response(head, true).unwrap()),
            "/short" => {
                let mut answer = respond.send_response(head, false).unwrap();
                answer.send_data(Bytes::from_static(b"hi"), false).unwrap();
                answer.send_trailers(HeaderMap::new()).unwrap();
            }
            _ => {
                let head = Response::builder().header("content-length", "5").header("content-length", "6");
                let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
                answer.send_data(Bytes::from_static(b"hello"), true).unwrap();
            }
        }
    });
    let balancer = before(&origin, ", retry: off");
    for path in ["/none", "/two"] {
        let answer = balancer.get(path);
        assert!(answer.status == 502 && answer.text().contains("bad_response"), "{path}: {answer:?}");
    }
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/short");
    let outcome = client.outcome(1);
    assert!(matches!(outcome.end, End::Reset(_)), "{outcome:?}");
    let mut head = Client::connect(balancer.address).unwrap();
    let answer = head.request("HEAD", "/none", &[], b"").unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("5")), "of HEAD it is no length that comes");
}

#[tokio::test]
async fn interim_answers_pass() {
    let origin = Origin2::start(|_, mut respond| async move {
        let hints = Response::builder().status(103).header("link", "</style.css>").body(()).unwrap();
        respond.send_informational(hints).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        begin(&mut respond, 200).send_data(Bytes::from_static(b"fine"), true).unwrap();
    });
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let hints = client.any_response(false).unwrap();
    assert_eq!((hints.status, hints.field("link")), (103, Some("</style.css>")));
    assert_eq!(client.response(false).unwrap().text(), "fine");
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let request = Request::builder().uri("http://a/").body(()).unwrap();
    let (mut answer, _) = sender.send_request(request, true).unwrap();
    let hints = poll_fn(|task| answer.poll_informational(task)).await.unwrap().unwrap();
    assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &"</style.css>".parse().unwrap()));
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// Reads a body to its end, and its trailers.
async fn with_trailers(mut body: RecvStream) -> (usize, HeaderMap) {
    let mut length = 0;
    while let Some(Ok(piece)) = body.data().await {
        length += piece.len();
    }
    (length, body.trailers().await.unwrap().unwrap_or_default())
}

#[tokio::test]
async fn trailers_of_a_request_reach_its_backend_but_for_those_that_could_pass_for_its_head() {
    let origin = Origin2::start(|request, mut respond| async move {
        let (length, trailers) = with_trailers(request.into_body()).await;
        let mut names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        begin(&mut respond, 200).send_data(format!("{length} {}", names.join(" ")).into(), true).unwrap();
    });
    let balancer = before(&origin, "");
    let mut client = Client::connect(balancer.address).unwrap();
    client
        .send(
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
              x-sum: 1\r\nx-forwarded-for: 1.2.3.4\r\nauthorization: me\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.response(false).unwrap().text(), "5 x-sum");
    let mut sender = connect(balancer.address).await.ready().await.unwrap();
    let (answer, mut message) = sender.send_request(grpc("/Echo/Say"), false).unwrap();
    message.send_data(Bytes::from_static(b"hello"), false).unwrap();
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-real-ip", "x-other"] {
        trailers.insert(name, "1".parse().unwrap());
    }
    message.send_trailers(trailers).unwrap();
    let told = whole(answer.await.unwrap().into_body()).await;
    assert_eq!(String::from_utf8(told).unwrap(), "5 x-other x-sum");
}

#[test]
fn requests_that_begin_at_the_same_moment_go_over_one_connection() {
    let origin = mirror();
    let balancer = before(&origin, "");
    let mut client = Http2::connect(balancer.address);
    for stream in 0..60 {
        client.get(2 * stream + 1, "/");
    }
    for stream in 0..60 {
        assert_eq!(client.outcome(2 * stream + 1).status, Some(200), "{stream}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_that_does_not_come_fails_all_who_wait_for_it_at_once() {
    let (hole, _waiting) = black_hole();
    let balancer = Balancer::before([hole.local_addr().unwrap()])
        .top("threads: 1")
        .upstream("protocol: http2, health_check: off, outlier_detection: off, retry: off, timeouts: { connect: 1s }")
        .start();
    let began = Instant::now();
    let mut client = Http2::connect(balancer.address);
    for stream in 0..20 {
        client.get(2 * stream + 1, "/");
    }
    for stream in 0..20 {
        let outcome = client.outcome(2 * stream + 1);
        assert_eq!(outcome.status, Some(504), "{outcome:?}");
        assert!(outcome.text().contains("connect_timeout"), "{}", outcome.text());
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_connection_that_its_backend_gives_up_under_load_costs_no_request() {
    const CLIENTS: usize = 8;
    let origin = mirror();
    let balancer = before(&origin, "");
    let client = |number: usize| {
        let mut client = Client::connect(balancer.address).unwrap();
        for round in 0..60 {
            let path = if (round + number).is_multiple_of(15) { "/goaway" } else { "/" };
            let answer = client.request("POST", path, &[], b"once").unwrap();
            assert!(answer.status == 200 && answer.text().ends_with("once"), "{number}, {round}: {answer:?}");
        }
    };
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || client(number));
        }
    });
    assert!(origin.connections() > 4, "{}", origin.connections());
    let asked = origin.requests().len();
    assert!(asked >= CLIENTS * 60, "{asked}");
}

/// Serves one request on each connection, and closes it without a word.
fn curt(closed: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
                let Some(Ok((request, mut respond))) = connection.accept().await else { continue };
                let answer = async move {
                    let body = whole(request.into_body()).await;
                    begin(&mut respond, 200).send_data(body.into(), true).unwrap();
                };
                tokio::spawn(answer);
                // For as long as it takes to send the answer.
                drop(tokio::time::timeout(Duration::from_millis(30), connection.accept()).await);
                drop(connection);
                closed.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
    address
}

#[test]
fn a_kept_connection_that_its_backend_has_closed_is_replaced_without_a_word() {
    let closed = Arc::new(AtomicUsize::new(0));
    let balancer = Balancer::before([curt(closed.clone())])
        .top("threads: 1")
        .upstream("protocol: http2, health_check: off, retry: off")
        .start();
    let mut client = Client::connect(balancer.address).unwrap();
    for round in 1..=20 {
        let answer = client.request("POST", "/", &[], b"once").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "once"), "{round}");
        eventually("it is closed", || closed.load(Ordering::SeqCst) == round, String::new);
    }
}

/// The first of every two requests is not answered; what becomes of it is counted.
fn every_other(asked: Arc<AtomicUsize>, cancelled: Arc<AtomicUsize>, name: &'static str) -> Origin2 {
    Origin2::start(move |_, mut respond| {
        let (asked, cancelled) = (asked.clone(), cancelled.clone());
        async move {
            if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                let reset = poll_fn(|task| respond.poll_reset(task)).await;
                assert_eq!(reset.unwrap(), Reason::CANCEL);
                cancelled.fetch_add(1, Ordering::SeqCst);
            } else {
                begin(&mut respond, 200).send_data(Bytes::from_static(name.as_bytes()), true).unwrap();
            }
        }
    })
}

#[test]
fn a_request_that_waits_is_given_to_a_second_backend_and_its_first_stream_ended() {
    for retry in ["hedge: { after: 100ms }", "per_try_timeout: 100ms"] {
        let (asked, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let origins = ["a", "b"].map(|name| every_other(asked.clone(), cancelled.clone(), name));
        let balancer = Balancer::before(origins.iter().map(|origin| origin.address))
            .top("threads: 1")
            .upstream(&format!("protocol: http2, health_check: off, retry: {{ {retry}, budget: 100% }}"))
            .start();
        for round in 1..=5 {
            let answer = balancer.get("/");
            assert_eq!(answer.status, 200, "{retry}: {answer:?}");
            eventually("it is cancelled", || cancelled.load(Ordering::SeqCst) == round, || retry.to_owned());
        }
        for origin in &origins {
            assert!(origin.connections() <= 1, "{retry}: {}", origin.connections());
        }
    }
}

#[test]
fn a_body_that_is_too_large_on_its_way_ends_its_stream_alone() {
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = resets.clone();
    let origin = Origin2::start(move |request, respond| {
        let resets = counted.clone();
        async move {
            let mut body = request.into_body();
            let broken = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error.reason(),
                    None => break None,
                }
            };
            assert_eq!(broken, Some(Reason::CANCEL));
            resets.fetch_add(1, Ordering::SeqCst);
            drop(respond);
        }
    });
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .upstream("protocol: http2, health_check: off")
        .routes("  - { upstream: app, limits: { request_body: 10B } }")
        .start();
    let mut client = Http2::connect(balancer.address);
    client.headers(1, &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")], 0);
    client.send(&frame(0, 0, 1, b"12345"));
    eventually("it is asked", || origin.requests().len() == 1, String::new);
    client.send(&frame(0, END_STREAM, 1, b"1234567890"));
    assert_eq!(client.outcome(1).status, Some(413));
    eventually("its stream is ended", || resets.load(Ordering::SeqCst) == 1, String::new);
}

#[test]
fn clients_that_leave_in_the_middle_of_answers_cost_no_connection() {
    const CLIENTS: usize = 8;
    let (origin, _) = talkative();
    let balancer = before(&origin, "");
    assert_eq!(balancer.get("/").text(), "fine");
    let client = || {
        for _ in 0..200 {
            let mut client = Client::connect(balancer.address).unwrap();
            client.send(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            client.read_exact(&mut [0; 100]).unwrap();
            client.reset();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(client);
        }
    });
    let taken = format!("evenkeel_backend_in_flight{{upstream=\"app\",backend=\"{}\"}}", origin.address);
    eventually("all have left", || balancer.metric(&taken) == 0.0, || balancer.metric(&taken).to_string());
    assert_eq!(balancer.get("/").text(), "fine");
    assert_eq!(origin.connections(), 1);
}
