//! `Via`: who has passed a message on, and in which version of HTTP it had come (RFC 9110, section 7.6.3).
//!
//! Off unless the operator gives us a name: some backends stop compressing when they see the field.

use http::header::VIA;
use http::{HeaderValue, Version};
use pingora::Result;
use pingora::http::ResponseHeader;

use super::request_head::RequestHead;

/// Our entry, for each version that a message may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// Under this name, which is a token; none if it cannot stand in a field.
    pub fn new(pseudonym: &str) -> Option<Via> {
        let entry = |version: &str| HeaderValue::from_str(&format!("{version} {pseudonym}")).ok();
        Some(Via { http10: entry("1.0")?, http11: entry("1.1")?, http2: entry("2.0")? })
    }

    /// Adds our entry to a request that came in this version.
    pub fn request(&self, request: &mut RequestHead<'_>, came: Version) {
        request.add(VIA, self.entry(came));
    }

    /// Adds our entry to a response that came in its own version. A switch of protocols passes as it is.
    ///
    /// # Errors
    /// pingora's, if the field cannot be added.
    pub fn response(&self, response: &mut ResponseHeader) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let entry = self.entry(response.version);
        response.append_header(VIA, entry).map(drop)
    }

    fn entry(&self, version: Version) -> HeaderValue {
        match version {
            Version::HTTP_09 | Version::HTTP_10 => self.http10.clone(),
            Version::HTTP_2 => self.http2.clone(),
            _ => self.http11.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::http::RequestHeader;

    #[test]
    fn our_entry_comes_last_and_names_the_version_that_the_message_came_in() {
        for (version, expected) in
            [(Version::HTTP_10, "1.0 edge"), (Version::HTTP_11, "1.1 edge"), (Version::HTTP_2, "2.0 edge")]
        {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.append_header(VIA, "1.0 fred").unwrap();
            let mut head = RequestHead::of(&request, Version::HTTP_11, |_| true);
            Via::new("edge").unwrap().request(&mut head, version);
            let entries: Vec<_> = head.all(&VIA).collect();
            assert_eq!(entries, ["1.0 fred", expected]);
        }
        assert_eq!(Via::new("a\nb"), None);
    }
}
