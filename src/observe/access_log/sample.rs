//! Records for the tests of the formats: a usual one, and one that a hostile client has made.

use super::super::record::{Hedged, Protocol, Record};
use proptest::prelude::*;
use std::time::{Duration, UNIX_EPOCH};

pub(in crate::observe) fn record() -> Record<'static> {
    Record {
        time: UNIX_EPOCH + Duration::from_millis(1_795_441_445_123),
        request_id: "0c5e2c7d7a6b4f11",
        client: "192.0.2.7",
        listener: "web",
        route: Some("shop"),
        method: "GET",
        scheme: "https",
        host: "shop.example.com",
        path: "/api/items?page=2",
        normal_path: None,
        rewritten_path: None,
        generation: 1,
        status: Some(200),
        reason: None,
        bytes_received: 0,
        bytes_sent: 5120,
        duration: Duration::from_micros(12_345),
        connect: None,
        first_byte: Some(Duration::from_micros(11_020)),
        attempts: 1,
        hedge: None,
        upstream: Some("app"),
        backend: Some("10.0.0.7:9001"),
        protocol: Protocol::Http11,
        user_agent: Some(b"curl/8.5.0"),
        referer: None,
    }
}

/// Anything that the types allow, in every field.
#[derive(Debug)]
pub(super) struct Hostile {
    texts: [String; 10],
    bytes: [Option<Vec<u8>>; 2],
    status: Option<u16>,
    numbers: (u64, u64, u32),
    times: (u32, Option<u32>, Option<u32>),
    protocol: Protocol,
}

impl Arbitrary for Hostile {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        // `any::<String>` has no control characters; those are what hurts.
        let text = || {
            prop::collection::vec(prop_oneof![any::<char>(), prop::char::range('\0', '\x7f')], 0..24)
                .prop_map(String::from_iter)
        };
        let bytes = prop::option::of(prop::collection::vec(any::<u8>(), 0..48));
        let protocol = prop::sample::select(vec![Protocol::Http10, Protocol::Http11, Protocol::Http2]);
        (
            prop::array::uniform10(text()),
            [bytes.clone(), bytes],
            any::<Option<u16>>(),
            any::<(u64, u64, u32)>(),
            any::<(u32, Option<u32>, Option<u32>)>(),
            protocol,
        )
            .prop_map(|(texts, bytes, status, numbers, times, protocol)| Self {
                texts,
                bytes,
                status,
                numbers,
                times,
                protocol,
            })
            .boxed()
    }
}

impl Hostile {
    pub(super) fn record(&self) -> Record<'_> {
        let [request_id, client, listener, method, scheme, host, path, route, upstream, backend] = &self.texts;
        let [user_agent, referer] = &self.bytes;
        let micros = |micros: u32| Duration::from_micros(u64::from(micros));
        Record {
            time: record().time,
            request_id,
            client,
            listener,
            route: Some(route),
            method,
            scheme,
            host,
            path,
            normal_path: Some(path),
            rewritten_path: Some(path),
            generation: self.numbers.0,
            status: self.status,
            reason: None,
            bytes_received: self.numbers.0,
            bytes_sent: self.numbers.1,
            duration: micros(self.times.0),
            connect: self.times.1.map(micros),
            first_byte: self.times.2.map(micros),
            attempts: self.numbers.2,
            hedge: Some(Hedged::Won),
            upstream: Some(upstream),
            backend: Some(backend),
            protocol: self.protocol,
            user_agent: user_agent.as_deref(),
            referer: referer.as_deref(),
        }
    }
}
