//! Values with a unit: durations, sizes, shares and ceilings, as they are written and shown.
//!
//! Invariant: what is shown can be read again and means the same. Deliberately absent: fractions (`1.5s`), sums
//! (`1m30s`) and bare numbers. There is one way to write a value, and it names its unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longer than any time-out or interval that is meant, and far below where adding it to a clock overflows.
pub const LONGEST: Duration = Duration::from_secs(365 * 86_400);

const MILLISECONDS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const BYTES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
];

/// Why a text is no value of its kind, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, with the value in backticks.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Mistake { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; {}", self.message, self.help)
    }
}

impl std::error::Error for Mistake {}

/// Reads `250ms`, `10s`, `5m`, `1h`, `1d`; zero is a duration here, up to [`LONGEST`].
pub fn duration(text: &str) -> Result<Duration, Mistake> {
    let help = "a whole number and its unit, such as `250ms`, `10s`, `5m`, `1h` or `1d`";
    let (number, unit) = split(text).ok_or_else(|| Mistake::new(format!("`{text}` is not a duration"), help))?;
    if unit.is_empty() {
        return Err(Mistake::new(
            format!("`{text}` has no unit"),
            format!("write `{number}s` for seconds, `{number}ms` for milliseconds"),
        ));
    }
    let Some((_, factor)) = MILLISECONDS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(Mistake::new(format!("`{text}` is not a duration"), help));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Mistake::new(format!("`{text}` is too long"), format!("the longest is `{}`", show(LONGEST))))
}

/// Shows a duration as it would be written, in the largest unit that needs no fraction; below 1 ms it is cut off.
pub fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let unit = MILLISECONDS
        .into_iter()
        .find(|(_, factor)| milliseconds != 0 && milliseconds.is_multiple_of(u128::from(*factor)));
    match unit {
        Some((name, factor)) => format!("{}{name}", milliseconds / u128::from(factor)),
        None => "0s".to_owned(),
    }
}

/// An amount of bytes: `512B 64KiB 1MiB 1GiB`, or decimal `64KB 1MB 1GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let help = "a whole number and its unit, such as `512B`, `64KiB`, `1MiB` or `1GiB`";
        let (number, unit) = split(text).ok_or_else(|| Mistake::new(format!("`{text}` is not a size"), help))?;
        if unit.is_empty() {
            return Err(Mistake::new(
                format!("`{text}` has no unit"),
                format!("write `{number}B` for bytes, `{number}KiB` for units of 1024 bytes"),
            ));
        }
        let Some((_, factor)) = BYTES.into_iter().find(|(name, _)| *name == unit) else {
            // `64k`, `1M`, `10mb`: the letter says what was meant, if not whether 1000 or 1024.
            let alike = BYTES.into_iter().find(|(name, _)| {
                name.len() == 3
                    && name.chars().next().zip(unit.chars().next()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(&b))
            });
            let help = alike.map_or_else(|| help.to_owned(), |(name, _)| format!("did you mean `{number}{name}`?"));
            return Err(Mistake::new(format!("`{text}` is not a size"), help));
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        bytes.map(ByteSize).ok_or_else(|| Mistake::new(format!("`{text}` is too large"), help))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = BYTES.into_iter().filter(|(name, _)| name.len() != 2);
        match binary.into_iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(formatter, "{}{name}", self.0 / factor),
            None => formatter.write_str("0B"),
        }
    }
}

/// A share, from `0%` to `100%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// More than 100 is taken as 100.
    pub const fn clamped(percent: u8) -> Self {
        Percent(if percent > 100 { 100 } else { percent })
    }

    /// From 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// From 0.0 to 1.0.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl FromStr for Percent {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let help = "a whole number from `0%` to `100%`";
        let number = split(text).filter(|(_, unit)| *unit == "%" || unit.is_empty());
        let (number, unit) = number.ok_or_else(|| Mistake::new(format!("`{text}` is not a share"), help))?;
        if unit.is_empty() {
            return Err(Mistake::new(format!("`{text}` has no unit"), format!("write `{number}%`")));
        }
        let percent = number.parse::<u8>().ok().filter(|percent| *percent <= 100);
        percent.map(Percent).ok_or_else(|| Mistake::new(format!("`{text}` is out of range"), help))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}%", self.0)
    }
}

