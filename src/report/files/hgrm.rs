//! The percentile distribution as HdrHistogram prints it, for its plotter.

use std::io;

use hdrhistogram::Histogram;

use crate::report::{Distribution, Report};

/// Nanoseconds in the unit of the file, a microsecond.
const SCALE: f64 = 1e3;

/// Rows for each halving of what is left to 100 %, as HdrHistogram has by default.
const TICKS_PER_HALF: u32 = 5;

/// Writes the distribution of response times by percentile, in microseconds.
///
/// Columns and footer are those of HdrHistogram's `outputPercentileDistribution`. Every percentile
/// is there, however few samples lie beyond it: the column of counts says how many. A run without
/// an echo has no row.
///
/// # Errors
///
/// What the writer says.
pub fn write_hgrm(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    match &report.latency_histogram {
        Some(histogram) => write_histogram(histogram, out),
        None => write_histogram(Distribution::new().histogram(), out),
    }
}

fn write_histogram(histogram: &Histogram<u64>, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    let digits = usize::from(histogram.sigfig());
    for row in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += row.count_since_last_iteration();
        let value = row.value_iterated_to() as f64 / SCALE;
        let quantile = row.quantile_iterated_to();
        write!(out, "{value:>12.digits$} {quantile:>14.12} {count:>10}")?;
        // Of the last row it would be infinite.
        if quantile < 1.0 {
            write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let [mean, stddev, max] = [histogram.mean(), histogram.stdev(), histogram.max() as f64]
        .map(|value| if histogram.is_empty() { 0.0 } else { value / SCALE });
    writeln!(out, "#[Mean    = {mean:>12.digits$}, StdDeviation   = {stddev:>12.digits$}]")?;
    let total = histogram.len();
    writeln!(out, "#[Max     = {max:>12.digits$}, Total count    = {total:>12}]")?;
    let (buckets, sub_buckets) = (histogram.buckets(), sub_buckets(histogram));
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]")
}

/// Enough to tell apart twice ten to the number of digits, as a power of two.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn text_of(report: &Report) -> String {
        let mut out = Vec::new();
        write_hgrm(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_file_is_as_hdrhistogram_prints_it() {
        let mut distribution = Distribution::new();
        (1..=4).for_each(|value| distribution.record(value * 1_000));
        let mut report = samples::closed_run();
        report.latency_histogram = Some(distribution.histogram().clone());
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)\n\
                        \n       1.000 0.000000000000          1           1.00\n";
        let text = text_of(&report);
        assert!(text.starts_with(expected), "{text}");
        let footer = "       4.001 1.000000000000          4\n\
                      #[Mean    =        2.501, StdDeviation   =        1.118]\n\
                      #[Max     =        4.001, Total count    =            4]\n\
                      #[Buckets =           32, SubBuckets     =         2048]\n";
        assert!(text.ends_with(footer), "{text}");
    }

    #[test]
    fn a_run_without_an_echo_is_a_file_without_rows() {
        let mut report = Report::failed("", Vec::new(), "refused");
        let text = text_of(&report);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("Total count    =            0]"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
        report.latency_histogram = Some(Distribution::new().histogram().clone());
        assert_eq!(text_of(&report).lines().count(), 5);
    }
}
