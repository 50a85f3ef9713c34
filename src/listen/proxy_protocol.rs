//! The PROXY protocol, versions 1 and 2: a balancer before us says, before anything else, who has connected to it
//! (HAProxy's `proxy-protocol.txt`).
//!
//! Invariant: not a byte is taken from the socket that is not part of the header; what follows is the client's, be it
//! TLS or HTTP. Read strictly: a header that two readers could understand differently is none.
//!
//! Deliberately absent: what else version 2 may tell (TLVs, among them a checksum), which is passed over; destination
//! addresses; writing the protocol to backends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::transport::Plain;

/// Version 1 begins so.
const TEXT: &[u8] = b"PROXY ";

/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Version 2 begins so.
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED: usize = BINARY.len() + 4;

/// What version 2 may have after its fixed part; it could announce 64 KiB, and nobody sends more than this.
const LONGEST_REST: usize = 4096;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Its bytes.
    length: usize,
    /// Who has connected; none if it does not say, so that it is who the socket says.
    source: Option<IpAddr>,
}

/// Bytes that are no header, and will not become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Invalid;

/// Takes a header from the beginning of a connection. None: it does not say who has connected.
///
/// # Errors
/// The connection's, or `InvalidData` if it begins with anything else.
pub(super) async fn receive(stream: &Plain) -> io::Result<Option<IpAddr>> {
    let mut taken = Vec::new();
    let mut scratch = [0; 512];
    loop {
        let seen = stream.peek(&mut scratch).await?;
        let before = taken.len();
        taken.extend_from_slice(scratch.get(..seen).unwrap_or_default());
        let header = parse(&taken).map_err(|Invalid| io::Error::from(io::ErrorKind::InvalidData))?;
        // Of a header that is not complete every byte that was seen is a part.
        let length = header.map_or(taken.len(), |header| header.length);
        let mut left = scratch.get_mut(..length.saturating_sub(before)).unwrap_or_default();
        while !left.is_empty() {
            let read = stream.read(left).await?;
            left = left.get_mut(read..).unwrap_or_default();
        }
        if let Some(header) = header {
            return Ok(header.source);
        }
    }
}

/// Reads a header at the beginning of the bytes; none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let begins = |signature: &[u8]| bytes.starts_with(signature) || signature.starts_with(bytes);
    if begins(BINARY) {
        binary(bytes)
    } else if begins(TEXT) {
        text(bytes)
    } else {
        Err(Invalid)
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, or `PROXY UNKNOWN` and whatever.
fn text(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let within = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(Invalid) };
    };
    let line = bytes.get(TEXT.len()..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Invalid)?;
    let line = std::str::from_utf8(line).map_err(|_| Invalid)?;
    let length = end + 1;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Some(Header { length, source: None }));
    }
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Invalid);
    let (family, source, destination) = (word()?, word()?, word()?);
    let ports = [word()?, word()?];
    let address = |text: &str| -> Result<IpAddr, Invalid> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Invalid),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Invalid),
            _ => Err(Invalid),
        }
    };
    let (source, _) = (address(source)?, address(destination)?);
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return Err(Invalid);
    }
    Ok(Some(Header { length, source: Some(source.to_canonical()) }))
}

