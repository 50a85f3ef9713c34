//! Settings of HTTP/2 that clients and backends rarely change, and may change at any time (RFC 9113, section 6.5): how long frames
//! are, how many streams there may be, what is kept in tables. Windows are told of beside this.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, HEADERS, Http2, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE, PING, SETTINGS, WINDOW_UPDATE, block, frame, request, settings,
};
use crate::support::frames_origin::FramesOrigin;
use crate::support::{Answer, Balancer, Origin, PATIENCE};

/// Of a body that fits no window at its beginning.
pub const LENGTH: usize = 1 << 20;

/// A body in which every piece is told from another.
pub fn body() -> Vec<u8> {
    (0..LENGTH).map(|index| (index % 251) as u8).collect()
}

pub fn before(origin: &FramesOrigin) -> Balancer {
    Balancer::before([origin.address])
        .top("threads: 1")
        .upstream("protocol: http2, retry: off, health_check: off, outlier_detection: off")
        .start()
}

pub fn set(each: &[(u16, u32)]) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &settings(each))
}

pub fn open(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// The stream of the next request; none if the connection ends.
pub fn asked(server: &mut Http2) -> Option<u32> {
    loop {
        let received = server.next(Instant::now() + PATIENCE).ok()?;
        if received.kind == HEADERS {
            return Some(received.stream);
        }
    }
}

/// A backend of HTTP/1.1 with a body that is large.
pub fn large() -> Origin {
    Origin::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        Answer::Raw([head.as_bytes(), &body()].concat())
    })
}

/// The largest frame of a body that arrives whole.
fn largest(peer: &mut Http2, stream: u32, mut between: impl FnMut(&mut Http2, usize)) -> Result<usize, String> {
    let (mut read, mut largest) = (Vec::new(), 0);
    loop {
        match peer.next(Instant::now() + PATIENCE) {
            Ok(received) if received.kind == DATA && received.stream == stream => {
                read.extend_from_slice(&received.payload);
                largest = largest.max(received.payload.len());
                if received.flags & END_STREAM != 0 {
                    break;
                }
            }
            // What comes behind an acknowledgement is told by itself.
            Ok(received) if received.kind == SETTINGS && received.flags & ACK != 0 => largest = 0,
            Ok(_) => {}
            Err(end) => return Err(format!("{end:?} after {} bytes", read.len())),
        }
        between(peer, read.len());
    }
    if read == body() { Ok(largest) } else { Err("not the whole".to_owned()) }
}

/// Settings of a side that takes frames of this length, and has windows for them.
fn frames_of(length: u32) -> Vec<(u16, u32)> {
    vec![(MAX_FRAME_SIZE, length), (INITIAL_WINDOW_SIZE, 4 << 20)]
}

#[test]
fn frames_are_no_larger_than_a_client_takes() {
    let origin = large();
    let balancer = Balancer::before([origin.address]).top("threads: 1").start();
    for most in [16_384, 20_000, 1 << 20, (1 << 24) - 1] {
        let mut client = Http2::connect(balancer.address);
        client.send(&[set(&frames_of(most)), open(0, 64 << 20)].concat());
        client.get(1, "/");
        let seen = largest(&mut client, 1, |_, _| ());
        assert!(seen.as_ref().is_ok_and(|seen| *seen <= most as usize), "{most}: {seen:?}");
        // It may be less again; what is under way when that is acknowledged is not.
        client.get(3, "/");
        let mut set_already = false;
        let seen = largest(&mut client, 3, |client, read| {
            if !std::mem::replace(&mut set_already, read > 0) && read > 0 {
                client.send(&set(&[(MAX_FRAME_SIZE, 16_384)]));
            }
        });
        assert!(seen.as_ref().is_ok_and(|seen| *seen <= 16_384.max(most as usize)), "{most}, then less: {seen:?}");
        client.get(5, "/");
        let seen = largest(&mut client, 5, |_, _| ());
        assert!(seen.as_ref().is_ok_and(|seen| *seen <= 16_384), "less than {most}: {seen:?}");
    }
}

