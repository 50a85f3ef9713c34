//! Integers (RFC 7541, section 5.1) and strings that are sent as they are (section 5.2).

use super::Broken;

/// How many bytes may follow the first one of an integer: no more than 2^28 + 254 can be said so, which is far above all that
/// is allowed here. It also ends integers that are led by zeros.
const MOST_BYTES: usize = 4;

/// Reads the rest of an integer whose first byte has been taken; the lowest `PREFIX` bits of `first` belong to it.
///
/// # Errors
/// The integer is cut off, or longer than [`MOST_BYTES`] more.
#[inline]
pub fn read<const PREFIX: u32>(first: u8, rest: &mut &[u8]) -> Result<usize, Broken> {
    let full = prefix_full(PREFIX);
    let value = first & full;
    if value < full { Ok(usize::from(value)) } else { read_on(usize::from(full), rest) }
}

#[cold]
fn read_on(mut value: usize, rest: &mut &[u8]) -> Result<usize, Broken> {
    for position in 0..MOST_BYTES {
        let (&byte, after) = rest.split_first().ok_or(Broken)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << (7 * position);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Broken)
}

/// Writes an integer into the lowest `PREFIX` bits of a byte whose other bits are those of `kind`, and what follows it.
#[inline]
pub fn write<const PREFIX: u32>(out: &mut Vec<u8>, kind: u8, value: usize) {
    let full = prefix_full(PREFIX);
    match u8::try_from(value) {
        Ok(value) if value < full => out.push(kind | value),
        Ok(_) | Err(_) => {
            out.push(kind | full);
            write_on(out, value - usize::from(full));
        }
    }
}

#[cold]
fn write_on(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a string as it is: what Huffman's code saves in bytes costs both sides more in time.
#[inline]
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    write::<7>(out, 0, bytes.len());
    out.extend_from_slice(bytes);
}

/// The prefix that says that more follows.
const fn prefix_full(prefix: u32) -> u8 {
    (u8::MAX).wrapping_shr(8 - prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<const PREFIX: u32>(value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write::<PREFIX>(&mut out, 0, value);
        out
    }

    fn read_whole<const PREFIX: u32>(bytes: &[u8]) -> Result<usize, Broken> {
        let (&first, mut rest) = bytes.split_first().unwrap();
        let value = read::<PREFIX>(first, &mut rest)?;
        assert!(rest.is_empty());
        Ok(value)
    }

    #[test]
    fn the_integers_of_appendix_c_1_are_read_and_written() {
        for (value, bytes) in [(10, [0x0a].as_slice()), (1337, &[0x1f, 0x9a, 0x0a])] {
            assert_eq!(written::<5>(value), bytes);
            assert_eq!(read_whole::<5>(bytes), Ok(value));
        }
        assert_eq!(written::<8>(42), [0x2a]);
        assert_eq!(read_whole::<8>(&[0x2a]), Ok(42));
    }

    #[test]
    fn what_is_written_is_read_for_every_prefix() {
        let around = |power: u32| (1_usize << power) - 2..(1_usize << power) + 3;
        for value in (1..29).flat_map(around).filter(|value| *value < 1 << 28) {
            assert_eq!(read_whole::<4>(&written::<4>(value)), Ok(value));
            assert_eq!(read_whole::<5>(&written::<5>(value)), Ok(value));
            assert_eq!(read_whole::<6>(&written::<6>(value)), Ok(value));
            assert_eq!(read_whole::<7>(&written::<7>(value)), Ok(value));
        }
    }

    #[test]
    fn an_integer_that_is_cut_off_or_too_long_is_broken() {
        assert_eq!(read_whole::<7>(&[0x7f]), Err(Broken));
        assert_eq!(read_whole::<7>(&[0x7f, 0x80]), Err(Broken));
        assert_eq!(read_whole::<7>(&[0x7f, 0xff, 0xff, 0xff, 0x7f]), Ok(127 + (1 << 28) - 1));
        assert_eq!(read_whole::<7>(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x00]), Err(Broken));
        assert_eq!(read_whole::<7>(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(Broken));
    }
}
