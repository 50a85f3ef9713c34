//! What an HTTP/2 backend may send, frame by frame, and what becomes of the rest (RFC 9113): a table.
//!
//! The rule: of a malformed answer a client sees 502 or an answer that is broken off, at once; those beside it on the connection are
//! served. What puts the connection in doubt ends the connection. The next request is served in any case.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::frames::{
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE, Outcome, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
    request, settings,
};
use crate::support::frames_origin::FramesOrigin;
use crate::support::{Balancer, PATIENCE, eventually};

/// What must become of the request that is answered so, and of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Nothing: it is an answer, `fine`.
    Nothing,
    /// The stream, and no other.
    Stream,
    /// The connection.
    Connection,
    /// One of both: a stream error may be treated as one of the connection (RFC 9113, section 5.4.2), and the decoder ends the
    /// connection where it could end the stream.
    Either,
    /// It may be served, without what does not belong there, and the connection may end: the answer was whole before, or what is
    /// wrong about it changes nothing for who ignores it.
    Perhaps,
}
use Ends::{Connection, Either, Nothing, Perhaps, Stream};

/// What is answered with, given the stream and what the other side has set.
type Answer = Box<dyn Fn(u32, &Http2) -> Vec<u8> + Send>;

struct Case {
    /// Section of RFC 9113, unless another is named.
    rfc: &'static str,
    what: &'static str,
    /// Whether the request has a body of which something is still to come.
    posts: bool,
    answer: Answer,
    ends: Ends,
}

/// What is done with a request.
enum Step {
    /// A head and a beginning; the end comes when the hostile answer was read.
    Half,
    Act(Answer),
}

/// A backend that takes a step for each request, and serves who comes when there is none.
struct Hostile {
    origin: FramesOrigin,
    steps: Arc<Mutex<VecDeque<Step>>>,
}

impl Hostile {
    fn start() -> Hostile {
        let steps: Arc<Mutex<VecDeque<Step>>> = Arc::default();
        let taken = steps.clone();
        let origin = FramesOrigin::start(&[], move |_, server| serve(server, &taken));
        Hostile { origin, steps }
    }

    fn left(&self) -> usize {
        self.steps.lock().unwrap().len()
    }
}

fn serve(mut server: Http2, steps: &Mutex<VecDeque<Step>>) {
    let (mut last, mut held) = (0, Vec::new());
    while let Ok(received) = server.next(Instant::now() + PATIENCE) {
        match received.kind {
            HEADERS if received.stream > last => {
                last = received.stream;
                let step = steps.lock().unwrap().pop_front();
                match step {
                    Some(Step::Half) => {
                        server.send(&[head(last, OK), frame(DATA, 0, last, b"half ")].concat());
                        held.push(last);
                    }
                    Some(Step::Act(answer)) => {
                        let answer = answer(last, &server);
                        server.send(&[answer, frame(PING, 0, 0, b"was read")].concat());
                    }
                    None => server.respond(last, "fine"),
                }
            }
            // What was sent before has been read.
            PING if received.flags & ACK != 0 => {
                for stream in held.drain(..) {
                    server.send(&frame(DATA, END_STREAM, stream, b"whole"));
                }
            }
            _ => {}
        }
    }
}

const OK: &[(&str, &str)] = &[(":status", "200")];

fn head(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(fields))
}

fn body(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, b"fine")
}

/// Frames in answer to a GET.
fn case(
    rfc: &'static str,
    what: &'static str,
    ends: Ends,
    answer: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static,
) -> Case {
    Case { rfc, what, posts: false, answer: Box::new(move |stream, _| answer(stream).concat()), ends }
}

/// The same in answer to a POST that has not ended.
fn post(
    rfc: &'static str,
    what: &'static str,
    ends: Ends,
    answer: impl Fn(u32) -> Vec<Vec<u8>> + Send + 'static,
) -> Case {
    Case { posts: true, ..case(rfc, what, ends, answer) }
}

/// An answer of this head and a body.
fn fields(rfc: &'static str, what: &'static str, ends: Ends, fields: &[(&'static str, &'static str)]) -> Case {
    let fields = fields.to_vec();
    case(rfc, what, ends, move |stream| vec![head(stream, &fields), body(stream)])
}

/// An answer whose header block is this.
fn packed(what: &'static str, ends: Ends, block: &'static [u8]) -> Case {
    case("4.3", what, ends, move |stream| vec![frame(HEADERS, END_HEADERS, stream, block), body(stream)])
}

