//! HTTP/1.1, as much of it as a client needs that knows its server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pace::Pace;
use crate::stream::{Connector, Stream};
use crate::{Ask, Kind, Result};

/// Asks on one connection until the end, or on a new one each time.
pub(crate) async fn keep_asking(ask: &Ask, connector: &Connector, pace: &Pace) -> Result<()> {
    let request = request(ask);
    let mut kept = match ask.kind {
        Kind::New => None,
        Kind::Http1 | Kind::Http2 | Kind::Grpc | Kind::Websocket => Some(connector.connect().await?),
    };
    let mut buffer = Vec::with_capacity(64 * 1024);
    while let Some(due) = pace.next().await {
        match &mut kept {
            Some(stream) => exchange(stream, &request, &mut buffer).await?,
            None => exchange(&mut connector.connect().await?, &request, &mut buffer).await?,
        }
        pace.answered(due);
    }
    Ok(())
}

fn request(ask: &Ask) -> Vec<u8> {
    let method = if ask.upload > 0 { "POST" } else { "GET" };
    let mut request = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", ask.path, ask.to);
    if ask.upload > 0 {
        request += &format!("Content-Length: {}\r\n", ask.upload);
    }
    if ask.kind == Kind::New {
        request += "Connection: close\r\n";
    }
    request += "\r\n";
    let mut request = request.into_bytes();
    request.resize(request.len() + ask.upload, b'x');
    request
}

async fn exchange(stream: &mut Box<dyn Stream>, request: &[u8], buffer: &mut Vec<u8>) -> Result<()> {
    stream.write_all(request).await?;
    let (head, came) = read_head(stream, buffer).await?;
    let text = buffer.get(..head).map(String::from_utf8_lossy).unwrap_or_default().to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(text.lines().next().unwrap_or_default().into());
    }
    read_body(stream, buffer, length(&text).ok_or("an answer without Content-Length")?, came).await
}

/// Content-Length of a head in lower case.
pub(crate) fn length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()
}

/// Reads on until a body of this length is there, of which some came along with the head.
pub(crate) async fn read_body(
    stream: &mut Box<dyn Stream>,
    buffer: &mut Vec<u8>,
    length: usize,
    mut came: usize,
) -> Result<()> {
    while came < length {
        buffer.clear();
        match stream.read_buf(buffer).await? {
            0 => return Err("the connection ended within a body".into()),
            got => came += got,
        }
    }
    Ok(())
}

/// Reads until a head is there; its length, and how many bytes behind it came along.
pub(crate) async fn read_head(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>) -> Result<(usize, usize)> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection ended before an answer".into());
        }
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            return Ok((end + 4, buffer.len() - end - 4));
        }
        if buffer.len() > 64 * 1024 {
            return Err("a head without an end".into());
        }
    }
}
