//! Hostile inputs against laws instead of tables: whatever a client sends, this must hold.
//!
//! - A backend sees whole requests only that a strict reader finds in what the client sent ([`strict::conversation`]), in
//!   that order, with their bodies; so nothing is smuggled.
//! - A backend is never sent what is no request, and never learns of a hidden one.
//! - Each of those requests has its answer; what comes behind them and is in doubt is refused with 4xx or 5xx, once, and
//!   the connection ends.
//! - The balancer serves on, holds no memory of it, and does not panic.

use std::io::{ErrorKind, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::support::recorder::{Recorder, State};
use crate::support::strict::{self, Read, Request};
use crate::support::{Balancer, eventually};

/// Memory that thousands of attacks may leave behind, most of it buffers that are kept for the next.
const MORE_MEMORY: u64 = 32 << 20;

/// How long an answer, an end, or a request at the backend may take.
const SOON: Duration = Duration::from_secs(5);

/// After so many broken laws the rest is not tried.
const ENOUGH: usize = 20;

/// How what is sent is cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pieces {
    One,
    /// The head's first line end apart from the rest.
    Two,
    Bytes,
}

struct Arena {
    backend: Recorder,
    balancer: Balancer,
    memory: u64,
    wrong: Vec<String>,
    played: usize,
    served: usize,
    refused: usize,
    /// What a strict reader would have taken and the balancer did not.
    stricter: Vec<String>,
}