/// One frame before the answer.
fn first(rfc: &'static str, what: &'static str, ends: Ends, kind: u8, flags: u8, on: On, payload: &[u8]) -> Case {
    let payload = payload.to_vec();
    case(rfc, what, ends, move |stream| {
        let on = match on {
            On::Connection => 0,
            On::Stream => stream,
            On::Idle => stream + 100,
            On::Pushed => 2,
        };
        vec![frame(kind, flags, on, &payload), head(stream, OK), body(stream)]
    })
}

/// Where a frame is sent.
#[derive(Clone, Copy)]
enum On {
    Connection,
    /// The stream of the request.
    Stream,
    /// One that nobody has opened.
    Idle,
    /// One of the server's.
    Pushed,
}

#[rustfmt::skip] // One case, one line.
fn streams_and_settings() -> Vec<Case> {
    let ok = block(OK);
    let promise = [&[0, 0, 0, 2][..], &block(&request("GET", "/pushed"))].concat();
    let most = 0x7fff_ffff_u32.to_be_bytes();
    let set = |rfc, what, ends, identifier, value| first(rfc, what, ends, SETTINGS, 0, On::Connection, &settings(&[(identifier, value)]));
    vec![
        first("5.1", "the body before the head", Either, DATA, 0, On::Stream, b"early"),
        first("5.1", "an answer on a stream that nobody opened", Connection, HEADERS, END_HEADERS, On::Idle, &ok),
        first("5.1", "a body on a stream that nobody opened", Connection, DATA, 0, On::Idle, b"x"),
        first("5.1", "a reset of a stream that nobody opened", Connection, RST_STREAM, 0, On::Idle, &[0, 0, 0, 8]),
        first("5.1", "a window of a stream that nobody opened", Connection, WINDOW_UPDATE, 0, On::Idle, &[0, 0, 0, 1]),
        first("5.1.1", "an answer on a stream of the backend", Connection, HEADERS, END_HEADERS, On::Pushed, &ok),
        first("6.1", "a body on no stream", Connection, DATA, 0, On::Connection, b"x"),
        first("6.2", "an answer on no stream", Connection, HEADERS, END_HEADERS, On::Connection, &ok),
        first("6.4", "a reset of no stream", Connection, RST_STREAM, 0, On::Connection, &[0, 0, 0, 8]),
        first("6.4", "a reset that is too short", Connection, RST_STREAM, 0, On::Stream, &[0, 8]),
        first("8.4", "a pushed answer, which was not allowed", Connection, PUSH_PROMISE, END_HEADERS, On::Stream, &promise),
        first("6.6", "a pushed answer on no stream", Connection, PUSH_PROMISE, END_HEADERS, On::Connection, &promise),
        first("6.3", "a priority, which means nothing", Nothing, PRIORITY, 0, On::Stream, &[0, 0, 0, 0, 16]),
        first("6.3", "a priority that is too short", Either, PRIORITY, 0, On::Stream, &[0, 0]),
        first("5.5", "a frame that nobody knows", Nothing, 0x42, 0xff, On::Stream, b"what"),
        first("6.7", "a ping", Nothing, PING, 0, On::Connection, &[0; 8]),
        first("6.7", "an answer to a ping that was not asked", Nothing, PING, ACK, On::Connection, &[1; 8]),
        first("6.7", "a ping that is too short", Connection, PING, 0, On::Connection, &[0; 7]),
        first("6.7", "a ping that is too long", Connection, PING, 0, On::Connection, &[0; 9]),
        first("6.7", "a ping on a stream", Connection, PING, 0, On::Stream, &[0; 8]),
        first("6.8", "a farewell on a stream", Connection, GOAWAY, 0, On::Stream, &[0; 8]),
        first("6.8", "a farewell that is too short", Connection, GOAWAY, 0, On::Connection, &[0; 7]),
        first("6.9", "a window of a request that was whole", Nothing, WINDOW_UPDATE, 0, On::Stream, &[0, 0, 0, 1]),
        post("6.9", "a window opened by nothing", Either, |stream| vec![frame(WINDOW_UPDATE, 0, stream, &[0; 4])]),
        post("6.9.1", "a window beyond all windows", Either, move |stream| vec![frame(WINDOW_UPDATE, 0, stream, &most)]),
        first("6.9", "the connection's window opened by nothing", Connection, WINDOW_UPDATE, 0, On::Connection, &[0; 4]),
        first("6.9.1", "the connection's window beyond all windows", Connection, WINDOW_UPDATE, 0, On::Connection, &most),
        first("6.9", "a window that is too short", Connection, WINDOW_UPDATE, 0, On::Connection, &[0, 0, 1]),
        first("6.9", "a stream's window that is too long", Connection, WINDOW_UPDATE, 0, On::Stream, &[0, 0, 0, 1, 0]),
        set("6.5.2", "a setting that nobody knows", Nothing, 0x4242, 7),
        set("6.5.2", "the largest window", Nothing, INITIAL_WINDOW_SIZE, 0x7fff_ffff),
        set("6.5.2", "a window beyond all windows, as a setting", Connection, INITIAL_WINDOW_SIZE, 0x8000_0000),
        set("6.5.2", "frames smaller than all frames", Connection, MAX_FRAME_SIZE, 16_383),
        set("6.5.2", "frames larger than all frames", Connection, MAX_FRAME_SIZE, 1 << 24),
        set("6.5.2", "that a backend may be pushed to", Perhaps, ENABLE_PUSH, 1),
        set("6.5.2", "neither push nor no push", Connection, ENABLE_PUSH, 2),
        first("6.5", "settings that are cut off", Connection, SETTINGS, 0, On::Connection, &[0, 4, 0, 0, 1]),
        first("6.5", "settings of a stream", Connection, SETTINGS, 0, On::Stream, &settings(&[(INITIAL_WINDOW_SIZE, 100)])),
        first("6.5", "settings in an acknowledgement", Connection, SETTINGS, ACK, On::Connection, &settings(&[(INITIAL_WINDOW_SIZE, 100)])),
    ]
}

