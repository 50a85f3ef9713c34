//! Cookies of a request (RFC 6265, section 4.2.1).
//!
//! Deliberately absent: quotes, which belong to the value.

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
}
