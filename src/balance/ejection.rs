//! A backend's time out for what its traffic says of it, as a pure state: it is out for a while, longer each time, then
//! one request probes it, and only if that is served it returns.

use std::time::{Duration, Instant};

/// Why a backend was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// So many failures one after the other.
    ConsecutiveFailures,
    /// Far fewer of its requests are served than of the others'.
    SuccessRate,
    /// It answers nothing while others do.
    Stalled,
}

impl Cause {
    /// All there are, in the order of [`Cause::index`].
    pub const ALL: [Cause; 3] = [Cause::ConsecutiveFailures, Cause::SuccessRate, Cause::Stalled];

    /// Its place in [`Cause::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it in logs and metrics.
    pub const fn token(self) -> &'static str {
        match self {
            Cause::ConsecutiveFailures => "consecutive_failures",
            Cause::SuccessRate => "success_rate",
            Cause::Stalled => "stalled",
        }
    }
}

/// The first time out of one that stalled: what hangs is often back soon, and the probe is one request that may hang.
const FIRST_AFTER_STALL: Duration = Duration::from_secs(2);
/// No time out is longer than so many of the configured.
const MOST_TIMES: u32 = 10;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Ejection {
    state: State,
    /// How often it was out lately.
    times: u32,
    /// Whether a probe has found since it was ejected that it is not well.
    probed: bool,
    returned: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    In,
    Out {
        until: Instant,
        cause: Cause,
    },
    /// The time is over: the next request probes it.
    Due(Cause),
    /// A request is probing it.
    Probing(Cause),
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It was served.
    Passed,
    /// It was not.
    Failed,
    /// The client left too early to tell.
    Unclear,
}

/// Whether an answer took no longer than what is called a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTime {
    /// It came in time.
    Yes,
    /// It came, but late.
    No,
}

/// What an answer changes for one that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Nothing.
    Stays,
    /// Its probe is due, at once.
    IsDue,
    /// It is back.
    Returns,
}

impl Ejection {
    /// Takes it out, unless it is out already; says for how long. `base` is the configured time.
    pub fn eject(&mut self, cause: Cause, base: Duration, now: Instant) -> Option<Duration> {
        if self.state != State::In {
            return None;
        }
        // Good conduct is remembered too: each time span without an ejection makes up for one.
        let good = self.returned.map_or(Duration::ZERO, |returned| now.saturating_duration_since(returned));
        let made_up = good.as_millis() / base.as_millis().max(1);
        self.times = self.times.saturating_sub(u32::try_from(made_up).unwrap_or(u32::MAX));
        self.probed = false;
        Some(self.out(cause, base, now))
    }

    fn out(&mut self, cause: Cause, base: Duration, now: Instant) -> Duration {
        self.times = (self.times + 1).min(MOST_TIMES);
        let time = match cause {
            Cause::Stalled => FIRST_AFTER_STALL.saturating_mul(1 << (self.times - 1)).min(base),
            Cause::ConsecutiveFailures | Cause::SuccessRate => base * self.times,
        };
        self.state = State::Out { until: now + time, cause };
        time
    }

    /// Whether the next request is to probe it from now on. One that stalled is not probed while requests still
    /// wait for it: if it is well again it will answer these.
    pub fn tick(&mut self, waiting: usize, now: Instant) -> bool {
        match self.state {
            State::Out { until, cause } if now >= until && (cause != Cause::Stalled || waiting == 0) => {
                self.state = State::Due(cause);
                true
            }
            State::Out { .. } | State::In | State::Due(_) | State::Probing(_) => false,
        }
    }

    /// Takes the probe that is due, if it is.
    pub fn take_probe(&mut self) -> bool {
        if let State::Due(cause) = self.state {
            self.state = State::Probing(cause);
            return true;
        }
        false
    }

    /// The probe has ended. Says whether the backend returns; if not, it is out again, or due again if that is unclear.
    pub fn probed(&mut self, probe: Probe, base: Duration, now: Instant) -> bool {
        let State::Probing(cause) = self.state else { return false };
        match probe {
            Probe::Passed => self.come_back(now),
            Probe::Failed => {
                self.probed = true;
                self.out(cause, base, now);
            }
            Probe::Unclear => self.state = State::Due(cause),
        }
        probe == Probe::Passed
    }

    /// It has answered a request. One that had stalled is back with that, if the request had not waited longer than what
    /// is called a stall; else a probe has to find out whether it is well, or only slow.
    pub fn answered(&mut self, in_time: InTime, now: Instant) -> Answered {
        match (self.state, in_time) {
            (
                State::Out { cause: Cause::Stalled, .. } | State::Due(Cause::Stalled) | State::Probing(Cause::Stalled),
                InTime::Yes,
            ) => {
                self.come_back(now);
                Answered::Returns
            }
            (State::Out { cause: Cause::Stalled, .. }, InTime::No) if !self.probed => {
                self.state = State::Due(Cause::Stalled);
                Answered::IsDue
            }
            (State::In | State::Out { .. } | State::Due(_) | State::Probing(_), InTime::Yes | InTime::No) => {
                Answered::Stays
            }
        }
    }

