//! Points in time as the logs write them, in UTC.
//!
//! Invariant: the text of a second is made once per thread and second, and copied for every further line. Times that
//! four digits of a year cannot say are shown as the nearest that they can.
//!
//! Deliberately absent: time zones. Machines that share a log rarely share a zone.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

const MONTHS: [[u8; 3]; 12] =
    [*b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct", *b"Nov", *b"Dec"];

/// Appends `2026-11-23T13:44:05.123Z` (RFC 3339).
pub(super) fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = since_epoch(time);
    out.extend_from_slice(&second(since.as_secs()).rfc3339);
    let [_, a, b, c] = four(u64::from(since.subsec_millis()));
    out.extend_from_slice(&[b'.', a, b, c, b'Z']);
}

/// The same as a text of its own.
pub fn rfc3339_text(time: SystemTime) -> String {
    let mut out = Vec::new();
    rfc3339(&mut out, time);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends `23/Nov/2026:13:44:05 +0000`, as the combined format of Apache and nginx wants it.
pub(super) fn common_log(out: &mut Vec<u8>, time: SystemTime) {
    out.extend_from_slice(&second(since_epoch(time).as_secs()).common_log);
    out.extend_from_slice(b" +0000");
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().min(Duration::from_secs(LAST_SECOND))
}

#[derive(Clone, Copy)]
struct Second {
    unix: u64,
    rfc3339: [u8; 19],
    common_log: [u8; 20],
}

thread_local! {
    static LATEST: Cell<Option<Second>> = const { Cell::new(None) };
}

fn second(unix: u64) -> Second {
    // A thread that is ending has no cache any more; then the text is made anew.
    let latest = LATEST.try_with(Cell::get).ok().flatten();
    if let Some(latest) = latest.filter(|latest| latest.unix == unix) {
        return latest;
    }
    let made = Second::new(unix);
    LATEST.try_with(|cell| cell.set(Some(made))).unwrap_or_default();
    made
}

impl Second {
    fn new(unix: u64) -> Self {
        let (year, month, day) = civil(unix / 86_400);
        let [y1, y2, y3, y4] = four(year);
        let [_, _, m1, m2] = four(month);
        let [_, _, d1, d2] = four(day);
        let [_, _, h1, h2] = four(unix / 3600 % 24);
        let [_, _, min1, min2] = four(unix / 60 % 60);
        let [_, _, s1, s2] = four(unix % 60);
        let [n1, n2, n3] =
            MONTHS.iter().zip(1..).find_map(|(name, number)| (number == month).then_some(*name)).unwrap_or(*b"Jan");
        Self {
            unix,
            rfc3339: [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', min1, min2, b':', s1, s2],
            common_log: [d1, d2, b'/', n1, n2, n3, b'/', y1, y2, y3, y4, b':', h1, h2, b':', min1, min2, b':', s1, s2],
        }
    }
}

/// Year, month (1–12) and day (1–31) of a day counted from 1970-01-01, after Howard Hinnant, *chrono-Compatible
/// Low-Level Date Algorithms* (`civil_from_days`), for days that are not negative.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // from 0000-03-01, so that the leap day is the last of its year
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

const fn four(number: u64) -> [u8; 4] {
    const fn digit(number: u64) -> u8 {
        b'0' + (number % 10) as u8
    }
    [digit(number / 1000), digit(number / 100), digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
    }

    fn text(write: fn(&mut Vec<u8>, SystemTime), time: SystemTime) -> String {
        let mut out = Vec::new();
        write(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_time_is_written_in_both_ways() {
        let time = at(1_795_441_445, 123);
        assert_eq!(text(rfc3339, time), "2026-11-23T13:44:05.123Z");
        assert_eq!(text(common_log, time), "23/Nov/2026:13:44:05 +0000");
    }

    #[test]
    fn the_second_changes_when_the_time_does_and_not_before() {
        assert_eq!(text(rfc3339, at(59, 999)), "1970-01-01T00:00:59.999Z");
        assert_eq!(text(rfc3339, at(60, 0)), "1970-01-01T00:01:00.000Z");
        assert_eq!(text(rfc3339, at(59, 7)), "1970-01-01T00:00:59.007Z");
    }

    #[test]
    fn leap_days_come_when_they_should() {
        assert_eq!(text(rfc3339, at(951_782_400, 0)), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(rfc3339, at(1_709_164_800, 0)), "2024-02-29T00:00:00.000Z");
        assert_eq!(text(rfc3339, at(4_107_542_400, 0)), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn times_out_of_range_are_shown_as_the_nearest() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(text(rfc3339, before), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(rfc3339, at(LAST_SECOND + 9, 0)), "9999-12-31T23:59:59.000Z");
    }

    /// Counts through the years and months, as one would by hand.
    fn civil_by_counting(mut days: u64) -> (u64, u64, u64) {
        let every = |years: u64, year: u64| year.is_multiple_of(years);
        let leap = |year: u64| (every(4, year) && !every(100, year)) || every(400, year);
        let mut year = 1970;
        while days >= 365 + u64::from(leap(year)) {
            days -= 365 + u64::from(leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 1;
        for length in lengths {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        (year, month, days + 1)
    }

    proptest! {
        #[test]
        fn every_day_has_the_date_that_counting_gives(days in 0..=LAST_SECOND / 86_400) {
            prop_assert_eq!(civil(days), civil_by_counting(days));
        }
    }
}
