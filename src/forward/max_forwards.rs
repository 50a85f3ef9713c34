//! `Max-Forwards` of OPTIONS: through how many intermediaries a request may still go (RFC 9110, section 7.6.2).
//!
//! A value that is no number, or several, says nothing and passes. Deliberately absent: TRACE, which goes nowhere.

use http::header::MAX_FORWARDS;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use pingora::Result;

use super::header_rules::Head as _;

/// Whether the request ends here: it is for us to answer.
pub fn ends_here(request: &Parts) -> bool {
    left(&request.method, &request.headers) == Some(0)
}

/// Takes one off what is left.
///
/// # Errors
/// If the field cannot be set.
pub fn decrement(request: &mut Parts) -> Result<()> {
    match left(&request.method, &request.headers) {
        Some(left) => request.set(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1))),
        None => Ok(()),
    }
}

/// None where the field does not count.
fn left(method: &Method, fields: &HeaderMap) -> Option<u64> {
    if method != Method::OPTIONS {
        return None;
    }
    let mut values = fields.get_all(MAX_FORWARDS).iter();
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

    fn after(method: &str, values: &[&str]) -> Option<Vec<String>> {
        let mut request = http::Request::builder().method(method).body(()).unwrap().into_parts().0;
        for value in values {
            request.add(MAX_FORWARDS, value.parse().unwrap()).unwrap();
        }
        if ends_here(&request) {
            return None;
        }
        decrement(&mut request).unwrap();
        Some(request.headers.get_all(MAX_FORWARDS).iter().map(|value| value.to_str().unwrap().to_owned()).collect())
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
