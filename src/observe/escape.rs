//! Makes text of bytes that a stranger chose, so that a line stays one line and a string stays inside its quotes.
//!
//! Invariant: what is written is printable ASCII, whatever came. That also disarms what is legal but harmful in a
//! terminal or a viewer: escape sequences, U+2028, marks that turn the direction of writing.
//!
//! Deliberately absent: any judgement of what the bytes mean. Nothing is cut, and nothing is decoded.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `value` as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD, as in
/// [`String::from_utf8_lossy`]; all else is given back by a JSON parser as it was.
pub(super) fn json(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            json_character(out, character);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Appends `value` with `\xHH` for all that is not printable ASCII and for `"` and `\`, as nginx and Apache do.
/// The bytes can be had back exactly.
pub(super) fn hexadecimal(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(value);
        return;
    }
    for byte in value {
        if is_plain_byte(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(b"\\x");
            push_hex(out, u16::from(*byte), &[4, 0]);
        }
    }
}

/// Without a branch in the loop, so that the compiler tests 16 bytes at once: nearly all values are plain.
fn is_plain(value: &[u8]) -> bool {
    value.iter().fold(true, |plain, byte| plain & is_plain_byte(*byte))
}

const fn is_plain_byte(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

fn json_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        ' '..='~' => out.extend(u8::try_from(character)),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                push_hex(out, *unit, &[12, 8, 4, 0]);
            }
        }
    }
}

fn push_hex(out: &mut Vec<u8>, value: u16, shifts: &[u16]) {
    out.extend(shifts.iter().filter_map(|shift| HEX.get(usize::from((value >> shift) & 0xf))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn as_json(value: &[u8]) -> String {
        let mut out = vec![b'"'];
        json(&mut out, value);
        out.push(b'"');
        String::from_utf8(out).unwrap()
    }

    fn as_hexadecimal(value: &[u8]) -> String {
        let mut out = Vec::new();
        hexadecimal(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_text_passes_unchanged() {
        assert_eq!(as_json(b"/a?b=c&d='e'"), "\"/a?b=c&d='e'\"");
        assert_eq!(as_hexadecimal(b"/a?b=c&d='e'"), "/a?b=c&d='e'");
    }

    #[test]
    fn what_ends_a_string_or_a_line_is_escaped() {
        assert_eq!(as_json(b"a\"b\\c\nd\re\tf\0"), r#""a\"b\\c\nd\re\tf\u0000""#);
        assert_eq!(as_hexadecimal(b"a\"b\\c\nd\x7f"), r"a\x22b\x5cc\x0ad\x7f");
    }

    #[test]
    fn what_turns_or_breaks_a_line_in_a_viewer_is_escaped_too() {
        assert_eq!(as_json("\u{1b}\u{85}\u{2028}\u{202e}".as_bytes()), r#""\u001b\u0085\u2028\u202e""#);
        assert_eq!(as_json("🦀".as_bytes()), r#""\ud83e\udd80""#);
    }

    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            if *first == b'\\' {
                let digits = std::str::from_utf8(&after[1..3]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[3..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_json_string_that_gives_them_back(bytes: Vec<u8>) {
            let text = as_json(&bytes);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            let parsed: String = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parsed, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_survives_json_unharmed(text: String) {
            let parsed: String = serde_json::from_str(&as_json(text.as_bytes())).unwrap();
            prop_assert_eq!(parsed, text);
        }

        #[test]
        fn any_bytes_come_back_from_their_hexadecimal_form(bytes: Vec<u8>) {
            let text = as_hexadecimal(&bytes);
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"'));
            prop_assert_eq!(unescape(&text), bytes);
        }
    }
}
