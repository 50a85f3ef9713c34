//! The edge as a whole: its cores, what they listen on, and how it ends.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pingora_proxy::ProxyHttp;
use tokio::sync::{mpsc, watch};

use super::core::{Backlog, Command, Core};
use super::listener::Listener;
use super::socket::Acceptor;

/// How often a draining edge looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_millis(20);

/// Makes one proxy for each core.
pub type ProxyFactory<P> = dyn Fn() -> P;

/// The running cores. Dropping it leaves them running; [`Edge::stop`] ends them.
#[derive(Debug)]
pub struct Edge {
    cores: Vec<mpsc::UnboundedSender<Command>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    shutdown: watch::Sender<bool>,
    listening: Mutex<Vec<(Arc<Listener>, Acceptor)>>,
    /// Listeners that were removed while they had connections.
    leaving: Mutex<Vec<Arc<Listener>>>,
}

impl Edge {
    /// Starts `cores` threads (at least one) that accept nothing yet.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<P>(cores: usize, proxy: &ProxyFactory<P>) -> io::Result<Edge>
    where
        P: ProxyHttp + Send + Sync + 'static,
        P::CTX: Send + Sync,
    {
        let (shutdown, watched) = watch::channel(false);
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for index in 0..cores.max(1) {
            let (sender, receiver) = mpsc::unbounded_channel();
            let core = Core { proxy: Arc::new(proxy()), shutdown: watched.clone() };
            let run = move || {
                if let Err(error) = core.run(receiver) {
                    log::error!(error:%; "core could not start its runtime");
                }
            };
            threads.push(std::thread::Builder::new().name(format!("core-{index}")).spawn(run)?);
            senders.push(sender);
        }
        Ok(Edge {
            cores: senders,
            threads: Mutex::new(threads),
            shutdown,
            listening: Mutex::default(),
            leaving: Mutex::default(),
        })
    }

    /// Makes what every core needs to accept on a socket; all that can fail about it.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn prepare(&self, acceptor: Acceptor) -> io::Result<Prepared> {
        let shares = self.cores.iter().map(|_| acceptor.share()).collect::<io::Result<Vec<_>>>()?;
        Ok(Prepared { acceptor, shares })
    }

    /// Starts accepting on one more socket, on every core.
    pub fn add(&self, listener: &Arc<Listener>, prepared: Prepared) {
        for (core, share) in self.cores.iter().zip(prepared.shares) {
            tell(core, Command::Add(listener.clone(), share));
        }
        lock(&self.listening).push((listener.clone(), prepared.acceptor));
    }

    /// Stops accepting for this listener. Its connections are served to their end.
    pub fn remove(&self, id: usize) {
        self.tell_all(|| Command::Remove(id));
        for (listener, _) in lock(&self.listening).extract_if(.., |(listener, _)| listener.id == id) {
            lock(&self.leaving).push(listener);
        }
    }

    /// The listeners that accept.
    pub fn listeners(&self) -> Vec<Arc<Listener>> {
        lock(&self.listening).iter().map(|(listener, _)| listener.clone()).collect()
    }

    /// The listeners with a handle of their sockets, to pass on to a successor.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn sockets(&self) -> io::Result<Vec<(Arc<Listener>, Acceptor)>> {
        lock(&self.listening).iter().map(|(listener, acceptor)| Ok((listener.clone(), acceptor.share()?))).collect()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        let open = |listener: &Arc<Listener>| listener.counters.connections.load(Ordering::Relaxed);
        lock(&self.leaving).retain(|listener| open(listener) > 0);
        let leaving: usize = lock(&self.leaving).iter().map(open).sum();
        let listening: usize = lock(&self.listening).iter().map(|(listener, _)| open(listener)).sum();
        leaving + listening
    }

    /// Stops accepting and waits until every connection has ended, at most for `grace`. True if all have.
    pub async fn drain(&self, backlog: Backlog, grace: Duration) -> bool {
        // Our own handles first, so that a socket closes when the last core has emptied its backlog.
        let sockets = std::mem::take(&mut *lock(&self.listening));
        lock(&self.leaving).extend(sockets.into_iter().map(|(listener, _)| listener));
        let (done, mut told) = mpsc::unbounded_channel();
        self.tell_all(|| Command::Drain(backlog, done.clone()));
        drop(done);
        self.shutdown.send_replace(true);
        let idle = async {
            while told.recv().await.is_some() {}
            while self.connections() > 0 {
                tokio::time::sleep(IDLE_CHECK).await;
            }
        };
        tokio::time::timeout(grace, idle).await.is_ok()
    }

    /// Ends the cores; connections that are still open are cut.
    pub fn stop(&self) {
        self.tell_all(|| Command::Stop);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("core ended by a panic");
            }
        }
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for core in &self.cores {
            tell(core, command());
        }
    }
}

/// A socket with a handle for every core.
#[derive(Debug)]
pub struct Prepared {
    acceptor: Acceptor,
    shares: Vec<Acceptor>,
}

fn tell(core: &mpsc::UnboundedSender<Command>, command: Command) {
    // A core that has ended already needs no command.
    drop(core.send(command));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
