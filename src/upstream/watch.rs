//! Looking at all backends on a timer: who has stalled, who stands out, whose probe is due, how many requests are carried,
//! where there is room again, how long answers take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Upstream;
use super::backend::Backend;
use crate::balance::ejection::Cause;
use crate::balance::outlier::{self, Window};

/// How soon a stall is seen, at most, after it is one.
pub const TICK: Duration = Duration::from_millis(100);
/// How many ticks a window of success rates has: ten seconds.
const TICKS_PER_WINDOW: u32 = 100;

/// How many ticks pass between two looks at how long answers take: a second.
const TICKS_PER_LOOK: u32 = 10;

/// Looks at these upstreams until it is aborted.
pub async fn watch(upstreams: Vec<Arc<Upstream>>) {
    let mut ticks = 0_u32;
    loop {
        tokio::time::sleep(TICK).await;
        ticks = ticks.wrapping_add(1);
        for upstream in &upstreams {
            upstream.watch(ticks, Instant::now(), fastrand::f64());
        }
    }
}

impl Upstream {
    /// All that is done at a tick; `ticks` counts them, `chance` is from 0 to 1.
    pub fn watch(&self, ticks: u32, now: Instant, chance: f64) {
        self.tick(now);
        self.steer(now, chance);
        // A backend may have come back, or a reload raised a ceiling.
        self.call_if_room();
        if ticks.is_multiple_of(TICKS_PER_LOOK) {
            self.state.answer_times.learn(now);
        }
        if ticks.is_multiple_of(TICKS_PER_WINDOW) {
            self.compare(now);
        }
    }

    /// Looks for stalls and for probes that are due.
    pub fn tick(&self, now: Instant) {
        if self.state.in_flight() == 0 && !self.judged().any(|backend| backend.state.conduct.cause().is_some()) {
            return;
        }
        let tick = self.state.tick(now);
        let seconds = |backend: &Backend| backend.state.latency.seconds(tick).filter(|_| backend.state.is_fit());
        // The slowest two: of each, whatever it is, the slowest other.
        let (mut slowest, mut second): (Option<(f32, &str)>, Option<f32>) = (None, None);
        for backend in self.judged() {
            let Some(of_this) = seconds(backend) else { continue };
            if slowest.is_none_or(|(most, _)| of_this > most) {
                second = slowest.map(|(most, _)| most);
                slowest = Some((of_this, &backend.name));
            } else if second.is_none_or(|most| of_this > most) {
                second = Some(of_this);
            }
        }
        for backend in self.judged() {
            let other = slowest.filter(|(_, name)| *name != backend.name).map(|(most, _)| most).or(second);
            backend.state.conduct.tick(backend, other, now);
        }
    }

    /// Compares how many requests each has served since the last time.
    pub fn compare(&self, now: Instant) {
        let windows: Vec<(&Arc<Backend>, Window)> =
            self.judged().map(|backend| (backend, backend.state.conduct.take_window())).collect();
        let sum = windows.iter().fold(Window::default(), |sum, (_, window)| Window {
            served: sum.served + window.served,
            failed: sum.failed + window.failed,
        });
        for (backend, own) in windows {
            let others = Window { served: sum.served - own.served, failed: sum.failed - own.failed };
            if outlier::serves_too_few(own, others) {
                backend.state.conduct.eject(backend, Cause::SuccessRate, now);
            }
        }
    }

    fn judged(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.iter().filter(|backend| backend.weight > 0 && backend.outlier.is_some())
    }
}
