//! Connections that are kept between requests, in whatever is spoken over them: whose they are, and when they are looked through.

use std::sync::Arc;
use std::time::Duration;

/// How often connections are looked for that have ended or waited too long.
const SWEEP: Duration = Duration::from_secs(1);

/// Whose connections they are.
pub trait Owner: Send + Sync {
    /// Whether it will be asked again.
    fn keeps_connections(&self) -> bool;
}

/// Where a connection belongs, and how long it may be without a request.
#[derive(Debug)]
pub struct Keep<'a, O> {
    /// Tells connections apart of which one cannot stand for the other.
    pub key: u64,
    /// Whose it is.
    pub owner: &'a Arc<O>,
    /// Zero: it is not kept.
    pub limit: Duration,
}

impl<O: Owner> Keep<'_, O> {
    /// Whether it is kept at all.
    pub(super) fn is_wanted(&self) -> bool {
        !self.limit.is_zero() && self.owner.keeps_connections()
    }
}

/// What keeps connections.
pub(super) trait Swept: Send + Sync + 'static {
    /// Lets go of connections that have ended, have waited too long, or that nobody will ask for. Whether any are left.
    fn sweep(&self) -> bool;
}

/// Sweeps for as long as there is something left.
pub(super) fn keep_sweeping(kept: &Arc<impl Swept>) {
    let kept = Arc::downgrade(kept);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            if !kept.upgrade().is_some_and(|kept| kept.sweep()) {
                return;
            }
        }
    });
}
