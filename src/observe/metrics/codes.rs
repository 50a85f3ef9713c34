//! Counters by status code for one route.
//!
//! Invariant: the memory is fixed, whatever codes a backend invents: those that IANA has registered are counted one by
//! one, all else together. Finding the counter is one look into a table.
//!
//! Deliberately absent: classes (2xx, 5xx). They are sums, and sums are the reader's.

use std::sync::atomic::{AtomicU64, Ordering};

/// The codes of the IANA registry, and the names of the two rows for all else.
const NAMES: [&str; 65] = [
    "100", "101", "102", "103", "104", "200", "201", "202", "203", "204", "205", "206", "207", "208", "226", "300",
    "301", "302", "303", "304", "305", "306", "307", "308", "400", "401", "402", "403", "404", "405", "406", "407",
    "408", "409", "410", "411", "412", "413", "414", "415", "416", "417", "418", "421", "422", "423", "424", "425",
    "426", "428", "429", "431", "451", "500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511",
    "other",
];

const OTHER: usize = NAMES.len() - 1;

/// The row of each three-digit code, from 100 on.
const ROWS: [u8; 900] = rows();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index out of bounds")]
const fn rows() -> [u8; 900] {
    const fn number(digit: u8) -> usize {
        (digit - b'0') as usize
    }
    let mut rows = [OTHER as u8; 900];
    let mut row = 0;
    while row < OTHER {
        let name = NAMES[row].as_bytes();
        let code = number(name[0]) * 100 + number(name[1]) * 10 + number(name[2]);
        rows[code - 100] = row as u8;
        row += 1;
    }
    rows
}

/// Counts answers by their status.
#[derive(Debug)]
pub struct CodeCounters {
    counters: [AtomicU64; NAMES.len()],
    none: AtomicU64,
}

impl CodeCounters {
    /// Counts an answer, or that there was none.
    pub fn count(&self, status: Option<u16>) {
        let counter = status.map_or(&self.none, |code| {
            let row = code
                .checked_sub(100)
                .and_then(|from_100| ROWS.get(usize::from(from_100)))
                .map_or(OTHER, |row| usize::from(*row));
            self.counters.get(row).unwrap_or(&self.none)
        });
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The codes that were counted at least once, as the label `code` has them: digits, `other` or `none`.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = NAMES.iter().copied().zip(&self.counters);
        counters
            .chain([("none", &self.none)])
            .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}

impl Default for CodeCounters {
    fn default() -> Self {
        Self { counters: [const { AtomicU64::new(0) }; NAMES.len()], none: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(statuses: impl IntoIterator<Item = Option<u16>>) -> Vec<(&'static str, u64)> {
        let counters = CodeCounters::default();
        statuses.into_iter().for_each(|status| counters.count(status));
        counters.read().collect()
    }

    #[test]
    fn codes_are_counted_one_by_one() {
        assert_eq!(counted([200, 503, 200, 404].map(Some)), [("200", 2), ("404", 1), ("503", 1)]);
    }

    #[test]
    fn a_code_that_nobody_registered_is_counted_with_its_like() {
        assert_eq!(counted([0, 99, 299, 499, 520, 999, 1000, u16::MAX].map(Some)), [("other", 8)]);
    }

    #[test]
    fn no_answer_is_counted_as_none() {
        assert_eq!(counted([None, Some(200), None]), [("200", 1), ("none", 2)]);
    }

    #[test]
    fn every_registered_code_has_its_own_counter() {
        for name in NAMES.iter().filter(|name| **name != "other") {
            assert_eq!(counted([Some(name.parse().unwrap())]), [(*name, 1)]);
        }
        let other = (0..=u16::MAX).map(Some).fold(CodeCounters::default(), |counters, status| {
            counters.count(status);
            counters
        });
        let others = other.read().find(|(name, _)| *name == "other").unwrap();
        assert_eq!(others.1, 65_536 - 64);
    }
}
