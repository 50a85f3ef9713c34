//! Whole blocks: the examples of RFC 7541 (appendix C), what must be refused, and that what is written is read.

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::huffman::tests::encode as huffman;
use super::{Broken, Decoder, Encoder, List, Name, OVERHEAD};

const UNLIMITED: usize = usize::MAX;

type Field = (Name, HeaderValue);

fn field(name: &str, value: &str) -> Field {
    (Name::read(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
}

fn read_up_to(decoder: &mut Decoder, block: &[u8], most: usize) -> Result<(List, Vec<Field>), Broken> {
    let mut fields = Vec::new();
    let list = decoder.decode(block, most, |name, value| fields.push((name, value)))?;
    Ok((list, fields))
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<(List, Vec<Field>), Broken> {
    read_up_to(decoder, block, UNLIMITED)
}

/// Bytes of spaced groups of hexadecimal digits, as the RFC prints them.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// A block, its fields, and the size of the table afterwards.
type Example<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// Reads blocks one after the other, each with the fields and the size of the table afterwards.
fn expect(most: usize, blocks: &[Example]) {
    let mut decoder = Decoder::new(most);
    for (block, fields, size) in blocks {
        let fields = fields.iter().map(|(name, value)| field(name, value)).collect();
        assert_eq!(read(&mut decoder, &hex(block)), Ok((List::Whole, fields)), "{block}");
        assert_eq!(decoder.table_size(), *size, "{block}");
    }
}

#[test]
fn appendix_c_2_each_representation() {
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    expect(4096, &[(custom, &[("custom-key", "custom-header")], 55)]);
    expect(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0)]);
    expect(4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0)]);
    expect(4096, &[("82", &[(":method", "GET")], 0)]);
}

const FIRST_REQUEST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND_REQUEST: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD_REQUEST: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn appendix_c_3_requests_without_huffman() {
    expect(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &FIRST_REQUEST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", &SECOND_REQUEST, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", &THIRD_REQUEST, 164),
        ],
    );
}

#[test]
fn appendix_c_4_requests_with_huffman() {
    expect(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &FIRST_REQUEST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", &SECOND_REQUEST, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", &THIRD_REQUEST, 164),
        ],
    );
}

const FIRST_RESPONSE: [(&str, &str); 4] = [
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const SECOND_RESPONSE: [(&str, &str); 4] = [
    (":status", "307"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
];
const THIRD_RESPONSE: [(&str, &str); 6] = [
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
];

#[test]
fn appendix_c_5_responses_without_huffman_with_evictions() {
    expect(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
                 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &FIRST_RESPONSE,
                222,
            ),
            ("4803 3330 37c1 c0bf", &SECOND_RESPONSE, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
                 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
                 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                &THIRD_RESPONSE,
                215,
            ),
        ],
    );
}

#[test]
fn appendix_c_6_responses_with_huffman_with_evictions() {
    expect(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
                 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                &FIRST_RESPONSE,
                222,
            ),
            ("4883 640e ffc1 c0bf", &SECOND_RESPONSE, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
                 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                &THIRD_RESPONSE,
                215,
            ),
        ],
    );
}

