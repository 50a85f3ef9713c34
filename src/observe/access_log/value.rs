//! Values that all formats write alike: numbers, times, and what is missing.
//!
//! Invariant: nothing is allocated but what the line itself grows by.
//!
//! Deliberately absent: floating point. A time is whole microseconds, shown as milliseconds with three decimals.

use std::time::Duration;

pub(super) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `12.345`: milliseconds, cut (not rounded) to microseconds.
pub(super) fn milliseconds(out: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    let [a, b, c] = thousandths(micros % 1000);
    out.extend_from_slice(&[b'.', a, b, c]);
}

/// Appends the value, or `-` if there is none.
pub(super) fn or_dash<T>(out: &mut Vec<u8>, value: Option<T>, write: impl Fn(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.push(b'-'),
    }
}

const fn thousandths(rest: u64) -> [u8; 3] {
    [b'0' + (rest / 100 % 10) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(time: Duration) -> String {
        let mut out = Vec::new();
        milliseconds(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_is_milliseconds_with_three_decimals() {
        assert_eq!(text(Duration::ZERO), "0.000");
        assert_eq!(text(Duration::from_nanos(1_999)), "0.001");
        assert_eq!(text(Duration::from_micros(10_050)), "10.050");
        assert_eq!(text(Duration::from_secs(75)), "75000.000");
    }

    #[test]
    fn the_longest_time_is_still_a_number() {
        assert_eq!(text(Duration::MAX), "18446744073709551.615");
    }
}
