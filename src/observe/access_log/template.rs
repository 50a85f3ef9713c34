//! Lines after a template of the configuration.
//!
//! Invariant: one line per record; a value has no line break, no quote and nothing unprintable in it, so that it stays
//! where the template put it.
//!
//! Deliberately absent: quoting. A template that has spaces in values says itself where quotes stand.

use super::format::{Field, Piece};
use super::value;
use crate::observe::Record;
use crate::observe::{escape, timestamp};

/// Appends the line of a record, with its line break.
pub(super) fn write(out: &mut Vec<u8>, pieces: &[Piece], record: &Record<'_>) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Field(field) => write_field(out, *field, record),
        }
    }
    out.push(b'\n');
}

fn write_field(out: &mut Vec<u8>, field: Field, record: &Record<'_>) {
    let text = |out: &mut Vec<u8>, text: &str| escape::hexadecimal(out, text.as_bytes());
    match field {
        Field::Time => timestamp::rfc3339(out, record.time),
        Field::RequestId => text(out, record.request_id),
        Field::Client => text(out, record.client),
        Field::Listener => text(out, record.listener),
        Field::Method => text(out, record.method),
        Field::Scheme => text(out, record.scheme),
        Field::Host => text(out, record.host),
        Field::Path => text(out, record.path),
        Field::Protocol => text(out, record.protocol.as_str()),
        Field::Status => value::or_dash(out, record.status, value::number),
        Field::Reason => value::or_dash(out, record.reason, text),
        Field::BytesReceived => value::number(out, record.bytes_received),
        Field::BytesSent => value::number(out, record.bytes_sent),
        Field::Duration => value::milliseconds(out, record.duration),
        Field::ConnectTime => value::or_dash(out, record.connect, value::milliseconds),
        Field::FirstByteTime => value::or_dash(out, record.first_byte, value::milliseconds),
        Field::Attempts => value::number(out, record.attempts),
        Field::Hedge => value::or_dash(out, record.hedge.map(|hedged| hedged.as_str()), text),
        Field::Route => value::or_dash(out, record.route, text),
        Field::Upstream => value::or_dash(out, record.upstream, text),
        Field::Backend => value::or_dash(out, record.backend, text),
        Field::UserAgent => value::or_dash(out, record.user_agent, escape::hexadecimal),
        Field::Referer => value::or_dash(out, record.referer, escape::hexadecimal),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, Hostile};
    use super::*;
    use crate::config::template_pieces;
    use proptest::prelude::*;

    fn line(template: &str, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, &template_pieces(template).0, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_template_is_filled_in() {
        assert_eq!(
            line("{client} -> {backend} {{{status}}} {duration_ms}ms", &sample::record()),
            "192.0.2.7 -> 10.0.0.7:9001 {200} 12.345ms\n"
        );
    }

    #[test]
    fn what_is_missing_is_a_dash() {
        assert_eq!(line("{connect_ms} {reason} {referer}", &sample::record()), "- - -\n");
    }

    #[test]
    fn every_field_can_be_written() {
        let all: String = Field::ALL.iter().map(|field| format!("{{{}}} ", field.name())).collect();
        assert_eq!(
            line(all.trim_end(), &sample::record()),
            "2026-11-23T13:44:05.123Z 0c5e2c7d7a6b4f11 192.0.2.7 web GET https shop.example.com /api/items?page=2 \
             HTTP/1.1 200 - 0 5120 12.345 - 11.020 1 - shop app 10.0.0.7:9001 curl/8.5.0 -\n"
        );
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_whatever_came(hostile: Hostile) {
            let all: String = Field::ALL.iter().map(|field| format!("\"{{{}}}\"", field.name())).collect();
            let text = line(&all, &hostile.record());
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(text.matches('"').count(), 2 * Field::ALL.len());
        }
    }
}
