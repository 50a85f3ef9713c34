//! How the policies fare in the scenarios of `docs/balancing.md`: what the document says holds.

use evenkeel::config::Balance;

use crate::model::figures::Figures;
use crate::model::scenarios::{Detection, Scenario};

const SEED: u64 = 1;

fn figures(scenario: Scenario, balance: &Balance, detection: Detection) -> Figures {
    let mut world = scenario.world(balance, detection, SEED);
    world.run();
    world.figures
}

#[test]
fn where_one_slows_down_the_policies_are_at_least_as_good_as_what_linkerd_published() {
    for (balance, least) in [(Balance::RoundRobin, 0.95), (Balance::LeastRequest, 0.99), (Balance::PeakEwma, 0.999)] {
        let success = figures(Scenario::SlowsDown, &balance, Detection::Off).success();
        assert!(success >= least, "{balance:?}: {success}");
    }
}

#[test]
fn where_one_slows_down_detection_saves_whoever_picks_blindly() {
    for balance in [Balance::RoundRobin, Balance::Random] {
        let [off, on] =
            [Detection::Off, Detection::On].map(|one| figures(Scenario::SlowsDown, &balance, one).success());
        assert!(on > off && on > 0.99, "{balance:?}: {off} {on}");
    }
}

#[test]
fn one_that_fails_fast_draws_no_traffic() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest, Balance::PeakEwma] {
        let success = figures(Scenario::FailsFast, &balance, Detection::On).success();
        assert!(success > 0.999, "{balance:?}: {success}");
    }
    let success = figures(Scenario::FailsFast, &Balance::PeakEwma, Detection::Off).success();
    assert!(success > 0.99, "its penalty alone keeps it away: {success}");
}

#[test]
fn a_restart_of_all_in_turn_is_hardly_noticed() {
    for balance in [Balance::RoundRobin, Balance::LeastRequest, Balance::PeakEwma] {
        let success = figures(Scenario::Restart, &balance, Detection::On).success();
        assert!(success > 0.999, "{balance:?}: {success}");
    }
}

#[test]
fn in_a_full_outage_backends_see_at_most_a_fifth_more() {
    for detection in [Detection::Off, Detection::On] {
        let figures = figures(Scenario::Outage, &Balance::RoundRobin, detection);
        let all = figures.amplification(15..60);
        assert!(all <= 1.2, "{detection:?}: {all}");
    }
}
