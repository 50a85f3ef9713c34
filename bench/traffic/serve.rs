//! The backends: an echo over WebSocket, one method of gRPC, one that takes each request and hangs up, and one that reads the
//! whole of a body before it answers, as applications do.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stream::Stream;
use crate::websocket::{ACCEPT, ECHO, KEY, PAYLOAD};
use crate::{Result, http1, http2};

pub(crate) async fn serve(websocket: SocketAddr, grpc: SocketAddr, sick: SocketAddr, upload: SocketAddr) -> Result<()> {
    let websocket = listen(websocket, |stream| async { echo(Box::new(stream)).await });
    let grpc = listen(grpc, answer);
    let sick = listen(sick, hang_up);
    let upload = listen(upload, |stream| async { take(Box::new(stream)).await });
    tokio::try_join!(websocket, grpc, sick, upload)?;
    Ok(())
}

async fn listen<F: Future<Output = Result<()>> + 'static>(at: SocketAddr, serve: fn(TcpStream) -> F) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(at).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = serve(stream).await {
                // Clients go when their seconds are over; who wants to know sets this.
                if std::env::var_os("TRAFFIC_DEBUG").is_some() {
                    eprintln!("{error}");
                }
            }
        });
    }
}

async fn echo(mut stream: Box<dyn Stream>) -> Result<()> {
    let mut buffer = Vec::new();
    let (head, _) = http1::read_head(&mut stream, &mut buffer).await?;
    let text = buffer.get(..head).map(String::from_utf8_lossy).unwrap_or_default();
    if !text.contains(KEY) {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await?;
        return Ok(());
    }
    let yes = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(yes.as_bytes()).await?;
    let mut said = [0; 8 + PAYLOAD];
    let mut echo = [b'x'; ECHO];
    echo[..4].copy_from_slice(&[0x82, 126, 0, PAYLOAD as u8]);
    loop {
        stream.read_exact(&mut said).await?;
        // The mask of who asks here is zero.
        echo[4..].copy_from_slice(&said[8..]);
        stream.write_all(&echo).await?;
    }
}

async fn answer(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(1000).handshake::<_, Bytes>(stream).await?;
    while let Some(next) = connection.accept().await {
        let (request, mut respond) = next?;
        tokio::task::spawn_local(async move {
            let said = async {
                let mut body = request.into_body();
                while let Some(piece) = body.data().await {
                    body.flow_control().release_capacity(piece?.len())?;
                }
                let head = Response::builder().header("content-type", "application/grpc").body(())?;
                let mut send = respond.send_response(head, false)?;
                send.send_data(http2::message(), false)?;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                send.send_trailers(trailers)?;
                Ok::<(), Box<dyn std::error::Error>>(())
            };
            // A stream that its client gave up is no matter.
            said.await.unwrap_or_default();
        });
    }
    Ok(())
}

async fn hang_up(mut stream: TcpStream) -> Result<()> {
    // Whatever comes first is enough of a request.
    let mut some = Vec::with_capacity(4096);
    if stream.read_buf(&mut some).await? == 0 {
        return Err("nothing was asked".into());
    }
    Ok(())
}

async fn take(mut stream: Box<dyn Stream>) -> Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n".to_vec();
    answer.resize(answer.len() + 128, b'x');
    loop {
        let (head, came) = http1::read_head(&mut stream, &mut buffer).await?;
        let text = buffer.get(..head).map(String::from_utf8_lossy).unwrap_or_default().to_ascii_lowercase();
        http1::read_body(&mut stream, &mut buffer, http1::length(&text).unwrap_or(0), came).await?;
        stream.write_all(&answer).await?;
    }
}