impl Arena {
    fn open() -> Arena {
        let backend = Recorder::start();
        // A path is passed on as it came, so that it can be compared.
        let balancer = Balancer::before([backend.address])
            .upstream("retry: off, health_check: off")
            .top("path_normalization: { merge_slashes: off }")
            .start();
        let mut arena = Arena {
            backend,
            balancer,
            memory: 0,
            wrong: Vec::new(),
            played: 0,
            served: 0,
            refused: 0,
            stricter: Vec::new(),
        };
        for _ in 0..200 {
            arena.play("an ordinary request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Pieces::One);
        }
        arena.memory = arena.balancer.memory();
        arena
    }

    /// Sends these bytes on a connection of their own, and holds what was seen against the laws.
    fn play(&mut self, name: &str, bytes: &[u8], pieces: Pieces) {
        if self.wrong.len() >= ENOUGH {
            return;
        }
        let before = self.backend.count();
        let (asked, rest) = strict::conversation(bytes);
        let answers = exchange(self, bytes, pieces, matches!(rest, Some(Read::Bad(_))));
        let seen = self.backend.settled_since(before, SOON);
        let mut broken = Vec::new();
        let mut whole = 0;
        for seen in &seen {
            let request = &seen.request;
            match seen.state {
                State::Malformed => broken.push(format!("the backend was sent what is no request: {}", request.target)),
                State::Whole => {
                    if asked.get(whole).is_none_or(|asked| !is_same(asked, request)) {
                        broken.push(format!("the backend was asked {}", request.told(&[])));
                    }
                    whole += 1;
                }
                State::Begun | State::Abandoned if request.target.contains("smuggled") => {
                    broken.push(format!("the backend was sent a part of {}", request.target));
                }
                State::Begun | State::Abandoned => {}
            }
        }
        match answers {
            Err(what) => broken.push(what),
            Ok(answers) => {
                let good = answers.iter().take_while(|status| **status < 400).count();
                let refusals = &answers[good..];
                if good != whole || refusals.len() > 1 {
                    broken.push(format!("{whole} requests arrived, and the answers were {answers:?}"));
                }
                if let (Some(Read::Bad(why)), []) = (&rest, refusals) {
                    broken.push(format!("not refused, but {why}"));
                }
                if whole < asked.len() && broken.is_empty() {
                    self.stricter.push(format!("{name} ({answers:?}): {}", shown(bytes)));
                }
                self.served += good;
                self.refused += refusals.len();
            }
        }
        self.played += 1;
        if !broken.is_empty() {
            self.wrong.push(format!("{name}, in {pieces:?}: {}\n    {}", shown(bytes), broken.join("\n    ")));
        }
    }

    /// The laws on what is left behind.
    #[track_caller]
    fn close(self) {
        let Arena { balancer, wrong, played, served, refused, stricter, .. } = &self;
        let summary = format!("{played} inputs, {served} requests served, {refused} refused");
        println!("{summary}; refused, though a strict reader would take them:\n{}", stricter.join("\n"));
        assert!(wrong.is_empty(), "{} of {summary}:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(balancer.get("/after").status, 200);
        let log = balancer.log();
        assert!(!log.contains("panicked"), "{log}");
        let open = || balancer.metric("evenkeel_connections{listener=\"web\"}");
        eventually("all connections have ended", || open() == 0.0, || open().to_string());
        let memory = balancer.memory();
        assert!(memory < self.memory + MORE_MEMORY, "{} KiB before, {} KiB after", self.memory >> 10, memory >> 10);
    }
}

/// Every final status, in order. The client closes its side if nothing else would end the connection.
fn exchange(arena: &Arena, bytes: &[u8], pieces: Pieces, ends_by_itself: bool) -> Result<Vec<u16>, String> {
    let mut stream = TcpStream::connect(arena.balancer.address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let cut = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (first, second) = bytes.split_at(if pieces == Pieces::Two { cut } else { bytes.len() });
    let size = if pieces == Pieces::Bytes { 1 } else { bytes.len().max(1) };
    for piece in first.chunks(size).chain([second]) {
        // What is refused may be closed before all of it is sent.
        drop(stream.write_all(piece));
        if pieces == Pieces::Two {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if !ends_by_itself {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut answers = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answers.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(format!("the connection does not end: {error}, after {}", shown(&answers))),
        }
    }
    statuses(&answers)
}

/// The final answers in these bytes; to a HEAD, which has no body, too.
fn statuses(mut bytes: &[u8]) -> Result<Vec<u16>, String> {
    let mut statuses = Vec::new();
    while !bytes.is_empty() {
        let odd = || format!("no answer: {}", shown(bytes));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(odd)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| odd())?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(odd)?;
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        bytes = &bytes[end + 4..];
        if status < 200 {
            continue;
        }
        statuses.push(status);
        // The recorder says `ok` to everything but HEAD.
        let length: usize = if status == 200 && !bytes.starts_with(b"ok") { 0 } else { length.ok_or_else(odd)? };
        bytes = bytes.get(length..).ok_or("an answer that breaks off")?;
    }
    Ok(statuses)
}

/// Whether the backend was asked what the client asked for; the form of the target apart.
fn is_same(asked: &Request, seen: &Request) -> bool {
    let path = match asked.target.split_once("://").filter(|_| !asked.target.starts_with('/')) {
        Some((_, rest)) => match rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())).1 {
            query if query.starts_with('?') => format!("/{query}"),
            "" => "/".to_owned(),
            path => path.to_owned(),
        },
        None => asked.target.clone(),
    };
    asked.method == seen.method
        && path == seen.target
        && asked.body == seen.body
        && asked.values("host") == seen.values("host")
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > 400 { " …" } else { "" };
    format!("{}{more}", bytes[..bytes.len().min(400)].escape_ascii())
}

#[test]
fn what_has_deceived_others_is_refused_or_read_in_the_one_right_way() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "raw")).collect();
    files.sort();
    assert!(files.len() >= 190, "{} files", files.len());
    let mut arena = Arena::open();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy();
        let bytes = std::fs::read(file).unwrap();
        for pieces in [Pieces::One, Pieces::Two, Pieces::Bytes] {
            if pieces != Pieces::Bytes || bytes.len() < 2000 {
                let refused = arena.stricter.len();
                arena.play(&name, &bytes, pieces);
                assert!(!name.starts_with("right-") || arena.stricter.len() == refused, "{name} must be served");
            }
        }
    }
    arena.close();
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Bytes that parsers have taken for white space, for nothing, or for the end of something.
fn telling() -> impl Iterator<Item = u8> {
    (0..=b' ').chain(*b"\"'(),-./:;<=>@[\\]_`{|}+05aA#%&").chain(0x7f..=0xff)
}

