//! A sweep: runs that differ in one flag, either over given values or in search of a rate.

use super::{Search, Trial, Verdict, knee};
use crate::measured::{Limit, Outcome, RunResult, Status, SweepResult, Swept, SweptFlag, Warning};

/// One run of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The value of the swept flag.
    pub value: u64,
    /// Whether the run has the length that the user asked for, not a short one.
    pub is_full: bool,
}

/// A sweep that waits for the result of its next run.
#[derive(Debug)]
pub struct Sweep {
    /// `None`: the values decide which run comes next, whatever the results are.
    search: Option<Search>,
    /// The value of each run so far.
    values: Vec<u64>,
    result: SweepResult,
}

impl Sweep {
    /// Creates a sweep over values of a flag, in their order.
    pub fn over(flag: SweptFlag, values: Vec<u64>) -> Sweep {
        let swept = Swept { flag, values, find: Vec::new() };
        Sweep { search: None, values: Vec::new(), result: SweepResult::new(swept) }
    }

    /// Creates a sweep that searches the highest rate at which all conditions hold, within
    /// `rates` and to a gap of `precision`, a share of the answer. The conditions are the last of
    /// the asserts of each run.
    pub fn find(conditions: Vec<String>, rates: (u64, u64), precision: f64) -> Sweep {
        let (low, high) = rates;
        let swept = Swept { flag: SweptFlag::Rate, values: vec![low, high], find: conditions };
        let search = Some(Search::new(low..=high, precision));
        Sweep { search, values: Vec::new(), result: SweepResult::new(swept) }
    }

    /// Warns if the rates of a search are all below `least`, the rate that the user asks for.
    #[must_use]
    pub fn with_least(mut self, least: u64) -> Sweep {
        let highest = self.result.swept.values.last();
        if let Some(highest) = highest.filter(|highest| **highest < least) {
            self.result.warnings.push(Warning(format!(
                "--at-least {least} is above the range of --rate, which ends at {highest}: no rate \
                 that the search can find is enough. A range up to it, such as --rate \
                 {highest}..{least}, can show one"
            )));
        }
        self
    }

    /// Returns the next run, or `None` if the sweep is over.
    pub fn next(&self) -> Option<Point> {
        match &self.search {
            None => {
                let value = *self.result.swept.values.get(self.values.len())?;
                Some(Point { value, is_full: true })
            }
            Some(search) => {
                search.next().map(|Trial { rate, is_full }| Point { value: rate, is_full })
            }
        }
    }

    /// Takes the result of the run that [`next`](Sweep::next) returned. Returns the result so far,
    /// which says nothing yet about the runs together.
    pub fn tell(&mut self, run: RunResult) -> &SweepResult {
        if let Some(point) = self.next() {
            if let Some(search) = &mut self.search {
                search.tell(verdict(&run, self.result.swept.find.len(), point.is_full));
            }
            self.values.push(point.value);
            self.result.points.push(run);
        }
        &self.result
    }

    /// Returns what the runs say together. `error`: why the next run did not take place.
    pub fn end(self, error: Option<String>) -> SweepResult {
        let Sweep { search, values, mut result } = self;
        let points: Vec<_> = values.iter().copied().zip(&result.points).collect();
        match &search {
            None => result.knee = knee(result.swept.flag, &points),
            Some(search) => {
                result.limit = Some(search.limit());
                result.found = search.found().filter(|_| error.is_none());
                let answer = result.found.and_then(|found| {
                    points.iter().rfind(|(value, _)| *value == found.rate).map(|(_, run)| run)
                });
                result.warnings.extend(answer.and_then(|run| warning_of_losses(run)));
                result.warnings.extend(answer.and_then(|run| warning_of_generator(run)));
                if error.is_none() {
                    result.warnings.extend(warning_of_values(&result));
                }
            }
        }
        result.warnings.extend(warning_of_receive_drops(result.swept.flag, &points));
        // A search expects that the server fails at some rates.
        let is_whole = result.points.iter().all(|run| run.status == Status::Ok);
        result.status = match error {
            _ if result.points.is_empty() => Status::Error,
            None if is_whole || search.is_some() => Status::Ok,
            _ => Status::Partial,
        };
        result.error = error;
        result
    }
}

