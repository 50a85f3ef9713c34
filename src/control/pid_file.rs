//! The file that says which process to send signals to.
//!
//! A daemon's is written by pingora when it forks. In the foreground it is written here, if no process that
//! lives has its number in it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// Read by those who may stop us: our user, and our group.
const PID_FILE_MODE: u32 = 0o640;

/// Everybody may pass through, since a daemon that gave up being root must; what is inside guards itself.
const FOLDER_MODE: u32 = 0o751;

/// A pid file that is ours; dropping it removes the file if it still names us.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes our number.
    ///
    /// # Errors
    /// The system's, or that a living process is named there.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        if let Some(other) = running(path)
            && other != rustix::process::getpid()
        {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it names a process that is running"));
        }
        PidFile::replace(path)
    }

    /// Writes our number whatever is there: after a hand-over.
    ///
    /// # Errors
    /// The system's.
    pub fn replace(path: &Path) -> io::Result<PidFile> {
        PidFile::claim(path)?;
        Ok(PidFile(path.to_owned()))
    }

    /// The same, where the file is known to be ours to remove already.
    ///
    /// # Errors
    /// The system's.
    pub fn claim(path: &Path) -> io::Result<()> {
        private_folder(path)?;
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(PID_FILE_MODE).open(path)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read(&self.0) == Some(rustix::process::getpid())
            && let Err(error) = fs::remove_file(&self.0).or_else(|_| fs::write(&self.0, ""))
        {
            // The folder may be root's, whom we are no longer; then an empty file names nobody either.
            log::debug!(error:%; "pid file could not be removed");
        }
    }
}

/// The process that the file names, if it lives.
pub fn running(path: &Path) -> Option<Pid> {
    let pid = read(path)?;
    test_kill_process(pid).is_ok().then_some(pid)
}

fn read(path: &Path) -> Option<Pid> {
    Pid::from_raw(fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

/// Makes the folder of a file of ours; one that is there already is left as it is.
///
/// # Errors
/// The system's.
pub fn private_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => {
            fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
        }
        Some(_) | None => Ok(()),
    }
}
