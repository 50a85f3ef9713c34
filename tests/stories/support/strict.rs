//! HTTP/1.1 as a plain, slow reader would have it who takes nothing that could be read in two ways (RFC 9112).
//!
//! The model that the balancer is judged by, written apart from it: what this refuses no backend may ever see, and what
//! this reads is what a backend must have been asked.

/// A request, its body without framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// The minor version.
    pub version: u8,
    /// Names in lower case, in the order in which they came; each byte of a value as the character of its number.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether `Connection` names this option.
    pub fn connection_names(&self, option: &str) -> bool {
        let values = self.values("connection");
        values.iter().flat_map(|value| value.split(',')).any(|named| named.trim().eq_ignore_ascii_case(option))
    }

    /// Whether another request may follow on the connection (RFC 9112, section 9.3).
    pub fn persists(&self) -> bool {
        !self.connection_names("close") && (self.version > 0 || self.connection_names("keep-alive"))
    }

    /// How it is written in the tables of the specification, without the fields named here.
    pub fn told(&self, without: &[&str]) -> String {
        let mut fields: Vec<_> = self.fields.iter().filter(|(name, _)| !without.contains(&name.as_str())).collect();
        // Between fields of different names the order means nothing (RFC 9110, section 5.3).
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let fields: String = fields.iter().map(|(name, value)| format!(" | {name}: {value}")).collect();
        let body = if self.body.is_empty() { String::new() } else { format!(" || {}", self.body.escape_ascii()) };
        format!("{} {}{fields}{body}", self.method, self.target)
    }
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A request of so many bytes.
    Whole(Request, usize),
    /// The beginning of one; what is known of it, once its head is there.
    Part(Option<Request>),
    /// What is no request, or could be read as more than one.
    Bad(&'static str),
}

/// Everything that a client asked for on one connection, and what was left then.
pub fn conversation(mut bytes: &[u8]) -> (Vec<Request>, Option<Read>) {
    let mut requests: Vec<Request> = Vec::new();
    while !bytes.is_empty() && requests.last().is_none_or(Request::persists) {
        match read(bytes) {
            Read::Whole(request, length) => {
                requests.push(request);
                bytes = &bytes[length..];
            }
            rest @ (Read::Part(_) | Read::Bad(_)) => return (requests, Some(rest)),
        }
    }
    (requests, None)
}

/// Reads one request.
pub fn read(bytes: &[u8]) -> Read {
    let mut lines = Lines { bytes, at: 0 };
    match head(&mut lines) {
        Err(refusal) => refusal.into(),
        Ok(mut request) => match body(&mut request, &mut lines) {
            Ok(()) => Read::Whole(request, lines.at),
            Err(Refusal::Incomplete) => Read::Part(Some(request)),
            Err(refusal) => refusal.into(),
        },
    }
}

enum Refusal {
    Incomplete,
    Bad(&'static str),
}

impl From<Refusal> for Read {
    fn from(refusal: Refusal) -> Read {
        match refusal {
            Refusal::Incomplete => Read::Part(None),
            Refusal::Bad(why) => Read::Bad(why),
        }
    }
}

/// Fails with this sentence unless the condition holds.
fn must(condition: bool, why: &'static str) -> Result<(), Refusal> {
    if condition { Ok(()) } else { Err(Refusal::Bad(why)) }
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// A line without its end, which is CRLF.
    fn next(&mut self) -> Result<&'a [u8], Refusal> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Refusal::Incomplete)?;
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Refusal::Bad("a line ends with a bare LF"))?;
        must(!line.contains(&b'\r') && !line.contains(&0), "a bare CR or NUL in a line")?;
        Ok(line)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let taken = self.bytes[self.at..].get(..count).ok_or(Refusal::Incomplete)?;
        self.at += count;
        Ok(taken)
    }
}

fn head(lines: &mut Lines<'_>) -> Result<Request, Refusal> {
    let mut line = lines.next()?;
    while line.is_empty() {
        line = lines.next()?;
    }
    let mut request = request_line(line)?;
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        request.fields.push(field(line)?);
    }
    let hosts = request.values("host");
    must(hosts.len() <= 1 && (hosts.len() == 1 || request.version == 0), "not one host")?;
    must(hosts.iter().all(|host| is_authority(host)), "no host that there can be")?;
    if let Some((_, rest)) = request.target.split_once("://").filter(|_| !request.target.starts_with('/')) {
        let (authority, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let name = |authority: &str| authority.to_ascii_lowercase().trim_end_matches(":80").to_owned();
        must(is_authority(authority), "no authority that there can be")?;
        must(hosts.iter().all(|host| name(host) == name(authority)), "two names of a host")?;
    }
    Ok(request)
}

