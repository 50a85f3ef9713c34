//! The log of the process: one line on standard error for what someone running it should know.
//!
//! ```text
//! 2026-11-23T13:44:05.123Z WARN evenkeel::upstream: backend ejected upstream=app backend=127.0.0.1:9001
//! ```
//!
//! Invariant: one record is one line, written with one call, whatever stands in it. What a stranger can trigger in
//! pingora (a broken handshake, a bad request, a backend that is gone) is never above `debug`: it is counted.
//!
//! Deliberately absent: files, rotation, colours, filters per module, limits of rate. Whoever runs the process has
//! journald or a container for the first, and there is nothing to limit in what only turns log.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::time::SystemTime;

use ::log::kv::{self, Key, VisitSource};
use ::log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

use super::timestamp;

/// Where the level is read from.
const OURS: &str = "EVENKEEL_LOG";

/// Read when [`OURS`] is not set. Other programs read it too, and may have been given a language that we do not speak.
const SHARED: &str = "RUST_LOG";

/// Starts, reloads, drains and turns of backends, which are few.
const DEFAULT: LevelFilter = LevelFilter::Info;

/// The one part of pingora whose errors no stranger can trigger, and someone must act upon.
const PINGORA_SERVER: &str = "pingora_core::server";

/// Makes this the logger of the process. It fails if there is one already.
pub fn install(filter: LevelFilter) -> Result<(), SetLoggerError> {
    ::log::set_boxed_logger(Box::new(Logger { filter }))?;
    ::log::set_max_level(filter);
    Ok(())
}

/// The level that the environment asks for: `EVENKEEL_LOG`, else `RUST_LOG`, else `info`.
pub fn filter_from_environment() -> Result<LevelFilter, UnknownLevel> {
    let read = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    filter(read(OURS).as_deref(), read(SHARED).as_deref())
}

/// `EVENKEEL_LOG` has a value that is no level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel {
    value: String,
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.escape_debug();
        write!(f, "{OURS} is `{value}`, expected one of `error`, `warn`, `info`, `debug`, `trace`, `off`")
    }
}

impl std::error::Error for UnknownLevel {}

/// Of the shared variable only a level that stands by itself is understood (`info,hyper=warn` means `info`); our own
/// must be a level.
fn filter(ours: Option<&str>, shared: Option<&str>) -> Result<LevelFilter, UnknownLevel> {
    let level = |text: &str| text.trim().parse().ok();
    match ours.filter(|ours| !ours.is_empty()) {
        Some(ours) => level(ours).ok_or_else(|| UnknownLevel { value: ours.to_owned() }),
        None => Ok(shared.and_then(|shared| shared.split(',').find_map(level)).unwrap_or(DEFAULT)),
    }
}

/// The level at which a record counts, whatever its author thought of it.
fn demoted(level: Level, target: &str) -> Level {
    let kept = !target.starts_with("pingora") || (target == PINGORA_SERVER && level == Level::Error);
    if kept { level } else { level.max(Level::Debug) }
}

struct Logger {
    filter: LevelFilter,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        demoted(metadata.level(), metadata.target()) <= self.filter
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = render(SystemTime::now(), record);
            // When standard error is gone there is nowhere left to say so.
            io::stderr().lock().write_all(&line).unwrap_or_default();
        }
    }

    fn flush(&self) {}
}

fn render(time: SystemTime, record: &Record<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(160);
    timestamp::rfc3339(&mut line, time);
    let mut line = Line(line);
    let level = demoted(record.level(), record.target());
    // Writing to memory fails only if the `Display` of an argument does; what came before is still worth a line.
    write!(line, " {level} {}: {}", record.target(), record.args()).unwrap_or_default();
    record.key_values().visit(&mut line).unwrap_or_default();
    line.0.push(b'\n');
    line.0
}

/// A line in the making: what is written to it cannot end it.
struct Line(Vec<u8>);

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_printed(character) {
                self.0.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                self.0.extend(character.escape_default().map(|ascii| ascii as u8));
            }
        }
        Ok(())
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let value = value.to_string();
        if is_bare(&value) {
            write!(self, " {key}={value}")?;
        } else {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(self, " {key}=\"{quoted}\"")?;
        }
        Ok(())
    }
}

