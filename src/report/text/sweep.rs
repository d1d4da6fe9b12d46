//! The text of a sweep: a line per run as it ends, then a table and what it says.

use std::fmt;

use super::page::{COLUMNS_MAX, Page};
use super::{assert_text, count_text, one_line, percent_text, rate_text, time_text};
use crate::measured::{
    Found, Knee, Limit, Percentile, RunResult, Status, SweepResult, Swept, SweptFlag, Verdict,
};

/// The width of a column of the table: the longest rate below ten million fits, and a time.
const CELL: usize = 12;

impl SweepResult {
    /// Returns the line about the last run.
    pub fn last_line(&self) -> Option<String> {
        let (run, count) = (self.points.last()?, self.points.len());
        let place = match self.swept.find.is_empty() {
            true => format!("{count}/{}", self.swept.values.len()),
            false => count.to_string(),
        };
        let (flag, value) = (self.swept.flag.name(), count_text(self.value_of(run)));
        let [achieved, p50, p99] = figures(run);
        let said = said(run, &self.swept);
        let figures = format!("{achieved} per second, p50 {p50}, p99 {p99}");
        let time = time_text(run.elapsed_ns);
        Some(format!("{place:>5}  {flag} {value} for {time}: {figures}; {said}"))
    }

    /// Returns the value of the swept flag in a run.
    fn value_of(&self, run: &RunResult) -> u64 {
        self.swept.flag.value_of(run)
    }

    /// Returns the report for a terminal of this width, or a page.
    pub fn to_text(&self, columns: Option<usize>) -> String {
        let mut page = Page::new(columns.unwrap_or(COLUMNS_MAX));
        if let Some(run) = self.points.first() {
            page.entry("endpoint", &one_line(&run.endpoint));
            page.entry("swept", &swept_text(&self.swept));
            let table = self.table();
            return format!("{}{table}{}", page.as_str(), self.verdict(columns));
        }
        self.verdict(columns)
    }

