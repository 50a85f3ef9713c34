//! Windows of HTTP/2 (RFC 9113, section 6.9), towards clients and backends: they may change at any time, even below nothing, and what
//! nobody wants any more takes no room for good.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::http2_settings::{LENGTH, asked, before, body, large, open, set};
use crate::support::client::Client;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, End, Frame, HEADERS, Http2, INITIAL_WINDOW_SIZE, RST_STREAM, WINDOW_UPDATE, block,
    frame, request,
};
use crate::support::frames_origin::FramesOrigin;
use crate::support::{Answer, Balancer, Origin, PATIENCE};

/// Frames, and how much of a body there is room for when they have been read.
type Step = (Vec<u8>, usize);

/// A stream's window that begins as every window, is made negative, opened from there, closed and opened by a setting.
fn turns(stream: u32) -> Vec<Step> {
    let window = |size| set(&[(INITIAL_WINDOW_SIZE, size)]);
    vec![
        (open(0, 8 << 20), 65_535),
        ([window(1_000), open(stream, 64_535)].concat(), 65_535),
        (open(stream, 500), 66_035),
        ([window(0), open(stream, 1_000)].concat(), 66_035),
        (window(70_000), 136_035),
        // Each counts, though they come at once.
        ([window(0), window(100), window(70_000), window(80_000)].concat(), 146_035),
        (window(1 << 24), LENGTH),
    ]
}

/// Reads a body while the windows change so; what is wrong about it.
fn read(peer: &mut Http2, stream: u32, steps: &[Step]) -> Result<(), String> {
    let (mut read, mut ended) = (Vec::new(), false);
    peer.reads_on = false;
    for (number, (frames, room)) in steps.iter().enumerate() {
        peer.send(frames);
        while !ended {
            // What must not be sent is waited for a while too.
            let more = read.len() < *room || read.len() == LENGTH;
            let patience = if more { PATIENCE } else { Duration::from_millis(150) };
            match peer.next(Instant::now() + patience) {
                Ok(received) if received.kind == DATA && received.stream == stream => {
                    read.extend_from_slice(&received.payload);
                    ended = received.flags & END_STREAM != 0;
                }
                Ok(_) => {}
                Err(End::NotYet) => break,
                Err(end) => return Err(format!("{end:?} in step {number}, after {} bytes", read.len())),
            }
        }
        if read.len() != *room {
            return Err(format!("{} bytes after step {number}, and there is room for {room}", read.len()));
        }
    }
    if ended && read == body() { Ok(()) } else { Err(format!("not the whole: {} bytes, ended: {ended}", read.len())) }
}

#[test]
fn a_backend_that_changes_its_windows_in_the_middle_of_a_request_gets_all_of_it_and_never_more_than_it_has_room_for() {
    let origin = FramesOrigin::start(&[], |_, mut server| {
        while let Some(stream) = asked(&mut server) {
            let seen = read(&mut server, stream, &turns(stream));
            server.respond(stream, &seen.err().unwrap_or_else(|| "whole".to_owned()));
        }
    });
    let balancer = before(&origin);
    let mut client = Client::connect(balancer.address).unwrap();
    let answer = client.request("POST", "/", &[], &body()).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
}

#[test]
fn a_client_that_changes_its_windows_in_the_middle_of_an_answer_gets_all_of_it_and_never_more_than_it_has_room_for() {
    let origin = large();
    let balancer = Balancer::before([origin.address]).top("threads: 1").start();
    for _ in 0..2 {
        let mut client = Http2::connect(balancer.address);
        client.get(1, "/");
        assert_eq!(read(&mut client, 1, &turns(1)), Ok(()));
        // A new stream begins with the window that was set last.
        client.get(3, "/");
        assert_eq!(read(&mut client, 3, &[(Vec::new(), LENGTH)]), Ok(()));
    }
}

/// What may still be sent over a connection, and the frames that came while it was waited for.
struct Room {
    left: usize,
    came: VecDeque<Frame>,
}

