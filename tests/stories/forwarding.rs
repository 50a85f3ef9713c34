//! What passes between client and backend, and what does not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use crate::support::client::{Client, exchange};
use crate::support::{Answer, Balancer, Origin, PATIENCE};

/// An origin that answers each request with what it was asked.
fn mirror() -> Origin {
    Origin::start(|request| {
        let method = request.line.split(' ').next().unwrap_or_default();
        let body = if method == "HEAD" { "" } else { "seen" };
        Answer::Raw(format!("HTTP/1.1 200 OK\r\nx-method: {method}\r\ncontent-length: 4\r\n\r\n{body}").into_bytes())
    })
}

#[test]
fn every_method_arrives_as_it_was_sent_with_its_body() {
    let origin = mirror();
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE", "M-SEARCH", "brew"] {
        let body: &[u8] =
            if matches!(method, "POST" | "PUT" | "DELETE" | "PATCH" | "brew") { b"a\0b\r\n\xff" } else { b"" };
        let response = client.request(method, "/thing?a=1", &[], body).unwrap();
        assert_eq!((response.status, response.field("x-method")), (200, Some(method)), "{method}");
        assert_eq!(response.field("content-length"), Some("4"), "{method}");
        assert_eq!(response.text(), if method == "HEAD" { "" } else { "seen" }, "{method}");
        let seen = origin.requests().pop().unwrap();
        assert_eq!((seen.line.as_str(), seen.body.as_slice()), (&*format!("{method} /thing?a=1 HTTP/1.1"), body));
    }
    let response = client.request("OPTIONS", "*", &[], b"").unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(origin.requests().pop().unwrap().line, "OPTIONS * HTTP/1.1");
}

#[test]
fn a_path_and_a_query_arrive_byte_for_byte_however_odd() {
    let origin = mirror();
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let long = format!("/{}", "x".repeat(8000));
    for target in [
        "/",
        "/?",
        "/slash/at/the/end/",
        "/a%2Fb%3F%25/%0A%C3%A9",
        "/~user/;p=1,2/@:!$&'()*+=",
        "/q?a=1&a=2&&=&b[]=|{}",
        "/q?question?mark=%ZZ%",
        "/q?next=http://else.example//x/../y",
        "/q?caf%c3%a9",
        &long,
    ] {
        let response = client.request("GET", target, &[], b"").unwrap();
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(origin.requests().pop().unwrap().line, format!("GET {target} HTTP/1.1"));
    }
}