    /// Returns a row per run, by ascending value.
    fn table(&self) -> String {
        let mut runs: Vec<_> = self.points.iter().enumerate().collect();
        runs.sort_by_key(|(_, run)| self.value_of(run));
        let titles = [self.swept.flag.name(), "per second", "p50", "p99", "max", "lost"];
        let row = |cells: &[String]| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>CELL$}")).collect();
            cells
        };
        let mut table = format!("\n{}  generator\n", row(&titles.map(str::to_owned)));
        for (place, run) in runs {
            let [achieved, p50, p99] = figures(run);
            let max = run.latency_ns.values.max_ns().map_or("-".to_owned(), time_text);
            let lost = percent_text(run.messages.lost as f64, run.messages.sent as f64);
            let cells = row(&[count_text(self.value_of(run)), achieved, p50, p99, max, lost]);
            let mark = if self.answer() == Some(place) { "  <--" } else { "" };
            table.push_str(&format!("{cells}  {}{mark}\n", limit_text(run)));
        }
        table.push('\n');
        table
    }

    /// Says what the runs say together.
    fn verdict(&self, columns: Option<usize>) -> String {
        let mut page = Page::new(columns.unwrap_or(COLUMNS_MAX));
        match (self.status, &self.error) {
            (Status::Ok, _) => {}
            (Status::Partial, Some(error)) => {
                page.entry(
                    "PARTIAL",
                    &format!("{}; the runs before it are shown", one_line(error)),
                );
            }
            (Status::Partial, None) => page.entry("PARTIAL", "a run made less load than asked for"),
            (Status::Error, error) => {
                page.entry("ERROR", &one_line(error.as_deref().unwrap_or("no run took place")));
            }
        }
        for warning in &self.warnings {
            page.entry("WARNING", &one_line(&warning.0));
        }
        if let Some(limit) = self.limit {
            page.entry("found", &self.found_text(limit));
        } else if !self.points.is_empty() {
            page.entry("knee", &self.knee_text());
        }
        page.as_str().to_owned()
    }

    fn found_text(&self, limit: Limit) -> String {
        let condition = one_line(&self.swept.find.join(" and "));
        let Some(Found { rate, at_least, .. }) = self.found else {
            let why = match (self.error.is_some(), limit) {
                (true, _) => "the search did not end".to_owned(),
                (false, Limit::Generator) => format!(
                    "no rate is proven, because the generator was the limit ({})",
                    self.unproven_text(0)
                ),
                (false, Limit::None) if !self.conditions_without_value().is_empty() => {
                    let conditions = self.conditions_without_value().join(" and ");
                    format!("no run has a value for {}", one_line(&conditions))
                }
                (false, _) => {
                    format!("no rate was confirmed for {condition}{}", self.failure_text())
                }
            };
            return format!("nothing: {why}");
        };
        let at_least = if at_least { "at least " } else { "" };
        let beyond = match limit {
            Limit::Server => match self.next_above(rate) {
                Some(next) => format!("the server fails at {}", count_text(next)),
                None => "the server fails at a higher rate".to_owned(),
            },
            Limit::Generator => format!(
                "from there on the generator was the limit ({}), which proves nothing about the \
                 server",
                self.unproven_text(rate)
            ),
            Limit::None => "the range ends there".to_owned(),
        };
        format!(
            "{condition} holds up to {at_least}{} messages per second; {beyond}",
            count_text(rate)
        )
    }

    /// Says which conditions failed at the lowest rate at which one did.
    fn failure_text(&self) -> String {
        let failed_in = |run: &RunResult| {
            let conditions = run.asserts.len().saturating_sub(self.swept.find.len());
            let outcomes = run.asserts[conditions..].iter();
            let failed = outcomes.filter(|outcome| !outcome.held && outcome.value.is_some());
            failed.map(|outcome| outcome.expression.clone()).collect::<Vec<_>>()
        };
        let proven = self.points.iter().filter(|run| run.client_limit().is_none());
        let failures = proven.map(|run| (self.value_of(run), failed_in(run)));
        let failures = failures.filter(|(_, failed)| !failed.is_empty());
        failures.min_by_key(|(rate, _)| *rate).map_or_else(String::new, |(rate, failed)| {
            let failed = one_line(&failed.join(" and "));
            format!("; the server fails {failed} at {}", count_text(rate))
        })
    }

    fn knee_text(&self) -> String {
        let unit = self.swept.flag.unit();
        let Some(Knee { value, next, at_least, limit }) = self.knee else {
            return match self.swept.flag {
                SweptFlag::Length | SweptFlag::Threads => {
                    format!("none: {unit} are no load, so see the table")
                }
                _ if self.points.iter().all(|run| run.client_limit().is_some()) => format!(
                    "none: the generator was the limit in every run ({}), which proves nothing \
                     about the server",
                    self.unproven_text(0)
                ),
                SweptFlag::Rate | SweptFlag::Connections | SweptFlag::Depth => {
                    "none: the runs do not show up to which load the server keeps up".to_owned()
                }
            };
        };
        let value_text = count_text(value);
        match (limit, next) {
            (Limit::Server, Some(next)) if !at_least => {
                let next = count_text(next);
                match self.swept.flag {
                    SweptFlag::Rate => format!(
                        "between {value_text} and {next} {unit}: the server answers the first \
                         rate, and not the second"
                    ),
                    _ => format!(
                        "{value_text} {unit}: beyond it the response time grows faster than the \
                         rate"
                    ),
                }
            }
            (Limit::Generator, _) => format!(
                "at least {value_text} {unit}: beyond it the generator was the limit ({}), which \
                 proves nothing about the server",
                self.unproven_text(value)
            ),
            _ => format!("at least {value_text} {unit}; the range ends there"),
        }
    }

    /// Returns the lowest value above `value` of a run.
    fn next_above(&self, value: u64) -> Option<u64> {
        self.points.iter().map(|run| self.value_of(run)).filter(|other| *other > value).min()
    }

    /// Returns what limited the client's side in the lowest run from `value` on that it limited,
    /// with that value.
    fn unproven_text(&self, value: u64) -> String {
        let limits = self
            .points
            .iter()
            .filter_map(|run| run.client_limit().map(|limit| (self.value_of(run), limit)));
        let lowest = limits.filter(|(other, _)| *other >= value).min_by_key(|(value, _)| *value);
        lowest.map_or("unknown".to_owned(), |(value, limit)| {
            format!("{limit} at {}", count_text(value))
        })
    }
}

