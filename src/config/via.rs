//! `via`: the name under which we stand in the field `Via`, or none.

use super::section::Section;
use crate::units::Mistake;

/// A name that stands in every message.
const LONGEST: usize = 64;

/// The pseudonym; none unless it is written.
pub(super) fn read(top: &mut Section<'_>) -> Option<String> {
    top.parsed("via", None, |text| {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        match text {
            "off" | "false" => Ok(None),
            "on" | "true" => {
                Err(Mistake::new(format!("`via` cannot be `{text}`"), "write a name, as in `via: edge-1`"))
            }
            _ if !text.is_empty() && text.len() <= LONGEST && text.bytes().all(token) => Ok(Some(text.to_owned())),
            _ => Err(Mistake::new(
                format!("`{text}` is not a pseudonym"),
                format!(
                    "1 to {LONGEST} letters, digits, and any of `!#$%&'*+-.^_|~` (RFC 9110, section 7.6.3); or `off`"
                ),
            )),
        }
    })
}