#[test]
fn ordinary_fields_pass_both_ways_with_odd_values_and_repeated_names() {
    let origin = Origin::start(|_| {
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\nserver: gunicorn/1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-empty:\r\netag: \"x\"\r\n\
              vary: a, b\r\nx-odd: \"q\\\"=;,\t~\r\ncontent-length: 2\r\n\r\nok"
                .to_vec(),
        )
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let fields = [
        ("accept", "text/html, */*;q=0.1"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-empty", ""),
        ("authorization", "Basic eA=="),
        ("cookie", "a=1; b=\"2\""),
        ("accept-encoding", "gzip, br"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"x\""),
        ("x_under", "1"),
    ];
    let response = client.request("GET", "/", &fields, b"").unwrap();
    let seen = origin.requests().pop().unwrap();
    for (name, value) in fields {
        assert!(seen.fields.contains(&(name.to_owned(), value.to_owned())), "{name}: {:?}", seen.fields);
    }
    assert_eq!(seen.field("host"), Some("story.example"));
    let cookies: Vec<_> = response.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    for (name, value) in
        [("server", "gunicorn/1"), ("x-empty", ""), ("etag", "\"x\""), ("vary", "a, b"), ("x-odd", "\"q\\\"=;,\t~")]
    {
        assert_eq!(response.field(name), Some(value), "{name}");
    }
    assert_eq!(response.field("via"), None);
    assert_eq!(response.text(), "ok");
}

#[test]
fn status_and_reason_pass_and_answers_without_a_body_have_none() {
    let origin = Origin::start(|request| {
        let answer = match request.line.split(' ').nth(1).unwrap_or_default() {
            "/fine" => "HTTP/1.1 299 Very Fine\r\ncontent-length: 1\r\n\r\nx",
            "/teapot" => "HTTP/1.1 418 I'm a teapot, really\r\ncontent-length: 0\r\n\r\n",
            "/error" => "HTTP/1.1 500 Oh No\r\ncontent-length: 4\r\n\r\noh\r\n",
            "/204" => "HTTP/1.1 204 Nothing\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 77\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast",
        };
        Answer::Raw(answer.as_bytes().to_vec())
    });
    let balancer = Balancer::before([origin.address]).start();
    for (target, line) in [
        ("/fine", "HTTP/1.1 299 Very Fine\r\n"),
        ("/teapot", "HTTP/1.1 418 I'm a teapot, really\r\n"),
        ("/error", "HTTP/1.1 500 Oh No\r\n"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(balancer.address, request.as_bytes());
        assert!(answer.starts_with(line), "{answer}");
    }
    let mut client = Client::connect(balancer.address).unwrap();
    for (target, status) in [("/204", 204), ("/304", 304), ("/204", 204)] {
        let response = client.request("GET", target, &[], b"").unwrap();
        assert_eq!(response.status, status);
        assert_eq!(response.field("transfer-encoding"), None);
        let next = client.request("GET", "/", &[], b"").unwrap();
        assert_eq!((next.status, next.text().as_str()), (200, "last"), "the same connection goes on after {status}");
    }
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let origin = Origin::start(|request| {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(3) {
            answer.extend(format!("{:x};ext=1\r\n", piece.len()).into_bytes());
            answer.extend(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        Answer::Raw(answer)
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..3 {
        let body = "8\r\nabc\r\n\0de\r\n00001\r\nf\r\n3;x=\"y\"\r\nghi\r\n0\r\n\r\n";
        let head = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}").as_bytes()).unwrap();
        let response = client.response(false).unwrap();
        assert_eq!(response.body, b"abc\r\n\0defghi");
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.body, b"abc\r\n\0defghi");
        assert_eq!((seen.field("transfer-encoding"), seen.field("content-length")), (Some("chunked"), None));
    }
    assert_eq!(connections_of(&origin).len(), 1);
}

#[test]
fn hop_by_hop_fields_go_in_both_directions() {
    let origin = Origin::start(|_| {
        Answer::Raw(
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-internal\r\nkeep-alive: timeout=5\r\nx-internal: 1\r\n\
              proxy-connection: keep-alive\r\nupgrade: h2c\r\nte: x\r\nx-stays: 1\r\ncontent-length: 2\r\n\r\nok"
                .to_vec(),
        )
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let fields = [
        ("connection", "keep-alive, X-Secret, te, upgrade, http2-settings"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("trailer", "x-sum"),
        ("x-stays", "1"),
    ];
    let response = client.request("GET", "/", &fields, b"").unwrap();
    let seen = origin.requests().pop().unwrap();
    for name in ["x-secret", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"] {
        assert_eq!(seen.field(name), None, "{:?}", seen.fields);
    }
    assert!(seen.field("connection").is_none_or(|value| value.eq_ignore_ascii_case("keep-alive")), "{:?}", seen.fields);
    assert_eq!(seen.field("x-stays"), Some("1"));
    for name in ["x-internal", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(response.field(name), None, "{:?}", response.fields);
    }
    let connection = response.field("connection");
    assert!(connection.is_none_or(|value| value.eq_ignore_ascii_case("keep-alive")), "{:?}", response.fields);
    assert_eq!((response.field("x-stays"), response.text().as_str()), (Some("1"), "ok"));
    assert_eq!(client.request("GET", "/", &[], b"").unwrap().text(), "ok", "the connection is the client's to keep");
}

#[test]
fn the_backend_learns_who_asked_whatever_the_client_says_of_itself() {
    let origin = mirror();
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let lies = [
        ("X-Forwarded-For", "1.2.3.4"),
        ("x-forwarded-for", "5.6.7.8"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "bank.example"),
        ("Forwarded", "for=1.2.3.4"),
        ("X-Request-Id", "mine"),
    ];
    let mut head = "GET / HTTP/1.1\r\nHost: Story.Example:8443\r\n".to_owned();
    for (name, value) in lies {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    client.send(format!("{head}\r\n").as_bytes()).unwrap();
    client.response(false).unwrap();
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.field("host"), Some("Story.Example:8443"), "as it came");
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some("Story.Example:8443"));
    assert_eq!(seen.field("forwarded"), None);
    let id = seen.field("x-request-id").unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(balancer.access_log(1)[0]["request_id"], id.as_str());
    client.request("GET", "/", &[], b"").unwrap();
    assert_ne!(origin.requests()[1].field("x-request-id"), Some(&*id), "each request has its own");
}

#[test]
fn an_absolute_target_becomes_a_path_and_its_host_the_host() {
    let origin = mirror();
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let response = client.request("GET", "http://story.example/a/b?c=1", &[], b"").unwrap();
    assert_eq!(response.status, 200);
    let seen = origin.requests().pop().unwrap();
    assert_eq!(seen.line, "GET /a/b?c=1 HTTP/1.1");
    assert_eq!((seen.field("host"), seen.field("x-forwarded-host")), (Some("story.example"), Some("story.example")));
    client.request("GET", "http://story.example", &[], b"").unwrap();
    assert_eq!(origin.requests().pop().unwrap().line, "GET / HTTP/1.1");

    let answer = exchange(balancer.address, b"GET http://other.example/ HTTP/1.1\r\nhost: story.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "two hosts are one too many: {answer}");
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection_as_the_end() {
    let origin = Origin::start(|request| {
        Answer::Raw(if request.line.starts_with("GET /length ") {
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n".to_vec()
        })
    });
    let balancer = Balancer::before([origin.address]).start();
    for target in ["/length", "/chunks"] {
        let answer = exchange(balancer.address, format!("GET {target} HTTP/1.0\r\nhost: a\r\n\r\n").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert_eq!(body, "hello", "{target}");
    }
    let answer = exchange(balancer.address, b"GET /chunks HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nhello"), "without a host, asked to keep: {answer}");
    assert!(origin.requests().iter().all(|request| request.line.ends_with("HTTP/1.1")));

    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..2 {
        client.send(b"GET /length HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").unwrap();
        let response = client.response(false).unwrap();
        assert_eq!((response.text().as_str(), response.field("connection")), ("hello", Some("keep-alive")));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let origin = Origin::start(|request| {
        let target = request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        Answer::Ok(format!("{target}={}", String::from_utf8_lossy(&request.body)))
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let batch = "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\
                 POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
                 GET /3 HTTP/1.1\r\nhost: a\r\n\r\n\
                 POST /4 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
                 GET /5 HTTP/1.1\r\nhost: a\r\n\r\n\
                 POST /6 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
                 PUT /7 HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n\
                 HEAD /8 HTTP/1.1\r\nhost: a\r\n\r\n";
    let expected = ["/1=", "/2=hello", "/3=", "/4=abcde", "/5=", "/6=", "/7="];
    for round in 0..3 {
        // Twice in one write, once cut where it hurts.
        for piece in if round < 2 { vec![batch.as_bytes()] } else { batch.as_bytes().chunks(7).collect() } {
            client.send(piece).unwrap();
        }
        for expected in expected {
            let response = client.response(false).unwrap_or_else(|error| panic!("{round} {expected}: {error}"));
            assert_eq!(response.text(), expected, "round {round}");
        }
        assert_eq!(client.response(true).unwrap().status, 200);
    }
    let seen: Vec<_> =
        origin.requests().iter().map(|request| request.line[..].split(' ').nth(1).unwrap().to_owned()).collect();
    let once = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"];
    assert_eq!(seen, [once, once, once].concat());
}

#[test]
fn a_hundred_pipelined_requests_of_any_mixture_of_sizes_are_all_answered() {
    let origin = Origin::start(|request| Answer::Ok(format!("{}", request.body.len())));
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    let sizes: Vec<usize> = (0..100).map(|number| [0, 1, 700, 5000, 70_000][number % 5] + number).collect();
    let mut sender = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn({
        let sizes = sizes.clone();
        move || {
            let mut all = Vec::new();
            for size in sizes {
                all.extend(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").into_bytes());
                all.extend(vec![b'x'; size]);
            }
            sender.write_all(&all).unwrap();
        }
    });
    for size in sizes {
        assert_eq!(client.response(false).unwrap().text(), size.to_string());
    }
    sending.join().unwrap();
}

/// The connections of this origin on which it was asked something.
fn connections_of(origin: &Origin) -> BTreeSet<usize> {
    origin.requests().iter().map(|request| request.connection).collect()
}

#[test]
fn connections_to_backends_are_reused_also_between_clients() {
    let origin = mirror();
    let balancer = Balancer::before([origin.address]).top("threads: 1").start();
    let mut client = Client::connect(balancer.address).unwrap();
    for _ in 0..20 {
        client.request("GET", "/", &[], b"").unwrap();
        client.request("POST", "/", &[], b"body").unwrap();
        balancer.get("/");
    }
    assert_eq!(origin.count(), 60);
    assert_eq!(connections_of(&origin).len(), 1, "one at a time need one connection");
}

/// An origin of raw connections, for what [`Origin`] reads too eagerly.
fn raw_origin(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// Reads a head; none when the connection ends first (a health check).
fn read_head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_from_the_backend_before_it_sends() {
    let address = raw_origin(|stream| {
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader) {
            assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
            if head.starts_with("POST /no ") {
                let refusal = b"HTTP/1.1 417 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
                drop(reader.get_mut().write_all(refusal));
                return;
            }
            reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            let mut body = [0; 4];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").unwrap();
            reader.get_mut().write_all(&body).unwrap();
        }
    });
    let balancer = Balancer::before([address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for round in 0..2 {
        println!("round {round}");
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").unwrap();
        assert_eq!(client.any_response(false).unwrap().status, 100);
        client.send(b"body").unwrap();
        let response = client.any_response(false).unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "body"));
    }
    client.send(b"POST /no HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").unwrap();
    let response = client.any_response(false).unwrap();
    assert_eq!((response.status, response.text().as_str()), (417, "no"));
}

/// A stream of bytes of which every piece is known: no piece is the same at another place nearby.
pub struct Known(Vec<u8>);

impl Known {
    const PERIOD: usize = 65_521;

    pub fn new() -> Known {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let period: Vec<u8> = (0..Known::PERIOD).map(|_| next()).collect();
        Known([period.clone(), period].concat())
    }

    pub fn at(&self, offset: u64, length: usize) -> &[u8] {
        let start = (offset % Known::PERIOD as u64) as usize;
        &self.0[start..start + length.min(Known::PERIOD)]
    }

    fn write(&self, length: u64, to: &mut impl Write) -> std::io::Result<()> {
        let mut offset = 0;
        while offset < length {
            let piece = self.at(offset, (length - offset).min(Known::PERIOD as u64) as usize);
            to.write_all(piece)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn read(&self, length: u64, from: &mut impl Read) {
        let mut buffer = vec![0; Known::PERIOD];
        let mut offset = 0;
        while offset < length {
            let most = (length - offset).min(Known::PERIOD as u64) as usize;
            let read = from.read(&mut buffer[..most]).expect("a stream that goes on");
            assert!(read > 0, "the stream ended at {offset} of {length}");
            assert!(buffer[..read] == *self.at(offset, read), "the stream is wrong near {offset}");
            offset += read as u64;
        }
    }
}

pub const LARGE: u64 = 1 << 30;

const MOST_MEMORY: u64 = 100 << 20;

/// An origin that sends [`LARGE`] bytes on GET, and takes as many on POST.
pub fn large_origin() -> SocketAddr {
    raw_origin(|stream| {
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader) {
            if head.starts_with("GET") {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LARGE);
                reader.get_mut().write_all(head.as_bytes()).unwrap();
                drop(Known::new().write(LARGE, reader.get_mut()));
            } else {
                Known::new().read(LARGE, &mut reader);
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole").unwrap();
            }
        }
    })
}

#[test]
fn a_large_response_passes_whole_in_little_memory() {
    let balancer = Balancer::before([large_origin()]).start();
    let began = Instant::now();
    let mut stream = TcpStream::connect(balancer.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader).unwrap();
    assert!(head.contains(&LARGE.to_string()), "{head}");
    Known::new().read(LARGE, &mut reader);
    println!("{} MiB down in {:?}, {} KiB", LARGE >> 20, began.elapsed(), balancer.memory() >> 10);
    assert!(balancer.memory() < MOST_MEMORY, "{} bytes", balancer.memory());
}

#[test]
fn a_large_request_passes_whole_in_little_memory() {
    let balancer = Balancer::before([large_origin()]).start();
    let began = Instant::now();
    let mut client = Client::connect(balancer.address).unwrap();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", LARGE).as_bytes()).unwrap();
    Known::new().write(LARGE, client.stream()).unwrap();
    assert_eq!(client.response(false).unwrap().text(), "whole");
    println!("{} MiB up in {:?}, {} KiB", LARGE >> 20, began.elapsed(), balancer.memory() >> 10);
    assert!(balancer.memory() < MOST_MEMORY, "{} bytes", balancer.memory());
}

#[test]
fn a_slow_reader_of_a_large_response_does_not_make_the_balancer_hold_it() {
    let balancer = Balancer::before([large_origin()]).listener("timeouts: { response_write_idle: 30s }").start();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(balancer.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut first = [0; 64 << 10];
        stream.read_exact(&mut first).unwrap();
        streams.push(stream);
    }
    assert!(balancer.memory() < MOST_MEMORY, "{} bytes", balancer.memory());
}

#[test]
fn the_date_of_an_answer_is_the_backends_and_where_there_is_none_it_is_the_time() {
    let origin = Origin::start(|request| {
        let date = match request.line.split(' ').nth(1) {
            Some("/old") => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Some("/odd") => "date: yesterday\r\n",
            _ => "",
        };
        Answer::Raw(format!("HTTP/1.1 200 OK\r\n{date}content-length: 2\r\n\r\nok").into_bytes())
    });
    let balancer = Balancer::before([origin.address]).start();
    let mut client = Client::connect(balancer.address).unwrap();
    for (target, old) in [("/old", true), ("/new", false), ("/old", true), ("/odd", false)] {
        let response = client.request("GET", target, &[], b"").unwrap();
        let date = response.field("date").unwrap();
        assert_eq!(date == "Sun, 06 Nov 1994 08:49:37 GMT", old, "{target}: {date}");
        assert!(date.ends_with(" GMT"), "{target}: {date}");
        assert_eq!(response.fields.iter().filter(|(name, _)| name == "date").count(), 1);
        assert_eq!(response.text(), "ok");
    }
}
