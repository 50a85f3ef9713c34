//! Noticing that the files of a configuration have changed.
//!
//! They are looked at, not listened to: that sees the same through symbolic links that are exchanged (as Kubernetes
//! does), on network file systems and in containers, where notifications are lost; it costs a system call per file and
//! second.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often they are looked at. A change must look the same twice, so that an editor has finished its work.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What there was at a path: when it was changed, its size, which file it is. None: nothing.
type Seen = Option<(i64, i64, u64, u64)>;

/// The files, and how they looked.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<PathBuf>,
    known: Vec<Seen>,
    changing: Option<Vec<Seen>>,
}

impl Watch {
    /// Watches these files and folders, which were read just now.
    pub fn over(files: Vec<PathBuf>) -> Watch {
        let known = files.iter().map(|file| look(file)).collect();
        Watch { files, known, changing: None }
    }

    /// Looks once. True if something has changed and is quiet again; said once for each change.
    pub fn has_changed(&mut self) -> bool {
        let now: Vec<Seen> = self.files.iter().map(|file| look(file)).collect();
        if now == self.known {
            self.changing = None;
            return false;
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return false;
        }
        self.known = now;
        self.changing = None;
        true
    }
}

fn look(file: &Path) -> Seen {
    let metadata = std::fs::metadata(file).ok()?;
    // The size of a folder says nothing of what is in it.
    let size = if metadata.is_dir() { 0 } else { metadata.size() };
    Some((metadata.mtime(), metadata.mtime_nsec(), size, metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_once_and_only_when_it_is_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, "one").unwrap();
        let mut watch = Watch::over(vec![file.clone(), folder.path().to_owned()]);
        assert!(!watch.has_changed());
        std::fs::write(&file, "three").unwrap();
        assert!(!watch.has_changed(), "it may go on");
        std::fs::write(&file, "fifteen").unwrap();
        assert!(!watch.has_changed(), "it went on");
        assert!(watch.has_changed());
        assert!(!watch.has_changed(), "said once");
        std::fs::write(folder.path().join("b.yaml"), "new").unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "a file that came");
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "a file that went");
    }
}
