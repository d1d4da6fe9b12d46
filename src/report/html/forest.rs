//! A forest plot: the ratio of each figure with its interval, beside the line of no change.

use maud::{Markup, html};

use super::axis::{Axis, Unit};

const WIDTH: f64 = 720.0;
/// The longest name in the letters of a narrow screen.
const LEFT: f64 = 186.0;
const RIGHT: f64 = 24.0;
const ROW: f64 = 34.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;

/// The narrowest range that is shown around 1, so that a tiny change does not look large.
const RANGE_LEAST: f64 = 1.05;

/// From this ratio on, a factor says more than a percentage.
const PERCENT_MAX: f64 = 1.9;

/// One row of the plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) ratio: f64,
    pub(super) interval: Option<[f64; 2]>,
    /// `differs`, `same` or `undecided`.
    pub(super) verdict: String,
}

/// Draws the rows. `noise`: the share up to which a change counts as none.
pub(super) fn forest(rows: &[Row], noise: f64, text: &str) -> Markup {
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let reach = rows.iter().flat_map(|row| row.interval.into_iter().flatten().chain([row.ratio]));
    let reach = reach.filter(|ratio| ratio.is_finite() && *ratio > 0.0);
    let reach = reach
        .map(|ratio| ratio.max(1.0 / ratio))
        .fold(RANGE_LEAST.max(1.0 + 2.0 * noise), f64::max);
    // Equal room on both sides of 1.
    let max = reach.powf(1.08);
    let axis = Axis { title: String::new(), unit: Unit::Ratio, log: true, min: 1.0 / max, max };
    let px = |ratio: f64| LEFT + axis.place(ratio) * (WIDTH - LEFT - RIGHT);
    let bottom = height - BOTTOM;
    html! {
        svg.forest viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(text) {
            rect.band x=(format!("{:.1}", px(1.0 - noise))) y=(TOP) height=(bottom - TOP)
                width=(format!("{:.1}", px(1.0 + noise) - px(1.0 - noise))) {}
            @for tick in ticks(max) {
                path.grid d=(format!("M{:.1} {TOP}V{bottom}", px(tick))) {}
                text x=(format!("{:.1}", px(tick))) y=(bottom + 17.0) text-anchor="middle" {
                    (change_text(tick))
                }
            }
            path.mark d=(format!("M{:.1} {TOP}V{bottom}", px(1.0))) {}
            @for (index, row) in rows.iter().enumerate() {
                @let y = TOP + ROW * (index as f64 + 0.5);
                text.name x=(LEFT - 12.0) y=(y + 4.0) text-anchor="end" { (row.name) }
                @if let Some([low, high]) = row.interval {
                    path class=(format!("line {}", row.verdict))
                        d=(format!("M{0:.1} {1}V{2}M{0:.1} {y}H{3:.1}M{3:.1} {1}V{2}",
                            px(low), y - 5.0, y + 5.0, px(high))) {}
                }
                circle class=(format!("dot {}", row.verdict)) r="5" cy=(y)
                    cx=(format!("{:.1}", px(row.ratio))) {}
            }
            text.title x=(WIDTH - RIGHT) y=(height - 6.0) text-anchor="end" {
                "B compared with A; shaded: no more than the noise"
            }
        }
    }
}

/// Returns the ratios that get a tick: 1, and up to three steps on each side.
fn ticks(max: f64) -> Vec<f64> {
    const STEPS: [f64; 8] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
    const FACTORS: [f64; 5] = [2.0, 4.0, 10.0, 100.0, 1_000.0];
    let above: Vec<f64> = match STEPS.into_iter().find(|step| 1.0 + 3.2 * step >= max) {
        Some(step) if max < PERCENT_MAX => (1..=3).map(|n| 1.0 + step * f64::from(n)).collect(),
        _ => {
            let factor = FACTORS.into_iter().find(|factor| factor.powi(3) >= max);
            (1..=3).map(|n| factor.unwrap_or(max).powi(n)).collect()
        }
    };
    let above = above.into_iter().filter(|tick| *tick < max * 0.99);
    let pairs = above.map(|tick| match max < PERCENT_MAX {
        true => [2.0 - tick, tick],
        false => [1.0 / tick, tick],
    });
    let mut all: Vec<f64> = pairs.flatten().filter(|tick| *tick > 1.0 / max).collect();
    all.push(1.0);
    all.sort_by(f64::total_cmp);
    all
}

/// Returns `+5 %` for 1.05, and `x 4` for 4.
fn change_text(ratio: f64) -> String {
    let percent = ((ratio - 1.0) * 1_000.0).round() / 10.0;
    match percent {
        0.0 => "no change".to_owned(),
        _ if ratio >= PERCENT_MAX => format!("x {ratio:.0}"),
        _ if ratio <= 1.0 / PERCENT_MAX => format!("1/{:.0}", 1.0 / ratio),
        percent => format!("{percent:+} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_on_both_sides_of_no_change() {
        let texts = |max: f64| ticks(max).into_iter().map(change_text).collect::<Vec<_>>();
        assert_eq!(texts(1.06), ["-4 %", "-2 %", "no change", "+2 %", "+4 %"]);
        assert_eq!(texts(1.5), ["-20 %", "no change", "+20 %", "+40 %"]);
        assert_eq!(texts(80.0), ["1/10", "no change", "x 10"]);
        assert_eq!(texts(60.0), ["1/16", "1/4", "no change", "x 4", "x 16"]);
    }
}
