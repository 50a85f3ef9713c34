//! Cookies of a request (RFC 6265, section 4.2.1).
//!
//! Deliberately absent: quotes, which belong to the value.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// The values of all cookies of this name, over all fields.
pub fn values<'a, 'n>(headers: &'a HeaderMap, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    let fields = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    fields.flat_map(|field| field.split(|byte| *byte == b';')).filter_map(move |pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let key = parts.next()?.trim_ascii();
        (key == name.as_bytes()).then(|| parts.next().unwrap_or_default().trim_ascii())
    })
}

/// A field without the cookies of this name; none if it has none of them.
pub fn without(field: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let is_it =
        |pair: &&[u8]| pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii() == name.as_bytes();
    let pairs = || field.as_bytes().split(|byte| *byte == b';');
    if !pairs().any(|pair| is_it(&pair)) {
        return None;
    }
    let kept: Vec<&[u8]> = pairs().filter(|pair| !is_it(pair)).map(<[u8]>::trim_ascii).collect();
    HeaderValue::from_maybe_shared(Bytes::from(kept.join(&b"; "[..]))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_over_several_fields() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; b=\"2\";c = 3;d"));
        headers.append(COOKIE, HeaderValue::from_static("a=4=5;ab=5"));
        let all = |name: &str| -> Vec<&str> {
            values(&headers, name).map(|value| std::str::from_utf8(value).unwrap()).collect()
        };
        assert_eq!(all("a"), ["1", "4=5"]);
        assert_eq!(all("b"), ["\"2\""]);
        assert_eq!(all("c"), ["3"]);
        assert_eq!(all("d"), [""]);
        assert!(all("A").is_empty());
    }

    #[test]
    fn a_cookie_is_taken_away_and_the_others_stay_as_they_are() {
        let without = |field| without(&HeaderValue::from_static(field), "us");
        assert_eq!(without("a=1; us=2; b=\"x=us\"").unwrap(), "a=1; b=\"x=us\"");
        assert_eq!(without("us=1;us=2").unwrap(), "");
        assert_eq!((without("a=us"), without("usa=1"), without("")), (None, None, None));
    }
}
