//! Makes `docs/metrics.md` of the table, so that the page cannot tell of a metric that is not there.
//!
//! Invariant: the page in the repository is what this makes; `EVENKEEL_BLESS=1 cargo test` writes it anew.
//!
//! Deliberately absent: text that is not in the table but for the introduction.

use super::histogram::BOUNDS;
use super::table;
use std::fmt::Write;
use std::fs;

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made of `src/observe/metrics/table.rs` by its test; `EVENKEEL_BLESS=1 cargo test` writes it anew. -->\n\n\
         `GET /metrics` on the admin address answers in the text format of Prometheus. Durations are in seconds, sizes\n\
         in bytes. Series of what a reload removed go away.\n\n\
         | Name | Kind | Labels | Meaning |\n\
         |---|---|---|---|\n",
    );
    for family in table::ALL {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{}`", label.as_str())).collect();
        let (name, kind, labels, help) = (family.name, family.kind.as_str(), labels.join(" "), family.help);
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    let bounds: Vec<_> = BOUNDS.iter().map(|(name, _)| *name).collect();
    writeln!(page, "\nBuckets of histograms, in seconds: {}.", bounds.join(", ")).unwrap();
    page
}

#[test]
fn the_reference_page_is_made_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = page();
    if std::env::var_os("EVENKEEL_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(path, &page).unwrap();
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of date; run EVENKEEL_BLESS=1 cargo test, and commit it");
}