/// A line with each telling byte at each place where a reader decides what it is.
fn bent(name: &str, value: &str) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for byte in telling() {
        let with = |before: &[u8], between: &[u8], behind: &[u8], end: &[u8]| {
            [before, name.as_bytes(), between, b":", behind, b" ", value.as_bytes(), end, b"\r\n"].concat()
        };
        let (none, one) = (&[][..], &[byte][..]);
        lines.extend([
            with(one, none, none, none),
            with(none, one, none, none),
            with(none, none, one, none),
            with(none, none, none, one),
        ]);
        let middle = name.len() / 2;
        lines.push(
            [&name.as_bytes()[..middle], &[byte], &name.as_bytes()[middle + 1..], b": ", value.as_bytes(), b"\r\n"]
                .concat(),
        );
    }
    lines
}

/// A POST whose body is all its own for who reads the length, and ends before a second request for who reads chunks;
/// or the other way round.
fn two_ways(lines: &[&[u8]], by_length: &str, by_chunks: &str) -> Vec<u8> {
    let head = [b"POST /outer HTTP/1.1\r\nHost: a\r\n", &lines.concat()[..], b"\r\n"].concat();
    [&head, by_length.as_bytes(), by_chunks.as_bytes()].concat()
}

#[test]
fn no_byte_around_a_length_or_a_coding_hides_it_from_us_and_shows_it_to_others() {
    let mut arena = Arena::open();
    let (hidden, shown) = (format!("0\r\n\r\n{SMUGGLED}"), format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()));
    let length = |bytes: usize| format!("Content-Length: {bytes}\r\n").into_bytes();
    let chunked = b"Transfer-Encoding: chunked\r\n";
    for line in bent("Transfer-Encoding", "chunked") {
        arena.play("CL.TE", &two_ways(&[&length(hidden.len()), &line], &hidden, ""), Pieces::One);
        arena.play("TE.CL", &two_ways(&[&line, &length(4)], "", &shown), Pieces::One);
        arena.play("TE.0", &two_ways(&[&line], "", &shown), Pieces::One);
        arena.play("TE.TE", &two_ways(&[chunked, &line], "", &shown), Pieces::One);
    }
    for line in bent("Content-Length", &SMUGGLED.len().to_string()) {
        arena.play("CL.0", &two_ways(&[&line], SMUGGLED, ""), Pieces::One);
        arena.play("CL.CL", &two_ways(&[&length(0), &line], SMUGGLED, ""), Pieces::One);
        arena.play("CL.CL", &two_ways(&[&line, &length(SMUGGLED.len())], SMUGGLED, ""), Pieces::One);
    }
    for line in bent("Host", "a") {
        arena.play(
            "host",
            &[b"GET /outer HTTP/1.1\r\nHost: a\r\n", &line[..], b"\r\n", SMUGGLED.as_bytes()].concat(),
            Pieces::One,
        );
        arena.play(
            "host",
            &[b"GET /outer HTTP/1.1\r\n", &line[..], b"\r\n", SMUGGLED.as_bytes()].concat(),
            Pieces::One,
        );
    }
    assert!(arena.played > 7000, "{}", arena.played);
    arena.close();
}

/// A request with everything in it that frames.
const WHOLE: &str =
    "POST /outer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n";

#[test]
fn no_byte_put_into_a_request_or_left_out_of_it_makes_it_two() {
    let mut arena = Arena::open();
    let wire = |request: &[u8]| [request, SMUGGLED.as_bytes()].concat();
    let whole = WHOLE.as_bytes();
    for place in 0..whole.len() {
        let (before, behind) = whole.split_at(place);
        arena.play("a byte left out", &wire(&[before, &behind[1..]].concat()), Pieces::One);
        arena.play("a byte twice", &wire(&[before, &behind[..1], behind].concat()), Pieces::One);
        arena.play("cut off", before, Pieces::One);
        for byte in b"\0\t\n\x0b\r ,0:;\"\x7f\x80\xff" {
            arena.play("a byte more", &wire(&[before, &[*byte], behind].concat()), Pieces::One);
            arena.play("another byte", &wire(&[before, &[*byte], &behind[1..]].concat()), Pieces::One);
        }
        for more in
            ["\r\n", "\n\n", "\r\n\r\n", "\r\n ", "\r\r\n", "\n\r", "\u{85}", "\u{2028}", "\r\nContent-Length: 0\r\n"]
        {
            arena.play("a line end more", &wire(&[before, more.as_bytes(), behind].concat()), Pieces::One);
        }
    }
    assert!(arena.played > 3500, "{}", arena.played);
    arena.close();
}
