//! Classes of bytes, by table.

const TOKEN: u8 = 1;
const TARGET: u8 = 2;

#[expect(clippy::indexing_slicing, reason = "the compiler runs it, and would stop")]
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let this = byte as u8;
        // RFC 9110, section 5.6.2.
        if this.is_ascii_alphanumeric() || is_one_of(this, b"!#$%&'*+-.^_`|~") {
            class[byte] |= TOKEN;
        }
        // RFC 3986 in an origin-form or absolute-form target, and what browsers send besides: ``\ ^ ` { | }``.
        if this > b' ' && this < 0x7f && !is_one_of(this, b"\"#<>") {
            class[byte] |= TARGET;
        }
        byte += 1;
    }
    class
};

const fn is_one_of(byte: u8, mut set: &[u8]) -> bool {
    while let [first, rest @ ..] = set {
        if *first == byte {
            return true;
        }
        set = rest;
    }
    false
}

fn is_of(byte: u8, class: u8) -> bool {
    CLASS.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Whether a byte may stand in a token: a method, the name of a field.
pub fn is_token(byte: u8) -> bool {
    is_of(byte, TOKEN)
}

/// Whether these bytes are a token (RFC 9110, section 5.6.2), which has at least one.
pub fn are_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte))
}

/// Whether these bytes may stand in a request's target. No fragment, nothing beyond ASCII.
pub fn are_target(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_of(*byte, TARGET))
}

/// Whether a name is that of a field that frames but for an underscore, which some backends read as the hyphen; they
/// would frame by it.
pub fn is_framing_in_disguise(name: &[u8]) -> bool {
    matches!(name.len(), 14 | 17)
        && (name.eq_ignore_ascii_case(b"content_length") || name.eq_ignore_ascii_case(b"transfer_encoding"))
}

/// Whether these bytes are a path, perhaps with a query (RFC 9112, section 3.2.1).
pub fn is_path(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'/') && are_target(bytes)
}

/// Whether a byte may stand in the value of a field (RFC 9110, section 5.5): no control character but the tab.
pub fn is_value(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Whether these bytes may be the value of a field.
pub fn are_value(bytes: &[u8]) -> bool {
    // Without an early end, so that the compiler can look at many bytes at a time.
    bytes.iter().fold(true, |fine, byte| fine & is_value(*byte))
}

/// Without the white space around it that is no part of a value (RFC 9110, section 5.6.3).
pub fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether a list (RFC 9110, section 5.6.1) has this option, in letters of any case.
pub fn lists(list: &[u8], option: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|each| trimmed(each).eq_ignore_ascii_case(option))
}
