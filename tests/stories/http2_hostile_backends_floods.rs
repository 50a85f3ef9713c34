//! HTTP/2 backends that never stop, that send more than they may, or that leave in the middle. What they do costs their own requests at
//! most: others are served all the while, and memory is bounded.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, INITIAL_WINDOW_SIZE, Outcome, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request, settings,
};
use crate::support::frames_origin::FramesOrigin;
use crate::support::{Answer, Balancer, Origin, PATIENCE, eventually};

/// Memory that no backend may make a process take.
const MEMORY: u64 = 150 << 20;

/// How long a flood is borne.
const LASTS: Duration = Duration::from_secs(1);

const OK: &[(&str, &str)] = &[(":status", "200")];

fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}

/// The stream of the next request; none if the connection ends.
fn asked(server: &mut Http2) -> Option<u32> {
    loop {
        let received = server.next(Instant::now() + PATIENCE).ok()?;
        if received.kind == HEADERS {
            return Some(received.stream);
        }
    }
}

/// Serves every request of a connection.
fn serve(mut server: Http2) {
    while let Some(stream) = asked(&mut server) {
        server.respond(stream, "fine");
    }
}

/// A backend that does this with the first request of its first connection, and serves all others.
fn first(hostile: impl Fn(&mut Http2, u32) + Send + Sync + 'static) -> FramesOrigin {
    FramesOrigin::start(&[], move |number, mut server| {
        if number == 0 {
            let Some(stream) = asked(&mut server) else { return };
            hostile(&mut server, stream);
        }
        serve(server);
    })
}

fn before(hostile: &FramesOrigin, other: &Origin) -> Balancer {
    // One core: nobody is served on another by luck.
    Balancer::before([hostile.address])
        .top("threads: 1")
        .upstream("protocol: http2, retry: off, health_check: off, outlier_detection: off, timeouts: { idle: 5s }")
        .more_upstreams(&format!("  other: {{ backends: [{}] }}", other.address))
        .routes("  - { match: { path: { prefix: /other } }, upstream: other }\n  - upstream: app")
        .start()
}

fn fails(outcome: &Outcome) -> bool {
    outcome.status == Some(502) || matches!(outcome.end, End::Reset(_))
}

fn whole(outcome: &Outcome) -> bool {
    outcome.end == End::Whole && outcome.text() == "fine"
}

/// A backend floods as long as it is read, or for a while, and then answers.
fn tell(
    what: &str,
    begin: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    flood: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) {
    let (hostile, counted) = flooding(begin, flood);
    let other = Origin::start(|_| Answer::Ok("fine".to_owned()));
    let balancer = before(&hostile, &other);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, address) = (stop.clone(), balancer.address);
    let others = std::thread::spawn(move || {
        let mut client = Client::connect(address).unwrap();
        let mut slowest = Duration::ZERO;
        while !stopped.load(Ordering::Relaxed) {
            let begun = Instant::now();
            assert_eq!(client.request("GET", "/other", &[], b"").unwrap().text(), "fine");
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    });
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    let begun = Instant::now();
    let outcome = client.outcome_within(1, LASTS * 8);
    let (took, memory) = (begun.elapsed(), balancer.memory());
    client.get(3, "/after");
    let after = client.outcome(3);
    stop.store(true, Ordering::Relaxed);
    let slowest = others.join().unwrap();
    let seen = format!(
        "{what}: {:?} {:?} after {} in {took:?}, others at most {slowest:?}, {} MiB",
        outcome.status,
        outcome.end,
        counted.load(Ordering::SeqCst),
        memory >> 20
    );
    println!("{seen}");
    assert!(fails(&outcome) || whole(&outcome), "{seen}");
    assert!(slowest < Duration::from_secs(2) && memory < MEMORY, "{seen}");
    assert!(whole(&after), "{seen}; after it {after:?}");
}

/// How often it did is counted.
fn flooding(
    begin: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    flood: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> (FramesOrigin, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let count = counted.clone();
    let origin = first(move |server, stream| {
        server.send(&begin(stream));
        let (writer, batch, count) = (server.writer(), flood(stream).repeat(64), count.clone());
        let flooding = std::thread::spawn(move || flood_for_a_while(writer, &batch, &count));
        // Whatever is answered is read, so that it is not that which stops the flood.
        let mut asked = vec![stream];
        while !flooding.is_finished() {
            let read = server.next(Instant::now() + Duration::from_millis(20));
            asked.extend(read.ok().filter(|read| read.kind == HEADERS).map(|head| head.stream));
        }
        if flooding.join().unwrap() {
            asked.into_iter().for_each(|stream| server.respond(stream, "fine"));
        }
    });
    (origin, counted)
}

/// Whether all that was begun was sent whole.
fn flood_for_a_while(mut writer: TcpStream, batch: &[u8], count: &AtomicUsize) -> bool {
    writer.set_write_timeout(Some(PATIENCE)).unwrap();
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        if writer.write_all(batch).is_err() {
            return false;
        }
        count.fetch_add(64, Ordering::SeqCst);
    }
    true
}

