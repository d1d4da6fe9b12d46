//! A small histogram of the response times, for a terminal.

use super::page::Page;
use super::{percent_text, time_text};
use crate::measured::{Distribution, RunResult};

/// The rows of the histogram. With the result below it, it fits half of a usual terminal.
const ROWS: usize = 8;

/// Columns beside a bar: the time before it, the share behind it, and spaces.
const TIME_COLUMNS: usize = 7;
const SHARE_COLUMNS: usize = 8;

/// The longest bar. Longer ones do not show more.
const BAR_COLUMNS_MAX: usize = 50;

/// Parts of a block, from an eighth to the whole.
const BLOCKS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Writes a bar for each of a few ranges of equal ratio, from the least response time to the
/// greatest. Writes nothing for too few echoes.
pub(super) fn bars(result: &RunResult, page: &mut Page) {
    let values = &result.latency_ns.values;
    let Some((least, greatest)) = values.min_ns().zip(values.max_ns()) else { return };
    if values.count() < ROWS as u64 || greatest <= least {
        return;
    }
    let counts = counts(values, least, greatest);
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let room = page.text_columns().saturating_sub(TIME_COLUMNS + SHARE_COLUMNS + 2);
    let room = room.min(BAR_COLUMNS_MAX);
    for (row, (from_ns, count)) in counts.into_iter().enumerate() {
        let bar = bar(count, most, room);
        let share = percent_text(count as f64, values.count() as f64);
        let label = if row == 0 { "latency from" } else { "" };
        let time = time_text(from_ns);
        page.entry(label, &format!("{time:>TIME_COLUMNS$} {bar:<room$} {share:>SHARE_COLUMNS$}"));
    }
}

/// Returns where each range begins, and how many values lie in it.
fn counts(values: &Distribution, least: u64, greatest: u64) -> Vec<(u64, u64)> {
    let (least, greatest) = (least.max(1) as f64, greatest.max(2) as f64);
    let ratio = (greatest / least).powf(1.0 / ROWS as f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float to integer cast saturates; no value is negative"
    )]
    let whole = |value: f64| value as u64;
    let start = |row: usize| whole(least * ratio.powf(row as f64));
    let mut counts: Vec<(u64, u64)> = (0..ROWS).map(|row| (start(row), 0)).collect();
    for range in values.histogram().iter_recorded() {
        let value = range.value_iterated_to();
        let row = counts.iter().rposition(|(from, _)| *from <= value).unwrap_or(0);
        counts[row].1 += range.count_since_last_iteration();
    }
    counts
}

/// Returns a bar of this share of `room`. A count above 0 always shows.
fn bar(count: u64, most: u64, room: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let parts = BLOCKS.len() as u128;
    let length = u128::from(count) * room as u128 * parts / u128::from(most.max(1));
    let length = usize::try_from(length.max(1)).unwrap_or(room);
    let (whole, rest) = (length / BLOCKS.len(), length % BLOCKS.len());
    let mut bar = "█".repeat(whole);
    bar.extend(rest.checked_sub(1).map(|part| BLOCKS[part]));
    bar
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measured::{PercentileList, Times};

    fn drawn(values: &[u64], columns: usize) -> String {
        let mut distribution = Distribution::new();
        values.iter().for_each(|value| distribution.record(*value));
        let latency_ns = Times::of(distribution, &PercentileList::default());
        let mut page = Page::new(columns);
        bars(&RunResult { latency_ns, ..RunResult::default() }, &mut page);
        page.as_str().to_owned()
    }

    #[test]
    fn the_bars_show_where_the_times_lie() {
        let values: Vec<u64> =
            (0..1_000).map(|index| 50_000 + index * 10).chain([900_000]).collect();
        let text = drawn(&values, 80);
        assert_eq!(text.lines().count(), ROWS);
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("latency from  50.0 us ████"), "{text}");
        assert!(first.ends_with(" 99.90 %"), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.contains(" ▏ ") && last.ends_with(" 0.10 %"), "{text}");
        assert_eq!(drawn(&values[..5], 80), "", "too few echoes");
    }

    proptest! {
        #[test]
        fn bars_fit_any_terminal(values: Vec<u64>, columns in 40_usize..200) {
            let text = drawn(&values, columns);
            prop_assert!([0, ROWS].contains(&text.lines().count()), "{text}");
            for line in text.lines() {
                prop_assert!(line.chars().count() <= columns, "{line}");
            }
        }
    }
}
