//! A backend that reads strictly and remembers everything, also what it should never have been sent.

use std::io::{Read as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::strict::{self, Read, Request};

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its head has arrived, its body has not.
    Begun,
    /// It has arrived.
    Whole,
    /// The connection ended before it had arrived.
    Abandoned,
    /// These bytes are no request that can be understood without doubt.
    Malformed,
}

/// Something that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub request: Request,
    pub state: State,
}

/// A backend on a port of its own. It answers with 200 and `ok`, and
/// - `/switch` with 101, and then says what it hears;
/// - `/early` with 403 as soon as it has the head, and reads on;
/// - what expects it with 100 first, but `/never` with 417 instead of reading the body.
pub struct Recorder {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    turned: Condvar,
}

impl Recorder {
    pub fn start() -> Recorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address for a recorder");
        let recorder = Recorder { address: listener.local_addr().expect("its address"), shared: Arc::default() };
        let shared = recorder.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        recorder
    }

    /// How much has arrived so far.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// What has arrived after the first `from`.
    pub fn since(&self, from: usize) -> Vec<Seen> {
        self.shared.seen.lock().unwrap()[from..].to_vec()
    }

    /// Waits until something has arrived after the first `from`, or the time is over.
    pub fn wait_for_more(&self, from: usize, limit: Duration) {
        let seen = self.shared.seen.lock().unwrap();
        drop(self.shared.turned.wait_timeout_while(seen, limit, |seen| seen.len() <= from).unwrap());
    }

    /// What has arrived after the first `from`, when nothing of it is under way any more, or the time is over.
    pub fn settled_since(&self, from: usize, limit: Duration) -> Vec<Seen> {
        let end = Instant::now() + limit;
        let mut seen = self.shared.seen.lock().unwrap();
        while seen[from..].iter().any(|seen| seen.state == State::Begun) && Instant::now() < end {
            (seen, _) = self.shared.turned.wait_timeout(seen, end - Instant::now()).unwrap();
        }
        seen[from..].to_vec()
    }
}

impl Shared {
    /// Something new; its place.
    fn push(&self, request: Request, state: State) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(Seen { request, state });
        self.turned.notify_all();
        seen.len() - 1
    }

    fn turn(&self, place: usize, request: Option<Request>, state: State) {
        let mut seen = self.seen.lock().unwrap();
        seen[place].state = state;
        if let Some(request) = request {
            seen[place].request = request;
        }
        self.turned.notify_all();
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let mut unread = Vec::new();
    let mut begun: Option<usize> = None;
    let mut answered = false;
    loop {
        match strict::read(&unread) {
            Read::Whole(request, length) => {
                drop(unread.drain(..length));
                let place = begun.take().unwrap_or_else(|| shared.push(request.clone(), State::Begun));
                shared.turn(place, Some(request.clone()), State::Whole);
                if !std::mem::take(&mut answered) && !answer(&mut stream, &request) {
                    return;
                }
                continue;
            }
            Read::Part(Some(request)) => {
                let expects = !request.values("expect").is_empty();
                match begun {
                    None => {
                        begun = Some(shared.push(request.clone(), State::Begun));
                        if request.target == "/never" {
                            drop(stream.write_all(
                                b"HTTP/1.1 417 Expectation Failed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                            ));
                            drop(stream.shutdown(Shutdown::Write));
                        } else if request.target == "/early" {
                            drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
                            answered = true;
                        } else if expects {
                            drop(stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"));
                        }
                    }
                    Some(place) => shared.turn(place, Some(request), State::Begun),
                }
            }
            Read::Bad(why) => {
                let bytes = format!("{why}: {}", unread.escape_ascii());
                let request = Request { target: bytes, ..Request::default() };
                match begun.take() {
                    Some(place) => shared.turn(place, Some(request), State::Malformed),
                    None => drop(shared.push(request, State::Malformed)),
                }
                drop(stream.shutdown(Shutdown::Both));
                return;
            }
            Read::Part(None) => {}
        }
        let mut buffer = [0; 64 << 10];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => {
                if let Some(place) = begun {
                    shared.turn(place, None, State::Abandoned);
                } else if !unread.is_empty() {
                    let bytes = format!("half a head: {}", unread.escape_ascii());
                    shared.push(Request { target: bytes, ..Request::default() }, State::Malformed);
                }
                return;
            }
            Ok(read) => unread.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Answers, and says whether another request may come.
fn answer(stream: &mut TcpStream, request: &Request) -> bool {
    if request.target == "/switch" && !request.values("upgrade").is_empty() {
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        drop(stream.write_all(switched));
        let mut heard = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut heard) {
            drop(stream.write_all(&heard[..count]));
        }
        return false;
    }
    let body = if request.method == "HEAD" { "" } else { "ok" };
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").as_bytes()).is_ok()
}