/// Judges a run by the last `conditions` of its asserts.
fn verdict(run: &RunResult, conditions: usize, is_full: bool) -> Verdict {
    let verdict = verdict_of_conditions(run, conditions);
    if run.is_corrupted() {
        return Verdict::Failed; // no limit of the client's side makes wrong bytes
    }
    if run.client_limit().is_none() {
        return verdict;
    }
    if run.flows.failed_locally == 0 && !run.generator.was_limit() {
        // The receive buffer is the only limit. Counts tell what it took away, and times do not.
        let answered = run.without_receive_drops();
        let verdict = answered.map(|run| verdict_of_conditions(&run, conditions));
        if verdict == Some(Verdict::Failed) {
            return Verdict::Failed;
        }
    }
    if run.flows.failed_locally > 0 || run.is_short() {
        return Verdict::Unproven; // the server had to answer less than the load of the trial
    }
    match verdict {
        Verdict::Held => Verdict::HeldUnwell,
        Verdict::NoValue if !is_full => Verdict::NoValue,
        _ => Verdict::Unproven,
    }
}

/// Judges a run by the last `conditions` of its asserts, whatever limited it.
fn verdict_of_conditions(run: &RunResult, conditions: usize) -> Verdict {
    let outcomes = &run.asserts[run.asserts.len().saturating_sub(conditions)..];
    let is_failed = |outcome: &Outcome| !outcome.held && outcome.value.is_some();
    if run.status != Status::Ok || outcomes.iter().any(is_failed) {
        Verdict::Failed
    } else if outcomes.iter().all(|outcome| outcome.held) {
        Verdict::Held
    } else {
        Verdict::NoValue
    }
}

/// Returns a warning if a limit of the generator distorts the figures at the rate that was found.
fn warning_of_generator(run: &RunResult) -> Option<Warning> {
    let verdict = run.generator.verdict.filter(|_| run.generator.was_limit())?;
    Some(Warning(format!(
        "at the rate found, the generator was not well ({verdict}): the condition held all the \
         same, so the answer is \"at least\""
    )))
}

/// Returns a warning about the conditions for which no run has a value, if they are why the search
/// shows nothing.
fn warning_of_values(result: &SweepResult) -> Option<Warning> {
    let conditions = result.conditions_without_value();
    let is_cause = result.limit == Some(Limit::None) && !conditions.is_empty();
    (is_cause && !result.points.is_empty()).then(|| {
        Warning(format!(
            "no run has a value for {}, so the search shows neither a rate nor a limit: a \
             percentile needs ten samples beyond it (a longer --duration, a higher --rate), and \
             some figures need a flag, such as --timestamps",
            conditions.join(" and ")
        ))
    })
}

/// Returns a warning if the generator's own receive buffer spoiled runs.
fn warning_of_receive_drops(flag: SweptFlag, points: &[(u64, &RunResult)]) -> Option<Warning> {
    let spoiled = points.iter().filter(|(_, run)| run.is_limited_by_receive_buf());
    let count = spoiled.clone().count();
    let (value, run) = spoiled.min_by_key(|(value, _)| *value)?;
    let drops = run.udp.map_or(0, |udp| udp.receive_drops);
    Some(Warning(format!(
        "in {count} of {} runs, the generator's own receive buffer dropped replies of the server \
         ({drops} datagrams or trains at --{} {value}): these runs prove nothing about the server. \
         A larger buffer, such as --rcvbuf 4MiB, may keep them",
        points.len(),
        flag.name()
    )))
}

