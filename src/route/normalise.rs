//! The one form of a path, made before anything is decided about it.
//!
//! Two spellings of one path must not take two ways, or a rule could be walked around. What is equivalent (RFC 3986,
//! section 6.2.2) becomes equal, and equal is what is forwarded: unreserved characters are decoded, other escapes are
//! in upper case, characters that may not stand in a path are escaped, dot segments are gone, and so are empty segments
//! if that is chosen. What backends are known to read in two ways is refused: a NUL, overlong UTF-8, dots beside an
//! encoded slash, a backslash or a parameter (`/..;/`), and what would leave the root.
//!
//! Rules read the result with two differences, in [`Path::seen_by_rules`]: an encoded slash that is kept is a slash to
//! them, and they do not see parameters (`/a;x=1`), since backends read both in either way.
//!
//! Deliberately absent: the query, which is passed on as it came; and case, which matters in paths.

use std::borrow::Cow;

/// What is done with what RFC 3986 leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalisation {
    /// `//`
    pub repeated_slashes: RepeatedSlashes,
    /// `%2F`
    pub encoded_slashes: EncodedSlashes,
}

/// What becomes of empty segments, as in `/a//b`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RepeatedSlashes {
    /// They are left out: to most backends they mean nothing.
    #[default]
    Merge,
    /// They are segments like others.
    Keep,
}

/// What becomes of `%2F`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncodedSlashes {
    /// It is passed on as it came; to the rules it is a slash.
    #[default]
    Keep,
    /// The request is refused; a backslash, encoded or not, is refused too.
    Reject,
    /// It becomes a slash.
    Decode,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// `%` without two hexadecimal digits.
    Escape,
    /// `%00`.
    Nul,
    /// More bytes than a character needs, as in `%C0%AF` for a slash.
    Overlong,
    /// More `..` than there are segments before.
    AboveRoot,
    /// A segment that some take for `.` or `..`.
    AmbiguousDots,
    /// `%2F` or `%5C` where they are not wanted.
    EncodedSlash,
    /// It does not begin with a slash.
    Relative,
}

/// A path in its one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    forwarded: Cow<'a, str>,
    /// What rules see where that is something else.
    seen: Option<String>,
}

impl Path<'_> {
    /// What is passed on.
    pub fn forwarded(&self) -> &str {
        &self.forwarded
    }

    /// What rules are compared with.
    pub fn seen_by_rules(&self) -> &str {
        self.seen.as_deref().unwrap_or(&self.forwarded)
    }

    /// Whether it is passed on as it came.
    pub fn is_unchanged(&self) -> bool {
        matches!(self.forwarded, Cow::Borrowed(_))
    }
}

/// Brings a path into its one form. `*` is one already (RFC 9110, section 9.3.7). A path that is in its form and has
/// neither parameters nor encoded slashes costs no allocation.
///
/// # Errors
/// What is wrong with it; the request must be refused.
pub fn normalise(path: &[u8], how: Normalisation) -> Result<Path<'_>, Unfit> {
    if path == b"*" {
        return Ok(Path { forwarded: Cow::Borrowed("*"), seen: None });
    }
    if path.first() != Some(&b'/') {
        return Err(Unfit::Relative);
    }
    if is_plain(path, how)
        && let Ok(plain) = std::str::from_utf8(path)
    {
        return Ok(Path { forwarded: Cow::Borrowed(plain), seen: None });
    }
    let escaped = escape(path, how)?;
    let joined = resolve(&escaped, how)?;
    let seen = as_seen(&joined, how);
    let forwarded = match std::str::from_utf8(path) {
        Ok(same) if same == joined => Cow::Borrowed(same),
        Ok(_) | Err(_) => Cow::Owned(joined),
    };
    Ok(Path { forwarded, seen })
}

/// A character that stands for itself in a path (RFC 3986, section 3.3), slash and semicolon among them.
const fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The bytes that most paths are made of, by their number: no look at their neighbours is needed.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            plain[byte as usize] = may_stand(byte) && !matches!(byte, b'/' | b';');
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    plain
};

