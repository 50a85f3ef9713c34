//! Huffman's code of strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of the same length follow each other in the order of their symbols, and shorter codes come
//! first. So the lengths say it all, and the tables are made of them when this is compiled. What is usual in fields has codes
//! of up to eight bits, and is found by the next eight bits; the rest is found by comparing with the first code of each length.

use super::Broken;

/// How many bits the code of each byte has, and at last that of the end (appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The longest code.
const LONGEST: u32 = 30;

/// The symbol that is not a byte.
const END: u16 = 256;

/// Codes are at least this long.
const SHORTEST: usize = 5;

/// How many bits are left over at most, after the last symbol (section 5.2).
const MOST_PADDING: u32 = 7;

/// The symbols whose code is up to eight bits long, by the next eight bits inverted: the symbol in the upper byte and the length of its
/// code in the lower one, or 0 where it is longer. With more bits, two symbols could be had at once; that takes fewer
/// instructions, and a table that does not stay in the nearest cache.
static SHORT: [u16; 256] = short();

/// The codes by their length.
static LONG: [Codes; LONGEST as usize + 1] = codes();

/// All symbols in the order of their codes.
static SYMBOLS: [u16; 257] = symbols();

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    /// The first code that is longer, filled up with zeros to [`LONGEST`] bits: what is below has this length, or less.
    end: u32,
    /// The first code of this length.
    first: u32,
    /// Where its symbol stands in [`SYMBOLS`].
    place: u32,
}

/// How many bytes the string has at most.
pub const fn most_decoded(coded: usize) -> usize {
    coded * 8 / SHORTEST
}

/// Decodes a string into the beginning of `out`, which has room for [`most_decoded`], and returns its length.
///
/// # Errors
/// It holds the symbol of the end, or is not padded with fewer than eight ones.
pub fn decode(mut coded: &[u8], out: &mut [u8]) -> Result<usize, Broken> {
    let mut length = 0;
    // The next bits, from the highest on. They are inverted, so that the zeros below them stand for ones, as padding is.
    let mut bits = 0_u64;
    let mut count = 0_u32;
    loop {
        if let Some((four, rest)) = coded.split_first_chunk::<4>() {
            bits |= u64::from(!u32::from_be_bytes(*four)) << (u32::BITS - count);
            count += u32::BITS;
            coded = rest;
        } else {
            for &byte in coded {
                bits |= u64::from(!byte) << (u64::BITS - u8::BITS - count);
                count += u8::BITS;
            }
            return decode_last(bits, count, out, length);
        }
        while count >= LONGEST {
            let (symbol, taken) = next(bits)?;
            *out.get_mut(length).ok_or(Broken)? = symbol;
            length += 1;
            bits <<= taken;
            count -= taken;
        }
    }
}

/// Decodes the last bits, of which there are fewer than 64, and looks at the padding.
fn decode_last(mut bits: u64, mut count: u32, out: &mut [u8], mut length: usize) -> Result<usize, Broken> {
    while count > MOST_PADDING || bits != 0 {
        let (symbol, taken) = next(bits)?;
        // Its end would be the padding.
        count = count.checked_sub(taken).ok_or(Broken)?;
        bits <<= taken;
        *out.get_mut(length).ok_or(Broken)? = symbol;
        length += 1;
    }
    Ok(length)
}

/// The symbol whose code stands inverted in the highest bits, and the length of that.
#[inline]
fn next(bits: u64) -> Result<(u8, u32), Broken> {
    let highest = (bits >> (u64::BITS - u8::BITS)) as u8;
    match SHORT.get(usize::from(highest)) {
        Some(&short @ 1..) => Ok(((short >> 8) as u8, u32::from(short & 0xf))),
        Some(_) | None => next_long(bits),
    }
}

