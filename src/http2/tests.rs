//! Both sides talk to each other, and to nobody sane.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, StatusCode, request, response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::connection::Connection;
use super::frame::{Head as FrameHead, flag, kind};
use super::message::Head;
use super::{Came, Client, Code, Fault, Limits, Server, Stream, client};
use crate::scratch;

const LIMITS: Limits = Limits {
    streams: 10,
    fields: 16 * 1024,
    stream_window: 100_000,
    connection_window: 200_000,
    frame: 16 * 1024,
    remembered_resets: 10,
};

/// Both sides of a connection, through which so many bytes go at a time.
fn pair(room: usize) -> (Client, Server<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(room);
    let (client, mut driver) = client(ours, LIMITS);
    tokio::spawn(async move { poll_fn(|task| driver.poll_drive(task)).await });
    (client, Server::new(theirs, LIMITS))
}

/// Asks for something, with a body or without.
fn ask(client: &Client, end: bool) -> Stream<response::Parts> {
    let begun = client.begin(end, |encoder, out| {
        encoder.method(out, &Method::POST);
        encoder.scheme(out, &Scheme::HTTP);
        encoder.authority(out, b"a.example");
        encoder.path(out, b"/");
    });
    begun.unwrap().unwrap()
}

async fn send<H: Head>(stream: &mut Stream<H>, mut data: Bytes, end: bool) -> Result<(), Fault> {
    loop {
        poll_fn(|task| stream.poll_send(task, &mut data, end)).await?;
        if data.is_empty() {
            return Ok(());
        }
    }
}

/// All that comes: how much of a body, and whether there were trailers.
async fn receive<H: Head>(stream: &mut Stream<H>) -> Result<(usize, bool), Fault> {
    let mut length = 0;
    loop {
        match poll_fn(|task| stream.poll_receive(task)).await? {
            Came::Head(_) => {}
            Came::Piece(piece) => length += piece.len(),
            Came::End(trailers) => return Ok((length, trailers.is_some())),
        }
    }
}

/// Answers each request with as much as it has sent, and trailers.
async fn echo(mut server: Server<DuplexStream>) {
    while let Some((_, mut stream)) = poll_fn(|task| server.poll_accept(task, 0)).await {
        tokio::spawn(async move {
            stream.send_fields(false, |encoder, out| encoder.status(out, StatusCode::OK)).unwrap();
            while let Came::Piece(piece) = poll_fn(|task| stream.poll_receive(task)).await.unwrap() {
                send(&mut stream, piece, false).await.unwrap();
            }
            let name = HeaderName::from_static("x-end");
            let trailers = [(name, HeaderValue::from_static("yes"))].into_iter().collect();
            stream.send_trailers(&trailers).unwrap();
        });
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(20), work).await.unwrap() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bodies_pass_whole_however_they_are_cut(
        room in prop_oneof![1..40_usize, 1_000..100_000_usize],
        pieces in prop::collection::vec(0..60_000_usize, 0..8),
    ) {
        // Byte by byte it takes too long for much.
        let pieces: Vec<usize> = pieces.iter().map(|length| if room < 40 { length / 100 } else { *length }).collect();
        let all: usize = pieces.iter().sum();
        run(async {
            let (client, server) = pair(room);
            tokio::spawn(echo(server));
            poll_fn(|task| client.poll_greeted(task)).await;
            let streams = (0..9).map(|_| {
                let (mut stream, pieces) = (ask(&client, false), pieces.clone());
                tokio::spawn(async move {
                    // What comes back is taken meanwhile: nobody holds it.
                    let mut back = 0;
                    for length in pieces {
                        let mut data = Bytes::from(vec![b'x'; length]);
                        while !data.is_empty() {
                            poll_fn(|task| {
                                while let Poll::Ready(Ok(Came::Piece(piece))) = stream.poll_receive(task) {
                                    back += piece.len();
                                }
                                stream.poll_send(task, &mut data, false).map(Result::unwrap)
                            }).await;
                        }
                    }
                    stream.send_end().unwrap();
                    let (length, has_trailers) = receive(&mut stream).await.unwrap();
                    assert_eq!((back + length, has_trailers), (all, true));
                })
            });
            for stream in streams.collect::<Vec<_>>() {
                stream.await.unwrap();
            }
        });
    }

    /// Whatever comes, nothing panics, and it ends or goes on.
    #[test]
    fn any_frames_do_no_harm(frames in frames(), cut in 1..2_000_usize, of_server: bool) {
        let mut bytes = if of_server { Vec::new() } else { super::connection::PREFACE.to_vec() };
        bytes.extend(FrameHead { length: 0, kind: kind::SETTINGS, flags: 0, stream: 0 }.bytes());
        bytes.extend(frames.concat());
        if of_server { feed::<response::Parts>(&bytes, cut) } else { feed::<request::Parts>(&bytes, cut) }
    }
}

/// Gives a connection these bytes, as if they had come.
fn give<H: Head>(connection: &mut Connection<H>, mut bytes: &[u8]) -> Result<(), Code> {
    let task = &mut Context::from_waker(Waker::noop());
    let received = scratch::poll_read(&mut bytes, task, usize::MAX, |mut read| connection.receive(&mut read));
    let Poll::Ready(Ok(received)) = received else { panic!("a slice is always ready") };
    received
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&FrameHead { length, kind, flags, stream }.bytes()[..], payload].concat()
}

