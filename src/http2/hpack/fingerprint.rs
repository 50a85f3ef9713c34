//! A number that stands for some bytes, made in a few instructions however many they are.
//!
//! It is made of the length and of both ends. Whoever likes can find bytes with the same one, so that it only ever says where
//! to look; what it costs to look is bounded by the size of the table.

/// The golden ratio: odd, with bits everywhere.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The fingerprint of these bytes.
#[inline]
pub const fn fingerprint(bytes: &[u8]) -> u64 {
    let ends = if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        u64::from_le_bytes(*first).wrapping_mul(SPREAD).wrapping_add(u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32
    } else {
        match *bytes {
            [first, middle, last] => first as u64 | (middle as u64) << 8 | (last as u64) << 16,
            [first, last] => first as u64 | (last as u64) << 8,
            [only] => only as u64,
            [..] => 0,
        }
    };
    ends.wrapping_add(bytes.len() as u64).wrapping_mul(SPREAD)
}

/// One of two.
#[inline]
pub const fn together(name: u64, value: u64) -> u32 {
    ((name ^ value.rotate_left(32)).wrapping_mul(SPREAD) >> 32) as u32
}

/// Whether both are the same bytes: what fields usually hold is compared without a call.
#[inline]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            17..=32 => same_ends::<16>(one, other),
            8..=16 => same_ends::<8>(one, other),
            4..=7 => same_ends::<4>(one, other),
            _ => one == other,
        }
}

/// Whether the first and the last bytes are the same.
#[inline]
fn same_ends<const LENGTH: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<LENGTH>() == other.first_chunk::<LENGTH>()
        && one.last_chunk::<LENGTH>() == other.last_chunk::<LENGTH>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_when_each_is() {
        for length in 0..40 {
            let one = vec![b'a'; length];
            assert!(same(&one, &one.clone()));
            assert!(!same(&one, &[one.as_slice(), b"a"].concat()));
            for place in 0..length {
                let mut other = one.clone();
                other[place] = b'b';
                assert!(!same(&one, &other), "{length} {place}");
            }
        }
    }
    use std::collections::HashSet;

    #[test]
    fn what_fields_usually_hold_differs() {
        let numbers = (0..2000).map(|number: u32| number.to_string());
        let traces = (0..2000).map(|number: u32| format!("00-{number:032x}-{:016x}-01", number.wrapping_mul(7919)));
        let words = ["", "a", "ab", "abc", "abcd", "abcde", "abcdefgh", "abcdefghi", "GET", "PUT", "true", "trailers"];
        let values: HashSet<String> = numbers.chain(traces).chain(words.map(String::from)).collect();
        let name = fingerprint(b"x-own");
        let prints: HashSet<u32> = values.iter().map(|value| together(name, fingerprint(value.as_bytes()))).collect();
        assert_eq!(prints.len(), values.len());
    }
}
