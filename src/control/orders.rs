//! What the process is told while it runs, one order after the other: by signals, by the admin address, by its files.

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::command::{Cause, Command, Refused};
use super::notify::notify;
use super::reload::Reloader;
use super::watch;
use crate::lifecycle::Lifecycle;

/// What the process is told while it runs.
#[derive(Debug)]
pub struct Orders {
    /// HUP and USR1; none in a library.
    pub signals: Option<[Signal; 2]>,
    /// From the admin address.
    pub told: mpsc::Receiver<Command>,
}

/// HUP reloads, USR1 opens the log again, the admin address and the files have a say too. A library leaves signals to
/// its host.
pub async fn obey(mut reloader: Reloader, orders: Orders, lifecycle: &Lifecycle) {
    let Orders { signals, mut told } = orders;
    let [mut hangup, mut user1] = signals.map_or([None, None], |signals| signals.map(Some));
    let mut look = tokio::time::interval(watch::INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let trial_ends = reloader.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.until);
        let command = tokio::select! {
            () = heard(&mut hangup) => Some(reload(Cause::Signal)),
            () = heard(&mut user1) => { reloader.reopen_log(); None }
            Some(command) = told.recv() => Some((Cause::Api, command)),
            () = at(trial_ends), if !lifecycle.draining() => { tokio::task::block_in_place(|| reloader.go_back()); None }
            _ = look.tick(), if reloader.watch.is_some() => {
                let changed = reloader.watch.as_mut().is_some_and(|watch| tokio::task::block_in_place(|| watch.has_changed()));
                changed.then(|| reload(Cause::Watch))
            }
        };
        let Some((cause, command)) = command else { continue };
        // It may wait for names to resolve; checks and admin go on meanwhile.
        tokio::task::block_in_place(|| follow(&mut reloader, cause, command, lifecycle));
    }
}

/// Never, if nobody listens for it.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn reload(cause: Cause) -> (Cause, Command) {
    // Nobody waits for this answer: the log has it.
    let (answer, _) = oneshot::channel();
    (cause, Command::Reload { confirm_within: None, answer })
}

/// Does as told, and answers. Whoever asked may be gone.
fn follow(reloader: &mut Reloader, cause: Cause, command: Command, lifecycle: &Lifecycle) {
    let draining = || Refused::Machine("the process is draining".to_owned());
    match command {
        Command::Reload { answer, .. } if lifecycle.draining() => drop(answer.send(Err(draining()))),
        Command::Reload { confirm_within, answer } => {
            notify("RELOADING=1");
            let outcome = reloader.reload(cause, confirm_within);
            notify("READY=1");
            if cause == Cause::Signal {
                reloader.reopen_log();
            }
            drop(answer.send(outcome));
        }
        Command::Confirm { answer } => drop(answer.send(reloader.confirm())),
        Command::Plan { file, answer } => drop(answer.send(reloader.plan(file))),
        Command::Rebuild { answer } if lifecycle.draining() => drop(answer.send(Err(draining()))),
        Command::Rebuild { answer } => drop(answer.send(reloader.rebuild())),
    }
}

/// Never, if there is no such moment.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// HUP and USR1, watched from here on: a process that says it is ready must not die of the first of them.
///
/// # Errors
/// The system's.
pub fn signals() -> std::io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?])
}