    /// Why it is out; none if it is not.
    pub fn cause(&self) -> Option<Cause> {
        match self.state {
            State::In => None,
            State::Out { cause, .. } | State::Due(cause) | State::Probing(cause) => Some(cause),
        }
    }

    /// Whether a probe is due.
    pub fn is_due(&self) -> bool {
        matches!(self.state, State::Due(_))
    }

    fn come_back(&mut self, now: Instant) {
        self.state = State::In;
        self.returned = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_out_for_a_while_and_returns_after_one_probe_that_is_served() {
        let (mut ejection, now) = (Ejection::default(), Instant::now());
        assert_eq!(ejection.eject(Cause::ConsecutiveFailures, BASE, now), Some(BASE));
        assert_eq!(ejection.eject(Cause::SuccessRate, BASE, now), None, "it is out already");
        assert!(!ejection.tick(0, now + seconds(29)) && !ejection.take_probe());
        assert!(ejection.tick(9, now + BASE));
        assert!(ejection.take_probe() && !ejection.take_probe(), "one request, not two");
        assert!(ejection.probed(Probe::Passed, BASE, now + BASE));
        assert_eq!(ejection.cause(), None);
    }

    #[test]
    fn a_probe_that_fails_prolongs_the_time_and_good_conduct_shortens_it() {
        let (mut ejection, mut now) = (Ejection::default(), Instant::now());
        ejection.eject(Cause::SuccessRate, BASE, now);
        for times in 2..=4 {
            now += seconds(1000);
            assert!(ejection.tick(0, now) && ejection.take_probe());
            assert!(!ejection.probed(Probe::Failed, BASE, now));
            assert!(!ejection.tick(0, now + BASE * times - seconds(1)) && ejection.tick(0, now + BASE * times));
            ejection.state = State::Out { until: now, cause: Cause::SuccessRate };
        }
        assert!(ejection.tick(0, now) && ejection.take_probe() && ejection.probed(Probe::Passed, BASE, now));
        assert_eq!(
            ejection.eject(Cause::SuccessRate, BASE, now + BASE * 2),
            Some(BASE * 3),
            "four times, two made up for"
        );
    }

    #[test]
    fn a_client_that_leaves_too_early_leaves_the_probe_to_the_next() {
        let (mut ejection, now) = (Ejection::default(), Instant::now());
        ejection.eject(Cause::ConsecutiveFailures, BASE, now);
        assert!(ejection.tick(0, now + BASE) && ejection.take_probe());
        assert!(!ejection.probed(Probe::Unclear, BASE, now) && ejection.take_probe());
    }

    #[test]
    fn one_that_stalled_is_back_with_an_answer_in_time_and_not_probed_before_all_have_given_up() {
        let (mut ejection, now) = (Ejection::default(), Instant::now());
        assert_eq!(ejection.eject(Cause::Stalled, BASE, now), Some(seconds(2)));
        assert!(!ejection.tick(1, now + seconds(100)) && ejection.tick(0, now + seconds(2)));
        assert_eq!(ejection.answered(InTime::Yes, now), Answered::Returns);
        assert_eq!(ejection.cause(), None);
        assert_eq!(ejection.eject(Cause::Stalled, BASE, now), Some(seconds(4)));
        assert_eq!(ejection.answered(InTime::Yes, now), Answered::Returns);
        assert_eq!(ejection.eject(Cause::ConsecutiveFailures, BASE, now), Some(BASE * 3));
        assert_eq!(ejection.answered(InTime::Yes, now), Answered::Stays, "an answer alone says nothing of failures");
    }

    #[test]
    fn a_late_answer_of_one_that_stalled_asks_for_a_probe_and_only_one_that_passes_brings_it_back() {
        let (mut ejection, now) = (Ejection::default(), Instant::now());
        ejection.eject(Cause::Stalled, BASE, now);
        assert_eq!(ejection.answered(InTime::No, now), Answered::IsDue);
        assert_eq!(ejection.answered(InTime::No, now), Answered::Stays, "it is due already");
        assert!(ejection.take_probe() && !ejection.probed(Probe::Failed, BASE, now));
        assert_eq!(ejection.answered(InTime::No, now), Answered::Stays, "it was found to be slow");
        assert!(!ejection.tick(0, now + seconds(3)) && ejection.tick(0, now + seconds(4)));
        assert!(ejection.take_probe() && ejection.probed(Probe::Passed, BASE, now));
    }
}
