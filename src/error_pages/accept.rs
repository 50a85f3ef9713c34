//! Which of our forms of an answer a client wants, by its `Accept` (RFC 9110, section 12.5.1).
//!
//! Parameters other than `q` are passed over, and a subtype that ends in `+json` asks for JSON: clients that write
//! either would rather have our nearest than another form. Where qualities are equal, what was named wins over what
//! a wildcard let in, then what was named earlier, then the order of preference.

use http::HeaderValue;

use super::Kind;

/// A browser sends eight; whoever sends more than this has said enough.
const MOST_RANGES: usize = 32;

/// How well a form fits: the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// In thousandths.
    quality: u16,
    specificity: u8,
    /// Less the later it was named.
    earliness: usize,
}

/// The form that fits best of those in `preference`, which is not empty; its first where none is acceptable, or
/// nothing was said.
pub(super) fn choose<'a>(accept: impl Iterator<Item = &'a HeaderValue>, preference: &[Kind; 3]) -> Kind {
    let [first, rest @ ..] = preference;
    let mut fits = [None::<Fit>; 3];
    let ranges = accept.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    for (place, range) in ranges.take(MOST_RANGES).enumerate() {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let Some(media) = parts.next() else { continue };
        let Some(quality) = quality(parts) else { continue };
        for (fit, kind) in fits.iter_mut().zip(preference) {
            let Some(specificity) = specificity(media, *kind) else { continue };
            // The most specific range that fits a form decides on it, wherever it stands.
            if fit.is_none_or(|fit| specificity > fit.specificity) {
                *fit = Some(Fit { quality, specificity, earliness: MOST_RANGES - place });
            }
        }
    }
    let acceptable = |fit: &Option<Fit>| fit.filter(|fit| fit.quality > 0);
    let [fit_of_first, fits_of_rest @ ..] = &fits;
    let mut best = (*first, acceptable(fit_of_first));
    for (kind, fit) in rest.iter().zip(fits_of_rest) {
        if acceptable(fit) > best.1 {
            best = (*kind, acceptable(fit));
        }
    }
    best.0
}

/// In thousandths, 1000 where nothing is said; none where what is said is no weight (RFC 9110, section 12.4.2).
fn quality<'a>(mut parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    let weight = parameters.find_map(|parameter| match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => Some(weight),
        _ => None,
    });
    let Some(weight) = weight else { return Some(1000) };
    let (whole, fraction) = match weight {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// How closely a media range names a form; none if it does not.
fn specificity(media: &[u8], kind: Kind) -> Option<u8> {
    let slash = media.iter().position(|byte| *byte == b'/')?;
    let (range, subtype) = media.split_at(slash);
    let subtype = subtype.get(1..)?;
    let (own, own_subtype): (&[u8], &[u8]) = match kind {
        Kind::Text => (b"text", b"plain"),
        Kind::Json => (b"application", b"json"),
        Kind::Html => (b"text", b"html"),
    };
    let is_suffixed = || kind == Kind::Json && subtype.to_ascii_lowercase().ends_with(b"+json");
    match subtype {
        b"*" if range == b"*" => Some(0),
        b"*" if range.eq_ignore_ascii_case(own) => Some(1),
        _ if !range.eq_ignore_ascii_case(own) => None,
        _ if is_suffixed() => Some(2),
        _ => subtype.eq_ignore_ascii_case(own_subtype).then_some(3),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULT: [Kind; 3] = [Kind::Text, Kind::Json, Kind::Html];
    const PAGE: [Kind; 3] = [Kind::Html, Kind::Text, Kind::Json];

    fn chosen(accept: &str, preference: &[Kind; 3]) -> Kind {
        choose([HeaderValue::from_str(accept).unwrap()].iter(), preference)
    }

    #[test]
    fn the_form_of_the_highest_quality_is_chosen() {
        for (accept, expected) in [
            ("", Kind::Text),
            ("*/*", Kind::Text),
            ("text/*", Kind::Text),
            ("application/json", Kind::Json),
            ("APPLICATION/JSON; charset=utf-8", Kind::Json),
            ("application/problem+json", Kind::Json),
            ("application/*", Kind::Json),
            ("text/html", Kind::Html),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Kind::Html),
            ("application/json, text/plain, */*", Kind::Json),
            ("text/plain, application/json", Kind::Text),
            ("application/json;q=0.5, text/html;q=0.51", Kind::Html),
            ("application/json;q=0.5, */*;q=0.1", Kind::Json),
            ("text/*;q=0.9, text/plain;q=0, application/json;q=0.8", Kind::Html),
            ("*/*, text/plain;q=0", Kind::Json),
            ("image/png", Kind::Text),
            ("text/html;q=0", Kind::Text),
            ("text/html;q=2, application/json;q=0.1", Kind::Json),
            ("text/html;q=0.1234, application/json;q=0.1", Kind::Json),
            ("text/html;q=, application/json;q=0.1", Kind::Json),
            ("text/htmlx, x/json", Kind::Text),
            ("*/json", Kind::Text),
        ] {
            assert_eq!(chosen(accept, &DEFAULT), expected, "{accept}");
        }
    }

    #[test]
    fn a_preference_decides_only_where_the_client_has_none() {
        for (accept, expected) in [
            ("", Kind::Html),
            ("*/*", Kind::Html),
            ("text/*", Kind::Html),
            ("image/png", Kind::Html),
            ("application/json", Kind::Json),
            ("application/json, text/plain, */*", Kind::Json),
            ("text/plain", Kind::Text),
            ("text/plain;q=0.5, */*;q=0.4", Kind::Text),
        ] {
            assert_eq!(chosen(accept, &PAGE), expected, "{accept}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let accept = ["text/plain;q=0.1", "application/json;q=0.2"].map(HeaderValue::from_static);
        assert_eq!(choose(accept.iter(), &DEFAULT), Kind::Json);
        assert_eq!(choose([].iter(), &DEFAULT), Kind::Text);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                choose([value].iter(), &DEFAULT);
            }
        }

        #[test]
        fn what_alone_is_named_is_chosen_whatever_its_quality(index in 0..3usize, thousandths in 1..=1000u16) {
            let name = ["text/plain", "application/json", "text/html"][index];
            let accept = format!("{name};q={}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(chosen(&accept, &DEFAULT), DEFAULT[index]);
            prop_assert_eq!(chosen(&accept, &PAGE), DEFAULT[index]);
        }
    }
}
