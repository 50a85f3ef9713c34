//! `path_normalization`: what is done with paths that may be read in two ways.
//!
//! Invariant: it holds for all listeners, since the paths of routes are checked against it.

use super::section::{Section, Switch};
use super::suggest;
use crate::route::{EncodedSlashes, Normalisation, RepeatedSlashes};
use crate::units::Mistake;

/// The section, or the default.
pub(super) fn read(top: &mut Section<'_>) -> Normalisation {
    let default = Normalisation::default();
    let merges = match default.repeated_slashes {
        RepeatedSlashes::Merge => Switch::On,
        RepeatedSlashes::Keep => Switch::Off,
    };
    let mut section = top.section("path_normalization", "path normalization");
    let normalisation = Normalisation {
        repeated_slashes: match section.switch("merge_slashes", merges) {
            Switch::On => RepeatedSlashes::Merge,
            Switch::Off => RepeatedSlashes::Keep,
        },
        encoded_slashes: section.parsed("encoded_slashes", default.encoded_slashes, |text| match text {
            "keep" => Ok(EncodedSlashes::Keep),
            "reject" => Ok(EncodedSlashes::Reject),
            "decode" => Ok(EncodedSlashes::Decode),
            _ => Err(Mistake::new(
                format!("`{text}` is nothing that can be done with encoded slashes"),
                suggest::help(text, "choices", &["keep", "reject", "decode"]),
            )),
        }),
    };
    section.close();
    normalisation
}