impl fmt::Display for SweepResult {
    /// Writes text of many lines, each with a newline at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(None))
    }
}

fn swept_text(swept: &Swept) -> String {
    let values: Vec<String> = swept.values.iter().map(|value| count_text(*value)).collect();
    match (swept.find.is_empty(), values.as_slice()) {
        (false, [low, high]) => {
            let condition = one_line(&swept.find.join(" and "));
            format!("the rate from {low} to {high}, for the highest at which {condition} holds")
        }
        _ => format!("{}: {}", swept.flag.name(), values.join(", ")),
    }
}

/// Returns the rate, p50 and p99.
fn figures(run: &RunResult) -> [String; 3] {
    let percentile = |percentile: Percentile| {
        run.latency_ns.values.percentile(percentile).map_or("-".to_owned(), time_text)
    };
    let rate = rate_text(run.rate.achieved);
    [rate, percentile(Percentile::P50), percentile(Percentile::P99)]
}

/// Says whether the generator was well, and of a search, whether its conditions held.
fn said(run: &RunResult, swept: &Swept) -> String {
    if let Some(limit) = run.client_limit() {
        return format!("the generator was the limit ({limit})");
    }
    let conditions = run.asserts.len().saturating_sub(swept.find.len());
    let outcomes = &run.asserts[conditions..];
    match outcomes.iter().find(|outcome| !outcome.held).or(outcomes.last()) {
        Some(outcome) if !swept.find.is_empty() => assert_text(outcome),
        _ => "generator ok".to_owned(),
    }
}

