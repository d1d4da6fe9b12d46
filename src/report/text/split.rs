//! The table of the stretches of a round trip.

use super::page::Page;
use super::{counted, time_text};
use crate::measured::{RunResult, Summary};

/// Writes where the time of sampled messages went, if that was asked for.
pub(super) fn split(result: &RunResult, page: &mut Page) {
    let Some(split) = &result.split else { return };
    if split.samples == 0 {
        return page.entry("split", "no message has all timestamps of the kernel");
    }
    let columns = [
        ("send", &split.send_ns.summary),
        ("away", &split.away_ns.summary),
        ("wake", &split.wake_ns.summary),
    ];
    page.row("split", columns.iter().map(|(name, _)| (*name).to_owned()));
    let mut row = |name: &str, value: &dyn Fn(&Summary) -> Option<u64>| {
        let cells = columns.iter().map(|(_, summary)| value(summary));
        page.row(name, cells.map(|value| value.map_or_else(|| "-".to_owned(), time_text)));
    };
    for (percentile, _) in &split.send_ns.summary.percentiles {
        row(&format!("p{percentile}"), &|summary| summary.percentile(percentile));
    }
    row("max", &|summary| Some(summary.max));
    row("mean", &|summary| Some(summary.mean));
    let samples = counted(split.samples, "sample");
    page.entry(
        "",
        &format!(
            "{samples} with the kernel's timestamps; send: from the call to the device's driver; \
             away: network and peer; wake: from the kernel's receipt to this program"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{SplitValues, Stretches, samples};

    fn split_lines(result: &RunResult) -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        result
            .to_string()
            .lines()
            .map(words)
            .skip_while(|line| !line.starts_with("split"))
            .collect()
    }

    #[test]
    fn the_stretches_stand_side_by_side() {
        let mut result = samples::closed_run();
        assert!(split_lines(&result).is_empty());
        let mut values = SplitValues::default();
        for _ in 0..20 {
            values.record(Stretches { send_ns: 5_000, away_ns: 40_000, wake_ns: 15_000 });
        }
        result.split = Some(values.split(&"50,99".parse().unwrap()));
        let expected = [
            "split send away wake",
            "p50 5.00 us 40.0 us 15.0 us",
            "p99 - - -",
            "max 5.00 us 40.0 us 15.0 us",
            "mean 5.00 us 40.0 us 15.0 us",
        ];
        let lines = split_lines(&result);
        assert_eq!(lines[..5], expected);
        assert!(
            lines[5].starts_with("20 samples with the kernel's timestamps; send: "),
            "{lines:?}"
        );
    }

    #[test]
    fn a_split_without_samples_says_so() {
        let mut result = samples::closed_run();
        result.split = Some(SplitValues::default().split(&"50".parse().unwrap()));
        assert_eq!(split_lines(&result)[0], "split no message has all timestamps of the kernel");
    }
}
