//! How long the body of an answer is, by its head.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use pingora::{Error, ErrorType, Result};

/// RFC 9110, section 8.6: there may be several, of one and the same length.
pub(super) fn length(fields: &HeaderMap) -> Result<Option<u64>> {
    let mut length = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for value in value.as_bytes().split(|byte| *byte == b',') {
            let value = value.trim_ascii();
            let digits = std::str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit));
            let value =
                digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| in_doubt("a length that is none"))?;
            if *length.get_or_insert(value) != value {
                return Err(in_doubt("two lengths"));
            }
        }
    }
    Ok(length)
}

pub(super) fn in_doubt(what: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, what).into_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_one_however_often_it_is_said() {
        let of = |lengths: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for each in lengths {
                fields.append(CONTENT_LENGTH, http::HeaderValue::from_static(each));
            }
            length(&fields).ok()
        };
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&["5", "5"]), Some(Some(5)));
        assert_eq!(of(&["5, 05"]), Some(Some(5)));
        for doubtful in [&["5", "6"][..], &["5,6"], &["-5"], &["+5"], &[""], &["99999999999999999999"]] {
            assert_eq!(of(doubtful), None, "{doubtful:?}");
        }
    }
}
