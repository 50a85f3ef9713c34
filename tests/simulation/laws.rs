//! What must hold whatever happens.

use std::time::Duration;

use evenkeel::balance::outlier;
use evenkeel::balance::tiers::{self, Fit, Health};
use evenkeel::upstream::queue::Refused;
use evenkeel::upstream::standing::Against;
use evenkeel::upstream::{Ceilings, Upstream};

use crate::model::request::Stage;
use crate::model::{Pick, World, server_of};

/// What an upstream may retry before it has earned anything, and each second whatever it earns.
const RETRIES_AT_FIRST: f64 = 20.0;
const RETRIES_EACH_SECOND: f64 = 5.0;
/// Traffic that has ended leaves nothing behind for longer than all time-outs together.
const LONGEST_END: Duration = Duration::from_secs(60);

/// What the laws remember from one step to the next.
#[derive(Default)]
pub struct Laws {
    /// How many were ejected, under how many that may be, and how many ejections were refused.
    ejected: usize,
    refused: u64,
}

impl Laws {
    /// After each step.
    pub fn check(&mut self, world: &mut World) {
        for pick in std::mem::take(&mut world.picks) {
            check_pick(&pick);
        }
        check_counts(world);
        check_line(world);
        check_budget(world);
        self.check_ejections(&world.upstream);
        check_tiers(&world.upstream);
        assert!(world.now < world.traffic.until + LONGEST_END, "{} requests never end", world.requests.len());
    }

    fn check_ejections(&mut self, upstream: &Upstream) {
        let members = upstream.backends.iter().filter(|backend| backend.weight > 0).count();
        let ejected = upstream.backends.iter().filter(|one| one.state.standing.has(Against::Ejected)).count();
        let refused = upstream.state.conduct.refused();
        match upstream.config.outlier_detection {
            Some(rules) => {
                let ceiling = outlier::ceiling(members, rules.max_ejected);
                // A reload may leave more out than may be; nobody joins them.
                assert!(ejected <= ceiling.max(self.ejected), "{ejected} of {members} are out, {ceiling} may be");
                // Those that were taken out of the file hold no place.
                assert!(refused == self.refused || ejected >= ceiling, "{ejected} are out, and {ceiling} may not be");
            }
            None => assert_eq!(ejected, 0, "ejected though nobody judges"),
        }
        for backend in &upstream.backends {
            let out = backend.state.conduct.cause().is_some();
            assert_eq!(out, backend.state.standing.has(Against::Ejected), "whoever has a cause is out");
        }
        (self.ejected, self.refused) = (ejected, refused);
    }
}

/// When nothing happens any more, and all servers have been well for long.
pub fn check_end(world: &World) {
    assert!(world.requests.is_empty(), "every request ends");
    assert_eq!(world.figures.requests(), world.arrived(), "every request ends once");
    assert_eq!(world.upstream.state.in_flight(), 0);
    assert!(!world.upstream.state.queue.is_in_use(), "nobody waits for anything");
    for backend in world.upstream.backends.iter().filter(|backend| backend.weight > 0) {
        let (standing, why) = (&backend.state.standing, &backend.state.conduct);
        assert!(backend.state.is_fit(), "{} is well and not asked: {standing:?}, {why:?}", backend.name);
    }
}

fn check_pick(pick: &Pick) {
    let askable = |place: &usize| {
        let seen = pick.before[*place];
        seen.weight > 0 && if pick.serving.health == Health::Ignored { seen.is_reachable } else { seen.is_fit }
    };
    match pick.result {
        Ok(place) => {
            let seen = pick.before[place];
            assert!(seen.weight > 0, "picked without a weight");
            assert!(seen.is_reachable, "picked though unreachable or drained");
            let excused = pick.probe_is_due && pick.tried.is_empty();
            assert!(seen.has_room || excused, "picked though at its ceiling");
            let excused = excused || pick.serving.health == Health::Ignored;
            assert!(seen.is_fit || excused, "picked though out, while health is heeded");
            if pick.tried.contains(&place) {
                let another = (0..pick.before.len()).find(|place| {
                    !pick.tried.contains(place) && pick.before[*place].has_room && askable_fit(pick, *place)
                });
                assert_eq!(another, None, "tried twice while another was fit");
            }
        }
        Err(Refused::Nobody) => {
            let somebody = (0..pick.before.len()).find(askable);
            assert_eq!(somebody, None, "nobody, though somebody can be asked");
        }
        Err(Refused::Overloaded | Refused::QueueFull | Refused::QueueTimeout | Refused::AdaptiveLimit) => {
            assert!(pick.ceilings != Ceilings::NONE, "no room, though nothing bounds it");
        }
    }
}

fn askable_fit(pick: &Pick, place: usize) -> bool {
    pick.before[place].weight > 0 && pick.before[place].is_fit
}

/// What is counted in flight is in flight, also at backends that no file names any more.
fn check_counts(world: &World) {
    let mut here = vec![(0_usize, 0_usize); world.servers.len()];
    for request in world.requests.values() {
        match &request.stage {
            Stage::Attempt(attempt) => {
                here[attempt.server].0 += 1;
                here[attempt.server].1 += usize::from(attempt.is_tunnel);
            }
            Stage::Waiting(_) | Stage::Paused => {}
            Stage::Arriving => panic!("a request is nowhere"),
        }
    }
    for backend in &world.upstream.backends {
        // One that was taken out and written again is another, and counts anew.
        let (all, _) = here[server_of(backend)];
        assert!(
            backend.state.in_flight() <= all,
            "in flight at {}: {} of {all}",
            backend.name,
            backend.state.in_flight()
        );
    }
    let all: usize = here.iter().map(|(all, _)| all).sum();
    assert_eq!(world.upstream.state.in_flight(), all, "requests in flight are those that are");
}

fn check_line(world: &World) {
    let queue = &world.upstream.state.queue;
    assert_eq!(queue.is_in_use(), world.waiting() > 0, "those who wait are those who are counted");
    assert_eq!(queue.length(), world.waiting(), "whoever is called has had its turn");
}

fn check_budget(world: &World) {
    let share = world.upstream.config.retry.unwrap_or_default().budget.fraction();
    let earned = world.arrived() as f64 * share + world.now.as_secs_f64() * RETRIES_EACH_SECOND;
    let retries = world.upstream.state.retries() as f64;
    assert!(retries <= RETRIES_AT_FIRST + earned, "{retries} retries, {earned} earned");
}

/// Who serves, as whoever counts by hand would say.
fn check_tiers(upstream: &Upstream) {
    let tiers = upstream.tiers.iter().map(|tier| {
        let members = || upstream.backends.iter().filter(|one| one.weight > 0 && one.tier == tier.number);
        Fit {
            fit: members().filter(|one| one.state.is_fit()).count(),
            of: members().filter(|one| !one.state.drained()).count(),
        }
    });
    assert_eq!(upstream.serving(), tiers::serving(tiers, upstream.config.panic_threshold), "fitness is counted anew");
}