#[test]
fn frames_are_no_larger_than_a_backend_takes() {
    for most in [16_384, 20_000, 1 << 20, (1 << 24) - 1] {
        let origin = FramesOrigin::start(&settings(&frames_of(most)), move |_, mut server| {
            server.send(&open(0, 64 << 20));
            while let Some(stream) = asked(&mut server) {
                let seen = largest(&mut server, stream, |_, _| ());
                let right = seen.as_ref().is_ok_and(|seen| *seen <= most as usize);
                server.respond(stream, &if right { "whole".to_owned() } else { format!("{seen:?}") });
            }
        });
        let balancer = before(&origin);
        let mut client = crate::support::client::Client::connect(balancer.address).unwrap();
        for _ in 0..3 {
            assert_eq!(client.request("POST", "/", &[], &body()).unwrap().text(), "whole", "{most}");
        }
    }
}

/// A backend that says how many requests it takes at a time on a connection, and counts how often there were more.
fn narrow(streams: u32) -> (FramesOrigin, Arc<AtomicUsize>) {
    let beyond = Arc::new(AtomicUsize::new(0));
    let counted = beyond.clone();
    let origin = FramesOrigin::start(&settings(&[(MAX_CONCURRENT_STREAMS, streams)]), move |_, mut server| {
        let (mut known, mut waiting) = (false, Vec::new());
        while let Ok(received) = server.next(Instant::now() + PATIENCE) {
            match received.kind {
                SETTINGS if received.flags & ACK != 0 => known = true,
                HEADERS => {
                    waiting.push(received.stream);
                    if known && waiting.len() > streams as usize {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                    // Whoever is beside it has been read when this comes back.
                    server.send(&frame(PING, 0, 0, &u64::from(received.stream).to_be_bytes()));
                }
                PING if received.flags & ACK != 0 => {
                    let stream = u64::from_be_bytes(received.payload.try_into().unwrap()) as u32;
                    waiting.retain(|waiting| *waiting != stream);
                    server.respond(stream, "fine");
                }
                _ => {}
            }
        }
    });
    (origin, beyond)
}

#[test]
fn a_backend_that_takes_one_request_at_a_time_gets_one_at_a_time_and_all_are_served() {
    for streams in [1, 2, 5] {
        let (origin, beyond) = narrow(streams);
        let balancer = before(&origin);
        assert_eq!(balancer.get("/").text(), "fine");
        let mut client = Http2::connect(balancer.address);
        for number in 0..50 {
            client.get(2 * number + 1, "/");
        }
        for number in 0..50 {
            let outcome = client.outcome(2 * number + 1);
            assert_eq!((outcome.status, outcome.text().as_str()), (Some(200), "fine"), "{streams}: {number}");
        }
        assert_eq!(beyond.load(Ordering::SeqCst), 0, "{streams}");
    }
}

#[test]
fn a_backend_that_takes_no_request_at_all_is_not_waited_for_without_end() {
    let (origin, _) = narrow(0);
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .upstream("protocol: http2, retry: off, health_check: off, timeouts: { connect: 1s, first_byte: 1s }")
        .start();
    let begun = Instant::now();
    for _ in 0..3 {
        let answer = balancer.get("/");
        assert!(matches!(answer.status, 200 | 502..=504), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(origin.connections() < 20, "{}", origin.connections());
}

/// The largest index of the table that a header block refers to (RFC 7541, section 6), and the sizes of the table that it sets.
fn references(block: &[u8]) -> (usize, Vec<usize>) {
    let (mut bytes, mut most, mut sizes) = (block.iter().copied(), 0, Vec::new());
    while let Some(first) = bytes.next() {
        let (prefix, is_literal, is_size) = match first {
            0x80.. => (7, false, false),
            0x40.. => (6, true, false),
            0x20.. => (5, false, true),
            _ => (4, true, false),
        };
        let number = integer(first, prefix, &mut bytes);
        if is_size {
            sizes.push(number);
            continue;
        }
        most = most.max(number);
        for _ in 0..if !is_literal {
            0
        } else if number == 0 {
            2
        } else {
            1
        } {
            let first = bytes.next().expect("a string");
            let length = integer(first, 7, &mut bytes);
            assert_eq!(bytes.by_ref().take(length).count(), length);
        }
    }
    (most, sizes)
}

fn integer(first: u8, prefix: u32, bytes: &mut impl Iterator<Item = u8>) -> usize {
    let most = (1 << prefix) - 1;
    let mut number = usize::from(first) & most;
    if number == most {
        for shift in (0..).step_by(7) {
            let byte = bytes.next().expect("more of a number");
            number += usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    number
}

/// The highest index of RFC 7541's static table.
const STATIC: usize = 61;

#[test]
fn a_backend_without_a_table_is_not_referred_to_one_and_may_have_one_again() {
    // Each answer says what was referred to; the first six requests come with no table, then there is one.
    let origin = FramesOrigin::start(&settings(&[(HEADER_TABLE_SIZE, 0)]), |_, mut server| {
        let mut number = 0;
        while let Ok(received) = server.next(Instant::now() + PATIENCE) {
            if received.kind != HEADERS {
                continue;
            }
            assert!(received.flags & END_HEADERS != 0);
            let (most, sizes) = references(&received.payload);
            server.respond(received.stream, &format!("{} {:?}", most > STATIC, sizes));
            number += 1;
            if number == 6 {
                server.send(&set(&[(HEADER_TABLE_SIZE, 4096)]));
            }
            if number == 12 {
                server.send(&set(&[(HEADER_TABLE_SIZE, 0)]));
            }
        }
    });
    let balancer = before(&origin);
    let mut client = crate::support::client::Client::connect(balancer.address).unwrap();
    let mut ask = |number| {
        // Settings are read some time after the answer before them.
        std::thread::sleep(Duration::from_millis(20));
        let mut answer = client.request("GET", "/", &[("x-same", "always the same"), ("user-agent", "a story")], b"");
        answer.as_mut().map(|answer| answer.text()).unwrap_or_else(|error| panic!("{number}: {error}"))
    };
    // The first may be sent before the settings are there; the first that is not says that there is no table.
    let first: Vec<String> = (0..6).map(&mut ask).collect();
    assert!(first[..2].iter().any(|said| said == "false [0]"), "{first:?}");
    assert!(first[2..].iter().all(|said| said == "false []"), "{first:?}");
    let second: Vec<String> = (6..12).map(&mut ask).collect();
    assert!(second.iter().any(|said| said.contains("[4096]")) || second.iter().all(|said| said.starts_with("false")));
    let third: Vec<String> = (12..18).map(&mut ask).collect();
    assert!(third.iter().all(|said| said.starts_with("false")), "{third:?}");
}

#[test]
fn a_client_without_a_table_is_not_referred_to_one() {
    let origin = Origin::start(|_| Answer::Ok("fine".to_owned()));
    let balancer = Balancer::before([origin.address]).top("threads: 1").start();
    let mut client = Http2::silent(balancer.address);
    client.send(crate::support::frames::PREFACE);
    client.send(&set(&[]));
    let heads = |client: &mut Http2, from: u32| -> Vec<(usize, Vec<usize>)> {
        let ask = |number| {
            let stream = from + 2 * number;
            client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&request("GET", "/"))));
            loop {
                let received = client.next(Instant::now() + PATIENCE).unwrap();
                if received.kind == HEADERS && received.stream == stream {
                    return references(&received.payload);
                }
            }
        };
        (0..4_u32).map(ask).collect()
    };
    let usual = heads(&mut client, 1);
    assert!(usual.iter().all(|(_, sizes)| sizes.is_empty()), "{usual:?}");
    client.send(&set(&[(HEADER_TABLE_SIZE, 0)]));
    let without = heads(&mut client, 9);
    assert_eq!(without[0].1, [0], "the first says so");
    assert!(without.iter().all(|(most, _)| *most <= STATIC), "{without:?}");
    client.send(&set(&[(HEADER_TABLE_SIZE, 100)]));
    let small = heads(&mut client, 17);
    assert!(small.iter().all(|(_, sizes)| sizes.iter().all(|size| *size <= 100)), "{small:?}");
}