#[rustfmt::skip] // One case, one line.
fn heads() -> Vec<Case> {
    let with = |what, ends, field: (&'static str, &'static str)| fields("8.2.1", what, ends, &[(":status", "200"), field]);
    let status = |what, ends, status| fields("8.3.2", what, ends, &[(":status", status)]);
    let continued = || {
        let block = block(&[(":status", "200"), ("x", "1")]);
        let (first, rest) = block.split_at(5);
        (first.to_vec(), rest.to_vec())
    };
    let ((first, rest), (first2, rest2), (first3, rest3)) = (continued(), continued(), continued());
    vec![
        fields("8.3.2", "a head and a body", Nothing, OK),
        fields("8.3.2", "no status", Either, &[("x", "1")]),
        fields("8.3.2", "two", Either, &[(":status", "200"), (":status", "200")]),
        fields("8.3", "the status after a field", Either, &[("x", "1"), (":status", "200")]),
        fields("8.3", "a field of requests", Perhaps, &[(":status", "200"), (":path", "/")]),
        fields("8.3", "one that nobody knows", Either, &[(":status", "200"), (":odd", "1")]),
        status("a status of letters", Either, "abc"),
        status("a status of two digits", Either, "20"),
        status("a status of four digits", Either, "2000"),
        status("an empty status", Either, ""),
        status("a status below all", Either, "099"),
        fields("8.6", "another protocol", Either, &[(":status", "101")]),
        fields("8.6", "another protocol, by name", Either, &[(":status", "101"), ("upgrade", "websocket")]),
        case("8.1", "an interim answer", Nothing, |stream| vec![head(stream, &[(":status", "103")]), head(stream, OK), body(stream)]),
        case("8.1", "an interim answer that is the last", Either, |stream| vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":status", "103")]))]),
        case("8.1", "a body after an interim answer", Either, |stream| vec![head(stream, &[(":status", "103")]), body(stream)]),
        with("a name with capitals", Either, ("X-Odd", "1")),
        with("an empty name", Either, ("", "1")),
        with("a space in a name", Either, ("x odd", "1")),
        with("a line end in a name", Either, ("x\r\ny", "1")),
        with("a line end in a value", Either, ("x", "1\r\ny: 2")),
        with("NUL in a value", Either, ("x", "1\x002")),
        fields("8.2.2", "connection", Either, &[(":status", "200"), ("connection", "close")]),
        fields("8.2.2", "transfer-encoding", Either, &[(":status", "200"), ("transfer-encoding", "chunked")]),
        fields("8.2.2", "keep-alive", Either, &[(":status", "200"), ("keep-alive", "timeout=5")]),
        fields("8.1.1", "less of a body than announced", Either, &[(":status", "200"), ("content-length", "5")]),
        fields("8.1.1", "more of a body than announced", Either, &[(":status", "200"), ("content-length", "3")]),
        fields("8.1.1", "as much as announced", Nothing, &[(":status", "200"), ("content-length", "4")]),
        case("8.1", "a second head that does not end the answer", Either, |stream| vec![head(stream, OK), head(stream, OK)]),
        case("8.1", "trailers", Nothing, |stream| vec![head(stream, OK), frame(DATA, 0, stream, b"fine"), frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-sum", "1")]))]),
        case("8.1", "trailers without end", Either, |stream| vec![head(stream, OK), frame(DATA, 0, stream, b"fi"), head(stream, &[("x-sum", "1")])]),
        case("8.1", "a status in trailers", Perhaps, |stream| vec![head(stream, OK), frame(DATA, 0, stream, b"fine"), frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(OK))]),
        case("8.1", "a body after the trailers", Perhaps, |stream| vec![head(stream, OK), frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[("x-sum", "1")])), body(stream)]),
        packed("the index that is none", Connection, &[0x88, 0x80]),
        packed("an index beyond the table", Connection, &[0x88, 0xff, 0xff, 0x03]),
        packed("an index without end", Connection, &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        packed("a value that is cut off", Connection, &[0x88, 0x00, 0x01, b'x', 0x05, b'y']),
        packed("Huffman's end of string", Connection, &[0x88, 0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        packed("a table larger than allowed", Connection, &[0x3f, 0xe2, 0x1f, 0x88]),
        packed("another size of the table after a field", Connection, &[0x88, 0x20]),
        case("6.10", "a head in pieces", Nothing, move |stream| vec![frame(HEADERS, 0, stream, &first), frame(CONTINUATION, END_HEADERS, stream, &rest), body(stream)]),
        case("6.10", "the rest of no head", Connection, |stream| vec![frame(CONTINUATION, END_HEADERS, stream, &block(&[("x", "1")]))]),
        case("6.10", "the rest of a head that was whole", Connection, |stream| vec![head(stream, OK), frame(CONTINUATION, END_HEADERS, stream, &block(&[("x", "1")]))]),
        case("6.10", "a body between the pieces of a head", Connection, move |stream| vec![frame(HEADERS, 0, stream, &first2), frame(DATA, 0, stream - 2, b"x"), frame(CONTINUATION, END_HEADERS, stream, &rest2)]),
        case("6.10", "the rest of a head on another stream", Connection, move |stream| vec![frame(HEADERS, 0, stream, &first3), frame(CONTINUATION, END_HEADERS, stream - 2, &rest3)]),
    ]
}

#[rustfmt::skip] // One case, one line.
fn bodies() -> Vec<Case> {
    /// A frame of a body that has as much more than it may have.
    fn large(more: usize) -> Answer {
        Box::new(move |stream, server| {
            let most = server.setting(MAX_FRAME_SIZE).unwrap_or(16_384) as usize;
            [head(stream, OK), frame(DATA, 0, stream, &vec![b'x'; most + more]), body(stream)].concat()
        })
    }
    let ok = block(OK);
    let padded = [&[3][..], &ok, &[0; 3]].concat();
    let overlong = [&[100][..], &ok].concat();
    let urgent = [&[0, 0, 0, 0, 16][..], &ok].concat();
    vec![
        case("6.1", "padding", Nothing, move |stream| vec![frame(HEADERS, END_HEADERS | PADDED, stream, &padded), frame(DATA, END_STREAM | PADDED, stream, b"\x04fine\0\0\0\0")]),
        case("6.1", "nothing but padding", Nothing, |stream| vec![head(stream, OK), frame(DATA, PADDED, stream, &[3, 0, 0, 0]), body(stream)]),
        case("6.1", "a body padded beyond its frame", Connection, |stream| vec![head(stream, OK), frame(DATA, PADDED, stream, b"\x05fine")]),
        case("6.1", "a padded body without anything", Connection, |stream| vec![head(stream, OK), frame(DATA, PADDED, stream, b"")]),
        case("6.2", "a head padded beyond its frame", Connection, move |stream| vec![frame(HEADERS, END_HEADERS | PADDED, stream, &overlong)]),
        case("6.2", "a head with a priority", Nothing, move |stream| vec![frame(HEADERS, END_HEADERS | 0x20, stream, &urgent), body(stream)]),
        case("6.2", "a head that is shorter than its priority", Connection, |stream| vec![frame(HEADERS, END_HEADERS | 0x20, stream, &[0, 0])]),
        case("6.1", "empty pieces", Nothing, |stream| vec![head(stream, OK), frame(DATA, 0, stream, b""), frame(DATA, 0, stream, b""), body(stream)]),
        case("6.1", "a body that no head announced, after an end", Perhaps, |stream| vec![head(stream, OK), body(stream), body(stream)]),
        case("5.1", "a head after the end", Perhaps, |stream| vec![head(stream, OK), body(stream), head(stream, OK)]),
        case("5.1", "a reset after the end", Nothing, |stream| vec![head(stream, OK), body(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 0])]),
        case("5.1", "a window after the end", Nothing, |stream| vec![head(stream, OK), body(stream), frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1])]),
        case("5.4.2", "a reset before the answer", Stream, |stream| vec![frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])]),
        case("5.4.2", "a reset in the answer", Stream, |stream| vec![head(stream, OK), frame(DATA, 0, stream, b"fi"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 2])]),
        case("5.4.2", "a reset with a code that nobody knows", Stream, |stream| vec![frame(RST_STREAM, 0, stream, &[0xff; 4])]),
        fields("RFC 9110 15.3.5", "a body of 204", Either, &[(":status", "204")]),
        fields("RFC 9110 15.4.5", "a body of 304", Either, &[(":status", "304")]),
        Case { rfc: "4.2", what: "a frame as large as may be", posts: false, answer: large(0), ends: Nothing },
        Case { rfc: "4.2", what: "a frame larger than may be", posts: false, answer: large(1), ends: Either },
    ]
}

