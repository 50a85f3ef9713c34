//! What a pick costs: nanoseconds and allocations, by policy and by the number of backends.
//!
//! `make measure-picks` writes the table in `docs/balancing.md`. Each figure is the best of several rounds over picks with
//! different keys. A pick here is all that a request does before it is sent: `Upstream::pick` and the end of its guard.

use std::hint::black_box;
use std::time::{Duration, Instant};

use evenkeel::balance::Key;
use evenkeel::config::{self, Balance, HashKey};
use evenkeel::upstream::outcome::Outcome;
use evenkeel::upstream::resolve::resolve;
use evenkeel::upstream::standing::Against;
use evenkeel::upstream::sticky::Affinity;
use evenkeel::upstream::{Arrival, Tried, Upstream};

const SIZES: [usize; 3] = [4, 100, 10_000];
const ROUNDS: usize = 15;
const PICKS: usize = 4_096;
const DOCUMENT: &str = "docs/balancing.md";
const BEGIN: &str = "<!-- picks:begin -->\n";
const END: &str = "<!-- picks:end -->";

const POLICIES: [(&str, Balance); 6] = [
    ("`round_robin`", Balance::RoundRobin),
    ("`random`", Balance::Random),
    ("`least_request`", Balance::LeastRequest),
    ("`peak_ewma`", Balance::PeakEwma),
    ("`ring_hash`", Balance::RingHash(HashKey::Path)),
    ("`maglev`", Balance::Maglev(HashKey::Path)),
];

/// What a pick finds.
#[derive(Clone, Copy)]
enum Found {
    /// All are fit.
    AllFit,
    /// A third is out: every third.
    ThirdOut,
    /// All are fit, and one was tried.
    OneTried,
    /// All are fit; weights differ.
    Weights,
}

impl Found {
    const ALL: [(Found, &'static str); 4] = [
        (Found::AllFit, "all fit"),
        (Found::ThirdOut, "a third is out"),
        (Found::OneTried, "one was tried"),
        (Found::Weights, "weights 1 to 5"),
    ];
}

fn upstream(balance: &Balance, size: usize, found: Found, now: Instant) -> Upstream {
    let backend = |number: usize| {
        let [_, _, high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
        let address = std::net::SocketAddr::from(([10, 0, high, low], 80));
        let weight = if matches!(found, Found::Weights) { number as u32 % 5 + 1 } else { 1 };
        config::Backend { weight, ..config::Backend::new(config::BackendAddress::Tcp(address)) }
    };
    let mut config = config::Upstream::new("app", (0..size).map(backend).collect());
    config.balance = balance.clone();
    let resolved = resolve(&config).unwrap_or_default();
    let upstream = Upstream::new(config, &resolved, None, None, now);
    upstream.take_effect(now);
    for (place, backend) in upstream.backends.iter().enumerate() {
        backend.state.latency.observe(Outcome::Served, Duration::from_millis(place as u64 % 7 + 1), 0);
        if matches!(found, Found::ThirdOut) && place % 3 == 0 {
            backend.state.hold(Against::Unreachable);
        }
    }
    upstream
}

/// Nanoseconds and allocations of one pick.
fn measure(balance: &Balance, size: usize, found: Found) -> (f64, f64) {
    let now = Instant::now();
    let upstream = upstream(balance, size, found, now);
    let mut tried = Tried::default();
    if matches!(found, Found::OneTried) {
        tried.add(1);
    }
    let keys: Vec<Affinity> =
        (0..PICKS).map(|number| Affinity { key: Some(Key::of_text(&number)), place: None }).collect();
    let round = || {
        for affinity in &keys {
            if let Ok(mut picked) = upstream.pick(black_box(&tried), *affinity, Arrival::New, now) {
                picked.judge(Outcome::Served, now);
                black_box(picked.index);
            }
        }
    };
    round();
    let allocations = allocation_counter::measure(round).count_total as f64 / PICKS as f64;
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed().as_secs_f64() * 1e9 / PICKS as f64
    });
    (rounds.fold(f64::INFINITY, f64::min), allocations)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::from("| ns per pick | 4 backends | 100 | 10,000 | allocations |\n|---|--:|--:|--:|--:|\n");
    for (policy, balance) in &POLICIES {
        for (found, words) in Found::ALL {
            let measured = SIZES.map(|size| measure(balance, size, found));
            let [few, many, most] = measured.map(|(time, _)| format!("{time:.0}"));
            let most_allocations = measured.iter().map(|(_, count)| *count).fold(0.0, f64::max);
            let allocations = (most_allocations * 100.0).round() / 100.0;
            text += &format!("| {policy}, {words} | {few} | {many} | {most} | {allocations} |\n");
        }
    }
    let document = std::fs::read_to_string(DOCUMENT)?;
    let (before, rest) = document.split_once(BEGIN).ok_or("no place for the table")?;
    let (_, after) = rest.split_once(END).ok_or("no end of the place for the table")?;
    std::fs::write(DOCUMENT, format!("{before}{BEGIN}{text}{END}{after}"))?;
    println!("{text}wrote {DOCUMENT}");
    Ok(())
}