/// Decimal, without a sign and without zeros before it.
fn is_port(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let Some([command, family, high, low]) = bytes.get(BINARY.len()..FIXED) else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([*high, *low]));
    // Version 2, and a command that there is.
    if !matches!(command, 0x20 | 0x21) || rest > LONGEST_REST {
        return Err(Invalid);
    }
    let length = FIXED + rest;
    let Some(block) = bytes.get(FIXED..length) else { return Ok(None) };
    // LOCAL: a connection of the balancer's own, as for health checks. Its family says nothing.
    if *command == 0x20 {
        return Ok(Some(Header { length, source: None }));
    }
    let source = match family {
        // TCP over IPv4, over IPv6: two addresses and two ports.
        0x11 => Some(IpAddr::from(*block.get(..12).and_then(<[u8]>::first_chunk::<4>).ok_or(Invalid)?)),
        0x21 => Some(IpAddr::from(*block.get(..36).and_then(<[u8]>::first_chunk::<16>).ok_or(Invalid)?)),
        // Unspecified, UDP, UNIX sockets: nothing that could be our client's address.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(Invalid),
    };
    Ok(Some(Header { length, source: source.map(|source| source.to_canonical()) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(bytes: &[u8]) -> Result<Option<String>, Invalid> {
        let header = parse(bytes)?.expect("a whole header");
        assert_eq!(header.length, bytes.len());
        Ok(header.source.map(|source| source.to_string()))
    }

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&BINARY[..], &[command, family], &length, block].concat()
    }

    #[test]
    fn version_1_says_who_or_that_it_does_not_know() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(source(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"), some("192.0.2.1"));
        assert_eq!(source(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), some("2001:db8::1"));
        assert_eq!(source(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 1\r\n"), some("192.0.2.1"));
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(source(b"PROXY UNKNOWN ffff:f a b c d e f\r\n"), Ok(None));
        let longest = [b"PROXY UNKNOWN ", vec![b'x'; 107 - 16].as_slice(), b"\r\n"].concat();
        assert_eq!(source(&longest), Ok(None));
    }

    #[test]
    fn version_2_says_who_or_that_it_is_a_connection_of_its_own() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        let with_tlv = [&v4[..], &[4, 0, 3, 1, 2, 3]].concat();
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        assert_eq!(source(&version_2(0x21, 0x11, &v4)), Ok(Some("192.0.2.1".to_owned())));
        assert_eq!(source(&version_2(0x21, 0x11, &with_tlv)), Ok(Some("192.0.2.1".to_owned())));
        assert_eq!(source(&version_2(0x21, 0x21, &v6)), Ok(Some("2001:db8::".to_owned())));
        assert_eq!(source(&version_2(0x20, 0, &[])), Ok(None));
        assert_eq!(source(&version_2(0x20, 0xff, &[1])), Ok(None));
        for family in [0x00, 0x12, 0x22, 0x31, 0x32] {
            assert_eq!(source(&version_2(0x21, family, &[0; 216])), Ok(None));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let lines: &[&[u8]] = &[
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXYxUNKNOWN\r\n",
            b"PROXY UNKNOWNx\r\n",
            b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 01\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n",
            b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
            b"PROXY \xff\r\n",
        ];
        for line in lines {
            assert_eq!(parse(line), Err(Invalid), "{}", line.escape_ascii());
        }
        assert_eq!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 107]].concat()), Err(Invalid));
        for (command, family, block) in [
            (0x11, 0x11, &[0; 12][..]),
            (0x31, 0x11, &[0; 12]),
            (0x22, 0x11, &[0; 12]),
            (0x21, 0x11, &[0; 11]),
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x13, &[0; 36]),
            (0x21, 0x41, &[0; 36]),
            (0x21, 0x11, &[0; 4097]),
        ] {
            assert_eq!(parse(&version_2(command, family, block)), Err(Invalid), "{command:x} {family:x}");
        }
    }

    fn header() -> impl Strategy<Value = (Vec<u8>, Option<IpAddr>)> {
        let text = (any::<Option<IpAddr>>(), any::<[u16; 2]>()).prop_map(|(source, [from, to])| {
            let line = match source {
                None => "PROXY UNKNOWN\r\n".to_owned(),
                Some(IpAddr::V4(source)) => format!("PROXY TCP4 {source} 127.0.0.1 {from} {to}\r\n"),
                Some(IpAddr::V6(source)) => format!("PROXY TCP6 {source} ::1 {from} {to}\r\n"),
            };
            (line.into_bytes(), source.map(|source| source.to_canonical()))
        });
        let binary =
            (any::<Option<IpAddr>>(), proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(source, tlvs)| {
                let bytes = match source {
                    None => version_2(0x20, 0, &tlvs),
                    Some(IpAddr::V4(source)) => version_2(0x21, 0x11, &[&source.octets()[..], &[0; 8], &tlvs].concat()),
                    Some(IpAddr::V6(source)) => {
                        version_2(0x21, 0x21, &[&source.octets()[..], &[0; 20], &tlvs].concat())
                    }
                };
                (bytes, source.map(|source| source.to_canonical()))
            });
        prop_oneof![text, binary]
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_header_is_incomplete_and_what_follows_it_does_not_matter(
            (bytes, source) in header(),
            behind: Vec<u8>,
        ) {
            for length in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..length]), Ok(None), "of {} bytes", length);
            }
            let expected = Header { length: bytes.len(), source };
            prop_assert_eq!(parse(&[bytes, behind].concat()), Ok(Some(expected)));
        }

        #[test]
        fn no_bytes_make_it_panic_read_too_far_or_wait_without_end(bytes: Vec<u8>, signature in 0..3usize) {
            let bytes = [[b"", TEXT, BINARY][signature], &bytes].concat();
            match parse(&bytes) {
                Ok(Some(header)) => prop_assert!(header.length <= bytes.len()),
                Ok(None) => prop_assert!(bytes.len() < FIXED + LONGEST_REST),
                // No longer beginning turns what was refused into a header.
                Err(Invalid) => prop_assert_eq!(parse(&[&bytes[..], b"\r\n"].concat()), Err(Invalid)),
            }
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_header_that_comes_in_pieces_is_taken_and_nothing_behind_it() {
        let v2 = version_2(0x21, 0x11, &[&[192, 0, 2, 1][..], &[0; 2000]].concat());
        for header in [&b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"[..], &v2] {
            for piece in [1, 7, header.len()] {
                run(async {
                    let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
                    let ours = Plain::Unix(ours);
                    let bytes = [header, b"\x16\x03rest"].concat();
                    let sending = async {
                        for piece in bytes.chunks(piece) {
                            tokio::io::AsyncWriteExt::write_all(&mut theirs, piece).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    };
                    let (source, ()) = tokio::join!(receive(&ours), sending);
                    assert_eq!(source.unwrap(), Some([192, 0, 2, 1].into()));
                    let mut rest = [0; 10];
                    assert_eq!(ours.read(&mut rest).await.unwrap(), 6);
                    assert_eq!(&rest[..6], b"\x16\x03rest");
                });
            }
        }
    }

    #[test]
    fn a_connection_that_ends_in_the_middle_is_an_error() {
        run(async {
            let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut theirs, b"PROXY TCP4 1").await.unwrap();
            drop(theirs);
            let error = receive(&Plain::Unix(ours)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
    }
}
