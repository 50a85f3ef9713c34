//! The end of the process: by signal, in order, as soon as it is idle.
//!
//! pingora sleeps a whole grace period after it has stopped its services. Here the drain happens before
//! pingora is told anything: it waits in [`ShutdownSignalWatch::recv`], while every service still runs, so
//! that `/readyz` can say no, and returns when nothing is left to wait for.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};

use super::notify::notify;
use super::{handover, pid_file};
use crate::lifecycle::{Lifecycle, Stage};
use crate::listen::{Acceptor, Backlog, Edge};
use crate::snapshot::Current;
use crate::upstream::operator;

/// What the end of the process has to do with.
#[derive(Debug)]
pub struct Ending {
    /// What the process is doing.
    pub lifecycle: Arc<Lifecycle>,
    /// The edge, once it runs.
    pub edge: Arc<OnceLock<Arc<Edge>>>,
    /// The rules in force; what operators have decided about their backends is handed over.
    pub current: Arc<Current>,
    /// The admin address's socket, which is handed over with the others.
    pub admin: Option<(String, Acceptor)>,
    /// Told when the admin address belongs to the successor.
    pub admin_given: Arc<Notify>,
    /// Where a successor waits.
    pub upgrade_sock: PathBuf,
    /// Where our number is written.
    pub pid_file: PathBuf,
    /// How long new connections are still answered after TERM.
    pub lame_duck: Duration,
    /// How long requests in flight may take to end.
    pub grace: Duration,
}

impl Ending {
    /// TERM, or a library's `stop`: lame duck, then drain.
    pub async fn drain(&self) {
        log::info!("draining");
        notify("STOPPING=1");
        self.lifecycle.advance(Stage::Draining);
        tokio::time::sleep(self.lame_duck).await;
        self.finish(Backlog::Take).await;
    }

    async fn finish(&self, backlog: Backlog) {
        let Some(edge) = self.edge.get() else { return };
        let listeners = edge.listeners();
        let drained = edge.drain(backlog, self.grace).await;
        if backlog == Backlog::Take {
            for listener in listeners {
                listener.address.remove_file();
            }
        }
        if drained {
            log::info!("drained; nothing was cut");
        } else {
            log::warn!(connections = edge.connections(); "grace period ended; the rest is cut");
        }
    }

    /// QUIT, first part. True if a successor serves; given up when dropped.
    async fn hand_over(&self) -> bool {
        let Some(estate) = self.estate() else { return false };
        let path = self.upgrade_sock.clone();
        let (tell, told) = oneshot::channel();
        // A thread of its own: at its end a runtime waits for those that it lends, and this one may wait for long.
        let send = move || drop(tell.send(handover::send(&path, &estate)));
        let sent = match std::thread::Builder::new().name("hand-over".to_owned()).spawn(send) {
            Ok(_) => told.await.unwrap_or_else(|error| Err(std::io::Error::other(error))),
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => true,
            Err(error) => {
                let place = self.upgrade_sock.display();
                log::error!(error:%, upgrade_sock:% = place; "sockets were not handed over; serving on");
                self.reclaim_pid_file();
                false
            }
        }
    }

    /// QUIT, second part: a successor serves.
    async fn retire(&self) {
        log::info!("successor serves; draining");
        self.lifecycle.advance(Stage::Draining);
        self.admin_given.notify_one();
        self.finish(Backlog::Leave).await;
    }

    /// A successor that daemonised before it failed has put its number there.
    fn reclaim_pid_file(&self) {
        if !self.pid_file.as_os_str().is_empty()
            && pid_file::running(&self.pid_file).is_none()
            && let Err(error) = pid_file::PidFile::claim(&self.pid_file)
        {
            log::warn!(error:%; "pid file could not be written again");
        }
    }

    fn estate(&self) -> Option<handover::Estate> {
        let edge = self.edge.get()?;
        let shared = edge.sockets().and_then(|sockets| {
            let mut sockets: handover::Sockets =
                sockets.into_iter().map(|(listener, acceptor)| (listener.address.to_string(), acceptor)).collect();
            if let Some((address, acceptor)) = &self.admin {
                sockets.push((address.clone(), acceptor.share()?));
            }
            let snapshot = self.current.load();
            let decisions = operator::decisions(snapshot.upstreams.iter().map(|upstream| &**upstream));
            Ok(handover::Estate { sockets, decisions, secret: Some(snapshot.secret.clone()) })
        });
        shared.inspect_err(|error| log::error!(error:%; "sockets could not be shared; serving on")).ok()
    }
}

/// Ends by signal: TERM drains, QUIT hands over, INT ends at once, also in the middle of a drain.
#[derive(Debug)]
pub struct BySignal(pub Arc<Ending>);

#[async_trait]
impl ShutdownSignalWatch for BySignal {
    async fn recv(&self) -> ShutdownSignal {
        let streams = [SignalKind::terminate(), SignalKind::quit(), SignalKind::interrupt()].map(signal);
        let [Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)] = streams else {
            log::error!("signals cannot be watched");
            return ShutdownSignal::FastShutdown;
        };
        let in_order = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return self.0.drain().await,
                    _ = quit.recv() => tokio::select! {
                        served = self.0.hand_over() => if served { return self.0.retire().await },
                        // A successor that hangs must not keep anybody from stopping us.
                        _ = terminate.recv() => return self.0.drain().await,
                    },
                }
            }
        };
        tokio::select! {
            () = in_order => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => ShutdownSignal::FastShutdown,
        }
    }
}

/// Ends when it is asked to: for the library, which leaves signals to its host.
#[derive(Debug)]
pub struct ByRequest {
    /// See there.
    pub ending: Arc<Ending>,
    /// Asks for the end.
    pub stop: Arc<Notify>,
}

#[async_trait]
impl ShutdownSignalWatch for ByRequest {
    async fn recv(&self) -> ShutdownSignal {
        self.stop.notified().await;
        self.ending.drain().await;
        ShutdownSignal::GracefulTerminate
    }
}