#[cold]
fn next_long(bits: u64) -> Result<(u8, u32), Broken> {
    let code = (!bits >> (u64::BITS - LONGEST)) as u32;
    let length = LONG.iter().position(|codes| code < codes.end).ok_or(Broken)?;
    let codes = LONG.get(length).ok_or(Broken)?;
    let place = codes.place + ((code >> (LONGEST - length as u32)) - codes.first);
    let symbol = SYMBOLS.get(place as usize).ok_or(Broken)?;
    // The end has no byte.
    Ok((u8::try_from(*symbol).map_err(|_| Broken)?, length as u32))
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiling, where a panic is an error of the build")]
const fn symbols() -> [u16; 257] {
    let mut symbols = [0; 257];
    let mut place = 0;
    let mut length = SHORTEST;
    while length <= LONGEST as usize {
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol as usize] as usize == length {
                symbols[place] = symbol;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiling, where a panic is an error of the build")]
const fn codes() -> [Codes; LONGEST as usize + 1] {
    let mut all = [Codes { end: 0, first: 0, place: 0 }; LONGEST as usize + 1];
    let symbols = symbols();
    let (mut code, mut place) = (0, 0);
    let mut length = 1;
    while length <= LONGEST {
        let (first, first_place) = (code, place);
        while place < symbols.len() && LENGTHS[symbols[place] as usize] as u32 == length {
            code += 1;
            place += 1;
        }
        all[length as usize] = Codes { end: code << (LONGEST - length), first, place: first_place as u32 };
        code <<= 1;
        length += 1;
    }
    all
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiling, where a panic is an error of the build")]
const fn short() -> [u16; 256] {
    let mut short = [0; 256];
    let symbols = symbols();
    let (mut filled, mut place) = (0, 0);
    while LENGTHS[symbols[place] as usize] <= 8 {
        let length = LENGTHS[symbols[place] as usize];
        let mut more = 1 << (8 - length);
        while more > 0 {
            short[255 - filled] = symbols[place] << 8 | length as u16;
            filled += 1;
            more -= 1;
        }
        place += 1;
    }
    short
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The code of a symbol in the highest bits of 30.
    fn code(symbol: usize) -> (u32, usize) {
        let length = usize::from(LENGTHS[symbol]);
        let place = SYMBOLS.iter().position(|own| usize::from(*own) == symbol).unwrap();
        (LONG[length].first + (place - LONG[length].place as usize) as u32, length)
    }

    fn bits_of(symbols: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let code_bits = |symbol| {
            let (code, length) = code(symbol);
            (0..length).rev().map(move |bit| code >> bit & 1 == 1)
        };
        symbols.into_iter().flat_map(code_bits).collect()
    }

    fn packed(bits: &[bool]) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit));
        let (whole, last) = bits.split_at(bits.len() / 8 * 8);
        let mut bytes: Vec<u8> = whole.chunks(8).map(byte).collect();
        if !last.is_empty() {
            let mut last = last.to_vec();
            last.resize(8, true);
            bytes.push(byte(&last));
        }
        bytes
    }

    /// Bit by bit, as slow as can be.
    pub fn encode(bytes: &[u8]) -> Vec<u8> {
        packed(&bits_of(bytes.iter().map(|byte| usize::from(*byte))))
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut out = vec![0; most_decoded(coded.len())];
        let length = decode(coded, &mut out)?;
        out.truncate(length);
        Ok(out)
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        let some = [
            (b'0', 0x0, 5),
            (b'a', 0x3, 5),
            (b' ', 0x14, 6),
            (b':', 0x5c, 7),
            (b'&', 0xf8, 8),
            (b'!', 0x3f8, 10),
            (b'|', 0x7fc, 11),
            (b'{', 0x7ffe, 15),
            (b'\\', 0x7fff0, 19),
            (128, 0xf_ffe6, 20),
            (0, 0x1ff8, 13),
            (255, 0x3ff_ffee, 26),
            (249, 0xfff_fffe, 28),
            (b'\n', 0x3fff_fffc, 30),
        ];
        for (symbol, own, length) in some {
            assert_eq!(code(usize::from(symbol)), (own, length), "{symbol}");
        }
        assert_eq!(code(usize::from(END)), (0x3fff_ffff, 30));
        // Every sequence of bits is the beginning of some code.
        assert_eq!(LENGTHS.iter().map(|length| 1_u64 << (30 - length)).sum::<u64>(), 1 << 30);
    }

    #[test]
    fn every_byte_is_decoded_at_every_bit() {
        for symbol in 0..=u8::MAX {
            for before in 0..8 {
                let mut bytes = vec![b'0'; before];
                bytes.extend([symbol, b'a', symbol, symbol, b'&']);
                assert_eq!(decoded(&encode(&bytes)), Ok(bytes));
            }
        }
    }

    #[test]
    fn padding_is_fewer_than_eight_ones() {
        assert_eq!(decoded(b""), Ok(vec![]));
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        for wrong in [
            // Zeros, and not only ones.
            [0b0001_1000].as_slice(),
            &[0b0001_1110],
            // Eight ones and more, alone and behind something.
            &[0xff],
            &[0b0001_1111, 0xff],
            &[0xff, 0xff, 0xff],
            &[0b0001_1111, 0xff, 0xff, 0xff, 0xff],
            // A code that is cut off.
            &[0b1111_1110],
        ] {
            assert_eq!(decoded(wrong), Err(Broken), "{wrong:x?}");
        }
    }

    #[test]
    fn the_symbol_of_the_end_is_broken_wherever_it_stands() {
        let (end, a) = (usize::from(END), usize::from(b'a'));
        for symbols in [vec![end], vec![a, end], vec![end, a], vec![a; 20].into_iter().chain([end, a, a]).collect()] {
            assert_eq!(decoded(&packed(&bits_of(symbols.clone()))), Err(Broken), "{symbols:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes: Vec<u8>) {
            prop_assert_eq!(decoded(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn whatever_can_be_decoded_is_encoded_to_the_same(coded: Vec<u8>) {
            if let Ok(bytes) = decoded(&coded) {
                prop_assert_eq!(encode(&bytes), coded);
            }
        }
    }
}