/// A ceiling on a count, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Written `unlimited`.
    Unlimited,
    /// At most so many; never 0.
    At(u64),
}

impl FromStr for Limit {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if text == "unlimited" {
            return Ok(Limit::Unlimited);
        }
        match text.parse::<u64>() {
            Ok(0) => {
                Err(Mistake::new("a limit of `0` lets nothing through", "write the highest count, or `unlimited`"))
            }
            Ok(count) if digits(text) => Ok(Limit::At(count)),
            Ok(_) | Err(_) => {
                Err(Mistake::new(format!("`{text}` is not a limit"), "a positive whole number, or `unlimited`"))
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Unlimited => formatter.write_str("unlimited"),
            Limit::At(count) => write!(formatter, "{count}"),
        }
    }
}

/// A ceiling on a size, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SizeLimit {
    /// Written `unlimited`.
    Unlimited,
    /// At most so much; never nothing.
    At(ByteSize),
}

impl FromStr for SizeLimit {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if text == "unlimited" {
            return Ok(SizeLimit::Unlimited);
        }
        match text.parse()? {
            // To some it means that there is no limit.
            ByteSize(0) => Err(Mistake::new(
                format!("a limit of `{text}` lets nothing through"),
                "write the largest size, or `unlimited`",
            )),
            size => Ok(SizeLimit::At(size)),
        }
    }
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeLimit::Unlimited => formatter.write_str("unlimited"),
            SizeLimit::At(size) => write!(formatter, "{size}"),
        }
    }
}

/// The digits at the front, of which there is at least one, and what follows them.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(number, _)| !number.is_empty())
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_names_its_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "s", "10", "10 s", "-1s", "1.5s", "1m30s", "10S", "366d", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "`{wrong}` was taken for a duration");
        }
    }

    #[test]
    fn a_size_is_binary_or_decimal_as_its_unit_says() {
        assert_eq!("64KiB".parse(), Ok(ByteSize(65_536)));
        assert_eq!("64KB".parse(), Ok(ByteSize(64_000)));
        for wrong in ["64", "64k", "64kib", "1.5MiB", "-1B", "99999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "`{wrong}` was taken for a size");
        }
        assert_eq!("10m".parse::<ByteSize>().map_err(|mistake| mistake.help), Err("did you mean `10MiB`?".to_owned()));
    }

    #[test]
    fn a_share_ends_at_a_hundred() {
        assert_eq!("20%".parse(), Ok(Percent::clamped(20)));
        for wrong in ["20", "101%", "300%", "0.5%", "%", "-1%"] {
            assert!(wrong.parse::<Percent>().is_err(), "`{wrong}` was taken for a share");
        }
    }

    #[test]
    fn a_limit_is_positive_or_said_to_be_none() {
        assert_eq!("unlimited".parse(), Ok(Limit::Unlimited));
        assert_eq!("7".parse(), Ok(Limit::At(7)));
        for wrong in ["0", "-1", "+1", "off", ""] {
            assert!(wrong.parse::<Limit>().is_err(), "`{wrong}` was taken for a limit");
        }
    }

    #[test]
    fn a_limit_of_a_size_is_some_size_or_said_to_be_none() {
        assert_eq!("unlimited".parse(), Ok(SizeLimit::Unlimited));
        assert_eq!("10MiB".parse(), Ok(SizeLimit::At(ByteSize(10 << 20))));
        for wrong in ["0B", "0", "10", "off", "-1B", ""] {
            assert!(wrong.parse::<SizeLimit>().is_err(), "`{wrong}` was taken for a limit");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_the_same(milliseconds in 0..LONGEST.as_millis() as u64, bytes: u64, percent in 0..=100u8) {
            let span = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&show(span)), Ok(span));
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            prop_assert_eq!(Percent::clamped(percent).to_string().parse(), Ok(Percent::clamped(percent)));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            drop(duration(&text));
            drop(text.parse::<ByteSize>());
            drop(text.parse::<Percent>());
            drop(text.parse::<Limit>());
            drop(text.parse::<SizeLimit>());
        }
    }
}