/// Returns a warning if the server left out messages at the rate that was found: the condition may
/// look only at those that it answered.
fn warning_of_losses(run: &RunResult) -> Option<Warning> {
    let share = run.achieved_share()?;
    run.is_short().then(|| {
        Warning(format!(
            "at the rate found, the server answered only {:.1} % of the messages: add \
             --find 'achieved>=99%' for a rate that it answers",
            share * 100.0
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{self, Assertion, Found, Udp, samples};

    /// Returns a run in which one condition has this value and holds or not.
    fn run(asked: u64, held: bool, value: Option<f64>) -> RunResult {
        let mut run = samples::open_run();
        run.rate.asked = Some(asked as f64);
        run.rate.over_planned = asked as f64;
        let condition = Outcome { expression: "p99<1ms".to_owned(), value, held };
        // The user's own assert comes first and decides nothing.
        let own = Outcome { expression: "rate>1g".to_owned(), value: Some(1.0), held: false };
        run.asserts = vec![own, condition];
        run
    }

    fn verdict_of(change: impl FnOnce(&mut RunResult)) -> Verdict {
        let mut run = run(1_000, true, Some(1.0));
        change(&mut run);
        verdict(&run, 1, true)
    }

    #[test]
    fn a_run_is_judged_by_its_conditions_only_while_the_generator_was_well() {
        assert_eq!(verdict_of(|_| {}), Verdict::Held);
        assert_eq!(verdict_of(|run| run.asserts[1].held = false), Verdict::Failed);
        assert_eq!(verdict_of(|run| run.status = Status::Partial), Verdict::Failed);
        assert_eq!(
            verdict_of(|run| run.asserts[1] = self::run(1, false, None).asserts.remove(1)),
            { Verdict::NoValue }
        );
        // case B19
        for limit in [measured::Verdict::Starved, measured::Verdict::Behind] {
            let verdict = verdict_of(|run| {
                run.asserts[1].held = false;
                run.generator.verdict = Some(limit);
            });
            assert_eq!(verdict, Verdict::Unproven);
        }
        assert_eq!(verdict_of(|run| run.flows.failed_locally = 1), Verdict::Unproven);
    }

    #[test]
    fn a_condition_that_held_counts_although_the_generator_was_not_well() {
        let starved = |change: fn(&mut RunResult), is_full| {
            let mut run = run(1_000, true, Some(1.0));
            run.generator.verdict = Some(measured::Verdict::Starved);
            change(&mut run);
            verdict(&run, 1, is_full)
        };
        assert_eq!(starved(|_| {}, true), Verdict::HeldUnwell);
        assert_eq!(starved(|run| run.rate.over_planned = 990.0, false), Verdict::HeldUnwell);
        assert_eq!(starved(|run| run.rate.over_planned = 989.0, false), Verdict::Unproven);
        assert_eq!(starved(|run| run.status = Status::Partial, true), Verdict::Unproven);
        assert_eq!(starved(|run| run.flows.failed_locally = 1, true), Verdict::Unproven);
        let no_value = |run: &mut RunResult| {
            (run.asserts[1].held, run.asserts[1].value) = (false, None);
        };
        assert_eq!(starved(no_value, false), Verdict::NoValue, "a longer run may have a value");
        assert_eq!(starved(no_value, true), Verdict::Unproven);
    }

    /// Returns the verdict on a run with a condition that lost messages, of which the generator's
    /// own receive buffer dropped some.
    fn verdict_with_drops(condition: &str, lost: u64, receive_drops: u64) -> Verdict {
        verdict_of(|run| {
            (run.messages.sent, run.messages.received) = (10_000, 10_000 - lost);
            run.messages.lost = lost;
            run.rate.over_planned = 1_000.0 - lost as f64 / 10.0;
            run.udp = Some(Udp { receive_drops });
            let condition: Assertion = condition.parse().unwrap();
            run.asserts[1] = condition.check(run);
        })
    }

    /// case B19
    #[test]
    fn what_the_own_receive_buffer_dropped_is_not_the_servers_failure() {
        for (condition, lost, drops, verdict) in [
            ("loss<0.1%", 50, 50, Verdict::Unproven),
            ("loss<0.1%", 50, 0, Verdict::Failed),
            ("loss<0.1%", 50, 30, Verdict::Failed),
            ("achieved>=99%", 500, 450, Verdict::Unproven),
            ("achieved>=99%", 500, 300, Verdict::Failed),
            // The condition looks only at what was answered.
            ("p50<1s", 500, 450, Verdict::Unproven),
            ("p50<1s", 500, 300, Verdict::Held),
            ("p50<1s", 5, 5, Verdict::Held),
            // Replies wait in a full buffer.
            ("p50<1us", 500, 450, Verdict::Unproven),
            ("p50<1us", 500, 300, Verdict::Failed),
        ] {
            let found = verdict_with_drops(condition, lost, drops);
            assert_eq!(found, verdict, "{condition}: {drops} of {lost}");
        }
    }

    #[test]
    fn drops_of_the_own_receive_buffer_come_with_a_warning() {
        let mut sweep = Sweep::over(SweptFlag::Rate, vec![1_000, 2_000, 4_000, 8_000]);
        while let Some(point) = sweep.next() {
            let mut run = run(point.value, true, Some(1.0));
            if point.value >= 4_000 {
                run.rate.over_planned *= 0.9;
                (run.messages.sent, run.messages.lost) = (100 * point.value, 10 * point.value);
                run.elapsed_ns = 100_000_000_000;
                run.planned_ns = Some(run.elapsed_ns);
                run.udp = Some(Udp { receive_drops: run.messages.lost });
            }
            sweep.tell(run);
        }
        let result = sweep.end(None);
        let knee = result.knee.unwrap();
        assert_eq!((knee.value, knee.next, knee.limit), (2_000, None, Limit::Generator));
        let [warning] = &result.warnings[..] else { panic!("{:?}", result.warnings) };
        let start = "in 2 of 4 runs, the generator's own receive buffer dropped replies of the \
                     server (40000 datagrams or trains at --rate 4000)";
        assert!(warning.0.starts_with(start), "{}", warning.0);
    }

    #[test]
    fn an_answer_with_a_generator_that_was_not_well_comes_with_a_warning() {
        let mut sweep = Sweep::find(vec!["p99<1ms".to_owned()], (1_000, 4_000), 0.05);
        while let Some(point) = sweep.next() {
            let mut run = run(point.value, true, Some(1.0));
            run.generator.verdict = Some(measured::Verdict::Starved);
            sweep.tell(run);
        }
        let result = sweep.end(None);
        let expected = Found { rate: 4_000, at_least: true, limit: Limit::Generator };
        assert_eq!((result.found, result.limit), (Some(expected), Some(Limit::Generator)));
        assert!(result.warnings[0].0.contains("not well (starved)"), "{:?}", result.warnings);
    }

    #[test]
    fn a_search_below_the_least_rate_says_so_before_it_starts() {
        let find = || Sweep::find(vec!["p99<1ms".to_owned()], (1_000, 4_000), 0.05);
        for enough in [1, 999, 4_000] {
            assert!(find().with_least(enough).end(None).warnings.is_empty(), "{enough}");
        }
        let warnings = find().with_least(4_001).end(None).warnings;
        assert!(warnings[0].0.contains("such as --rate 4000..4001"), "{warnings:?}");
    }

    #[test]
    fn a_run_with_a_wrong_echo_fails_whatever_held() {
        assert_eq!(verdict_of(|run| run.messages.corrupted = 1), Verdict::Failed);
        assert_eq!(verdict_of(|run| run.warmup_messages.corrupted = 1), Verdict::Failed);
        let starved = verdict_of(|run| {
            run.messages.corrupted = 1;
            run.generator.verdict = Some(measured::Verdict::Starved);
        });
        assert_eq!(starved, Verdict::Failed);
    }

    #[test]
    fn a_search_ends_with_its_answer_and_every_run() {
        let mut sweep = Sweep::find(vec!["p99<1ms".to_owned()], (1_000, 100_000), 0.05);
        let mut count = 0;
        while let Some(point) = sweep.next() {
            let result = sweep.tell(run(point.value, point.value <= 20_000, Some(1.0)));
            count += 1;
            assert_eq!(result.points.len(), count);
        }
        let result = sweep.end(None);
        let Some(Found { rate, at_least: false, limit: Limit::Server }) = result.found else {
            panic!("{:?}", result.found);
        };
        assert!(rate > 19_000 && rate <= 20_000, "{rate}");
        assert_eq!((result.status, result.knee, result.points.len()), (Status::Ok, None, count));
        assert!(result.warnings.is_empty());
    }

    #[test]
    fn a_search_without_enough_samples_says_so_and_shows_no_limit() {
        let mut sweep = Sweep::find(vec!["p99.99<1ms".to_owned()], (1_000, 4_000), 0.05);
        while let Some(point) = sweep.next() {
            sweep.tell(run(point.value, false, None));
        }
        let result = sweep.end(None);
        assert_eq!((result.found, result.limit), (None, Some(Limit::None)));
        let [warning] = &result.warnings[..] else { panic!("{:?}", result.warnings) };
        assert!(warning.0.starts_with("no run has a value for p99.99<1ms, so "), "{}", warning.0);
        assert!(result.to_json().contains(r#""limit": "none""#), "{}", result.to_json());
    }

    #[test]
    fn a_condition_without_a_value_explains_nothing_if_another_one_failed() {
        use measured::Verdict::{Ok, Starved};
        for (verdict, limit) in [(Ok, Limit::Server), (Starved, Limit::Generator)] {
            let find = ["p99<1ms", "p99.99<1ms"].map(str::to_owned);
            let mut sweep = Sweep::find(find.into(), (1_000, 4_000), 0.05);
            while let Some(point) = sweep.next() {
                let mut run = run(point.value, false, Some(1e7));
                run.asserts.push(Outcome { value: None, ..run.asserts[1].clone() });
                run.generator.verdict = Some(verdict);
                sweep.tell(run);
            }
            let result = sweep.end(None);
            assert_eq!((result.limit, result.warnings), (Some(limit), Vec::new()));
        }
    }

    #[test]
    fn a_search_that_was_interrupted_finds_nothing_but_keeps_its_runs() {
        let mut sweep = Sweep::find(vec!["p99<1ms".to_owned()], (1_000, 100_000), 0.05);
        sweep.tell(run(1_000, true, Some(1.0)));
        let result = sweep.end(Some("interrupted".to_owned()));
        assert_eq!((result.found, result.status), (None, Status::Partial));
        assert_eq!((result.error.as_deref(), result.points.len()), (Some("interrupted"), 1));
        let nothing = Sweep::over(SweptFlag::Rate, vec![1]).end(Some("refused".to_owned()));
        assert_eq!(nothing.status, Status::Error);
    }

    #[test]
    fn a_rate_that_the_server_does_not_answer_comes_with_a_warning() {
        let mut sweep = Sweep::find(vec!["p99<1ms".to_owned()], (1_000, 1_000), 0.05);
        while sweep.next().is_some() {
            let mut lossy = run(1_000, true, Some(1.0));
            lossy.rate.over_planned = 500.0;
            sweep.tell(lossy);
        }
        let result = sweep.end(None);
        assert!(result.found.is_some());
        assert!(result.warnings[0].0.contains("only 50.0 %"), "{:?}", result.warnings);
    }

    #[test]
    fn values_are_run_in_their_order_and_the_knee_is_found_in_any() {
        let mut sweep = Sweep::over(SweptFlag::Rate, vec![32_000, 1_000, 16_000]);
        let mut values = Vec::new();
        while let Some(Point { value, is_full }) = sweep.next() {
            assert!(is_full);
            values.push(value);
            let mut run = run(value, true, Some(1.0));
            run.rate.over_planned = value.min(20_000) as f64;
            sweep.tell(run);
        }
        assert_eq!(values, [32_000, 1_000, 16_000]);
        let result = sweep.end(None);
        assert_eq!(result.knee.map(|knee| (knee.value, knee.next)), Some((16_000, Some(32_000))));
        assert_eq!((result.found, result.limit), (None, None));
    }
}