impl Room {
    /// Of every connection, before it is opened further.
    fn at_first() -> Room {
        Room { left: 65_535, came: VecDeque::new() }
    }

    /// Reads a frame; false if none comes.
    fn read(&mut self, peer: &mut Http2) -> bool {
        match peer.next(Instant::now() + PATIENCE / 2) {
            Ok(read) if (read.kind, read.stream) == (WINDOW_UPDATE, 0) => {
                self.left += u32::from_be_bytes(read.payload.try_into().unwrap()) as usize;
            }
            Ok(read) => self.came.push_back(read),
            Err(_) => return false,
        }
        true
    }

    /// Takes so much, and waits until there is; false if it does not come.
    fn take(&mut self, peer: &mut Http2, length: usize) -> bool {
        while self.left < length {
            if !self.read(peer) {
                return false;
            }
        }
        self.left -= length;
        true
    }

    /// The next frame but for those that open the connection's window.
    fn next(&mut self, peer: &mut Http2) -> Option<Frame> {
        while self.came.is_empty() {
            if !self.read(peer) {
                return None;
            }
        }
        self.came.pop_front()
    }
}

/// How much is sent for each request that nobody wants any more, in frames of `PIECE`; it fits every window of a stream here.
const UNWANTED: usize = 200_000;
const PIECE: usize = 8_000;

#[test]
fn what_comes_for_requests_that_were_given_up_takes_no_room_of_a_backends_connection_for_good() {
    // In all it is more than fits the window of a connection.
    const ROUNDS: u32 = 200;
    let origin = FramesOrigin::start(&[], |_, mut server| {
        let (mut room, mut requests, mut sent) = (Room::at_first(), 0, 0);
        while let Some(received) = room.next(&mut server) {
            let stream = received.stream;
            match received.kind {
                HEADERS if requests < ROUNDS => {
                    requests += 1;
                    assert!(room.take(&mut server, 4), "not even for a few bytes");
                    let head = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")]));
                    server.send(&[head, frame(DATA, 0, stream, b"half")].concat());
                }
                HEADERS => server.respond(stream, &sent.to_string()),
                RST_STREAM => {
                    for _ in 0..UNWANTED / PIECE {
                        if !room.take(&mut server, PIECE) {
                            return;
                        }
                        server.send(&frame(DATA, 0, stream, &[b'x'; PIECE]));
                        sent += PIECE;
                    }
                }
                _ => {}
            }
        }
    });
    let balancer = before(&origin);
    let mut client = Http2::connect(balancer.address);
    for round in 0..ROUNDS {
        let stream = 2 * round + 1;
        client.get(stream, "/");
        loop {
            let received = client.next(Instant::now() + PATIENCE).unwrap();
            if received.kind == DATA && received.stream == stream {
                break;
            }
        }
        client.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        // Whoever resets again and again is taken for an attack.
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent: usize = balancer.get("/after").text().parse().unwrap();
    assert!(sent > 30_000_000, "{sent}");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn bodies_that_nobody_reads_take_no_room_of_a_clients_connection_for_good() {
    let origin = Origin::start(|_| Answer::Ok("fine".to_owned()));
    let balancer = Balancer::before([origin.address])
        .top("threads: 1")
        .routes("  - { match: { path: { prefix: /there } }, upstream: app }")
        .start();
    let mut client = Http2::connect(balancer.address);
    let mut room = Room::at_first();
    for round in 0..50 {
        let stream = 2 * round + 1;
        client.headers(stream, &request("POST", "/nowhere"), 0);
        for _ in 0..UNWANTED / PIECE {
            assert!(room.take(&mut client, PIECE), "no more room in round {round}");
            client.send(&frame(DATA, 0, stream, &[b'x'; PIECE]));
        }
        client.send(&frame(DATA, END_STREAM, stream, b""));
    }
    client.get(101, "/there");
    assert_eq!(client.outcome(101).text(), "fine");
}