#[test]
fn pings_without_end() {
    tell("ping", |_| Vec::new(), |_| frame(PING, 0, 0, &[0; 8]));
}

#[test]
fn settings_without_end() {
    tell("settings", |_| Vec::new(), |_| frame(SETTINGS, 0, 0, &settings(&[(INITIAL_WINDOW_SIZE, 65_535)])));
}

#[test]
fn windows_opened_by_a_byte_without_end() {
    tell("window", |_| Vec::new(), |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn frames_that_mean_nothing_without_end() {
    tell("unknown", |_| Vec::new(), |_| frame(0x42, 0, 0, &[]));
    tell("priority", |_| Vec::new(), |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]));
}

#[test]
fn pieces_of_an_answer_that_are_empty_without_end() {
    tell("empty data", |stream| head(stream, OK), |stream| frame(DATA, 0, stream, &[]));
}

#[test]
fn interim_answers_without_end() {
    tell("interim", |_| Vec::new(), |stream| head(stream, &[(":status", "103"), ("link", "</style.css>")]));
}

#[test]
fn a_head_without_end() {
    let begin = |stream: u32| frame(HEADERS, 0, stream, &block(OK));
    tell("head", begin, |stream| frame(CONTINUATION, 0, stream, &block(&[("x", "y")])));
    tell("head of empty pieces", begin, |stream| frame(CONTINUATION, 0, stream, &[]));
}

#[test]
fn a_small_head_that_unpacks_to_a_large_one() {
    // One entry of 4000 bytes in the table, and a reference to it again and again.
    let mut bomb = block(OK);
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0xbe; 10_000]);
    let hostile = first(move |server, stream| server.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb)));
    let balancer = before(&hostile, &Origin::start(|_| Answer::Ok(String::new())));
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    let outcome = client.outcome(1);
    assert!(fails(&outcome), "{outcome:?}");
    assert!(balancer.memory() < MEMORY, "{} bytes", balancer.memory());
    client.get(3, "/");
    assert!(whole(&client.outcome(3)));
}

#[test]
fn interim_answers_for_a_client_that_does_not_read_are_not_kept_without_end() {
    let (hostile, counted) =
        flooding(|_| Vec::new(), |stream| head(stream, &[(":status", "103"), ("link", "</style.css>")]));
    let balancer = before(&hostile, &Origin::start(|_| Answer::Ok(String::new())));
    let mut client = Http2::connect(balancer.address);
    client.get(1, "/");
    let end = Instant::now() + LASTS;
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(balancer.memory());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(most < MEMORY, "{} MiB after {}", most >> 20, counted.load(Ordering::SeqCst));
    assert_eq!(balancer.get("/after").text(), "fine");
}

#[test]
fn more_of_an_answer_than_there_is_room_for_is_not_kept() {
    let hostile = first(|server, stream| {
        let most = server.setting(INITIAL_WINDOW_SIZE).unwrap_or(65_535) as usize;
        server.send(&head(stream, OK));
        let piece = frame(DATA, 0, stream, &[b'x'; 16_384]);
        // Some of it may be on its way to the client, and its room is given back.
        for _ in 0..most.div_ceil(16_384) + 64 {
            server.send(&piece);
        }
    });
    let balancer = before(&hostile, &Origin::start(|_| Answer::Ok(String::new())));
    let mut client = Http2::connect(balancer.address);
    client.reads_on = false;
    client.send(&frame(SETTINGS, 0, 0, &settings(&[(INITIAL_WINDOW_SIZE, 0)])));
    client.get(1, "/");
    std::thread::sleep(Duration::from_millis(300));
    client.send(&frame(SETTINGS, 0, 0, &settings(&[(INITIAL_WINDOW_SIZE, 8 << 20)])));
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(8_u32 << 20).to_be_bytes()));
    let begun = Instant::now();
    let outcome = client.outcome(1);
    assert!(fails(&outcome), "{:?} {:?} {} bytes", outcome.status, outcome.end, outcome.body.len());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    client.get(3, "/");
    assert!(whole(&client.outcome(3)));
}

/// The payload of GOAWAY.
fn farewell(last: u32, code: u32) -> Vec<u8> {
    [last.to_be_bytes(), code.to_be_bytes()].concat()
}

