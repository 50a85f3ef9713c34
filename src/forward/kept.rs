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
