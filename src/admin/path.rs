//! What a path of the admin address means, who may have it, and by which methods.

use super::backends::Act;
use super::gate::Guarded;

/// To read.
pub const READ: &str = "GET, HEAD";
/// To do.
pub const WRITE: &str = "POST";

/// For who asks for something else.
pub const WHAT_THERE_IS: &str = "there are /, /livez, /readyz, /metrics, and under /api/v1/: status, listeners, \
     upstreams, routes, config, requests; by POST reload, confirm, plan, explain, and \
     upstreams/{upstream}/backends/{backend}/drain, enable and weight";

/// Everything that can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Resource {
    Live,
    Ready,
    Metrics,
    Page,
    Status,
    Listeners,
    Upstreams,
    Routes,
    Config,
    Requests,
    Reload,
    Confirm,
    Plan,
    Explain,
    Backend { upstream: String, backend: String, act: Act },
    Unknown,
}

impl Resource {
    /// What `path` means.
    pub fn of(path: &str) -> Resource {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            [""] => Resource::Page,
            ["livez"] => Resource::Live,
            ["readyz"] => Resource::Ready,
            ["metrics"] => Resource::Metrics,
            ["api", "v1", resource] => match *resource {
                "status" => Resource::Status,
                "listeners" => Resource::Listeners,
                "upstreams" => Resource::Upstreams,
                "routes" => Resource::Routes,
                "config" => Resource::Config,
                "requests" => Resource::Requests,
                "reload" => Resource::Reload,
                "confirm" => Resource::Confirm,
                "plan" => Resource::Plan,
                "explain" => Resource::Explain,
                _ => Resource::Unknown,
            },
            ["api", "v1", "upstreams", upstream, "backends", backend, act] => {
                let act = match *act {
                    "drain" => Act::Drain,
                    "enable" => Act::Enable,
                    "weight" => Act::Weigh,
                    _ => return Resource::Unknown,
                };
                match (decoded(upstream), decoded(backend)) {
                    (Some(upstream), Some(backend)) => Resource::Backend { upstream, backend, act },
                    (_, _) => Resource::Unknown,
                }
            }
            _ => Resource::Unknown,
        }
    }

    /// Who may have it. Even that there is nothing is told to operators only.
    pub fn guarded(&self) -> Guarded {
        match self {
            Resource::Live | Resource::Ready => Guarded::Open,
            Resource::Page => Guarded::Page,
            Resource::Metrics
            | Resource::Status
            | Resource::Listeners
            | Resource::Upstreams
            | Resource::Routes
            | Resource::Config
            | Resource::Requests
            | Resource::Reload
            | Resource::Confirm
            | Resource::Plan
            | Resource::Explain
            | Resource::Backend { .. }
            | Resource::Unknown => Guarded::Closed,
        }
    }

    /// [`READ`] or [`WRITE`].
    pub fn methods(&self) -> &'static str {
        match self {
            Resource::Reload | Resource::Confirm | Resource::Plan | Resource::Explain | Resource::Backend { .. } => {
                WRITE
            }
            Resource::Live
            | Resource::Ready
            | Resource::Metrics
            | Resource::Page
            | Resource::Status
            | Resource::Listeners
            | Resource::Upstreams
            | Resource::Routes
            | Resource::Config
            | Resource::Requests
            | Resource::Unknown => READ,
        }
    }
}

/// A segment without its escapes (RFC 3986, section 2.1): the path of a UNIX socket has slashes.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A segment with all escaped that a path cannot have in it.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_found_by_its_escaped_name() {
        for backend in ["127.0.0.1:9001", "[::1]:9001", "unix:/run/a b.sock", "%"] {
            let path = format!("/api/v1/upstreams/app/backends/{}/drain", encoded(backend));
            let expected = Resource::Backend { upstream: "app".into(), backend: backend.into(), act: Act::Drain };
            assert_eq!(Resource::of(&path), expected, "{path}");
        }
        assert_eq!(Resource::of("/api/v1/upstreams/app/backends/%zz/drain"), Resource::Unknown);
        assert_eq!(Resource::of("/api/v1/upstreams/app/backends/a/destroy"), Resource::Unknown);
        assert_eq!(Resource::of("/api/v1/status/"), Resource::Unknown);
        assert_eq!(Resource::of("/"), Resource::Page);
    }
}
