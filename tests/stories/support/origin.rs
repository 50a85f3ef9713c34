//! A backend that does as it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Between the pieces of an answer: long enough for each to be read by itself.
const PAUSE: Duration = Duration::from_millis(30);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET / HTTP/1.1`.
    pub line: String,
    /// Names in lower case, in the order in which they came.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Which connection of this origin it came on, from 0.
    pub connection: usize,
}

impl Request {
    /// The only value of a field; none if it is missing. Fails if there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let first = values.next();
        assert!(values.next().is_none(), "{name} came more than once: {:?}", self.fields);
        first
    }
}

/// What an origin does with a request.
pub enum Answer {
    /// 200 with this body, and the connection is kept.
    Ok(String),
    /// These bytes, and the connection is kept.
    Raw(Vec<u8>),
    /// These bytes, then the connection is closed.
    RawThenClose(Vec<u8>),
    /// These pieces with pauses between them, and whether the connection is closed then.
    Pieces(Vec<Vec<u8>>, bool),
    /// The connection is closed without a word.
    Close,
    /// The connection is given to this function.
    Take(Box<dyn FnOnce(TcpStream) + Send>),
}

/// Something that an origin waits for, until the test lets it go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A backend on a port of its own, until dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

impl Origin {
    /// An origin that answers everything with 200 and its name.
    pub fn named(name: &'static str) -> Origin {
        Origin::start(move |_| Answer::Ok(name.to_owned()))
    }

    /// An origin with a mind of its own.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Origin {
        Origin::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), handler)
    }

    /// The same at a known address, to come back to life.
    pub fn start_at(address: SocketAddr, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(address).expect("an address for an origin");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            requests: Mutex::default(),
            connections: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let origin = Origin { address: listener.local_addr().expect("its address"), shared: shared.clone() };
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                stream.set_nodelay(true).expect("a socket");
                shared.connections.lock().unwrap().push(stream.try_clone().expect("a handle"));
                let shared = shared.clone();
                std::thread::spawn(move || serve(&shared, stream, number));
            }
        });
        origin
    }

    /// A backend that gives each connection to this function once it has read a head, for as long as the test lasts.
    pub fn start_raw(serve: impl Fn(TcpStream, String) + Send + Clone + 'static) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address for an origin");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                stream.set_nodelay(true).expect("a socket");
                let serve = serve.clone();
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read(&mut byte) {
                            Ok(1) => head.push(byte[0]),
                            Ok(_) | Err(_) => return,
                        }
                    }
                    serve(stream, String::from_utf8_lossy(&head).into_owned());
                });
            }
        });
        address
    }

    /// What it was asked so far. Health checks connect without asking anything.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// Dies as a killed process does: the port is free, and every connection ends at once.
    pub fn die(self) -> SocketAddr {
        self.address
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which drops its listener.
        drop(TcpStream::connect(self.address));
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }
}

fn serve(shared: &Shared, mut stream: TcpStream, connection: usize) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    while let Some(request) = read_request(&mut reader, connection) {
        shared.requests.lock().unwrap().push(request.clone());
        let sent = match (shared.handler)(&request) {
            Answer::Ok(body) => {
                let length = body.len();
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())
            }
            Answer::Raw(bytes) => stream.write_all(&bytes),
            Answer::RawThenClose(bytes) => {
                drop(stream.write_all(&bytes));
                drop(stream.shutdown(Shutdown::Both));
                return;
            }
            Answer::Pieces(pieces, ends) => {
                for (index, piece) in pieces.iter().enumerate() {
                    if index > 0 {
                        std::thread::sleep(PAUSE);
                    }
                    drop(stream.write_all(piece));
                }
                if ends {
                    drop(stream.shutdown(Shutdown::Both));
                    return;
                }
                Ok(())
            }
            Answer::Close => {
                drop(stream.shutdown(Shutdown::Both));
                return;
            }
            Answer::Take(take) => return take(stream),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Request> {
    let line = read_line(reader)?;
    let mut fields = Vec::new();
    loop {
        let field = read_line(reader)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let mut body = Vec::new();
    if field("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(read_line(reader)?.split(';').next()?, 16).ok()?;
            if size == 0 {
                // Trailers.
                while !read_line(reader)?.is_empty() {}
                break;
            }
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).ok()?;
            body.extend(chunk);
            assert_eq!(read_line(reader)?, "", "a chunk ends with a line end");
        }
    } else if let Some(length) = field("content-length") {
        body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
    }
    Some(Request { line, fields, body, connection })
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => None,
        // What is not UTF-8 is told by its bytes, each as the character of its number.
        Ok(_) => Some(
            String::from_utf8(line).unwrap_or_else(|bytes| bytes.into_bytes().into_iter().map(char::from).collect()),
        ),
    }
    .map(|line| line.trim_end_matches(['\r', '\n']).to_owned())
}
