//! WebSocket (RFC 6455): one upgrade, then a frame of 128 bytes to and fro.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::pace::Pace;
use crate::stream::Connector;
use crate::{Ask, Result};

/// The key of the example in RFC 6455, section 1.3, and what answers it; nothing here needs another.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The payload; a frame has one byte for its length up to 125, and two more beyond.
pub(crate) const PAYLOAD: usize = 128;
/// Of a server: two bytes, and two for the length.
pub(crate) const ECHO: usize = 4 + PAYLOAD;

pub(crate) async fn keep_asking(ask: &Ask, connector: &Connector, pace: &Pace) -> Result<()> {
    let mut stream = connector.connect().await?;
    let hello = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n",
        ask.path, ask.to
    );
    stream.write_all(hello.as_bytes()).await?;
    let mut buffer = Vec::new();
    let (head, _) = crate::http1::read_head(&mut stream, &mut buffer).await?;
    let text = buffer.get(..head).map(String::from_utf8_lossy).unwrap_or_default();
    if !text.starts_with("HTTP/1.1 101") || !text.contains(ACCEPT) {
        return Err(text.lines().next().unwrap_or_default().into());
    }
    let frame = masked();
    let mut echo = [0; ECHO];
    while let Some(due) = pace.next().await {
        stream.write_all(&frame).await?;
        stream.read_exact(&mut echo).await?;
        if !echo.ends_with(&[b'x'; PAYLOAD]) {
            return Err("the echo is not what was said".into());
        }
        pace.answered(due);
    }
    Ok(())
}

/// A binary frame as clients send it; a mask of zero changes nothing.
fn masked() -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 126, 0, PAYLOAD as u8, 0, 0, 0, 0];
    frame.resize(8 + PAYLOAD, b'x');
    frame
}
