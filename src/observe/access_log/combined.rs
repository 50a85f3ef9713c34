//! The combined format of Apache and nginx, for the many programs that read nothing else.
//!
//! Invariant: what a client chose stands in quotes and cannot leave them; all else is of our making.
//!
//! Deliberately absent: the second and third column (identity and user), which no balancer knows; they are `-`.

use super::value;
use crate::observe::Record;
use crate::observe::{escape, timestamp};

/// Appends the line of a record, with its line break.
pub(super) fn write(out: &mut Vec<u8>, record: &Record<'_>) {
    escape::hexadecimal(out, record.client.as_bytes());
    out.extend_from_slice(b" - - [");
    timestamp::common_log(out, record.time);
    out.extend_from_slice(b"] \"");
    escape::hexadecimal(out, record.method.as_bytes());
    out.push(b' ');
    escape::hexadecimal(out, record.path.as_bytes());
    out.push(b' ');
    out.extend_from_slice(record.protocol.as_str().as_bytes());
    out.extend_from_slice(b"\" ");
    value::or_dash(out, record.status, value::number);
    out.push(b' ');
    value::number(out, record.bytes_sent);
    out.extend_from_slice(b" \"");
    value::or_dash(out, record.referer, escape::hexadecimal);
    out.extend_from_slice(b"\" \"");
    value::or_dash(out, record.user_agent, escape::hexadecimal);
    out.extend_from_slice(b"\"\n");
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, Hostile};
    use super::*;
    use proptest::prelude::*;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_becomes_the_line_that_nginx_would_write() {
        assert_eq!(
            line(&sample::record()),
            "192.0.2.7 - - [23/Nov/2026:13:44:05 +0000] \"GET /api/items?page=2 HTTP/1.1\" 200 5120 \"-\" \
             \"curl/8.5.0\"\n"
        );
    }

    #[test]
    fn an_unanswered_request_has_a_dash_for_its_status() {
        let text = line(&Record { status: None, bytes_sent: 0, ..sample::record() });
        assert!(text.contains("HTTP/1.1\" - 0 \""), "{text}");
    }

    #[test]
    fn a_quote_in_a_user_agent_cannot_forge_a_column() {
        let text = line(&Record { user_agent: Some(b"x\" 200 \"\n"), ..sample::record() });
        assert!(text.ends_with("\"-\" \"x\\x22 200 \\x22\\x0a\"\n"), "{text}");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_with_six_quotes_whatever_came(hostile: Hostile) {
            let text = line(&hostile.record());
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(text.ends_with("\"\n"));
            prop_assert_eq!(text.matches('"').count(), 6);
        }
    }
}
