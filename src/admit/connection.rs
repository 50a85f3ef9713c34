//! What a client asks of the connection itself: another protocol, or its end.
//!
//! It asks for a protocol with `Connection: upgrade` (RFC 9110, section 7.8); `Upgrade` alone is a field of the connection before,
//! which somebody forgot to remove. pingora looks at `Upgrade` alone.

use http::header::{CONNECTION, UPGRADE};
use pingora::http::RequestHeader;

/// Removes an `Upgrade` that nobody asked for.
pub fn only_if_asked_for(request: &mut RequestHeader) {
    if request.headers.contains_key(UPGRADE) && !is_asked_for(request) {
        request.remove_header(&UPGRADE);
    }
}

/// Whether the connection ends with this request (RFC 9112, section 9.6). pingora looks at the first field alone.
pub fn asks_to_close(request: &RequestHeader) -> bool {
    has_option(request, b"close")
}

fn is_asked_for(request: &RequestHeader) -> bool {
    has_option(request, b"upgrade")
}

fn has_option(request: &RequestHeader, wanted: &[u8]) -> bool {
    let values = request.headers.get_all(CONNECTION).iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_may_be_asked_for_in_any_of_its_fields() {
        for (connection, asked) in
            [(&["x", "Close"][..], true), (&["x, close"], true), (&["closed"], false), (&[], false)]
        {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for value in connection {
                request.append_header("connection", *value).unwrap();
            }
            assert_eq!(asks_to_close(&request), asked, "{connection:?}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_by_the_connection() {
        for (connection, asked) in [
            (&["upgrade"][..], true),
            (&["keep-alive, Upgrade"], true),
            (&["keep-alive", "upgrade"], true),
            (&["keep-alive"], false),
            (&["x-upgrade"], false),
            (&[], false),
        ] {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.append_header("upgrade", "websocket").unwrap();
            for value in connection {
                request.append_header("connection", *value).unwrap();
            }
            only_if_asked_for(&mut request);
            assert_eq!(request.headers.contains_key(UPGRADE), asked, "{connection:?}");
        }
    }
}
