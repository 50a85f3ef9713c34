//! Upstreams in virtual time, without sockets: whatever a seed does to them, the laws hold.
//!
//! `SIMULATION_SEED=17` replays one seed, `SIMULATION_SEEDS=5000` takes more than the usual.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the message, and names speak for themselves"
)]

mod chance;
mod laws;
mod model;
mod policies;

use std::ops::Range;

use laws::Laws;

/// As many as take some seconds without optimisation.
const SEEDS: u64 = 60;

/// Says which seed it was, whatever goes wrong.
struct Seed {
    seed: u64,
    at: std::time::Duration,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} after {:?}: replay it with SIMULATION_SEED={}", self.seed, self.at, self.seed);
        }
    }
}

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn whatever_happens_the_laws_hold() {
    for seed in seeds() {
        let mut seed = Seed { seed, at: std::time::Duration::ZERO };
        let mut world = chance::world(seed.seed);
        world.records = true;
        let mut laws = Laws::default();
        while world.step() {
            seed.at = world.now;
            laws.check(&mut world);
        }
        laws::check_end(&world);
    }
}

#[test]
fn a_seed_replays_every_request() {
    let figures = || {
        let mut world = chance::world(4711);
        world.run();
        (world.figures.requests(), world.figures.attempts(), world.figures.quantile(0.5), world.figures.quantile(0.99))
    };
    assert_eq!(figures(), figures());
}
