//! Writes an interval of a run on one line: as text, as JSON, or for a progress bar.

use serde::Serialize;

use super::words::{rate_text, time_text};
use crate::measured::{Interval, Messages, Mode, Percentile, PercentileList, Summary};

/// The JSON line. Its keys have the order of these fields.
#[derive(Serialize)]
struct Document<'a> {
    interval: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    start_ns: u64,
    end_ns: u64,
    warmup: bool,
    drain: bool,
    rate: f64,
    messages: &'a Messages,
    flows_open: u64,
    latency_ns: Summary,
}

impl Interval {
    /// Returns the echoes per second; 0 for an interval of no length.
    pub fn rate(&self) -> f64 {
        let length_ns = self.end_ns.saturating_sub(self.start_ns);
        if length_ns == 0 { 0.0 } else { self.messages.received as f64 * 1e9 / length_ns as f64 }
    }

    /// Returns one JSON object on one line, without a newline at its end.
    ///
    /// Its only key is `interval`, which tells it from the document at the end. `messages` has the
    /// keys of the document, but counts what happened in the interval: the echo of a message that
    /// was sent in it may come in the next one.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json_line(&self, percentiles: &PercentileList) -> String {
        let document = Document {
            interval: Fields {
                start_ns: self.start_ns,
                end_ns: self.end_ns,
                warmup: self.is_warmup,
                drain: self.is_drain,
                rate: self.rate(),
                messages: &self.messages,
                flows_open: self.flows_open,
                latency_ns: self.latency.summary(percentiles),
            },
        };
        serde_json::to_string(&document).expect("plain data is JSON")
    }

    /// Returns one line for people, without a newline: times, phase, rate, percentiles and losses.
    /// It has 90 columns, and more only when something went wrong.
    pub fn to_text_line(&self, mode: Mode) -> String {
        self.fields(mode).join("  ")
    }

    /// Returns the line of [`Interval::to_text_line`]. If it is wider than `columns`, it leaves out
    /// the maximum first, then p50, then p99.
    pub fn to_terminal_line(&self, mode: Mode, columns: usize) -> String {
        const LEFT_OUT_FIRST: [&str; 3] = ["max ", "p50 ", "p99 "];
        let mut fields = self.fields(mode);
        for time in LEFT_OUT_FIRST {
            let line = fields.join("  ");
            if line.chars().count() <= columns {
                return line;
            }
            fields.retain(|field| !field.starts_with(time));
        }
        let line = fields.join("  ");
        if line.chars().count() <= columns {
            return line;
        }
        // Too narrow for aligned columns.
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn fields(&self, mode: Mode) -> Vec<String> {
        let [start, end] = [self.start_ns, self.end_ns].map(|ns| ns as f64 / 1e9);
        let max = self.latency.max_ns();
        let [p50, p99] = [Percentile::P50, Percentile::P99].map(|p| self.latency.percentile(p));
        let [p50, p99, max] = [p50, p99, max].map(time_or_dash);
        let Messages { lost, late, duplicated, reordered, corrupted, .. } = self.messages;
        let (phase, rate, unit) = (self.phase(), rate_text(self.rate()), unit(mode));
        let mut fields = vec![
            format!("{start:>6.1} -{end:>6.1} s  {phase:<7} {rate:>9} {unit}"),
            format!("p50 {p50:>7}"),
            format!("p99 {p99:>7}"),
            format!("max {max:>7}"),
            format!("lost {lost}"),
        ];
        let trouble = [
            ("late", late),
            ("duplicated", duplicated),
            ("reordered", reordered),
            ("corrupted", corrupted),
        ];
        let trouble = trouble.into_iter().filter(|(_, count)| *count > 0);
        fields.extend(trouble.map(|(name, count)| format!("{name} {count}")));
        fields
    }

    /// Returns a text for a progress bar, which itself shows how much of the run is done. It has 50
    /// columns at most, unless something went wrong.
    pub fn to_progress(&self, mode: Mode) -> String {
        let mut text = format!(
            "{} {}, p50 {}",
            rate_text(self.rate()),
            unit(mode),
            time_or_dash(self.latency.percentile(Percentile::P50))
        );
        if !self.phase().is_empty() {
            text = format!("{}: {text}", self.phase());
        }
        let Messages { lost, corrupted, .. } = self.messages;
        for (name, count) in [("lost", lost), ("corrupted", corrupted)] {
            if count > 0 {
                text.push_str(&format!(", {count} {name}"));
            }
        }
        text
    }

    fn phase(&self) -> &'static str {
        match (self.is_warmup, self.is_drain) {
            (true, _) => "warm-up",
            (_, true) => "drain",
            _ => "",
        }
    }
}