/// Whether a path is in its one form, and rules see it as it is. What is not plain may still turn out to be so.
fn is_plain(path: &[u8], how: Normalisation) -> bool {
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'/' => {
                let merges = how.repeated_slashes == RepeatedSlashes::Merge;
                match after {
                    [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => return false,
                    [b'/', ..] if merges => return false,
                    _ => after,
                }
            }
            b'%' => match after {
                [high, low, after @ ..] if is_plain_escape(*high, *low) => after,
                _ => return false,
            },
            byte if PLAIN.get(usize::from(*byte)).copied().unwrap_or(false) => after,
            _ => return false,
        };
    }
    true
}

/// Whether an escape is needed, in upper case, and begins nothing that must be looked at twice.
fn is_plain_escape(high: u8, low: u8) -> bool {
    let upper = |digit: u8| matches!(digit, b'0'..=b'9' | b'A'..=b'F');
    let Some(byte) = unhex(high, low).filter(|_| upper(high) && upper(low)) else { return false };
    !is_unreserved(byte) && !matches!(byte, 0 | b'/' | b'\\' | 0xC0 | 0xC1 | 0xE0 | 0xF0)
}

fn unhex(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Every byte as itself or as `%XX`, whichever is its one form.
fn escape(path: &[u8], how: Normalisation) -> Result<String, Unfit> {
    let mut out = String::with_capacity(path.len() + 8);
    let mut sequence = Sequence::default();
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let (value, was_escaped) = match byte {
            b'%' => {
                let [high, low, after @ ..] = after else { return Err(Unfit::Escape) };
                rest = after;
                (unhex(*high, *low).ok_or(Unfit::Escape)?, true)
            }
            byte => {
                rest = after;
                (*byte, false)
            }
        };
        if sequence.is_overlong_with(value) {
            return Err(Unfit::Overlong);
        }
        match value {
            0 => return Err(Unfit::Nul),
            b'/' if was_escaped && how.encoded_slashes == EncodedSlashes::Reject => return Err(Unfit::EncodedSlash),
            b'\\' if how.encoded_slashes == EncodedSlashes::Reject => return Err(Unfit::EncodedSlash),
            b'/' if was_escaped && how.encoded_slashes == EncodedSlashes::Decode => out.push('/'),
            byte if is_unreserved(byte) || (!was_escaped && may_stand(byte)) => out.push(char::from(byte)),
            byte => push_escaped(&mut out, byte),
        }
    }
    Ok(out)
}

fn push_escaped(out: &mut String, byte: u8) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or('0', |digit| digit.to_ascii_uppercase());
    out.extend(['%', digit(byte >> 4), digit(byte & 0xF)]);
}

/// The byte before, if it can begin an overlong form.
#[derive(Default)]
struct Sequence(Option<u8>);

impl Sequence {
    /// Whether this byte makes a longer form of what fewer bytes say (RFC 3629, section 3).
    fn is_overlong_with(&mut self, byte: u8) -> bool {
        let overlong = match self.0 {
            Some(0xC0 | 0xC1) => matches!(byte, 0x80..=0xBF),
            Some(0xE0) => matches!(byte, 0x80..=0x9F),
            Some(0xF0) => matches!(byte, 0x80..=0x8F),
            Some(_) | None => false,
        };
        self.0 = Some(byte);
        overlong
    }
}

/// RFC 3986, section 5.2.4, but that nothing may leave the root.
fn resolve(path: &str, how: Normalisation) -> Result<String, Unfit> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "" if !is_last && how.repeated_slashes == RepeatedSlashes::Merge => {}
            "." if is_last => out.push('/'),
            "." => {}
            ".." => {
                let parent = out.rfind('/').ok_or(Unfit::AboveRoot)?;
                out.truncate(parent);
                if is_last {
                    out.push('/');
                }
            }
            _ if hides_dots(segment) => return Err(Unfit::AmbiguousDots),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    Ok(out)
}

