//! `Max-Forwards` of OPTIONS: through how many intermediaries a request may still go (RFC 9110, section 7.6.2).
//!
//! A value that is no number, or several, says nothing and passes. Deliberately absent: TRACE, which goes nowhere.

use http::header::MAX_FORWARDS;
use http::request::Parts;
use http::{HeaderValue, Method};

use super::request_head::RequestHead;

/// Whether the request ends here: it is for us to answer.
pub fn ends_here(request: &Parts) -> bool {
    left(&request.method, request.headers.get_all(MAX_FORWARDS).iter()) == Some(0)
}

/// Takes one off what is left.
pub fn decrement(request: &mut RequestHead<'_>) {
    if let Some(left) = left(&request.method, request.all(&MAX_FORWARDS)) {
        request.set(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// None where the field does not count.
fn left<'a>(method: &Method, mut values: impl Iterator<Item = &'a HeaderValue>) -> Option<u64> {
    if method != Method::OPTIONS {
        return None;
    }
    let value = values.next()?.as_bytes();
    if values.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More than can be counted is the most that can be.
    Some(std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;
    use pingora::http::RequestHeader;

    fn after(method: &str, values: &[&str]) -> Option<Vec<String>> {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        for value in values {
            request.append_header(MAX_FORWARDS, *value).unwrap();
        }
        if ends_here(&request) {
            return None;
        }
        let mut head = RequestHead::of(&request, Version::HTTP_11, |_| true);
        decrement(&mut head);
        Some(head.all(&MAX_FORWARDS).map(|value| value.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn one_is_taken_off_until_none_is_left() {
        assert_eq!(after("OPTIONS", &["0"]), None);
        assert_eq!(after("OPTIONS", &["00"]), None);
        assert_eq!(after("OPTIONS", &["1"]), Some(vec!["0".to_owned()]));
        assert_eq!(after("OPTIONS", &["10"]), Some(vec!["9".to_owned()]));
        let many = after("OPTIONS", &["99999999999999999999999"]).unwrap();
        assert_eq!(many, [(u64::MAX - 1).to_string()]);
    }

    #[test]
    fn of_other_methods_and_where_it_is_no_number_it_passes() {
        for (method, values) in
            [("GET", &["0"][..]), ("OPTIONS", &[]), ("OPTIONS", &["-1"]), ("OPTIONS", &[""]), ("OPTIONS", &["0", "0"])]
        {
            assert_eq!(after(method, values).unwrap(), values);
        }
    }
}