#[test]
fn late_frames_of_streams_that_we_have_left_cost_nobody_else_anything_however_many_there_were() {
    let shared = Arc::new(Connection::<response::Parts>::shared(LIMITS));
    give(&mut shared.lock(), &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    for id in (1..60).step_by(2) {
        let mut connection = shared.lock();
        connection.last = id;
        let key = connection.begin(id);
        drop(connection);
        drop(Stream::new(shared.clone(), key));
    }
    for id in (1..60).step_by(2) {
        let late = [frame(kind::HEADERS, flag::END_HEADERS, id, &[0x88]), frame(kind::DATA, 0, id, b"late")].concat();
        assert_eq!(give(&mut shared.lock(), &late), Ok(()));
    }
}

#[test]
fn whatever_must_be_answered_is_answered_however_much_it_is() {
    run(async {
        let (ours, mut theirs) = tokio::io::duplex(4_000_000);
        let pings = frame(kind::PING, 0, 0, &[1; 8]).repeat(9_000);
        let last = frame(kind::PING, 0, 0, b"the last");
        let all = [&super::connection::PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[]), &pings, &last].concat();
        theirs.write_all(&all).await.unwrap();
        let mut server = Server::new(ours, LIMITS);
        tokio::spawn(async move { poll_fn(|task| server.poll_accept(task, 0)).await.is_none() });
        let mut answers = Vec::new();
        while !answers.ends_with(b"the last") {
            assert!(theirs.read_buf(&mut answers).await.unwrap() > 0);
        }
    });
}

/// Frames that are nearly right.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        // A head of a request, and one of an answer.
        Just(vec![0x82, 0x86, 0x84, 0x41, 1, b'a']),
        Just(vec![0x88]),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0; 8]),
    ];
    let flags =
        prop::sample::select(vec![0, flag::END_STREAM, flag::END_HEADERS, 5, flag::PADDED, flag::PRIORITY, 0xff]);
    let all = (0..11_u8, flags, 0..6_u32, payload);
    let all = all.prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    prop::collection::vec(all, 0..30)
}

fn feed<H: Head>(bytes: &[u8], cut: usize) {
    let shared = Connection::<H>::shared(LIMITS);
    let mut connection = shared.lock();
    if !H::IS_REQUEST {
        connection.last = 1;
        connection.begin(1);
    }
    for piece in bytes.chunks(cut) {
        if let Err(code) = give(&mut connection, piece) {
            connection.fail(code);
            assert!(connection.is_over() && connection.open.is_empty());
            return;
        }
        let open = connection.streams.iter().filter(|(_, stream)| !stream.is_closed()).count();
        assert_eq!(open, connection.open.len());
        assert!(open <= LIMITS.streams as usize);
    }
}

#[test]
fn a_server_takes_no_more_requests_at_a_time_than_it_says_and_the_others_wait() {
    run(async {
        let (client, mut server) = pair(10_000);
        let mut held = Vec::new();
        let first = ask(&client, true);
        // By the first answer the client knows how many it may make.
        let (_, mut stream) = poll_fn(|task| server.poll_accept(task, 0)).await.unwrap();
        stream.send_fields(true, |encoder, out| encoder.status(out, StatusCode::OK)).unwrap();
        let serving = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(request) = poll_fn(|task| server.poll_accept(task, 0)).await {
                all.push(request);
                assert!(all.len() <= 10);
            }
        });
        let mut first = first;
        receive(&mut first).await.unwrap();
        assert_eq!(client.most(), Some(10));
        for _ in 0..10 {
            held.push(ask(&client, true));
        }
        assert!(client.begin(true, |_, _| {}).unwrap().is_none());
        let waits = poll_fn(|task| Poll::Ready(client.poll_ready(task).is_pending())).await;
        assert!(waits);
        held.pop();
        poll_fn(|task| client.poll_ready(task)).await;
        drop((held, client));
        serving.await.unwrap();
    });
}

#[test]
fn a_stream_that_its_holder_leaves_is_cancelled_for_the_other_side() {
    run(async {
        let (client, mut server) = pair(10_000);
        let asked = ask(&client, false);
        let (_, mut stream) = poll_fn(|task| server.poll_accept(task, 0)).await.unwrap();
        let serving = tokio::spawn(async move { poll_fn(|task| server.poll_accept(task, 0)).await.is_none() });
        drop(asked);
        let fault = poll_fn(|task| stream.poll_fault(task)).await;
        assert_eq!(fault, Fault::Reset(Code::CANCEL, super::By::Peer));
        drop((client, stream));
        assert!(serving.await.unwrap());
    });
}

#[test]
fn what_a_stream_has_said_comes_before_its_end() {
    run(async {
        let (client, mut server) = pair(10_000);
        let mut asked = ask(&client, true);
        let (_, mut stream) = poll_fn(|task| server.poll_accept(task, 0)).await.unwrap();
        stream.send_fields(false, |encoder, out| encoder.status(out, StatusCode::OK)).unwrap();
        send(&mut stream, Bytes::from_static(b"some"), false).await.unwrap();
        stream.reset(Code::INTERNAL_ERROR);
        tokio::spawn(async move { poll_fn(|task| server.poll_accept(task, 0)).await.is_none() });
        assert!(matches!(poll_fn(|task| asked.poll_receive(task)).await, Ok(Came::Head(_))));
        assert!(matches!(poll_fn(|task| asked.poll_receive(task)).await, Ok(Came::Piece(_))));
        let fault = poll_fn(|task| asked.poll_receive(task)).await.unwrap_err();
        assert_eq!(fault, Fault::Reset(Code::INTERNAL_ERROR, super::By::Peer));
    });
}
