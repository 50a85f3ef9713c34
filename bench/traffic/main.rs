//! Load for measurements, and the backends that nginx cannot be: WebSocket, gRPC, one that is sick, and one that
//! reads bodies.
//!
//! `traffic ask KIND …` asks for some seconds and prints one line of JSON; `traffic serve …` answers until it is stopped. All of
//! it is on loopback addresses, on one thread. `cargo build --release --features measurements --example traffic`.
//!
//! With `--rate` it is an open loop: requests are due at fixed times, and a time is counted from the moment when its request
//! was due, not from when it could be sent. Without, each connection or stream waits for its answer before it asks again.

mod http1;
mod http2;
mod pace;
mod serve;
mod stream;
mod websocket;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use structopt::StructOpt;

use crate::pace::Pace;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(StructOpt)]
enum Command {
    /// Ask, and print what came of it
    Ask(Ask),
    /// Answer as backends: WebSocket echo, gRPC, one that takes requests and hangs up, and one that reads bodies
    Serve { websocket: SocketAddr, grpc: SocketAddr, sick: SocketAddr, upload: SocketAddr },
}

/// What is asked, and how.
#[derive(StructOpt, Clone)]
struct Ask {
    /// http1, new (a connection for each request), http2, grpc or websocket
    kind: Kind,
    to: SocketAddr,
    /// Over TLS, believing this certificate
    #[structopt(long)]
    tls: Option<PathBuf>,
    #[structopt(long, default_value = "64")]
    connections: usize,
    /// At once on each connection of HTTP/2
    #[structopt(long, default_value = "1")]
    streams: usize,
    /// Requests a second, whatever the answers take
    #[structopt(long)]
    rate: Option<f64>,
    #[structopt(long, default_value = "4")]
    seconds: f64,
    #[structopt(long, default_value = "/")]
    path: String,
    /// Bytes of the body of each request, which makes it a POST
    #[structopt(long, default_value = "0")]
    upload: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http1,
    New,
    Http2,
    Grpc,
    Websocket,
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, String> {
        match word {
            "http1" => Ok(Self::Http1),
            "new" => Ok(Self::New),
            "http2" => Ok(Self::Http2),
            "grpc" => Ok(Self::Grpc),
            "websocket" => Ok(Self::Websocket),
            _ => Err(format!("`{word}` is none of http1, new, http2, grpc, websocket")),
        }
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    match Command::from_args() {
        Command::Serve { websocket, grpc, sick, upload } => {
            local.block_on(&runtime, serve::serve(websocket, grpc, sick, upload))
        }
        Command::Ask(ask) => local.block_on(&runtime, run(ask)),
    }
}

async fn run(ask: Ask) -> Result<()> {
    if !ask.to.ip().is_loopback() {
        return Err("load goes to loopback addresses only".into());
    }
    if ask.connections == 0 || ask.streams == 0 || !(0.1..=3600.0).contains(&ask.seconds) {
        return Err("at least one connection and stream, and 0.1 to 3600 seconds".into());
    }
    let connector = Rc::new(stream::Connector::new(ask.to, ask.tls.as_deref(), ask.kind)?);
    let pace = Pace::new(ask.rate, Duration::from_secs_f64(ask.seconds));
    let mut clients = Vec::new();
    for _ in 0..ask.connections {
        let (ask, connector, pace) = (ask.clone(), Rc::clone(&connector), Rc::clone(&pace));
        clients.push(tokio::task::spawn_local(async move {
            // A connection that broke is counted and made anew, as clients do.
            while !pace.ended() {
                let ended = match ask.kind {
                    Kind::Http1 | Kind::New => http1::keep_asking(&ask, &connector, &pace).await,
                    Kind::Http2 | Kind::Grpc => http2::keep_asking(&ask, &connector, &pace).await,
                    Kind::Websocket => websocket::keep_asking(&ask, &connector, &pace).await,
                };
                if let Err(error) = ended {
                    pace.failed(&error.to_string());
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }));
    }
    // Who still waits a little after the end is left behind: its request has failed.
    let patience = Duration::from_secs_f64(ask.seconds) + pace::PATIENCE;
    let all = async {
        for client in clients {
            client.await?;
        }
        Ok::<(), Box<dyn Error>>(())
    };
    if let Ok(ended) = tokio::time::timeout(patience, all).await {
        ended?;
    }
    println!("{}", pace.report());
    Ok(())
}
