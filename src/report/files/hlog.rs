//! hlog: the histogram of each interval in HdrHistogram's log format.

use std::time::{Duration, SystemTime};
use std::{fmt, io};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use crate::measured::{Interval, PROGRAM, RunResult};

/// The line of column names, which readers of the format expect and skip.
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";

/// Writes intervals one at a time. The start and the length of an interval are in seconds, all
/// other times in nanoseconds.
///
/// Intervals of the warm-up have the tag `warmup`. The others have no tag and add up to the
/// response times of the report.
pub struct HlogWriter<W> {
    out: W,
    serializer: V2DeflateSerializer,
}

impl<W: io::Write> HlogWriter<W> {
    /// Begins a log. `started`: when the sending began. Intervals count from this time.
    ///
    /// # Errors
    ///
    /// Returns the error of the writer.
    pub fn new(mut out: W, started: SystemTime) -> io::Result<HlogWriter<W>> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment(&format!("[Logged with {PROGRAM}; times in nanoseconds]"))
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut out, &mut serializer)?;
        writeln!(out, "{LEGEND}")?;
        Ok(HlogWriter { out, serializer })
    }

    /// Adds an interval. Intervals must come in the order of their starts.
    ///
    /// # Errors
    ///
    /// Returns the error of the writer.
    pub fn add(&mut self, interval: &Interval) -> io::Result<()> {
        // The crate's log writer borrows its output. This type owns the output, so it makes a log
        // writer without a header for each interval.
        let mut line = Vec::new();
        let mut log =
            IntervalLogWriterBuilder::new().begin_log_with(&mut line, &mut self.serializer)?;
        let start = Duration::from_nanos(interval.start_ns);
        let length = Duration::from_nanos(interval.end_ns.saturating_sub(interval.start_ns));
        let tag = if interval.is_warmup { Tag::new("warmup") } else { None };
        log.write_histogram(interval.latency.histogram(), start, length, tag).map_err(|error| {
            match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            }
        })?;
        self.out.write_all(&with_max(&line, interval.latency.max_ns().unwrap_or(0)))
    }

    /// Flushes the log and returns the writer.
    ///
    /// # Errors
    ///
    /// Returns the error of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Writes the log of a result that has no intervals: a merged result is one interval, and a run
/// that failed has none.
pub(in crate::report) fn write_hlog(result: &RunResult, out: &mut Vec<u8>) -> io::Result<()> {
    let started = result.run.measured_from.unwrap_or_else(SystemTime::now);
    let mut log = HlogWriter::new(out, started)?;
    if !result.parts.is_empty() {
        log.add(&Interval {
            start_ns: 0,
            end_ns: result.elapsed_ns,
            is_warmup: false,
            is_drain: false,
            messages: result.messages,
            latency: result.latency_ns.values.clone(),
            flows_open: 0,
        })?;
    }
    log.finish().map(|_| ())
}

/// Returns the line with the exact greatest value in its last field but one. The crate's log writer
/// knows only the end of the value's bucket.
fn with_max(line: &[u8], max_ns: u64) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = line.rsplitn(3, |byte| *byte == b',').collect();
    let max = format!("{max_ns}.000");
    if let [_, field, _] = &mut fields[..] {
        *field = max.as_bytes();
    }
    fields.reverse();
    fields.join(&b',')
}

impl<W: fmt::Debug> fmt::Debug for HlogWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HlogWriter").field("out", &self.out).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::measured::{Distribution, Messages};

    fn interval(start_ns: u64, is_warmup: bool, values: &[u64]) -> Interval {
        let mut latency = Distribution::new();
        values.iter().for_each(|value| latency.record(*value));
        Interval {
            start_ns,
            end_ns: start_ns + 1_000_000_000,
            is_warmup,
            is_drain: false,
            messages: Messages::default(),
            latency,
            flows_open: 1,
        }
    }

    fn written(intervals: &[Interval]) -> String {
        let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500_000_000_250);
        let mut log = HlogWriter::new(Vec::new(), started).unwrap();
        intervals.iter().for_each(|interval| log.add(interval).unwrap());
        String::from_utf8(log.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_log_without_intervals_has_its_header() {
        let expected = "#[Logged with resound 0.1.0; times in nanoseconds]\n\
                        #[Histogram log format version 1.3]\n\
                        #[StartTime: 1500000000.250 (seconds since epoch)]\n\
                        #[BaseTime: 1500000000.250 (seconds since epoch)]\n";
        assert_eq!(written(&[]), format!("{expected}{LEGEND}\n"));
    }

    #[test]
    fn a_written_log_can_be_read_back() {
        let log = written(&[
            interval(0, true, &[5_000_003]),
            interval(1_000_000_000, false, &[70_000, 80_001]),
            interval(2_000_000_000, false, &[]),
        ]);
        let max: Vec<_> =
            log.lines().skip(5).map(|line| line.rsplit(',').nth(1).unwrap()).collect();
        assert_eq!(max, ["5000003.000", "80001.000", "0.000"], "exactly");
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            let LogEntry::Interval(entry) = entry.unwrap() else { continue };
            let bytes = STANDARD.decode(entry.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let tag = entry.tag().map(|tag| tag.as_str().to_owned());
            found.push((tag, entry.start_timestamp(), histogram.len()));
        }
        let expected = [
            (Some("warmup".to_owned()), Duration::ZERO, 1),
            (None, Duration::from_secs(1), 2),
            (None, Duration::from_secs(2), 0),
        ];
        assert_eq!(found, expected);
    }
}