fn unit(mode: Mode) -> &'static str {
    match mode {
        Mode::Echo => "msg/s",
        Mode::Connect => "conn/s",
    }
}

fn time_or_dash(time_ns: Option<u64>) -> String {
    time_ns.map_or_else(|| "-".to_owned(), time_text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::measured::Distribution;

    fn interval(echoes: u64) -> Interval {
        let mut latency = Distribution::new();
        (0..echoes).for_each(|_| latency.record(71_200));
        Interval {
            start_ns: 1_000_000_000,
            end_ns: 2_000_000_000,
            is_warmup: false,
            is_drain: false,
            messages: Messages { sent: echoes, received: echoes, ..Messages::default() },
            latency,
            flows_open: 50,
        }
    }

    #[test]
    fn a_line_has_times_rate_percentiles_and_losses() {
        let line = interval(2_000).to_text_line(Mode::Echo);
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected = "1.0 - 2.0 s 2,000 msg/s p50 71.2 us p99 71.2 us max 71.2 us lost 0";
        assert_eq!(words.join(" "), expected);
        assert!(line.len() <= 90, "{line}");
    }

    #[test]
    fn a_line_that_is_too_wide_leaves_out_the_maximum_first() {
        let interval = interval(2_000);
        let whole = interval.to_text_line(Mode::Echo);
        assert_eq!(interval.to_terminal_line(Mode::Echo, 90), whole);
        for (columns, left_out) in
            [(80, &["max"][..]), (65, &["max", "p50"]), (30, &["max", "p50", "p99"])]
        {
            let line = interval.to_terminal_line(Mode::Echo, columns);
            assert!(line.len() <= columns, "{line}");
            for name in ["max", "p50", "p99"] {
                assert_eq!(line.contains(name), !left_out.contains(&name), "{line}");
            }
            assert!(line.contains("2,000 msg/s") && line.ends_with("lost 0"), "{line}");
        }
    }

    #[test]
    fn the_phase_and_the_unit_are_named() {
        let mut interval = interval(20);
        interval.is_warmup = true;
        assert!(interval.to_text_line(Mode::Connect).contains(" warm-up  "));
        assert_eq!(interval.to_progress(Mode::Connect), "warm-up: 20.0 conn/s, p50 71.2 us");
        interval.is_warmup = false;
        interval.is_drain = true;
        assert!(interval.to_text_line(Mode::Echo).contains(" drain "));
    }

    #[test]
    fn the_line_counts_what_went_wrong() {
        let mut interval = interval(0);
        interval.messages = Messages { lost: 3, duplicated: 2, corrupted: 1, ..interval.messages };
        let line = interval.to_text_line(Mode::Echo);
        assert!(line.ends_with("max       -  lost 3  duplicated 2  corrupted 1"), "{line}");
        assert_eq!(interval.to_progress(Mode::Echo), "0 msg/s, p50 -, 3 lost, 1 corrupted");
    }

    #[test]
    fn an_interval_of_no_length_has_no_rate() {
        let mut interval = interval(5);
        interval.end_ns = interval.start_ns;
        assert_eq!(interval.rate(), 0.0);
    }

    proptest! {
        #[test]
        fn any_interval_is_one_json_object_on_one_line(
            start_ns: u64, end_ns: u64, received: u64, is_warmup: bool, values: Vec<u64>,
        ) {
            let mut interval = interval(0);
            interval.messages.received = received;
            interval = Interval { start_ns, end_ns, is_warmup, ..interval };
            values.iter().for_each(|value| interval.latency.record(*value));
            let line = interval.to_json_line(&PercentileList::default());
            prop_assert!(!line.contains('\n'));
            let json: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(json["interval"]["warmup"].as_bool(), Some(is_warmup));
            prop_assert!(json["interval"]["rate"].is_f64());
            let count = &json["interval"]["latency_ns"]["count"];
            prop_assert_eq!(count.as_u64(), Some(values.len() as u64));
            prop_assert!(!interval.to_text_line(Mode::Echo).contains('\n'));
        }
    }
}
