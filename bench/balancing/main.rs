//! How the policies fare where backends are not well: plots and a table, from the model that `tests/simulation` drives.
//!
//! `make plots` writes `docs/plots/*.svg` and the table in `docs/balancing.md`. All is made of a seed: the same build
//! gives the same bytes.

#[path = "../../tests/simulation/model/mod.rs"]
mod model;
mod plot;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use model::figures::Figures;
use model::scenarios::{Detection, POLICIES, Scenario};

const SEED: u64 = 1;
const DOCUMENT: &str = "docs/balancing.md";
const PLOTS: &str = "docs/plots";
const BEGIN: &str = "<!-- plots:begin -->\n";
const END: &str = "<!-- plots:end -->";

/// What came of one policy, without and with outlier detection.
struct Compared {
    policy: &'static str,
    off: Figures,
    on: Figures,
}

fn compare(scenario: Scenario) -> Vec<Compared> {
    let figures = |balance, detection| {
        let mut world = scenario.world(balance, detection, SEED);
        world.run();
        world.figures
    };
    let compared = POLICIES.iter().map(|(policy, balance)| Compared {
        policy,
        off: figures(balance, Detection::Off),
        on: figures(balance, Detection::On),
    });
    compared.collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    for scenario in Scenario::COMPARED {
        let compared = compare(scenario);
        let path = format!("plots/{}.svg", scenario.name());
        std::fs::write(Path::new("docs").join(&path), plot::draw(scenario, &compared))?;
        let mut title = scenario.title().to_owned();
        title.get_mut(..1).map(str::make_ascii_uppercase).unwrap_or_default();
        write!(text, "### {title}\n\n![{title}]({path})\n\n{}\n", table(&compared))?;
    }
    text.push_str(&outage()?);
    let document = std::fs::read_to_string(DOCUMENT)?;
    let (before, rest) = document.split_once(BEGIN).ok_or("no place for the table")?;
    let (_, after) = rest.split_once(END).ok_or("no end of the place for the table")?;
    std::fs::write(DOCUMENT, format!("{before}{BEGIN}{text}{END}{after}"))?;
    println!("{text}wrote {DOCUMENT} and {PLOTS}/");
    Ok(())
}

fn table(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| | served within 1 s: detection off | on | p50 off | on | p99 off | on |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Compared { policy, off, on } in compared {
        let success = [off, on].map(|figures| percent(figures.success()));
        let times = [0.5, 0.99].map(|share| [off, on].map(|figures| time(figures.quantile(share))));
        let cells = [success, times[0].clone(), times[1].clone()].concat();
        text.push_str(&format!("| `{policy}` | {} |\n", cells.join(" | ")));
    }
    text
}

/// What backends see where all of them fail.
fn outage() -> Result<String, std::fmt::Error> {
    let title = "All answer 503 from 15 s on, and `retry` names `http_503`";
    let mut text = format!("### {title}\n\n| | attempts per request, detection off | on |\n|---|--:|--:|\n");
    for (policy, off, on) in compare(Scenario::Outage).iter().map(|one| (one.policy, &one.off, &one.on)) {
        writeln!(text, "| `{policy}` | {:.3} | {:.3} |", off.amplification(15..60), on.amplification(15..60))?;
    }
    Ok(text)
}

fn percent(share: f64) -> String {
    // Never says 100 % of what is not all.
    let hundredths = if share < 1.0 { (share * 10_000.0).floor() } else { 10_000.0 };
    format!("{:.2} %", hundredths / 100.0)
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        millis if millis < 10_000 => format!("{millis} ms"),
        millis => format!("{:.1} s", millis as f64 / 1000.0),
    }
}
