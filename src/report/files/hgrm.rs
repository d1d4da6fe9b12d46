//! hgrm: the percentile distribution as HdrHistogram prints it, for its plotter.

use std::io;

use hdrhistogram::Histogram;

use crate::measured::{Distribution, RunResult};

/// The nanoseconds in a microsecond, which is the unit of the file.
const SCALE: f64 = 1e3;

/// Rows per halving of the distance to 100 %; HdrHistogram's default.
const TICKS_PER_HALF: u128 = 5;

/// Writes the distribution of response times by percentile, in microseconds.
///
/// Columns and footer are those of HdrHistogram's `outputPercentileDistribution`, with a last line
/// that names the unit. Every percentile
/// has a row, however few samples lie beyond it; the column of counts says how many. A run without
/// an echo has no row.
///
/// # Errors
///
/// Returns the error of the writer.
pub fn write_hgrm(result: &RunResult, out: &mut impl io::Write) -> io::Result<()> {
    write_distribution(&result.latency_ns.values, out)
}

fn write_distribution(distribution: &Distribution, out: &mut impl io::Write) -> io::Result<()> {
    let histogram = distribution.histogram();
    let digits = usize::from(histogram.sigfig());
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    for Row { value_ns, quantile, count } in rows(distribution) {
        let value = value_ns as f64 / SCALE;
        write!(out, "{value:>12.digits$} {quantile:>14.12} {count:>10}")?;
        // In the last row the value would be infinite.
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let stddev = if histogram.is_empty() { 0.0 } else { histogram.stdev() / SCALE };
    let mean = distribution.mean_ns() / SCALE;
    let max = distribution.max_ns().unwrap_or(0) as f64 / SCALE;
    writeln!(out, "#[Mean    = {mean:>12.digits$}, StdDeviation   = {stddev:>12.digits$}]")?;
    let total = histogram.len();
    writeln!(out, "#[Max     = {max:>12.digits$}, Total count    = {total:>12}]")?;
    let (buckets, sub_buckets) = (histogram.buckets(), sub_buckets(histogram));
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]")?;
    writeln!(out, "#[Unit    = microseconds]")
}

struct Row {
    value_ns: u64,
    quantile: f64,
    /// The number of values up to this one.
    count: u64,
}

/// A position on the way to 100 %: `parts` of `whole`, in integers. Each half of the remaining
/// distance has [`TICKS_PER_HALF`] steps. The crate's own iterator compares in floating point and
/// misses ranks.
struct Step {
    parts: u128,
    whole: u128,
}

impl Step {
    /// Finer steps than this exceed any count of values.
    const WHOLE_MAX: u128 = TICKS_PER_HALF << 60;

    fn is_reached(&self, count: u64, all: u64) -> bool {
        u128::from(count) * self.whole >= self.parts * u128::from(all)
    }

    fn advance(&mut self) {
        self.parts += 1;
        if self.whole - self.parts == TICKS_PER_HALF && self.whole < Step::WHOLE_MAX {
            self.parts *= 2;
            self.whole *= 2;
        }
    }
}

/// Returns a row for each step and a last one for 100 %. No value exceeds the greatest one.
fn rows(distribution: &Distribution) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut step = Step { parts: 0, whole: 2 * TICKS_PER_HALF };
    let all = distribution.count();
    let mut count = 0;
    for range in distribution.histogram().iter_recorded() {
        count += range.count_since_last_iteration();
        let value_ns = range.value_iterated_to().min(distribution.max_ns().unwrap_or(0));
        while step.is_reached(count, all) {
            let quantile = step.parts as f64 / step.whole as f64;
            rows.push(Row { value_ns, quantile, count });
            if count == all {
                rows.push(Row { value_ns, quantile: 1.0, count });
                return rows;
            }
            step.advance();
        }
    }
    rows
}

/// Returns the least power of two that is at least twice ten to the power of the digits, as
/// HdrHistogram sizes its sub-buckets.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::samples;

    fn text_of(result: &RunResult) -> String {
        let mut out = Vec::new();
        write_hgrm(result, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_file_is_as_hdrhistogram_prints_it() {
        let mut distribution = Distribution::new();
        (1..=4).for_each(|value| distribution.record(value * 1_000));
        let mut result = samples::closed_run();
        result.latency_ns.values = distribution;
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)\n\
                        \n       1.000 0.000000000000          1           1.00\n";
        let text = text_of(&result);
        assert!(text.starts_with(expected), "{text}");
        let footer = "       4.000 1.000000000000          4\n\
                      #[Mean    =        2.500, StdDeviation   =        1.118]\n\
                      #[Max     =        4.000, Total count    =            4]\n\
                      #[Buckets =           32, SubBuckets     =         2048]\n\
                      #[Unit    = microseconds]\n";
        assert!(text.ends_with(footer), "{text}");
    }

    /// Quantiles and counts equal the crate's own, except where rounding makes the crate miss a
    /// rank.
    #[test]
    fn rows_equal_those_of_the_crate_and_their_ranks_are_exact() {
        let mut distribution = Distribution::new();
        (1..=12_000).for_each(|value| distribution.record(value * 1_000_000));
        let histogram = distribution.histogram();
        let expected = histogram.iter_quantiles(5).map(|row| row.quantile_iterated_to());
        let rows = rows(&distribution);
        let near = |(row, expected): (&Row, f64)| (row.quantile - expected).abs() < 1e-12;
        assert!(rows.iter().zip(expected).all(near));
        for Row { value_ns, quantile, count } in &rows {
            // A row counts all values of a bucket; the rank is that of one of them.
            let is_reached = |rank: &u64| *rank as f64 / 12_000.0 >= quantile - 1e-12;
            let rank = (1..=12_000).find(is_reached).unwrap();
            let value = histogram.highest_equivalent(rank * 1_000_000).min(12_000_000_000);
            assert_eq!((*value_ns, *count >= rank), (value, true), "{quantile}");
        }
        let last = rows.last().unwrap();
        assert_eq!((last.value_ns, last.count), (12_000_000_000, 12_000));
    }

    #[test]
    fn a_run_without_an_echo_gives_a_file_without_rows() {
        let result = RunResult::failed(Vec::new(), "refused");
        let text = text_of(&result);
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.contains("Total count    =            0]"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
