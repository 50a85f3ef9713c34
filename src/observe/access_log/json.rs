//! One JSON object per line: every field under its name, in the order of [`Field::ALL`](super::Field::ALL).
//!
//! Invariant: the line is valid JSON in printable ASCII, whatever a client sent; keys never come and go, what is
//! missing is `null`.
//!
//! Deliberately absent: serde. The keys are constants and the values few; written by hand they go straight into the
//! buffer of the thread.

use super::value;
use crate::observe::Record;
use crate::observe::{escape, timestamp};

/// Appends the line of a record, with its line break.
pub(super) fn write(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    timestamp::rfc3339(out, record.time);
    out.extend_from_slice(b"\",\"request_id\":\"");
    escape::json(out, record.request_id.as_bytes());
    out.extend_from_slice(b"\",\"client\":\"");
    escape::json(out, record.client.as_bytes());
    out.extend_from_slice(b"\",\"listener\":\"");
    escape::json(out, record.listener.as_bytes());
    out.extend_from_slice(b"\",\"method\":\"");
    escape::json(out, record.method.as_bytes());
    out.extend_from_slice(b"\",\"scheme\":\"");
    escape::json(out, record.scheme.as_bytes());
    out.extend_from_slice(b"\",\"host\":\"");
    escape::json(out, record.host.as_bytes());
    out.extend_from_slice(b"\",\"path\":\"");
    escape::json(out, record.path.as_bytes());
    out.extend_from_slice(b"\",\"protocol\":\"");
    out.extend_from_slice(record.protocol.as_str().as_bytes());
    out.extend_from_slice(b"\",\"status\":");
    or_null(out, record.status, value::number);
    out.extend_from_slice(b",\"reason\":");
    or_null(out, record.reason.map(str::as_bytes), string);
    out.extend_from_slice(b",\"bytes_received\":");
    value::number(out, record.bytes_received);
    out.extend_from_slice(b",\"bytes_sent\":");
    value::number(out, record.bytes_sent);
    out.extend_from_slice(b",\"duration_ms\":");
    value::milliseconds(out, record.duration);
    out.extend_from_slice(b",\"connect_ms\":");
    or_null(out, record.connect, value::milliseconds);
    out.extend_from_slice(b",\"first_byte_ms\":");
    or_null(out, record.first_byte, value::milliseconds);
    out.extend_from_slice(b",\"attempts\":");
    value::number(out, record.attempts);
    out.extend_from_slice(b",\"hedge\":");
    or_null(out, record.hedge.map(|hedged| hedged.as_str().as_bytes()), string);
    out.extend_from_slice(b",\"route\":");
    or_null(out, record.route.map(str::as_bytes), string);
    out.extend_from_slice(b",\"upstream\":");
    or_null(out, record.upstream.map(str::as_bytes), string);
    out.extend_from_slice(b",\"backend\":");
    or_null(out, record.backend.map(str::as_bytes), string);
    out.extend_from_slice(b",\"user_agent\":");
    or_null(out, record.user_agent, string);
    out.extend_from_slice(b",\"referer\":");
    or_null(out, record.referer, string);
    out.extend_from_slice(b"}\n");
}

fn or_null<T>(out: &mut Vec<u8>, value: Option<T>, write: fn(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escape::json(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::format::Field;
    use super::super::sample::{self, Hostile};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_becomes_one_object_with_every_field_in_order() {
        assert_eq!(
            line(&sample::record()),
            concat!(
                r#"{"time":"2026-11-23T13:44:05.123Z","request_id":"0c5e2c7d7a6b4f11","client":"192.0.2.7","#,
                r#""listener":"web","method":"GET","scheme":"https","host":"shop.example.com","#,
                r#""path":"/api/items?page=2","protocol":"HTTP/1.1","status":200,"reason":null,"#,
                r#""bytes_received":0,"bytes_sent":5120,"duration_ms":12.345,"connect_ms":null,"#,
                r#""first_byte_ms":11.020,"attempts":1,"hedge":null,"route":"shop","upstream":"app","#,
                r#""backend":"10.0.0.7:9001","user_agent":"curl/8.5.0","referer":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_keys_are_the_names_of_the_fields() {
        let text = line(&sample::record());
        let mut last = 0;
        for field in Field::ALL {
            let at = text.find(&format!("\"{}\":", field.name())).unwrap();
            assert!(at >= last, "`{}` is out of order", field.name());
            last = at;
        }
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.as_object().unwrap().len(), Field::ALL.len());
    }

    #[test]
    fn what_did_not_happen_is_null() {
        let text = line(&Record {
            status: None,
            reason: Some("client_gone"),
            attempts: 0,
            route: None,
            upstream: None,
            backend: None,
            first_byte: None,
            user_agent: None,
            ..sample::record()
        });
        let parsed: Value = serde_json::from_str(&text).unwrap();
        for key in ["status", "route", "upstream", "backend", "connect_ms", "first_byte_ms", "user_agent"] {
            assert_eq!(parsed[key], Value::Null, "{key}");
        }
        assert_eq!(parsed["reason"], "client_gone");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_gives_back_whatever_came(hostile: Hostile) {
            let record = hostile.record();
            let text = line(&record);
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(text.ends_with('\n'));
            let lossy = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let milliseconds = |time: Duration| (time.as_micros() as f64) / 1000.0;
            let parsed: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parsed, json!({
                "time": "2026-11-23T13:44:05.123Z",
                "request_id": record.request_id,
                "client": record.client,
                "listener": record.listener,
                "method": record.method,
                "scheme": record.scheme,
                "host": record.host,
                "path": record.path,
                "protocol": record.protocol.as_str(),
                "status": record.status,
                "reason": record.reason,
                "bytes_received": record.bytes_received,
                "bytes_sent": record.bytes_sent,
                "duration_ms": milliseconds(record.duration),
                "connect_ms": record.connect.map(milliseconds),
                "first_byte_ms": record.first_byte.map(milliseconds),
                "attempts": record.attempts,
                "hedge": record.hedge.map(|hedged| hedged.as_str()),
                "route": record.route,
                "upstream": record.upstream,
                "backend": record.backend,
                "user_agent": lossy(record.user_agent),
                "referer": lossy(record.referer),
            }));
        }
    }
}
