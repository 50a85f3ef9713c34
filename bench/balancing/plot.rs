//! One picture for one scenario: a panel for each policy, and in it the share of the requests that were not served within
//! a second, by the second in which they arrived.

use super::model::figures::Figures;
use super::model::scenarios::Scenario;
use super::{Compared, percent};

const WIDTH: f64 = 960.0;
const COLUMNS: usize = 3;
const MARGIN: f64 = 24.0;
const GAP: f64 = 22.0;
const HEAD: f64 = 74.0;
const PANEL_HEIGHT: f64 = 132.0;
const PANEL_HEAD: f64 = 42.0;
const PANEL_FOOT: f64 = 24.0;
/// Room for the numbers of the vertical axis.
const AXIS: f64 = 34.0;

const INK: &str = "#1f2933";
const FAINT: &str = "#6b7785";
const LINES: &str = "#e4e8ec";
const OFF: &str = "#e07a1f";
const ON: &str = "#1668b8";

/// See the module's documentation.
pub(super) fn draw(scenario: Scenario, compared: &[Compared]) -> String {
    let rows = compared.len().div_ceil(COLUMNS);
    let row = PANEL_HEAD + PANEL_HEIGHT + PANEL_FOOT + GAP;
    let height = HEAD + row * rows as f64 + 4.0;
    let column = (WIDTH - 2.0 * MARGIN - GAP * (COLUMNS as f64 - 1.0)) / COLUMNS as f64;
    let worst = compared.iter().flat_map(|one| [missed(&one.off), missed(&one.on)]).flatten().fold(0.0, f64::max);
    let top = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].into_iter().find(|top| worst <= *top).unwrap_or(1.0);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" rx=\"8\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"32\" font-size=\"17\" font-weight=\"600\">Requests that were not served within a second</text>\n\
         <text x=\"{MARGIN}\" y=\"53\" fill=\"{FAINT}\">eleven backends, 1,000 requests/s; {title}</text>\n",
        title = scenario.title(),
    );
    let right = WIDTH - MARGIN;
    for (color, words, x) in [(OFF, "outlier detection off", right - 300.0), (ON, "on, as by default", right - 128.0)] {
        svg += &format!(
            "<rect x=\"{x:.0}\" y=\"21\" width=\"14\" height=\"12\" rx=\"2\" fill=\"{color}\" fill-opacity=\"0.8\"/>\
             <text x=\"{:.0}\" y=\"31\">{words}</text>\n",
            x + 20.0
        );
    }
    for (place, one) in compared.iter().enumerate() {
        let x = MARGIN + (place % COLUMNS) as f64 * (column + GAP);
        let y = HEAD + (place / COLUMNS) as f64 * row;
        svg += &format!("<g transform=\"translate({x:.1} {y:.1})\">\n{}</g>\n", panel(one, column, top));
    }
    svg + "</svg>\n"
}

fn panel(one: &Compared, width: f64, top: f64) -> String {
    let (left, bottom) = (AXIS, PANEL_HEAD + PANEL_HEIGHT);
    let wide = width - left;
    let mut svg = format!(
        "<text x=\"{left}\" y=\"14\" font-size=\"14\" font-weight=\"600\">{}</text>\n\
         <text x=\"{left}\" y=\"32\" fill=\"{FAINT}\">served: <tspan fill=\"{OFF}\" font-weight=\"600\">{}</tspan>, \
         <tspan fill=\"{ON}\" font-weight=\"600\">{}</tspan></text>\n",
        one.policy,
        percent(one.off.success()),
        percent(one.on.success()),
    );
    for part in [0.0, 0.5, 1.0] {
        let y = bottom - PANEL_HEIGHT * part;
        let share = top * part * 100.0;
        let number = if share.fract() == 0.0 { format!("{share:.0} %") } else { format!("{share:.1} %") };
        svg += &format!(
            "<path d=\"M{left} {y:.1}h{wide:.1}\" stroke=\"{LINES}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\" fill=\"{FAINT}\">{number}</text>\n",
            left - 6.0,
            y + 4.0,
        );
    }
    let seconds = one.off.seconds.len().max(1);
    for (mark, anchor) in ["start", "middle", "middle", "middle", "end"].into_iter().enumerate() {
        let second = seconds * mark / 4;
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"11\" fill=\"{FAINT}\">{second} s</text>\n",
            left + wide * mark as f64 / 4.0,
            bottom + 16.0,
        );
    }
    for (figures, color) in [(&one.off, OFF), (&one.on, ON)] {
        svg += &area(figures, color, left, bottom, wide, top);
    }
    svg
}

/// Steps of one second each.
fn area(figures: &Figures, color: &str, left: f64, bottom: f64, wide: f64, top: f64) -> String {
    let step = wide / figures.seconds.len().max(1) as f64;
    let mut path = format!("M{left:.1} {bottom:.1}");
    for (second, missed) in missed(figures).enumerate() {
        let y = bottom - PANEL_HEIGHT * (missed / top).min(1.0);
        path += &format!("V{y:.1}H{:.1}", left + step * (second + 1) as f64);
    }
    path += &format!("V{bottom:.1}");
    format!(
        "<path d=\"{path}\" fill=\"{color}\" fill-opacity=\"0.35\" stroke=\"{color}\" stroke-width=\"1.2\" stroke-linejoin=\"round\"/>\n"
    )
}

/// The share of each second's requests that was not served in time.
fn missed(figures: &Figures) -> impl Iterator<Item = f64> {
    figures.seconds.iter().map(|second| (second.ended - second.good) as f64 / second.ended.max(1) as f64)
}
