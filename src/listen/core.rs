//! One core: its runtime, its accept loops, its clock, its proxy.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use pingora_proxy::ProxyHttp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::connection::{self, App};
use super::deadline;
use super::descriptors::Descriptors;
use super::listener::{Listener, Live};
use super::socket::{Accepted, Acceptor, Watched};

/// How long accepting pauses when the process is out of descriptors; connections wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the edge tells a core.
#[derive(Debug)]
pub enum Command {
    /// Accept on one more listener.
    Add(Arc<Listener>, Acceptor),
    /// Accept no more on the listener of this number; its connections go on.
    Remove(usize),
    /// Accept no more at all, having taken what waits in the backlogs if nobody else will; then say so.
    Drain(Backlog, mpsc::UnboundedSender<()>),
    /// Leave at once.
    Stop,
}

/// What becomes of connections that wait to be accepted when a core stops accepting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// They are accepted first: after us nobody listens.
    Take,
    /// They are left to the successor that shares the socket.
    Leave,
}

pub(super) struct Core<P> {
    pub(super) proxy: Arc<P>,
    pub(super) shutdown: ShutdownWatch,
}

/// One accept loop, and what it accepts with.
struct Accepting<P> {
    socket: Arc<Watched>,
    app: Arc<App<P>>,
    task: JoinHandle<()>,
}

impl<P> Core<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Runs until told to stop.
    pub(super) fn run(self, mut commands: mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let mut accepting: HashMap<usize, Accepting<P>> = HashMap::new();
            let descriptors = Descriptors::of_process();
            let mut clock = tokio::time::interval(deadline::TICK);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let command = tokio::select! {
                    command = commands.recv() => command,
                    _ = clock.tick() => { deadline::advance(); continue }
                };
                match command {
                    Some(Command::Add(listener, acceptor)) => {
                        let id = listener.id;
                        match acceptor.watch() {
                            Ok(socket) => {
                                let socket = Arc::new(socket);
                                let app = Arc::new(App::new(self.proxy.clone(), listener));
                                let task = accept(socket.clone(), app.clone(), descriptors, self.shutdown.clone());
                                let task = tokio::spawn(task);
                                accepting.insert(id, Accepting { socket, app, task });
                            }
                            Err(error) => {
                                log::error!(listener = listener.name, error:%; "listening socket could not be watched")
                            }
                        }
                    }
                    Some(Command::Remove(id)) => {
                        if let Some(accepting) = accepting.remove(&id) {
                            accepting.task.abort();
                        }
                    }
                    Some(Command::Drain(backlog, done)) => {
                        for (_, Accepting { socket, app, task }) in accepting.drain() {
                            task.abort();
                            if backlog == Backlog::Take {
                                take_backlog(&socket, &app, descriptors, &self.shutdown).await;
                            }
                        }
                        deadline::drain();
                        if done.send(()).is_err() {
                            log::debug!("edge had given up waiting");
                        }
                    }
                    Some(Command::Stop) | None => return,
                }
            }
        });
        // Cancels what is left: the grace period is over, or nothing is left.
        runtime.shutdown_background();
        Ok(())
    }
}

async fn accept<P>(socket: Arc<Watched>, app: Arc<App<P>>, descriptors: Descriptors, shutdown: ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let listener = app.listener().clone();
    loop {
        match socket.accept().await {
            Ok(accepted) => {
                if let Some(live) = admit(&listener, &accepted, descriptors) {
                    connection::spawn(accepted, live, app.clone(), shutdown.clone());
                }
            }
            Err(error) => {
                listener.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                log::debug!(listener = listener.name, error:%; "accepting a connection failed");
                // A client that left in the queue costs nothing; anything else will not pass by itself at once.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Admits a connection, unless it is over a ceiling or descriptors are running out.
fn admit(listener: &Arc<Listener>, accepted: &Accepted, descriptors: Descriptors) -> Option<Live> {
    if descriptors.admit(accepted.descriptor()) {
        return listener.admit();
    }
    if listener.counters.descriptors_refused.fetch_add(1, Ordering::Relaxed) == 0 {
        // Once for each listener: strangers can make it happen again and again.
        log::warn!(listener = listener.name; "connections were refused for want of descriptors");
    }
    None
}

/// Accepts what the kernel has completed already; closing the socket would reset it.
async fn take_backlog<P>(socket: &Watched, app: &Arc<App<P>>, descriptors: Descriptors, shutdown: &ShutdownWatch)
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    while let Ok(Ok(accepted)) = tokio::time::timeout(Duration::ZERO, socket.accept()).await {
        if let Some(live) = admit(app.listener(), &accepted, descriptors) {
            connection::spawn(accepted, live, app.clone(), shutdown.clone());
        }
    }
}