/// Whether a reader that decodes slashes, turns backslashes or drops parameters would see a dot segment.
fn hides_dots(segment: &str) -> bool {
    let mut parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
    parts.any(|part| {
        let name = part.split(';').next().and_then(|name| name.split("%3B").next());
        matches!(name, Some("." | ".."))
    })
}

/// The path as rules see it, if they see anything else.
fn as_seen(path: &str, how: Normalisation) -> Option<String> {
    if !path.contains(';') && !path.contains("%2F") {
        return None;
    }
    let decoded = path.replace("%2F", "/");
    let mut seen = String::with_capacity(decoded.len());
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let segment = segment.split(';').next().unwrap_or_default();
        let is_last = segments.peek().is_none();
        if !segment.is_empty() || is_last || how.repeated_slashes == RepeatedSlashes::Keep {
            seen.push('/');
            seen.push_str(segment);
        }
    }
    Some(seen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENIENT: Normalisation =
        Normalisation { repeated_slashes: RepeatedSlashes::Keep, encoded_slashes: EncodedSlashes::Decode };

    /// What is forwarded and what rules see, or why neither.
    fn both(path: &str, how: Normalisation) -> Result<(String, String), Unfit> {
        normalise(path.as_bytes(), how).map(|path| (path.forwarded().to_owned(), path.seen_by_rules().to_owned()))
    }

    #[test]
    fn empty_segments_go_or_stay_by_choice() {
        for (path, merged, kept) in [
            ("//a///b//", "/a/b/", "//a///b//"),
            ("/a//../b", "/b", "/a/b"),
            ("/a//..", "/", "/a/"),
            ("/a//.", "/a/", "/a//"),
            ("//", "/", "//"),
        ] {
            assert_eq!(both(path, Normalisation::default()), Ok((merged.to_owned(), merged.to_owned())), "{path}");
            assert_eq!(both(path, LENIENT), Ok((kept.to_owned(), kept.to_owned())), "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_is_kept_decoded_or_refused_by_choice() {
        let how = |encoded_slashes| Normalisation { encoded_slashes, ..Normalisation::default() };
        let (keep, reject, decode) =
            (how(EncodedSlashes::Keep), how(EncodedSlashes::Reject), how(EncodedSlashes::Decode));
        let pair = |forwarded: &str, seen: &str| Ok((forwarded.to_owned(), seen.to_owned()));
        assert_eq!(both("/a%2fb", keep), pair("/a%2Fb", "/a/b"));
        assert_eq!(both("/q/%2F/x", keep), pair("/q/%2F/x", "/q/x"));
        assert_eq!(both("/a%2fb", decode), pair("/a/b", "/a/b"));
        assert_eq!(both("/a%2f..%2fb", decode), pair("/b", "/b"));
        assert_eq!(both("/a%2f..%2fb", keep), Err(Unfit::AmbiguousDots));
        for path in ["/a%2fb", "/a%5Cb", "/a\\b"] {
            assert_eq!(both(path, reject), Err(Unfit::EncodedSlash), "{path}");
        }
        assert_eq!(both("/a\\b", keep), pair("/a%5Cb", "/a%5Cb"));
    }

    #[test]
    fn a_path_that_is_in_its_form_is_not_copied() {
        for path in ["/", "/a/b.c/..d/...", "/%20%C3%A9/x", "*", "/a:b@c!$&'()*+,=~"] {
            let normal = normalise(path.as_bytes(), Normalisation::default()).unwrap();
            assert!(normal.is_unchanged() && normal.seen.is_none(), "{path}");
        }
        for path in ["/a;b", "/%E0%A4%B9", "/a%2Fb"] {
            assert!(normalise(path.as_bytes(), Normalisation::default()).unwrap().is_unchanged(), "{path}");
        }
    }

    /// Each line of the files in `tests/hostile/paths`.
    #[test]
    fn every_hostile_path_is_refused_or_brought_into_the_form_that_was_agreed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/paths");
        let mut cases = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/")) {
                let at = line.windows(4).position(|window| window == b" => ").unwrap();
                let (path, expected) = (&line[..at], std::str::from_utf8(&line[at + 4..]).unwrap());
                let told = match normalise(path, Normalisation::default()) {
                    Err(_) => "refused".to_owned(),
                    Ok(path) if path.seen_by_rules() == path.forwarded() => path.forwarded().to_owned(),
                    Ok(path) => format!("{} rules see {}", path.forwarded(), path.seen_by_rules()),
                };
                assert_eq!(told, expected, "{}", path.escape_ascii());
                cases += 1;
            }
        }
        assert!(cases >= 90, "only {cases} cases");
    }

    fn any_choice() -> impl Strategy<Value = Normalisation> {
        let slashes = prop_oneof![Just(RepeatedSlashes::Merge), Just(RepeatedSlashes::Keep)];
        let encoded =
            prop_oneof![Just(EncodedSlashes::Keep), Just(EncodedSlashes::Reject), Just(EncodedSlashes::Decode)];
        (slashes, encoded)
            .prop_map(|(repeated_slashes, encoded_slashes)| Normalisation { repeated_slashes, encoded_slashes })
    }

    /// Paths of the pieces that make paths hard.
    fn any_path() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            b"/",
            b"/",
            b"/",
            b".",
            b"..",
            b"a",
            b"B",
            b"%2e",
            b"%2E%2e",
            b"%2f",
            b"%2F",
            b"%5c",
            b"\\",
            b";",
            b";x=1",
            b"%61",
            b"%7E",
            b"%3b",
            b"%20",
            b"%C3%A9",
            b"\xC3\xA9",
            b"%c0%ae",
            b"\xC0",
            b"%AF",
            b"%E0%80%AF",
            b"%00",
            b"%",
            b"%z",
            b"~",
            b"\"",
            b"|",
            b"%25",
            b"2e",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..12)
            .prop_map(|pieces| [b"/".to_vec(), pieces.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_one_form_stays_as_it_is_and_the_short_way_agrees_with_the_long_one(
            path in any_path(),
            how in any_choice(),
        ) {
            if let Ok(normal) = normalise(&path, how) {
                let again = normalise(normal.forwarded().as_bytes(), how).unwrap();
                prop_assert!(again.is_unchanged());
                prop_assert_eq!(again.forwarded(), normal.forwarded());
                prop_assert_eq!(again.seen_by_rules(), normal.seen_by_rules());
            }
            if is_plain(&path, how) {
                let long = escape(&path, how).and_then(|escaped| resolve(&escaped, how)).unwrap();
                prop_assert_eq!(long.as_bytes(), path.as_slice());
                prop_assert_eq!(as_seen(&long, how), None);
            }
        }

        #[test]
        fn what_is_forwarded_and_what_rules_see_hold_no_surprise(path in any_path(), how in any_choice()) {
            if let Ok(normal) = normalise(&path, how) {
                for text in [normal.forwarded(), normal.seen_by_rules()] {
                    prop_assert!(text.starts_with('/') && text.bytes().all(|byte| byte == b'%' || may_stand(byte)));
                    prop_assert!(!text.split('/').any(|segment| segment == "." || segment == ".."), "{}", text);
                    let merges = how.repeated_slashes == RepeatedSlashes::Merge;
                    prop_assert!(!merges || !text.contains("//"), "{}", text);
                }
                prop_assert!(!normal.seen_by_rules().contains(';') && !normal.seen_by_rules().contains("%2F"));
                // A reader that decodes everything at once finds no way up either.
                let decoded = normal.forwarded().replace("%2F", "/").replace("%5C", "/");
                prop_assert!(!decoded.split('/').any(|part| matches!(part.split(';').next(), Some("." | ".."))));
            }
        }
    }
}
