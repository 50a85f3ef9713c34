//! Writes the text format 0.0.4 of Prometheus.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//!
//! Invariant: all series of a family stand together under its head, and each has the labels of the table; debug builds
//! check it. Label values are escaped, so that a name from the configuration cannot end a line.
//!
//! Deliberately absent: timestamps, exemplars, OpenMetrics and compression.

use std::time::Duration;

use super::histogram::{BOUNDS, Distribution};
use super::table::{Family, Kind, Label};

/// The value of `Content-Type` for what [`Exposition::finish`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    current: Option<Family>,
    written: Vec<&'static str>,
}

/// What a series is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count or a size, written exactly.
    Whole(u64),
    /// A weight or a time.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// A state: 1 if it holds, else 0.
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

/// Seconds.
impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl Exposition {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family. Each may be begun once; all its series follow before the next.
    pub fn family(&mut self, family: &Family) {
        let Family { name, kind, help, labels: _ } = *family;
        debug_assert!(!self.written.contains(&name), "the family `{name}` is written twice");
        self.written.push(name);
        self.current = Some(*family);
        self.push(&["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind.as_str(), "\n"]);
    }

    /// Writes a series of the current family, which is a counter or a gauge.
    pub fn sample(&mut self, labels: &[(Label, &str)], value: impl Into<Value>) {
        let Some(family) = self.current else {
            debug_assert!(false, "a series before any family");
            return;
        };
        debug_assert!(family.kind != Kind::Histogram, "`{}` is a histogram", family.name);
        self.check(&family, labels);
        self.line(family.name, "", labels, None, value.into());
    }

    /// Writes the series of one histogram of the current family.
    pub fn histogram(&mut self, labels: &[(Label, &str)], distribution: &Distribution) {
        let Some(family) = self.current else {
            debug_assert!(false, "a histogram before any family");
            return;
        };
        debug_assert!(family.kind == Kind::Histogram, "`{}` is no histogram", family.name);
        self.check(&family, labels);
        let Distribution { cumulative, count, sum } = *distribution;
        for ((bound, _), within) in BOUNDS.iter().zip(cumulative) {
            self.line(family.name, "_bucket", labels, Some(bound), within.into());
        }
        self.line(family.name, "_bucket", labels, Some("+Inf"), count.into());
        self.line(family.name, "_sum", labels, None, sum.into());
        self.line(family.name, "_count", labels, None, count.into());
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }

    fn check(&self, family: &Family, labels: &[(Label, &str)]) {
        debug_assert!(
            labels.iter().map(|(label, _)| label).eq(family.labels),
            "`{}` has the labels {:?}, not {labels:?}",
            family.name,
            family.labels,
        );
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[(Label, &str)], bound: Option<&str>, value: Value) {
        self.push(&[name, suffix]);
        let named = labels.iter().map(|(label, value)| (label.as_str(), *value));
        let mut before = "{";
        for (label, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.push(&[before, label, "=\""]);
            self.push_escaped(value);
            self.push(&["\""]);
            before = ",";
        }
        if before == "," {
            self.push(&["}"]);
        }
        match value {
            Value::Whole(value) => self.push(&[" ", itoa::Buffer::new().format(value), "\n"]),
            Value::Real(value) => self.push(&[" ", &real(value), "\n"]),
        }
    }

    fn push(&mut self, parts: &[&str]) {
        self.text.extend(parts.iter().copied());
    }

    fn push_escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

fn real(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string() // `NaN` is spelled alike in both
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Histogram, table};
    use super::*;
    use proptest::prelude::*;

    /// A series as a scraper sees it: name, labels, value.
    type Series = (String, Vec<(String, String)>, f64);

    /// Reads the format as its specification says; stumbles over what is not in it.
    fn parse(page: &str) -> Vec<Series> {
        let lines = page.strip_suffix('\n').expect("the last line ends").split('\n');
        lines.filter(|line| !line.starts_with('#')).map(parse_series).collect()
    }

    fn parse_series(line: &str) -> Series {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        while let Some(inside) = rest.strip_prefix(['{', ',']) {
            let (label, after) = inside.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut characters = after.chars();
            loop {
                match characters.next().expect("a quote ends the value") {
                    '"' => break,
                    '\\' => value.push(match characters.next().unwrap() {
                        'n' => '\n',
                        same @ ('\\' | '"') => same,
                        other => panic!("`\\{other}` in {line}"),
                    }),
                    other => value.push(other),
                }
            }
            labels.push((label.to_owned(), value));
            rest = characters.as_str();
        }
        let rest = rest.strip_prefix('}').unwrap_or(rest);
        (name.to_owned(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
    }

    #[test]
    fn a_page_looks_as_prometheus_wants_it() {
        let mut page = Exposition::new();
        page.family(&table::DRAINING);
        page.sample(&[], false);
        page.family(&table::REQUESTS_TOTAL);
        page.sample(&[(Label::Route, "shop"), (Label::Code, "200")], 7_u64);
        page.sample(&[(Label::Route, "shop"), (Label::Code, "503")], u64::MAX);
        page.family(&table::PROCESS_START_TIME_SECONDS);
        page.sample(&[], Duration::from_millis(1_795_441_445_250));
        let expected = [
            "# HELP evenkeel_draining 1 while the process finishes what it has and takes nothing new, else 0.",
            "# TYPE evenkeel_draining gauge",
            "evenkeel_draining 0",
            "# HELP evenkeel_requests_total Requests that ended, by the status that the client was sent.",
            "# TYPE evenkeel_requests_total counter",
            "evenkeel_requests_total{route=\"shop\",code=\"200\"} 7",
            "evenkeel_requests_total{route=\"shop\",code=\"503\"} 18446744073709551615",
            "# HELP evenkeel_process_start_time_seconds When the process began, in seconds since 1970-01-01.",
            "# TYPE evenkeel_process_start_time_seconds gauge",
            "evenkeel_process_start_time_seconds 1795441445.25",
        ];
        assert_eq!(page.finish().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_histogram_is_written_with_cumulative_buckets() {
        let histogram = Histogram::default();
        for millis in [1, 3, 3, 70_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut page = Exposition::new();
        page.family(&table::REQUEST_DURATION_SECONDS);
        page.histogram(&[(Label::Route, "shop")], &histogram.read());
        let series = parse(&page.finish());

        let value = |suffix: &str, le: Option<&str>| {
            let found = series.iter().find(|(name, labels, _)| {
                name.strip_prefix("evenkeel_request_duration_seconds") == Some(suffix)
                    && labels.first().unwrap() == &("route".to_owned(), "shop".to_owned())
                    && labels.get(1).map(|(label, bound)| (label.as_str(), bound.as_str())) == le.map(|le| ("le", le))
            });
            found.unwrap_or_else(|| panic!("no {suffix} {le:?}")).2
        };
        assert_eq!(value("_bucket", Some("0.0005")), 0.0);
        assert_eq!(value("_bucket", Some("0.001")), 1.0);
        assert_eq!(value("_bucket", Some("0.005")), 3.0);
        assert_eq!(value("_bucket", Some("60")), 3.0);
        assert_eq!(value("_bucket", Some("+Inf")), 4.0);
        assert_eq!(value("_count", None), 4.0);
        assert_eq!(value("_sum", None), 70.007);
        assert_eq!(series.len(), BOUNDS.len() + 3);
    }

    #[test]
    fn real_values_are_spelled_as_prometheus_reads_them() {
        for (value, text) in [(0.5, "0.5"), (f64::INFINITY, "+Inf"), (f64::NEG_INFINITY, "-Inf"), (f64::NAN, "NaN")] {
            assert_eq!(real(value), text);
        }
    }

    #[test]
    #[should_panic(expected = "is written twice")]
    #[cfg(debug_assertions)]
    fn a_family_that_is_written_twice_is_a_bug() {
        let mut page = Exposition::new();
        page.family(&table::DRAINING);
        page.family(&table::DRAINING);
    }

    #[test]
    #[should_panic(expected = "has the labels [Route, Code]")]
    #[cfg(debug_assertions)]
    fn labels_that_are_not_those_of_the_table_are_a_bug() {
        let mut page = Exposition::new();
        page.family(&table::REQUESTS_TOTAL);
        page.sample(&[(Label::Route, "shop")], 1_u64);
    }

    proptest! {
        #[test]
        fn any_label_value_comes_back_as_it_was(value in "([\"\\\\\n{},=\0-\x1f]|\\PC){0,20}") {
            let mut page = Exposition::new();
            page.family(&table::CONNECTIONS);
            page.sample(&[(Label::Listener, &value)], 3_u64);
            let expected = ("evenkeel_connections".to_owned(), vec![("listener".to_owned(), value)], 3.0);
            prop_assert_eq!(parse(&page.finish()), [expected]);
        }
    }
}