#[test]
fn blocks_that_break_the_rules_are_broken() {
    let end_symbol = [0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, b'v'];
    let wrong: [(&str, &[u8]); 17] = [
        ("index 0", &[0x80]),
        ("an index behind an empty table", &[0xbe]),
        ("a name behind an empty table", &[0x7e, 1, b'v']),
        ("a name behind an empty table, not indexed", &[0x0f, 62 - 15, 1, b'v']),
        ("an integer that does not end", &[0xff]),
        ("an integer that is cut off", &[0xff, 0x80]),
        ("an integer that is too large", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("a length that is too large", &[0x04, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("no value", &[0x04]),
        ("no name", &[0x40]),
        ("a name alone", &[0x40, 1, b'n']),
        ("a string beyond the block", &[0x04, 3, b'/', b'a']),
        ("padding of zeros", &[0x04, 0x81, 0b0001_1000]),
        ("padding of eight ones", &[0x04, 0x82, 0b0001_1111, 0xff]),
        ("the symbol of the end", &end_symbol),
        ("a size above the limit", &[0x3f, 0xe2, 0x1f]),
        ("a size not at the beginning", &[0x82, 0x20]),
    ];
    for (what, block) in wrong {
        assert_eq!(read(&mut Decoder::new(4096), block), Err(Broken), "{what}");
        assert_eq!(read_up_to(&mut Decoder::new(4096), block, 0), Err(Broken), "{what}, where nothing is allowed");
    }
    assert_eq!(read(&mut Decoder::new(4096), &[0x3f, 0xe1, 0x1f, 0x82]).map(|(list, _)| list), Ok(List::Whole));
}

#[test]
fn a_table_that_is_made_smaller_forgets_and_may_be_made_larger_again() {
    let mut decoder = Decoder::new(4096);
    read(&mut decoder, &[0x41, 1, b'a', 0x41, 1, b'b']).unwrap();
    assert_eq!(decoder.table_size(), 2 * 43);
    // 43 bytes have room for one, the newest.
    assert_eq!(read(&mut decoder, &[0x3f, 43 - 31, 0xbe]), Ok((List::Whole, vec![field(":authority", "b")])));
    assert_eq!(read(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f]), Ok((List::Whole, vec![])));
    assert_eq!(decoder.table_size(), 0);
    assert_eq!(read(&mut decoder, &[0xbe]), Err(Broken));
}

#[test]
fn an_entry_that_is_larger_than_the_table_empties_it_and_is_handed_over() {
    let mut decoder = Decoder::new(60);
    read(&mut decoder, &[0x41, 1, b'a']).unwrap();
    let block = [[0x41, 19].as_slice(), &[b'b'; 19]].concat();
    assert_eq!(read(&mut decoder, &block), Ok((List::Whole, vec![field(":authority", &"b".repeat(19))])));
    assert_eq!(decoder.table_size(), 0);
}

#[test]
fn a_name_may_be_that_of_the_entry_which_is_evicted_for_it() {
    let mut decoder = Decoder::new(34 + 4);
    read(&mut decoder, b"\x40\x01n\x01v").unwrap();
    assert_eq!(read(&mut decoder, b"\x7e\x05value"), Ok((List::Whole, vec![field("n", "value")])));
    assert_eq!(read(&mut decoder, b"\xbe"), Ok((List::Whole, vec![field("n", "value")])));
}

#[test]
fn what_is_malformed_keeps_its_place_and_stays_malformed() {
    let wrong: [&[u8]; 6] = [
        b"\x40\x01N\x01v",
        b"\x40\x04:own\x01v",
        b"\x40\x00\x01v",
        b"\x40\x01n\x02\0v",
        b"\x40\x01n\x02v\r",
        b"\x40\x01n\x02v\n",
    ];
    for block in wrong {
        let mut decoder = Decoder::new(4096);
        let before = read(&mut decoder, b"\x41\x01a").unwrap();
        assert_eq!(read(&mut decoder, block), Ok((List::Malformed, vec![])), "{block:?}");
        let [size] = [43 + OVERHEAD + block.len() - 3];
        assert_eq!(decoder.table_size(), size, "{block:?}");
        assert_eq!(read(&mut decoder, b"\xbe\x82"), Ok((List::Malformed, vec![])), "{block:?}");
        assert_eq!(read(&mut decoder, b"\xbf"), Ok(before), "{block:?}");
        // Its name is no better with another value, but a good name is.
        let again = read(&mut decoder, b"\x7e\x01w").unwrap().0;
        assert_eq!(again == List::Whole, block[2] == b'n', "{block:?}");
        assert_eq!(decoder.table_size(), size + OVERHEAD + usize::from(block[1]) + 1);
    }
}

#[test]
fn malformed_literals_that_are_not_indexed_are_malformed_too() {
    for block in [b"\x00\x01N\x01v", b"\x10\x01N\x01v"] {
        assert_eq!(read(&mut Decoder::new(4096), block), Ok((List::Malformed, vec![])));
    }
    let good = Ok((List::Whole, vec![(Name::Path, HeaderValue::from_bytes(b"/a b\tc\xff").unwrap())]));
    assert_eq!(read(&mut Decoder::new(4096), b"\x04\x07/a b\tc\xff"), good);
}

#[test]
fn a_list_that_is_too_large_is_read_to_its_end_for_the_table() {
    let mut decoder = Decoder::new(4096);
    let block = b"\x82\x41\x01a\x40\x01n\x01v\x86";
    let fields = [field(":method", "GET"), field(":authority", "a"), field("n", "v"), field(":scheme", "http")];
    let size = 42 + 43 + 34 + 43;
    for (most, list, count) in
        [(size, List::Whole, 4), (size - 1, List::TooLarge, 3), (84, List::TooLarge, 1), (0, List::TooLarge, 0)]
    {
        let read = read_up_to(&mut decoder, block, most).unwrap();
        assert_eq!(read, (list, fields[..count].to_vec()), "{most}");
    }
    assert_eq!(decoder.table_size(), 4 * (43 + 34));
    // What is small enough to come after what was not, is not handed over either.
    let read = read_up_to(&mut decoder, &[b"\x04\x64".as_slice(), &[b'a'; 100], b"\x82"].concat(), 60);
    assert_eq!(read, Ok((List::TooLarge, vec![])));
}

#[test]
fn values_that_must_never_be_indexed_are_sensitive_both_ways() {
    let mut decoder = Decoder::new(4096);
    let (_, fields) = read(&mut decoder, b"\x10\x01n\x01v\x00\x01n\x01v").unwrap();
    assert_eq!(fields.iter().map(|(_, value)| value.is_sensitive()).collect::<Vec<_>>(), [true, false]);
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.field(&mut out, &HeaderName::from_static("n"), &fields[0].1);
    assert_eq!(out, b"\x10\x01n\x01v");
    out.clear();
    encoder.field(&mut out, &http::header::COOKIE, &HeaderValue::from_static("a=b"));
    assert_eq!(out, b"\x1f\x11\x03a=b");
    out.clear();
    let mut empty = HeaderValue::from_static("");
    empty.set_sensitive(true);
    encoder.field(&mut out, &http::header::ACCEPT, &empty);
    assert_eq!(out, b"\x1f\x04\x00");
}

#[test]
fn nothing_that_is_handed_over_or_kept_holds_the_block() {
    // Only what owns its bytes alone can be turned back into a vector of exactly its size: it is seen by where it lies.
    let block = b"\x40\x05x-own\x05value\x04\x05/path".to_vec();
    let span = block.as_ptr_range();
    let (_, fields) = read(&mut Decoder::new(4096), &block).unwrap();
    for (name, value) in fields {
        assert!(!span.contains(&value.as_bytes().as_ptr()));
        if let Name::Field(name) = name {
            assert!(!span.contains(&name.as_str().as_ptr()));
        }
    }
}

#[test]
fn the_scratch_of_a_long_string_is_given_back() {
    let mut decoder = Decoder::new(4096);
    let coded = huffman(&[b'a'; 20_000]);
    let mut block = vec![0x04];
    super::integer::write::<7>(&mut block, 0x80, coded.len());
    block.extend(coded);
    assert_eq!(read(&mut decoder, &block), Ok((List::Whole, vec![field(":path", &"a".repeat(20_000))])));
    assert_eq!(decoder.scratch_size(), 0);
}

fn written(encoder: &mut Encoder, fields: &[(&'static str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.field(&mut out, &HeaderName::from_static(name), &HeaderValue::from_str(value).unwrap());
    }
    out
}

#[test]
fn what_has_been_said_before_is_a_byte_and_what_is_seldom_said_twice_is_not_kept() {
    let mut encoder = Encoder::new();
    let kept = [("content-type", "application/grpc"), ("te", "trailers"), ("x-own", "1"), ("accept-encoding", "gzip")];
    written(&mut encoder, &kept);
    assert_eq!(written(&mut encoder, &kept), [0xc1, 0xc0, 0xbf, 0xbe]);
    assert_eq!(written(&mut encoder, &[("accept-encoding", "gzip, deflate"), ("host", "")]), [0x90, 0xa6]);
    assert_eq!(written(&mut encoder, &[("x-own", "2")]), b"\x7f\x00\x012");
    let long = "v".repeat(300);
    let other =
        [("date", "now"), ("content-length", "7"), ("x-request-id", "7"), ("cookie", "a=b"), ("x-own", long.as_str())];
    let first = written(&mut encoder, &other);
    assert_eq!(written(&mut encoder, &other), first);
    assert_eq!(written(&mut encoder, &[("x-own", "2")]), [0xbe]);
}

#[test]
fn pseudo_fields_are_written_as_short_as_can_be() {
    let mut encoder = Encoder::new();
    let mut write = || {
        let mut out = Vec::new();
        for method in [Method::GET, Method::POST, Method::PUT] {
            encoder.method(&mut out, &method);
        }
        encoder.scheme(&mut out, &Scheme::HTTP);
        encoder.scheme(&mut out, &Scheme::HTTPS);
        encoder.authority(&mut out, b"a");
        for path in [b"/".as_slice(), b"/index.html", b"/p"] {
            encoder.path(&mut out, path);
        }
        for status in [200, 204, 206, 304, 400, 404, 500, 201] {
            encoder.status(&mut out, StatusCode::from_u16(status).unwrap());
        }
        out
    };
    let statuses = [0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e];
    let first = [b"\x82\x83\x42\x03PUT\x86\x87\x41\x01a\x84\x85\x04\x02/p".as_slice(), &statuses, b"\x48\x03201"];
    assert_eq!(write(), first.concat());
    let second = [b"\x82\x83\xc0\x86\x87\xbf\x84\x85\x04\x02/p".as_slice(), &statuses, b"\xbe"];
    assert_eq!(write(), second.concat());
}

#[test]
fn a_changed_size_is_said_at_the_next_block_with_the_smallest_between() {
    let said = |limits: &[usize]| {
        let mut encoder = Encoder::new();
        written(&mut encoder, &[("n", "v")]);
        limits.iter().for_each(|limit| encoder.limit(*limit));
        let first = written(&mut encoder, &[]);
        assert_eq!(written(&mut encoder, &[]), Vec::<u8>::new(), "{limits:?}");
        first
    };
    assert_eq!(said(&[4096]), Vec::<u8>::new());
    assert_eq!(said(&[100_000]), Vec::<u8>::new());
    assert_eq!(said(&[0]), [0x20]);
    assert_eq!(said(&[10]), [0x2a]);
    assert_eq!(said(&[0, 4096]), [0x20, 0x3f, 0xe1, 0x1f]);
    assert_eq!(said(&[20, 10, 30, 12]), [0x2a, 0x2c]);
    assert_eq!(said(&[30, 20, 10]), [0x2a]);
}

#[test]
fn a_peer_without_a_table_is_sent_literals_only() {
    let mut encoder = Encoder::new();
    encoder.limit(0);
    assert_eq!(written(&mut encoder, &[("n", "v")]), b"\x20\x00\x01n\x01v");
    assert_eq!(written(&mut encoder, &[("n", "v")]), b"\x00\x01n\x01v");
}

/// What a property writes.
#[derive(Clone, Debug)]
enum Written {
    Method(Method),
    Scheme(Scheme),
    Authority(String),
    Path(String),
    Status(StatusCode),
    Field(HeaderName, HeaderValue),
}

fn any_written() -> impl Strategy<Value = Written> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("OWN")];
    let scheme = prop_oneof![Just("http"), Just("https"), Just("own")];
    let known = prop_oneof![
        Just("accept-encoding"),
        Just("content-type"),
        Just("cookie"),
        Just("date"),
        Just("te"),
        Just("www-authenticate"),
        Just("x-request-id")
    ];
    let name = prop_oneof![known.prop_map(String::from), "x-[a-c]{1,2}", "[a-z0-9-]{1,40}"];
    let value = prop_oneof![Just(String::from("gzip, deflate")), "[ab]{0,2}", "[!-~]{0,40}", "[a-b]{200,300}"];
    prop_oneof![
        1 => method.prop_map(|method| Written::Method(method.parse().unwrap())),
        1 => scheme.prop_map(|scheme| Written::Scheme(scheme.parse().unwrap())),
        1 => "[a-c.]{0,3}".prop_map(Written::Authority),
        1 => prop_oneof!["/", "/index\\.html", "/[a-z]{0,20}"].prop_map(Written::Path),
        1 => (100..600_u16).prop_map(|status| Written::Status(StatusCode::from_u16(status).unwrap())),
        15 => (name, value, prop::bool::weighted(0.1)).prop_map(|(name, value, sensitive)| {
            let mut value = HeaderValue::from_str(&value).unwrap();
            value.set_sensitive(sensitive);
            Written::Field(name.parse().unwrap(), value)
        }),
    ]
}

impl Written {
    fn write(&self, encoder: &mut Encoder, out: &mut Vec<u8>) {
        match self {
            Written::Method(method) => encoder.method(out, method),
            Written::Scheme(scheme) => encoder.scheme(out, scheme),
            Written::Authority(authority) => encoder.authority(out, authority.as_bytes()),
            Written::Path(path) => encoder.path(out, path.as_bytes()),
            Written::Status(status) => encoder.status(out, *status),
            Written::Field(name, value) => encoder.field(out, name, value),
        }
    }

    fn read(&self) -> Field {
        match self {
            Written::Method(method) => field(":method", method.as_str()),
            Written::Scheme(scheme) => field(":scheme", scheme.as_str()),
            Written::Authority(authority) => field(":authority", authority),
            Written::Path(path) => field(":path", path),
            Written::Status(status) => field(":status", status.as_str()),
            Written::Field(name, value) => (Name::Field(name.clone()), value.clone()),
        }
    }
}

/// Limits that are said before a block, and what stands in it.
fn any_blocks() -> impl Strategy<Value = Vec<(Vec<usize>, Vec<Written>)>> {
    let limit = prop_oneof![Just(0), Just(4096), 0..400_usize, 0..9000_usize];
    let limits = prop_oneof![4 => Just(Vec::new()), 1 => vec(limit, 1..4)];
    vec((limits, vec(any_written(), 0..30)), 1..20)
}

/// Bytes that are near to being a block.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0x80..=0xff_u8).prop_map(|byte| std::vec![byte]),
        (0x20..=0x3f_u8).prop_map(|byte| std::vec![byte]),
        ("[a-zA-Z:]{0,9}", vec(any::<u8>(), 0..90), prop_oneof![Just(0x40), Just(0), Just(0x10)]).prop_map(
            |(name, value, kind)| {
                let value = huffman(&value);
                [&[kind, name.len() as u8], name.as_bytes(), &[0x80 | value.len().min(126) as u8], &value].concat()
            }
        ),
        ("[a-z]{0,99}", 0x41..0x7f_u8)
            .prop_map(|(value, kind)| [&[kind, value.len() as u8], value.as_bytes()].concat()),
        vec(any::<u8>(), 0..5),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_an_encoder_writes_a_decoder_reads(blocks in any_blocks()) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        for (limits, fields) in blocks {
            limits.iter().for_each(|limit| encoder.limit(*limit));
            let mut out = Vec::new();
            encoder.begin(&mut out);
            fields.iter().for_each(|field| field.write(&mut encoder, &mut out));
            let (list, read) = read(&mut decoder, &out).unwrap();
            prop_assert_eq!(list, List::Whole);
            for (written, read) in fields.iter().zip(&read) {
                prop_assert!(!written.read().1.is_sensitive() || read.1.is_sensitive());
            }
            prop_assert_eq!(read, fields.iter().map(Written::read).collect::<Vec<_>>());
            // Both have the same table.
            prop_assert_eq!(decoder.table_size(), encoder.table_size());
        }
    }

    #[test]
    fn any_bytes_are_read_within_bounds(blocks in vec(prop_oneof![any_block(), vec(any::<u8>(), 0..200)], 1..10), most in 0..500_usize) {
        let mut decoder = Decoder::new(most);
        for block in blocks {
            let mut size = 0;
            let length = |name: &Name| match name {
                Name::Field(name) => name.as_str().len(),
                Name::Method | Name::Scheme | Name::Authority | Name::Path | Name::Status | Name::Protocol => 5,
            };
            let list = decoder.decode(&block, 1000, |name, value| size += length(&name) + value.len() + OVERHEAD);
            prop_assert!(size <= 1000);
            prop_assert!(decoder.table_size() <= most);
            prop_assert!(decoder.scratch_size() <= 1024.max(block.len() * 2));
            if list.is_err() {
                break;
            }
        }
    }
}