/// Line ends of every kind, escape sequences, and the marks that turn the direction of writing are not.
const fn is_printed(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

fn is_bare(value: &str) -> bool {
    let bare = |character: char| is_printed(character) && !matches!(character, ' ' | '"' | '=' | '\\');
    !value.is_empty() && value.chars().all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(level: Level, target: &str, message: &str, fields: &[(&str, &str)]) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_441_445_123);
        let source: &dyn kv::Source = &fields;
        let line = render(
            time,
            &Record::builder().level(level).target(target).key_values(source).args(format_args!("{message}")).build(),
        );
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_record_is_a_sentence_and_its_fields() {
        assert_eq!(
            line(
                Level::Warn,
                "evenkeel::upstream",
                "backend ejected",
                &[("upstream", "app"), ("backend", "127.0.0.1:9001")]
            ),
            "2026-11-23T13:44:05.123Z WARN evenkeel::upstream: backend ejected upstream=app backend=127.0.0.1:9001\n"
        );
    }

    #[test]
    fn values_are_quoted_when_they_could_be_mistaken() {
        let text = line(
            Level::Info,
            "evenkeel",
            "x",
            &[("a", ""), ("b", "two words"), ("c", "say \"no\""), ("d", "a=b"), ("e", "a\nb"), ("f", "größe")],
        );
        let fields = r#"x a="" b="two words" c="say \"no\"" d="a=b" e="a\nb" f=größe"#;
        assert!(text.ends_with(&format!("{fields}\n")), "{text}");
    }

    #[test]
    fn a_message_cannot_forge_a_second_line_or_reach_the_terminal() {
        let text = line(Level::Error, "evenkeel", "a\nb\r\x1b[31m\u{85}\u{2028}\u{202e}", &[]);
        assert!(text.ends_with("ERROR evenkeel: a\\nb\\r\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}\n"), "{text}");
    }

    #[test]
    fn what_strangers_trigger_in_pingora_is_not_above_debug() {
        let logger = Logger { filter: LevelFilter::Info };
        let enabled = |level, target| logger.enabled(&Metadata::builder().level(level).target(target).build());
        assert!(!enabled(Level::Error, "pingora_proxy"));
        assert!(!enabled(Level::Error, "pingora_core::protocols::http::v1::server"));
        assert!(!enabled(Level::Error, "pingora_core::services::listening"));
        assert!(!enabled(Level::Warn, "pingora_core::server"));
        assert!(enabled(Level::Error, "pingora_core::server"));
        assert!(enabled(Level::Info, "evenkeel::upstream"));
        assert!(!enabled(Level::Debug, "evenkeel::upstream"));
        assert!(line(Level::Error, "pingora_proxy", "x", &[]).contains(" DEBUG pingora_proxy: "));
        assert_eq!(demoted(Level::Trace, "pingora_proxy"), Level::Trace);
    }

    #[test]
    fn the_level_comes_from_our_variable_then_from_the_shared_one() {
        assert_eq!(filter(None, None), Ok(LevelFilter::Info));
        assert_eq!(filter(Some("debug"), Some("error")), Ok(LevelFilter::Debug));
        assert_eq!(filter(Some("OFF"), None), Ok(LevelFilter::Off));
        assert_eq!(filter(Some(""), Some("error")), Ok(LevelFilter::Error));
        assert_eq!(filter(None, Some("hyper=trace,warn")), Ok(LevelFilter::Warn));
        assert_eq!(filter(None, Some("hyper=trace")), Ok(LevelFilter::Info));
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused() {
        let error = filter(Some("verbose"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "EVENKEEL_LOG is `verbose`, expected one of `error`, `warn`, `info`, `debug`, `trace`, `off`"
        );
    }

    proptest! {
        #[test]
        fn a_record_is_one_line_whatever_stands_in_it(message in "([\0-\x1f\u{7f}-\u{9f}]|\\PC){0,20}", value in "([\0-\x1f\"= ]|\\PC){0,20}") {
            let text = line(Level::Info, "evenkeel", &message, &[("key", &value)]);
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(text.ends_with('\n'));
            prop_assert!(text.trim_end_matches('\n').chars().all(|c| !c.is_control()));
        }
    }
}
