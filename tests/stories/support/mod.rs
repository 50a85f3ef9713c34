//! What the stories are told with: origins, the balancer as a process, clients.

pub mod balancer;
pub mod client;
pub mod frames;
pub mod frames_origin;
pub mod load;
pub mod origin;
pub mod origin2;
pub mod recorder;
pub mod strict;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

pub use balancer::Balancer;
pub use load::{EVERY_HABIT, Habit, Load};
pub use origin::{Answer, Gate, Origin};

/// How long anything that must happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; `describe` says what was last seen if it never does.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool, describe: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come true in {PATIENCE:?}; last seen: {}", describe());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An address on which nobody listens at the moment.
pub fn free_address() -> SocketAddr {
    free_addresses(1).pop().expect("one address")
}

/// Different addresses on which nobody listens at the moment.
///
/// They are below the range (from 32768) that the system takes the other end of connections from: a port of that range
/// could be taken by any connection before it is listened on, and a connection to it could even meet itself.
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let mut held = Vec::new();
    while held.len() < count {
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_768))));
    }
    held.iter().map(|listener| listener.local_addr().expect("its address")).collect()
}