/// Says what limited the client's side of a run, or that nothing did.
fn limit_text(run: &RunResult) -> &'static str {
    let verdict = run.generator.verdict.map_or("nothing was measured", Verdict::name);
    run.client_limit().unwrap_or(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Outcome, Warning, samples};

    fn run(rate: u64) -> RunResult {
        let mut run = samples::open_run();
        run.options.meant.insert("rate".to_owned(), rate.into());
        run.rate.asked = Some(rate as f64);
        run.rate.achieved = rate as f64;
        run
    }

    fn swept(rates: &[u64], find: &[&str]) -> SweepResult {
        let find: Vec<String> = find.iter().map(|find| (*find).to_owned()).collect();
        let mut result =
            SweepResult::new(Swept { flag: SweptFlag::Rate, values: rates.to_vec(), find });
        result.points = rates.iter().map(|rate| run(*rate)).collect();
        result.status = Status::Ok;
        result
    }

    #[test]
    fn a_sweep_shows_a_row_per_value_and_marks_the_knee() {
        let mut result = swept(&[32_000, 1_000, 16_000], &[]);
        let limit = Limit::Server;
        result.knee = Some(Knee { value: 16_000, next: Some(32_000), at_least: false, limit });
        let text = result.to_string();
        let rows: Vec<_> = text.lines().filter(|line| line.contains(" 0.00 %  ok")).collect();
        let values = rows.iter().map(|row| row.split_whitespace().next().unwrap());
        assert_eq!(values.collect::<Vec<_>>(), ["1,000", "16,000", "32,000"], "{text}");
        let marks: Vec<_> = rows.iter().map(|row| row.ends_with("<--")).collect();
        assert_eq!(marks, [false, true, false], "{text}");
        let knee =
            "knee          between 16,000 and 32,000 messages per second: the server answers";
        assert!(text.contains(knee), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS_MAX), "{text}");
        let line = result.last_line().unwrap();
        assert!(
            line.starts_with("  3/3  rate 16,000 for 10.0 s: 16,000 per second, p50 "),
            "{line}"
        );
    }

    /// case B19
    #[test]
    fn a_search_that_the_generator_ended_says_so() {
        let mut result = swept(&[1_000, 32_000], &["p99<1ms"]);
        result.points[1].generator.verdict = Some(Verdict::Behind);
        result.points[1].asserts.clear();
        result.limit = Some(Limit::Generator);
        result.found = Some(Found { rate: 1_000, at_least: true, limit: Limit::Generator });
        let text = result.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let found = "found p99<1ms holds up to at least 1,000 messages per second; from there on \
                     the generator was the limit (behind at 32,000), which proves nothing";
        assert!(text.contains(found), "{text}");
        assert!(result.last_line().unwrap().ends_with("the generator was the limit (behind)"));
        result.found = None;
        let text = result.to_string();
        assert!(text.contains("nothing: no rate is proven, because the generator was"), "{text}");
    }

    /// cases B6 and B19
    #[test]
    fn connections_that_failed_on_this_host_are_named_as_the_limit() {
        let mut result = swept(&[1_000, 32_000], &[]);
        result.points[1].flows.failed_locally = 3;
        let limit = Limit::Generator;
        result.knee = Some(Knee { value: 1_000, next: None, at_least: true, limit });
        let line = result.last_line().unwrap();
        assert!(line.ends_with("the generator was the limit (failures on this host)"), "{line}");
        let text = result.to_string();
        assert!(text.contains(" 0.00 %  failures on this host\n"), "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let knee = "at least 1,000 messages per second: beyond it the generator was the limit \
                    (failures on this host at 32,000)";
        assert!(text.contains(knee), "{text}");
    }

    #[test]
    fn a_search_without_enough_samples_says_that_nothing_is_known() {
        let mut result = swept(&[1_000], &["p50<1ms", "p99.99<1ms"]);
        let of = |value: Option<f64>| Outcome { value, ..result.points[0].asserts[0].clone() };
        result.points[0].asserts = vec![of(Some(1.0)), of(None)];
        result.limit = Some(Limit::None);
        let text = result.to_string();
        let found = "found         nothing: no run has a value for p99.99<1ms\n";
        assert!(text.contains(found), "{text}");
    }

    #[test]
    fn a_search_without_an_answer_names_the_condition_that_failed() {
        let mut result = swept(&[4_000, 1_000], &["p50<1us", "p99.99<1ms"]);
        for run in &mut result.points {
            let of = |expression: &str, value| Outcome {
                expression: expression.to_owned(),
                value,
                held: false,
            };
            run.asserts = vec![of("p50<1us", Some(6e4)), of("p99.99<1ms", None)];
        }
        result.limit = Some(Limit::Server);
        let text = result.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let found = "found nothing: no rate was confirmed for p50<1us and p99.99<1ms; the server \
                     fails p50<1us at 1,000";
        assert!(text.ends_with(found), "{text}");
    }

    #[test]
    fn a_sweep_that_ended_early_says_why() {
        let mut result = swept(&[1_000], &["p99<1ms"]);
        (result.status, result.limit) = (Status::Partial, Some(Limit::None));
        result.error = Some("interrupted".to_owned());
        result.warnings.push(Warning("two\nlines".to_owned()));
        let text = result.to_string();
        assert!(text.contains("PARTIAL       interrupted; the runs before it"), "{text}");
        assert!(text.contains("WARNING       two\\nlines\n"), "{text}");
        assert!(text.contains("nothing: the search did not end"), "{text}");
        let nothing = SweepResult::new(result.swept).to_string();
        assert_eq!(nothing, "ERROR         no run took place\n");
    }
}
