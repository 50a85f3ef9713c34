//! Clients that ask all the time, and count what went wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Response};
use super::eventually;

/// Between two requests of one client: enough requests to meet every moment, and time for others on the machine.
const PACE: Duration = Duration::from_millis(1);

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// A GET on a connection of its own.
    NewGet,
    /// A GET on a connection that is kept until an answer says `connection: close`.
    KeptGet,
    /// The same with a POST and a body.
    KeptPost,
}

/// Every habit.
pub const EVERY_HABIT: [Habit; 3] = [Habit::NewGet, Habit::KeptGet, Habit::KeptPost];

/// Clients at work until [`Load::stop`].
pub struct Load {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<(Habit, String)>>>,
}

impl Load {
    /// One client of each of these habits. An answer other than 200 is a failure, and so is a broken connection.
    pub fn on(address: SocketAddr, habits: &[Habit]) -> Load {
        let stopped = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let start = |habit: &Habit| {
            let (habit, stopped, answered) = (*habit, stopped.clone(), answered.clone());
            std::thread::spawn(move || ask(address, habit, &stopped, &answered))
        };
        let clients = habits.iter().map(start).collect();
        Load { stopped, answered, clients }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    /// Waits until this many more requests have been answered.
    #[track_caller]
    pub fn go_on(&self, more: usize) {
        let until = self.answered() + more;
        eventually("more answers", || self.answered() >= until, || format!("{} of {until}", self.answered()));
    }

    /// Ends it; the result is the number of answers, and every failure with the habit it befell.
    pub fn stop(self) -> (usize, Vec<(Habit, String)>) {
        self.stopped.store(true, Ordering::SeqCst);
        let failed = self.clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
        (self.answered.load(Ordering::SeqCst), failed)
    }
}

fn ask(address: SocketAddr, habit: Habit, stopped: &AtomicBool, answered: &AtomicUsize) -> Vec<(Habit, String)> {
    let mut failed = Vec::new();
    let mut kept = None;
    let mut count = 0;
    while !stopped.load(Ordering::SeqCst) {
        count += 1;
        match once(address, habit, &mut kept) {
            Ok(response) => {
                if response.status == 200 {
                    answered.fetch_add(1, Ordering::SeqCst);
                } else {
                    failed.push((habit, format!("request {count}: {} {}", response.status, response.text())));
                }
                let closes = response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                if closes || habit == Habit::NewGet {
                    kept = None;
                }
            }
            Err(error) => {
                failed.push((habit, format!("request {count}: {error}")));
                kept = None;
            }
        }
        std::thread::sleep(PACE);
    }
    failed
}

fn once(address: SocketAddr, habit: Habit, kept: &mut Option<Client>) -> io::Result<Response> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(Client::connect(address)?),
    };
    match habit {
        Habit::NewGet => client.request("GET", "/new", &[("connection", "close")], b""),
        Habit::KeptGet => client.request("GET", "/kept", &[], b""),
        Habit::KeptPost => client.request("POST", "/posted", &[], &[b'x'; 3000]),
    }
}
