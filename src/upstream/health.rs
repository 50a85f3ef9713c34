//! When a backend turns healthy or unhealthy: a pure count of verdicts.
//!
//! The first verdict decides alone, so that a process that starts (or a backend that is added) does not have
//! to wait for several rounds to know a dead backend. After that it takes as many verdicts in a row as the
//! configuration says.

/// What one check, or one attempt to connect, found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be connected to.
    Passed,
    /// It cannot.
    Failed,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It takes requests from now on.
    Healthy,
    /// It takes none from now on.
    Unhealthy,
}

/// How many verdicts in a row turn a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed ones, to turn healthy.
    pub healthy_after: u32,
    /// Failed ones, to turn unhealthy.
    pub unhealthy_after: u32,
}

/// What is known of one backend. Healthy until a verdict says otherwise.
#[derive(Debug, Default)]
pub struct Health {
    unhealthy: bool,
    judged: bool,
    against: u32,
}

impl Health {
    /// Takes one verdict into account.
    pub fn observe(&mut self, verdict: Verdict, thresholds: Thresholds) -> Option<Turned> {
        let first = !std::mem::replace(&mut self.judged, true);
        let against_state = self.unhealthy == (verdict == Verdict::Passed);
        if !against_state {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = match verdict {
            Verdict::Passed => thresholds.healthy_after,
            Verdict::Failed => thresholds.unhealthy_after,
        };
        if !first && self.against < needed {
            return None;
        }
        self.against = 0;
        self.unhealthy = verdict == Verdict::Failed;
        Some(match verdict {
            Verdict::Passed => Turned::Healthy,
            Verdict::Failed => Turned::Unhealthy,
        })
    }

    /// Whether failures are being counted against a healthy backend.
    pub fn suspected(&self) -> bool {
        !self.unhealthy && self.against > 0
    }

    /// Whether any verdict has been given.
    pub fn judged(&self) -> bool {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, Passed};

    const THRESHOLDS: Thresholds = Thresholds { healthy_after: 2, unhealthy_after: 3 };

    fn turns(verdicts: &[Verdict]) -> Vec<Option<Turned>> {
        let mut health = Health::default();
        verdicts.iter().map(|verdict| health.observe(*verdict, THRESHOLDS)).collect()
    }

    #[test]
    fn the_first_verdict_decides_alone() {
        assert_eq!(turns(&[Failed, Failed]), [Some(Turned::Unhealthy), None]);
        assert_eq!(turns(&[Passed]), [None]);
    }

    #[test]
    fn it_takes_three_failures_in_a_row_to_go_and_two_passes_to_come_back() {
        let turned = turns(&[Passed, Failed, Failed, Passed, Failed, Failed, Failed, Passed, Failed, Passed, Passed]);
        let mut expected = vec![None; 11];
        expected[6] = Some(Turned::Unhealthy);
        expected[10] = Some(Turned::Healthy);
        assert_eq!(turned, expected);
    }
}