#[test]
fn a_farewell_in_the_middle_costs_no_request_that_it_names_or_that_came_too_late() {
    const NO_ERROR: u32 = 0;
    const INTERNAL_ERROR: u32 = 2;
    for (code, warns) in [(NO_ERROR, false), (NO_ERROR, true), (INTERNAL_ERROR, false)] {
        let hostile = FramesOrigin::start(&[], move |number, mut server| {
            if number > 0 {
                return serve(server);
            }
            let Some(named) = asked(&mut server) else { return };
            if warns {
                server.send(&frame(GOAWAY, 0, 0, &farewell(0x7fff_ffff, NO_ERROR)));
            }
            let late = if warns { None } else { asked(&mut server) };
            server.send(&frame(GOAWAY, 0, 0, &farewell(named, code)));
            server.send(&[head(named, OK), frame(DATA, 0, named, b"fi")].concat());
            server.send(&frame(DATA, END_STREAM, named, b"ne"));
            // What is late is not answered here, were it waited for.
            assert!(late.is_none_or(|late| late > named));
            while asked(&mut server).is_some() {}
        });
        let balancer = Balancer::before([hostile.address])
            .top("threads: 1")
            .upstream("protocol: http2, retry: { budget: 100% }, health_check: off, outlier_detection: off, timeouts: { first_byte: 5s }")
            .start();
        let mut client = Http2::connect(balancer.address);
        client.get(1, "/named");
        eventually("it is asked", || hostile.connections() == 1, String::new);
        std::thread::sleep(Duration::from_millis(100));
        client.headers(3, &request("POST", "/late"), 0);
        client.send(&frame(DATA, END_STREAM, 3, b"once"));
        let (named, late) = (client.outcome(1), client.outcome(3));
        let case = format!("code {code}, warned of: {warns}");
        assert!(whole(&named) || (code != NO_ERROR && fails(&named)), "{case}: {named:?}");
        assert!(whole(&late), "{case}: {late:?}");
        client.get(5, "/after");
        assert!(whole(&client.outcome(5)), "{case}");
        assert_eq!(hostile.connections(), 2, "{case}");
    }
}

#[test]
fn a_farewell_that_takes_more_back_is_followed_and_one_that_gives_back_is_not_believed() {
    // With the second farewell neither stream is refused, or both are: either way each is answered soon.
    for (first_last, second_last) in [(3, 1), (1, 3), (0, 3), (3, 0)] {
        let hostile = FramesOrigin::start(&[], move |number, mut server| {
            if number > 0 {
                return serve(server);
            }
            let (Some(one), Some(two)) = (asked(&mut server), asked(&mut server)) else { return };
            server.send(&frame(GOAWAY, 0, 0, &farewell(first_last, 0)));
            server.send(&frame(GOAWAY, 0, 0, &farewell(second_last, 0)));
            for stream in [one, two].into_iter().filter(|stream| *stream <= first_last.min(second_last)) {
                server.respond(stream, "fine");
            }
            while asked(&mut server).is_some() {}
        });
        let balancer = Balancer::before([hostile.address])
            .top("threads: 1")
            .upstream("protocol: http2, retry: { budget: 100% }, health_check: off, outlier_detection: off, timeouts: { first_byte: 8s }")
            .start();
        let mut client = Http2::connect(balancer.address);
        client.get(1, "/");
        eventually("it is asked", || hostile.connections() == 1, String::new);
        client.get(3, "/");
        let begun = Instant::now();
        for stream in [1, 3] {
            let outcome = client.outcome(stream);
            assert!(whole(&outcome) || fails(&outcome), "{first_last} {second_last}: {outcome:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{first_last} {second_last}: {:?}", begun.elapsed());
        client.get(5, "/after");
        assert!(whole(&client.outcome(5)), "{first_last} {second_last}");
    }
}

#[test]
fn what_comes_beyond_all_windows_for_a_request_that_was_given_up_holds_up_no_other() {
    let (tell_left, left) = mpsc::channel::<()>();
    let left = std::sync::Mutex::new(left);
    let hostile = first(move |server, stream| {
        server.send(&[head(stream, OK), frame(DATA, 0, stream, b"half")].concat());
        left.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        // The client has left, and far more comes for it than there was room for.
        let mut room = 8 << 20;
        while room > 0 {
            server.send(&frame(DATA, 0, stream, &[b'x'; 8_000]));
            room -= 8_000;
        }
    });
    let balancer = before(&hostile, &Origin::start(|_| Answer::Ok(String::new())));
    let mut leaves = Http2::connect(balancer.address);
    leaves.get(1, "/");
    eventually("it is asked", || hostile.connections() == 1, String::new);
    std::thread::sleep(Duration::from_millis(200));
    leaves.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    std::thread::sleep(Duration::from_millis(200));
    tell_left.send(()).unwrap();
    for _ in 0..10 {
        let mut client = Client::connect(balancer.address).unwrap();
        let answer = client.request("GET", "/", &[], b"").unwrap();
        assert!(answer.status == 200 || answer.status == 502, "{answer:?}");
    }
    assert_eq!(balancer.get("/").text(), "fine");
    assert!(balancer.memory() < MEMORY);
}
