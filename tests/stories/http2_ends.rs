//! How connections of HTTP/2 end: with a word, and only after everything was said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Answer, Balancer, Origin};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A client whose windows are as large as they can be.
fn open(balancer: &Balancer) -> TcpStream {
    let mut stream = TcpStream::connect(balancer.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let settings = frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    let window = frame(8, 0, 0, &0x7fff_0000u32.to_be_bytes());
    stream.write_all(&[PREFACE, &settings, &window].concat()).unwrap();
    stream
}

/// `GET /` of `a`, as a head that needs no table.
fn ask(stream: &mut TcpStream, id: u32) {
    stream.write_all(&frame(1, 5, id, b"\x82\x84\x86\x41\x01a")).unwrap();
}

/// Reads to the end, slowly; acknowledges settings and pings. The bytes of answers, and whether it was told to go.
fn read_slowly(stream: &mut TcpStream, pause: Duration) -> (usize, bool) {
    let (mut held, mut answered, mut told) = (Vec::new(), 0, false);
    let mut memory = vec![0; 50_000];
    loop {
        let read = stream.read(&mut memory).unwrap_or(0);
        if read == 0 {
            return (answered, told);
        }
        held.extend_from_slice(&memory[..read]);
        while held.len() >= 9 {
            let length = u32::from_be_bytes([0, held[0], held[1], held[2]]) as usize;
            if held.len() < 9 + length {
                break;
            }
            let (kind, flags) = (held[3], held[4]);
            let payload = held[9..9 + length].to_vec();
            held.drain(..9 + length);
            match kind {
                0 => answered += length,
                4 if flags == 0 => drop(stream.write_all(&frame(4, 1, 0, b""))),
                6 if flags == 0 => drop(stream.write_all(&frame(6, 1, 0, &payload))),
                7 => told = true,
                _ => {}
            }
        }
        std::thread::sleep(pause);
    }
}

fn large() -> Origin {
    Origin::start(|_| Answer::Ok("x".repeat(60_000)))
}

#[test]
fn a_drain_and_an_idle_end_wait_until_a_slow_client_has_taken_its_answers() {
    const STREAMS: u32 = 100;
    for drained in [true, false] {
        let origin = large();
        let balancer = Balancer::before([origin.address]).listener("timeouts: { keep_alive: 1s }").start();
        let mut stream = open(&balancer);
        for number in 0..STREAMS {
            ask(&mut stream, 2 * number + 1);
        }
        crate::support::eventually("all are asked", || origin.count() == STREAMS as usize, String::new);
        if drained {
            balancer.signal(Signal::TERM);
        }
        let (answered, told) = read_slowly(&mut stream, Duration::from_millis(30));
        assert_eq!((answered, told), (STREAMS as usize * 60_000, true), "drained: {drained}");
    }
}

#[test]
fn an_idle_connection_is_told_before_it_is_closed() {
    let origin = large();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { keep_alive: 1s }").start();
    let mut stream = open(&balancer);
    ask(&mut stream, 1);
    let began = Instant::now();
    assert_eq!(read_slowly(&mut stream, Duration::ZERO), (60_000, true));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_head_that_does_not_end_has_the_time_of_a_head() {
    let origin = large();
    let balancer =
        Balancer::before([origin.address]).listener("timeouts: { request_header: 1s, keep_alive: 60s }").start();
    let mut stream = open(&balancer);
    stream.write_all(&frame(1, 1, 1, b"\x82\x84\x86\x41\x01a")).unwrap();
    let began = Instant::now();
    // Nothing may come between the frames of a head, so nothing is acknowledged.
    drop(stream.read_to_end(&mut Vec::new()));
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    drop(stream.shutdown(Shutdown::Both));
    let late = "evenkeel_connections_refused_total{listener=\"web\",reason=\"request_timeout\"}";
    assert_eq!(balancer.metric(late), 1.0);
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_first_byte_that_could_begin_either_protocol_has_the_time_of_a_head_too() {
    let origin = large();
    let balancer = Balancer::before([origin.address]).listener("timeouts: { request_header: 1s }").start();
    let mut stream = TcpStream::connect(balancer.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"P").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(balancer.access_log(1)[0]["reason"], "request_timeout");
}