/// A failure that was told, or an answer that is broken off.
fn fails(outcome: &Outcome) -> bool {
    (outcome.status == Some(502) && outcome.end == End::Whole) || matches!(outcome.end, End::Reset(_))
}

/// There may be any number of `x` before the text, for frames that are large.
fn serves(outcome: &Outcome, text: &str) -> bool {
    outcome.end == End::Whole && outcome.status == Some(200) && outcome.text().trim_start_matches('x') == text
}

fn tell(cases: Vec<Case>) {
    const SOON: Duration = Duration::from_secs(4);
    let hostile = Hostile::start();
    // Were it only these limits that end a request, it would take too long.
    let balancer = Balancer::before([hostile.origin.address])
        .top("threads: 1")
        .upstream(
            "protocol: http2, retry: off, health_check: off, outlier_detection: off, timeouts: { first_byte: 8s, idle: 8s }",
        )
        .start();
    let (mut wrong, count) = (Vec::new(), cases.len());
    for Case { rfc, what, posts, answer, ends } in cases {
        let mut client = Http2::connect(balancer.address);
        hostile.steps.lock().unwrap().extend([Step::Half, Step::Act(answer)]);
        client.get(1, "/neighbour");
        eventually("the neighbour has begun", || hostile.left() == 1, || what.to_owned());
        let before = hostile.origin.connections();
        let begun = Instant::now();
        if posts {
            client.headers(3, &request("POST", "/hostile"), 0);
            client.send(&frame(DATA, 0, 3, b"a beginning"));
        } else {
            client.get(3, "/hostile");
        }
        let seen = client.outcome_within(3, SOON);
        let neighbour = client.outcome_within(1, SOON);
        let took = begun.elapsed();
        client.get(5, "/after");
        let after = client.outcome_within(5, SOON);
        let anew = hostile.origin.connections() - before;
        let right = match ends {
            Nothing => serves(&seen, "fine") && serves(&neighbour, "half whole") && anew == 0,
            Stream => fails(&seen) && serves(&neighbour, "half whole") && anew == 0,
            Connection => fails(&seen) && fails(&neighbour) && anew == 1,
            Either => fails(&seen) && (serves(&neighbour, "half whole") || fails(&neighbour)),
            Perhaps => {
                (fails(&seen) || seen.end == End::Whole) && (serves(&neighbour, "half whole") || fails(&neighbour))
            }
        };
        if !(right && serves(&after, "fine") && took < SOON) {
            let short = |outcome: &Outcome| format!("{:?} {:?} {:.40}", outcome.status, outcome.end, outcome.text());
            wrong.push(format!(
                "RFC 9113 {rfc}: {what}: ends {ends:?} expected; seen {}; beside it {}; {anew} new connections; after it {}; {took:?}",
                short(&seen),
                short(&neighbour),
                short(&after),
            ));
            hostile.steps.lock().unwrap().clear();
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn frames_of_a_backend_are_where_they_belong_or_the_stream_or_the_connection_ends() {
    tell(streams_and_settings());
}

#[test]
fn heads_of_a_backend_are_right_or_its_client_sees_none() {
    tell(heads());
}

#[test]
fn bodies_of_a_backend_are_whole_and_within_their_frames_or_broken_off() {
    tell(bodies());
}
