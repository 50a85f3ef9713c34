//! The files that a configuration was read from: their names, their texts, and the folders that their paths start at.
//!
//! Invariant: a place names its file by the number under which it was added here. Deliberately absent: what is written
//! in them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::problem::Place;
use crate::units::{ByteSize, Mistake};

/// More than a hundred thousand backends need; what is larger is not a configuration. All files together.
pub(super) const LARGEST: ByteSize = ByteSize(16 << 20);

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// As problems call it.
    pub name: String,
    pub text: String,
    /// Absolute.
    pub folder: PathBuf,
}

/// What was read of a file.
pub(super) enum Opened {
    Text(Source),
    /// Not UTF-8; the text with replacements, and where the first wrong byte stands.
    NotText(Source, Place),
    /// Larger than was allowed.
    TooLarge(Source),
}

impl Source {
    /// Reads the file at `path`, of which not more than `most` bytes are wanted. `file` will be its number.
    pub fn open(path: &Path, name: String, most: u64, file: usize) -> io::Result<Opened> {
        let mut bytes = Vec::new();
        // One byte more than allowed, to see that there is more.
        File::open(path).and_then(|opened| opened.take(most.saturating_add(1)).read_to_end(&mut bytes))?;
        let absolute = std::path::absolute(path)?;
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        let source = |text: String| Source { name, text, folder };
        if bytes.len() as u64 > most {
            return Ok(Opened::TooLarge(source(String::new())));
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => Opened::Text(source(text)),
            Err(error) => {
                let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let place = end_of(&String::from_utf8_lossy(good), file);
                Opened::NotText(source(String::from_utf8_lossy(error.as_bytes()).into_owned()), place)
            }
        })
    }
}

impl Source {
    /// Puts asterisks in the place of what is written there.
    pub fn blank(&mut self, place: Place) {
        let hidden = place.column..place.column.saturating_add(place.length);
        let line = |(number, line): (usize, &str)| -> String {
            if number + 1 != place.line {
                return line.to_owned();
            }
            line.chars()
                .enumerate()
                .map(|(at, c)| if hidden.contains(&(at + 1)) && c != '\n' { '*' } else { c })
                .collect()
        };
        self.text = self.text.split_inclusive('\n').enumerate().map(line).collect();
    }
}

/// The place after the last character.
fn end_of(text: &str, file: usize) -> Place {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { file, line, column, length: 1 }
}

/// Where paths start, by the file that they are written in.
pub(super) struct Folders<'a>(pub &'a [Source]);

impl Folders<'_> {
    /// The folder of the file that a place is in.
    pub fn of(&self, place: Place) -> Folder<'_> {
        Folder(self.0.get(place.file).map_or(Path::new("/"), |source| &source.folder))
    }
}

/// Where a file lies: what its paths are relative to.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    /// An absolute path. Whether there is anything is not asked.
    pub fn file(&self, text: &str) -> Result<PathBuf, Mistake> {
        if text.is_empty() || text.contains('\0') {
            return Err(Mistake::new(
                format!("`{text}` is not a path"),
                "write a path; a relative one starts at the folder of this file",
            ));
        }
        let joined = self.0.join(text);
        Ok(std::path::absolute(&joined).unwrap_or(joined))
    }
}
