//! Clients: raw bytes where the wire matters, a small HTTP/1.1 one where it does not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer as it arrived.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A kept connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { reader: BufReader::new(stream) })
    }

    /// Leaves as a program does that is killed: with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.reader.get_ref());
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    }

    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// One request on this connection, and its answer.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: story.example\r\n");
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat())?;
        self.response(method == "HEAD")
    }

    /// Reads one answer; informational ones are passed over.
    pub fn response(&mut self, head_only: bool) -> std::io::Result<Response> {
        loop {
            let response = self.any_response(head_only)?;
            if response.status >= 200 || response.status == 101 {
                return Ok(response);
            }
        }
    }

    /// Reads one final answer as far as it comes, and whether that was the whole of it.
    pub fn seen(&mut self, head_only: bool) -> std::io::Result<(Response, bool)> {
        let mut response = loop {
            // Of the head alone nothing of the body is read.
            let response = self.any_response(true)?;
            if response.status >= 200 {
                break response;
            }
        };
        let whole = head_only || matches!(response.status, 204 | 304) || self.body(&mut response).is_ok();
        Ok((response, whole))
    }

    /// Reads one answer, informational or not.
    pub fn any_response(&mut self, head_only: bool) -> std::io::Result<Response> {
        let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| invalid(&line))?;
        let mut fields = Vec::new();
        loop {
            let field = self.line()?;
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').ok_or_else(|| invalid(&field))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, fields, body: Vec::new() };
        if head_only || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        self.body(&mut response)?;
        Ok(response)
    }

    fn body(&mut self, response: &mut Response) -> std::io::Result<()> {
        if response.field("transfer-encoding").is_some() {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16)
                    .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, line))?;
                let mut chunk = vec![0; size];
                self.reader.read_exact(&mut chunk)?;
                response.body.extend(chunk);
                self.line()?;
                if size == 0 {
                    return Ok(());
                }
            }
        }
        match response.field("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                self.reader.by_ref().take(length).read_to_end(&mut response.body)?;
                let whole = response.body.len() as u64 == length;
                if whole { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
            }
            None => self.reader.read_to_end(&mut response.body).map(drop),
        }
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset after the last byte is an end too.
        drop(self.reader.read_to_end(&mut rest));
        rest
    }

    /// Fills the buffer with what comes next.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        self.reader.read_exact(buffer)
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // Each byte as the character of its number.
        let line: String = line.into_iter().map(char::from).collect();
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// One GET on a connection of its own.
pub fn get(address: SocketAddr, target: &str) -> Response {
    let mut client = Client::connect(address).expect("a connection");
    client.request("GET", target, &[("connection", "close")], b"").expect("an answer")
}

/// Sends bytes and reads until the other side closes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = Client::connect(address).expect("a connection");
    client.send(bytes).expect("bytes sent");
    String::from_utf8_lossy(&client.rest()).into_owned()
}
