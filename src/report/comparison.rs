//! Writes a comparison as text, JSON and CSV.

use super::text::Page;
use super::words::{count_text, counted, one_line, rate_text, time_text};
use crate::measured::{Change, Comparison, LeftOut, Method, Metric, Status};

/// From this width on, a line has room for the verdict behind the figures.
const WIDE_COLUMNS_MIN: usize = 100;

impl Comparison {
    /// Returns the document on many lines; the last one ends with a newline.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data is JSON");
        text.push('\n');
        text
    }

    /// Returns a line of names, and a line for each figure (RFC 4180, but lines end with LF alone).
    /// A figure that is not there is an empty cell.
    pub fn to_csv(&self) -> String {
        let mut text =
            "name,unit,a,b,ratio,interval_low,interval_high,verdict,within,more_rounds,p\n"
                .to_owned();
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        for metric in &self.metrics {
            let [low, high] = [0, 1].map(|end| metric.interval.map(|interval| interval[end]));
            let cells = [
                metric.name.clone(),
                metric.unit.clone(),
                number(metric.a),
                number(metric.b),
                number(metric.ratio),
                number(low),
                number(high),
                word(metric.verdict).to_owned(),
                number(metric.within),
                metric.more_rounds.map_or_else(String::new, |more| more.to_string()),
                number(metric.p),
            ];
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }

    /// Returns text of many lines, as wide as the terminal if it is shown on one.
    pub fn to_text(&self, columns: Option<usize>) -> String {
        let mut page = Page::new(columns.unwrap_or(WIDE_COLUMNS_MIN));
        page.entry("A", &one_line(&self.a));
        page.entry("B", &one_line(&self.b));
        page.entry("runs", &runs_text(self));
        if let (Status::Partial | Status::Error, Some(error)) = (self.status, &self.error) {
            page.entry("PARTIAL", &format!("{}; the figures are of fewer rounds", one_line(error)));
        }
        table(&self.metrics, "B to A", self.rounds, &mut page);
        if self.method == Some(Method::Single) {
            own_intervals(&self.metrics, &mut page);
        }
        if let Some(control) = &self.control {
            page.entry("control", "A against A, in the same rounds");
            table(control, "A to A", self.rounds, &mut page);
        }
        for LeftOut { round, side, reason } in &self.left_out {
            let side = if side == "control" { "A again".to_owned() } else { side.to_uppercase() };
            page.entry("LEFT OUT", &one_line(&format!("round {round}, {side}: {reason}")));
        }
        for warning in &self.warnings {
            page.entry("WARNING", &one_line(&warning.0));
        }
        if let Some(regression) = &self.regression {
            let max = percent(regression.max);
            let text = match regression.worse.is_empty() {
                true => format!("no figure of B is certainly worse by more than {max}"),
                false => {
                    format!("B is worse by more than {max} in {}", regression.worse.join(", "))
                }
            };
            page.entry("regression", &text);
        }
        page.entry("RESULT", &one_line(&self.conclusion));
        page.as_str().to_owned()
    }
}

fn runs_text(comparison: &Comparison) -> String {
    let rounds = counted(comparison.rounds, "round");
    match comparison.method {
        Some(Method::Pairs) | None => {
            let asked = match comparison.rounds == comparison.rounds_asked {
                true => String::new(),
                false => format!(" of {} asked for", count_text(comparison.rounds_asked)),
            };
            let control = if comparison.control.is_some() { ", and a second one of A" } else { "" };
            format!(
                "{rounds}{asked}, each with a run of A and a run of B in random order{control}; \
                 changes up to {} count as none",
                percent(comparison.noise)
            )
        }
        Some(Method::Groups) => format!(
            "saved documents, at least {} of each side, compared as groups (Mann-Whitney); changes \
             up to {} count as none",
            comparison.rounds,
            percent(comparison.noise)
        ),
        Some(Method::Single) => "one saved document of each side".to_owned(),
    }
}

/// Adds a table with a line per figure.
fn table(metrics: &[Metric], ratio: &str, rounds: u64, page: &mut Page) {
    let is_wide = page.columns() >= WIDE_COLUMNS_MIN;
    let [first, second] = if ratio == "A to A" { ["A", "A again"] } else { ["A", "B"] };
    let head = cells("", first, second, ratio, "95 % interval");
    page.line(&format!("{head}{}", if is_wide { "  verdict" } else { "" }));
    for metric in metrics {
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| shown(metric, v));
        let interval = match metric.interval {
            Some([low, high]) => format!("{low:.3} to {high:.3}"),
            None => "-".to_owned(),
        };
        let ratio = metric.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let label = match metric.name.as_str() {
            "cpu_per_message" => "CPU/message",
            name => name,
        };
        let line = cells(label, &value(metric.a), &value(metric.b), &ratio, &interval);
        let verdict = verdict(metric);
        if is_wide {
            page.line(&format!("{line}  {verdict}"));
        } else {
            page.line(&line);
            page.entry("", &verdict);
        }
    }
    let count = |metric: &Metric| metric.ratios.len() as u64;
    for metric in metrics.iter().filter(|metric| (1..rounds).contains(&count(metric))) {
        let (name, rounds) = (&metric.name, counted(rounds, "round"));
        page.entry("", &format!("{name} was measured in {} of {rounds}", count(metric)));
    }
}

fn cells(label: &str, a: &str, b: &str, ratio: &str, interval: &str) -> String {
    format!("{label:<12}{a:>12}{b:>12}{ratio:>8}{interval:>17}")
}

/// Adds the interval within each of two single runs.
fn own_intervals(metrics: &[Metric], page: &mut Page) {
    for metric in metrics {
        let (Some(a), Some(b)) = (metric.a_interval, metric.b_interval) else { continue };
        let [a, b] =
            [a, b].map(|[low, high]| format!("{} to {}", shown(metric, low), shown(metric, high)));
        page.entry(&metric.name, &format!("95 % interval within the run: A {a}, B {b}"));
    }
}

/// Returns a value with its unit.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float to integer cast saturates; no value is negative"
)]
fn shown(metric: &Metric, value: f64) -> String {
    match metric.unit.as_str() {
        "ns" => time_text(value.round() as u64),
        _ => format!("{}/s", rate_text(value)),
    }
}

/// Returns a verdict in words.
fn verdict(metric: &Metric) -> String {
    let Some(ratio) = metric.ratio else {
        return "not measured: too few samples, or not listed".to_owned();
    };
    match (metric.verdict, metric.within, metric.more_rounds) {
        (Change::Differs, ..) => {
            let is_higher = ratio > 1.0;
            let word = if is_higher { "higher" } else { "lower" };
            let judgement = if is_higher == (metric.name == "rate") { "better" } else { "worse" };
            format!("differs: {} {word} ({judgement})", percent((ratio - 1.0).abs()))
        }
        (Change::Same, within, _) => format!("same within {}", percent(within.unwrap_or(0.0))),
        (Change::Undecided, _, Some(more)) if metric.interval.is_none() => {
            format!("undecided: an interval needs {more} more")
        }
        (Change::Undecided, _, Some(more)) => {
            format!("undecided: about {} more", counted(more, "round"))
        }
        (Change::Undecided, ..) if metric.interval.is_none() => "undecided".to_owned(),
        (Change::Undecided, ..) => "undecided: over 1,000 more rounds".to_owned(),
    }
}

fn word(verdict: Change) -> &'static str {
    match verdict {
        Change::Differs => "differs",
        Change::Same => "same",
        Change::Undecided => "undecided",
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let is_whole = (percent - percent.round()).abs() < 1e-9;
    if is_whole { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}
