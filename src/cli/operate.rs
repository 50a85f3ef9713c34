//! Commands that signal the running process: upgrade, stop. It is found by its pid file.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::Options;
use crate::config::Whereabouts;
use crate::control::{handover, pid_file};
use crate::exit;

/// How often we look whether something has happened.
const LOOK: Duration = Duration::from_millis(50);

/// How long a new process may take to be ready to take over.
const SUCCESSOR_WAITS_WITHIN: Duration = Duration::from_secs(30);

pub fn stop(options: &Options) -> i32 {
    // A file with mistakes keeps nobody from stopping its process.
    let found = match options.locate() {
        Ok(found) => found,
        Err(code) => return code,
    };
    running(&found, |pid| {
        signal(pid, Signal::TERM)?;
        let patience = Duration::from_secs(found.server.grace_period_seconds.unwrap_or(0).saturating_add(30));
        let end = Instant::now() + found.lame_duck + patience;
        while test_kill_process(pid).is_ok() {
            if Instant::now() > end {
                return Err(format!("process {} did not end in its grace period", pid.as_raw_nonzero()));
            }
            sleep(LOOK);
        }
        say!("process {} has ended", pid.as_raw_nonzero());
        Ok(())
    })
}

/// Check, start the new process, wait until it is ready to take over, tell the old one, wait for the new one.
/// Whatever fails, the old one serves on.
pub fn upgrade(options: &Options) -> i32 {
    // The new process would refuse a file with mistakes, and nobody should have to wait to hear of them.
    if let Err(code) = options.config() {
        return code;
    }
    let found = match options.locate() {
        Ok(found) => found,
        Err(code) => return code,
    };
    running(&found, |pid| {
        let waits_at = Path::new(&found.server.upgrade_sock);
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("-c").arg(options.path()).args(["-u", "-d"]);
        let mut successor =
            command.spawn().map_err(|error| format!("the new process could not be started: {error}"))?;
        let end = Instant::now() + SUCCESSOR_WAITS_WITHIN;
        while !handover::is_awaited(waits_at) {
            let ended = successor.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > end {
                return Err("the new process did not come up; the old one serves on".to_owned());
            }
            sleep(LOOK);
        }
        signal(pid, Signal::QUIT)?;
        let status = successor.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err("the new process failed; the old one serves on".to_owned());
        }
        say!("a new process serves; process {} finishes what it has", pid.as_raw_nonzero());
        Ok(())
    })
}

/// Does something to the process that runs; what is wrong is printed.
pub fn running(found: &Whereabouts, act: impl FnOnce(Pid) -> Result<(), String>) -> i32 {
    let path = &found.server.pid_file;
    let Some(pid) = pid_file::running(path.as_ref()) else {
        complain!("error: no running process is named in `{path}`");
        return exit::START;
    };
    match act(pid) {
        Ok(()) => exit::OK,
        Err(why) => {
            complain!("error: {why}");
            exit::START
        }
    }
}

/// Sends a signal; a sentence if it cannot be sent.
pub fn signal(pid: Pid, signal: Signal) -> Result<(), String> {
    kill_process(pid, signal).map_err(|error| format!("process {} cannot be signalled: {error}", pid.as_raw_nonzero()))
}
