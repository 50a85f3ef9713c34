//! The running process's admin address, as the commands ask it.
//!
//! Invariant: who answers is the process that the file names; another on the same address is told nothing.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::{Options, report};
use crate::config::{self, Address, Secret, Token, Whereabouts};
use crate::control::pid_file;
use crate::exit;

/// A reload resolves names and reads certificates; all else is quick.
const PATIENCE: Duration = Duration::from_secs(120);
/// A page of a hundred thousand backends.
const LONGEST_ANSWER: u64 = 256 << 20;

/// See the module's documentation.
#[derive(Debug)]
pub struct Api {
    address: Address,
    token: Option<Secret>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// Why it is no success, in one line.
    pub fn why(&self) -> String {
        let said = self.body.get("error").and_then(Value::as_str).unwrap_or("no reason was given");
        format!("{said} ({})", self.status)
    }
}

impl Api {
    /// Finds the running process; what is wrong is printed.
    pub fn find(options: &Options) -> Result<Api, i32> {
        let found = options.locate()?;
        let off = || Err("the file has `admin: off`; without an admin address the process cannot be asked".to_owned());
        Api::of(&found).unwrap_or_else(off).map_err(|why| {
            complain!("error: {why}");
            exit::START
        })
    }

    /// The admin address of the process that was found, or why it cannot be asked; None if it has none.
    pub fn of(found: &Whereabouts) -> Option<Result<Api, String>> {
        let admin = found.admin.as_ref()?;
        Some(Api::with_token(admin).and_then(|api| api.answers_for(found)))
    }

    fn with_token(admin: &config::Admin) -> Result<Api, String> {
        let token = match &admin.token {
            None => None,
            Some(Token::Environment(secret)) => Some(secret.clone()),
            Some(Token::File(path)) => {
                let text = std::fs::read_to_string(path);
                let fault = |error| format!("the admin token in `{}` cannot be read: {error}", path.display());
                Some(Secret(text.map_err(fault)?.lines().next().unwrap_or_default().trim().to_owned()))
            }
        };
        Ok(Api { address: admin.address.clone(), token })
    }

    fn answers_for(self, found: &Whereabouts) -> Result<Api, String> {
        let status = self.get("status")?;
        let path = &found.server.pid_file;
        let named = pid_file::running(path.as_ref()).map(|pid| i64::from(pid.as_raw_nonzero().get()));
        let answers = status.get("pid").and_then(Value::as_i64);
        match (named, answers) {
            (Some(named), Some(answers)) if named != answers => {
                Err(format!("`{}` is answered by process {answers}, not by {named} that `{path}` names", self.address))
            }
            (_, _) => Ok(self),
        }
    }

    /// A resource of the API; anything but a success is a sentence.
    pub fn get(&self, resource: &str) -> Result<Value, String> {
        let answer = self.ask("GET", resource, None)?;
        if answer.status == 200 { Ok(answer.body) } else { Err(answer.why()) }
    }

    /// Asks for something to be done.
    pub fn post(&self, resource: &str, body: &Value) -> Result<Answer, String> {
        self.ask("POST", resource, Some(body))
    }

    fn ask(&self, method: &str, resource: &str, body: Option<&Value>) -> Result<Answer, String> {
        let fault = |error: std::io::Error| format!("the admin address `{}` cannot be asked: {error}", self.address);
        match &self.address {
            Address::Tcp(address) => {
                let mut address = *address;
                // What listens everywhere is asked here.
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv4() {
                        std::net::Ipv4Addr::LOCALHOST.into()
                    } else {
                        std::net::Ipv6Addr::LOCALHOST.into()
                    });
                }
                let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(fault)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
                self.exchange(stream, &address.to_string(), method, resource, body).map_err(fault)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(fault)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
                self.exchange(stream, "localhost", method, resource, body).map_err(fault)
            }
        }
    }

    fn exchange(
        &self,
        mut stream: impl Read + Write,
        host: &str,
        method: &str,
        resource: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let token =
            self.token.as_ref().map(|token| format!("Authorization: Bearer {}\r\n", token.0)).unwrap_or_default();
        let request = format!(
            "{method} /api/v1/{resource} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream.take(LONGEST_ANSWER));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head.lines().filter_map(|line| line.split_once(':'));
        let length = length.clone().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_default();
        let mut body = vec![0; length.min(usize::try_from(LONGEST_ANSWER).unwrap_or(usize::MAX))];
        reader.read_exact(&mut body)?;
        let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
        Ok(Answer {
            status: status.ok_or_else(|| invalid("the answer is not HTTP"))?,
            body: serde_json::from_slice(&body).map_err(|_| invalid("the answer is not JSON"))?,
        })
    }
}

impl Options {
    /// Where the process of the file that is meant is found; what is wrong is printed.
    pub fn locate(&self) -> Result<Whereabouts, i32> {
        config::locate(&self.path()).map_err(|error| report(&error))
    }
}
