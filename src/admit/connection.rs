//! What a client asks of the connection itself: another protocol.
//!
//! It asks for a protocol with `Connection: upgrade` (RFC 9110, section 7.8); `Upgrade` alone is a field of the connection before,
//! which somebody forgot to remove. pingora looks at `Upgrade` alone.

use http::header::{CONNECTION, UPGRADE};
use pingora::http::RequestHeader;

use crate::wire::lists;

/// Removes an `Upgrade` that nobody asked for.
pub fn only_if_asked_for(request: &mut RequestHeader) {
    if request.headers.contains_key(UPGRADE) && !is_asked_for(request) {
        request.remove_header(&UPGRADE);
    }
}

fn is_asked_for(request: &RequestHeader) -> bool {
    request.headers.get_all(CONNECTION).iter().any(|options| lists(options.as_bytes(), b"upgrade"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