fn request_line(line: &[u8]) -> Result<Request, Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Bad("bytes beyond ASCII in the request line"))?;
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err(Refusal::Bad("not three words in the request line")) };
    must(!method.is_empty() && method.chars().all(is_token), "a method that is no token")?;
    must(method != "CONNECT" && method != "TRACE", "a method that is not served")?;
    must(
        target.chars().all(|character| character.is_ascii_graphic() && !"\"#<>".contains(character)),
        "an odd target",
    )?;
    let lower = target.to_ascii_lowercase();
    let is_absolute = lower.starts_with("http://") || lower.starts_with("https://");
    must(target.starts_with('/') || is_absolute || (target, method) == ("*", "OPTIONS"), "no form of a target")?;
    let minor = version.strip_prefix("HTTP/1.").filter(|minor| minor.len() == 1).and_then(|minor| minor.parse().ok());
    let version = minor.ok_or(Refusal::Bad("no version of HTTP/1"))?;
    Ok(Request { method: method.to_owned(), target: target.to_owned(), version, ..Request::default() })
}

fn field(line: &[u8]) -> Result<(String, String), Refusal> {
    let line: String = line.iter().map(|byte| char::from(*byte)).collect();
    let (name, value) = line.split_once(':').ok_or(Refusal::Bad("a line without a colon"))?;
    must(!name.is_empty() && name.chars().all(is_token), "a name that is no token")?;
    let allowed = |character: char| character == '\t' || (character >= ' ' && character != '\x7f');
    must(value.chars().all(allowed), "a control character in a value")?;
    let name = name.to_ascii_lowercase();
    must(!["content_length", "transfer_encoding"].contains(&name.as_str()), "nearly the name of a length")?;
    Ok((name, value.trim_matches([' ', '\t']).to_owned()))
}

fn body(request: &mut Request, lines: &mut Lines<'_>) -> Result<(), Refusal> {
    let own = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (codings, lengths) = (own(request.values("transfer-encoding")), own(request.values("content-length")));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(()),
        ([], [length]) => {
            must(!length.is_empty() && length.chars().all(|digit| digit.is_ascii_digit()), "a length that is none")?;
            let length = length.parse::<i64>().map_err(|_| Refusal::Bad("a length too large to count to"))?;
            let rest = &lines.bytes[lines.at..];
            request.body = rest[..rest.len().min(length as usize)].to_vec();
            lines.take(length as usize).map(|_| ())
        }
        ([coding], []) => {
            must(coding.eq_ignore_ascii_case("chunked"), "another coding than chunked")?;
            must(request.version > 0, "chunks in HTTP/1.0")?;
            chunks(request, lines)
        }
        _ => Err(Refusal::Bad("two words on the length")),
    }
}

fn chunks(request: &mut Request, lines: &mut Lines<'_>) -> Result<(), Refusal> {
    loop {
        let line = lines.next()?;
        let line: String = line.iter().map(|byte| char::from(*byte)).collect();
        let (size, extensions) = line.split_at(line.find([';', ' ', '\t']).unwrap_or(line.len()));
        let digits = !size.is_empty() && size.len() <= 16 && size.chars().all(|digit| digit.is_ascii_hexdigit());
        must(digits, "a size of a chunk that is none")?;
        must(extensions.is_empty() || are_extensions(extensions), "an odd extension of a chunk")?;
        let size = i64::from_str_radix(size, 16).map_err(|_| Refusal::Bad("a chunk too large to count to"))?;
        if size == 0 {
            break;
        }
        let data = lines.take(size as usize)?;
        request.body.extend_from_slice(data);
        must(
            b"\r\n".starts_with(&lines.bytes[lines.at..][..2.min(lines.bytes.len() - lines.at)]),
            "an overlong chunk",
        )?;
        lines.take(2)?;
    }
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            return Ok(());
        }
        let (name, _) = field(line)?;
        must(!["content-length", "transfer-encoding", "host"].contains(&name.as_str()), "framing in a trailer")?;
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, at least one.
fn are_extensions(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let Some(named) = blanks(rest).strip_prefix(';').map(blanks).and_then(token) else { return false };
        rest = named;
        if let Some(value) = blanks(rest).strip_prefix('=').map(blanks) {
            let behind = if value.starts_with('"') { quoted(value) } else { token(value) };
            let Some(behind) = behind else { return false };
            rest = behind;
        }
    }
    !text.is_empty()
}

/// What is behind the white space at the beginning.
fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// What is behind a token at the beginning; none if there is none.
fn token(text: &str) -> Option<&str> {
    let behind = text.trim_start_matches(is_token);
    (behind.len() < text.len()).then_some(behind)
}

/// What is behind a quoted string at the beginning (RFC 9110, section 5.6.4); none if there is none.
fn quoted(text: &str) -> Option<&str> {
    let allowed = |character: char| character == '\t' || (character >= ' ' && character != '\x7f');
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(characters.as_str()),
            '\\' if characters.next().is_some_and(allowed) => {}
            '\\' => return None,
            character if allowed(character) => {}
            _ => return None,
        }
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// A name of letters, digits, `-`, `.`, `_`, `~`, or an IPv6 address in brackets; and perhaps a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        Some(_) | None => (text, ""),
    };
    let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)) && !host.is_empty();
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
    let digits = port.chars().all(|digit| digit.is_ascii_digit());
    (is_name || is_address) && digits && (port.is_empty() || port.parse::<u16>().is_ok())
}
