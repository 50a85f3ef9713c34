//! What a field is called.

use http::HeaderName;

/// The name of a field, or of a pseudo-field (RFC 9113, section 8.3; RFC 8441, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// `:protocol`
    Protocol,
    /// That of a field.
    Field(HeaderName),
}

impl Name {
    /// The name that these bytes are. None: no message may have it (RFC 9113, section 8.2.1), because it is no token, is not
    /// in lower case, or begins with a colon and is not known.
    pub fn read(bytes: &[u8]) -> Option<Name> {
        match bytes {
            b":method" => Some(Name::Method),
            b":scheme" => Some(Name::Scheme),
            b":authority" => Some(Name::Authority),
            b":path" => Some(Name::Path),
            b":status" => Some(Name::Status),
            b":protocol" => Some(Name::Protocol),
            // `HeaderName` takes a quotation mark, which is not of a token (RFC 9110, section 5.6.2).
            bytes if bytes.contains(&b'"') => None,
            bytes => HeaderName::from_lowercase(bytes).ok().map(Name::Field),
        }
    }

    /// A name of the static table.
    pub(super) const fn of_static(text: &'static str) -> Name {
        match text.as_bytes() {
            b":method" => Name::Method,
            b":scheme" => Name::Scheme,
            b":authority" => Name::Authority,
            b":path" => Name::Path,
            b":status" => Name::Status,
            _ => Name::Field(HeaderName::from_static(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lowercase_tokens_and_known_pseudo_fields_are_names() {
        assert_eq!(Name::read(b":path"), Some(Name::Path));
        assert_eq!(Name::read(b"te"), Some(Name::Field(http::header::TE)));
        assert_eq!(Name::read(b"x-own"), Some(Name::Field(HeaderName::from_static("x-own"))));
        let long = vec![b'a'; 100_000];
        let wrong: [&[u8]; 11] =
            [b"", b":", b":host", b":Path", b"Te", b"a b", b"a:", b"a\0", b"a\r\n", b"\"a\"", b"\xe4"];
        for name in wrong.into_iter().chain([long.as_slice()]) {
            assert_eq!(Name::read(name), None, "{name:?}");
        }
    }
}
