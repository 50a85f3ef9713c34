//! Looking at all backends on a timer: who has stalled, who stands out, whose probe is due, how many requests are carried,
//! where there is room again, how long answers take.

use std::collections::VecDeque;
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

/// How many upstreams that are quiet are looked at in a tick at least. A tenth of them is, if that is more, so that none is
/// left alone for longer than a second.
const LOOKS: usize = 1000;

/// Looks at these upstreams until it is aborted.
pub async fn watch(upstreams: Vec<Arc<Upstream>>) {
    let mut rounds = Rounds::new(upstreams);
    let mut ticks = 0_u32;
    loop {
        tokio::time::sleep(TICK).await;
        ticks = ticks.wrapping_add(1);
        rounds.tick(|upstream| upstream.watch(ticks, Instant::now(), fastrand::f64()));
    }
}

/// Whom to look at: at each tick all that have something to do, and some of the others, so that ten thousand of them that
/// nobody asks for cost next to nothing.
struct Rounds {
    /// With the ticks since there was last something to do.
    busy: Vec<(Arc<Upstream>, u32)>,
    quiet: VecDeque<Arc<Upstream>>,
}

impl Rounds {
    fn new(upstreams: Vec<Arc<Upstream>>) -> Rounds {
        Rounds { busy: Vec::new(), quiet: upstreams.into() }
    }

    fn tick(&mut self, mut look: impl FnMut(&Upstream)) {
        let looks = self.quiet.len().div_ceil(TICKS_PER_LOOK as usize).max(LOOKS).min(self.quiet.len());
        for _ in 0..looks {
            let Some(upstream) = self.quiet.pop_front() else { break };
            if upstream.is_quiet() { self.quiet.push_back(upstream) } else { self.busy.push((upstream, 0)) }
        }
        let quiet = &mut self.quiet;
        self.busy.retain_mut(|(upstream, calm)| {
            look(upstream);
            *calm = if upstream.is_quiet() { *calm + 1 } else { 0 };
            // What it has just done is still to be compared and learnt from.
            let stays = *calm <= TICKS_PER_WINDOW;
            if !stays {
                quiet.push_back(upstream.clone());
            }
            stays
        });
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

    /// Whether nobody asks or has asked anything of it since backends were last compared, nobody waits, and all is forgiven: at
    /// a tick there is nothing to do.
    fn is_quiet(&self) -> bool {
        self.state.in_flight() == 0
            && !self.state.queue.is_in_use()
            && self.config.adaptive_concurrency.is_none()
            && !self.state.answer_times.are_wanted()
            && !self.judged().any(|one| one.state.conduct.cause().is_some() || one.state.conduct.has_window())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::upstream::pick::{Arrival, Tried};
    use crate::upstream::resolve::resolve;
    use crate::upstream::sticky::Affinity;

    fn upstreams(count: usize) -> Vec<Arc<Upstream>> {
        let one = |number: usize| {
            let address = format!("10.0.{}.{}:80", number / 250, number % 250);
            let config =
                config::Upstream::new(number.to_string(), vec![config::Backend::new(address.parse().unwrap())]);
            let upstream = Upstream::new(config.clone(), &resolve(&config).unwrap(), None, None, Instant::now());
            upstream.take_effect(Instant::now());
            Arc::new(upstream)
        };
        (0..count).map(one).collect()
    }

    fn looked_at(rounds: &mut Rounds) -> Vec<String> {
        let mut names = Vec::new();
        rounds.tick(|upstream| names.push(upstream.name.clone()));
        names
    }

    #[test]
    fn whoever_is_asked_is_looked_at_till_what_it_did_was_compared_and_others_are_left_alone() {
        let all = upstreams(3);
        let mut rounds = Rounds::new(all.clone());
        assert!(looked_at(&mut rounds).is_empty());
        let mut picked = all[1].pick(&Tried::default(), Affinity::default(), Arrival::New, Instant::now()).unwrap();
        for _ in 0..2 * TICKS_PER_WINDOW {
            assert_eq!(looked_at(&mut rounds), ["1"], "in flight");
        }
        picked.judge(crate::upstream::outcome::Outcome::Served, Instant::now());
        drop(picked);
        for _ in 0..2 * TICKS_PER_WINDOW {
            assert_eq!(looked_at(&mut rounds), ["1"], "not compared yet");
        }
        all[1].compare(Instant::now());
        for _ in 0..=TICKS_PER_WINDOW {
            assert_eq!(looked_at(&mut rounds), ["1"], "calm");
        }
        assert!(looked_at(&mut rounds).is_empty());
    }

    #[test]
    fn of_very_many_each_is_found_within_a_second() {
        let all = upstreams(3 * LOOKS);
        let mut rounds = Rounds::new(all.clone());
        looked_at(&mut rounds);
        let _asked: Vec<_> = [0, LOOKS, 2 * LOOKS, 3 * LOOKS - 1]
            .map(|place| all[place].pick(&Tried::default(), Affinity::default(), Arrival::New, Instant::now()).unwrap())
            .into();
        (0..TICKS_PER_LOOK).for_each(|_| drop(looked_at(&mut rounds)));
        assert_eq!(looked_at(&mut rounds).len(), 4);
    }
}
