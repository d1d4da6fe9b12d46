//! Axes of figures: their ranges, their ticks and the texts of values.

use serde::Serialize;

use crate::report::words::{count_text, rate_text, time_text};

/// The most ticks on a linear axis: more labels would touch each other on a narrow page.
const TICKS_MAX: f64 = 6.0;

/// A logarithmic axis of fewer decades than this has ticks at 2 and 5 as well.
const DECADES_FEW: f64 = 2.6;

/// Values beyond these are not on any axis: no figure of a run has them, and a document can hold
/// any number.
const VALUES: std::ops::Range<f64> = 1e-12..1e24;

/// What the values of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Nanoseconds.
    Time,
    /// Seconds since a start.
    Seconds,
    /// Per second.
    Rate,
    /// `1 / (1 - p)` of a percentile p.
    Percentile,
    /// Whole numbers.
    Count,
    /// Quotients.
    Ratio,
}

impl Unit {
    /// Returns the text of a value on this axis.
    pub(super) fn text(self, value: f64) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float to integer cast saturates; no value is negative"
        )]
        let whole = |value: f64| value.round() as u64;
        match self {
            Unit::Time => time_text(whole(value)),
            Unit::Seconds => format!("{} s", plain(value)),
            Unit::Rate => rate_text(value),
            Unit::Percentile => percentile_text(value),
            Unit::Ratio => plain(value),
            Unit::Count => count_text(whole(value)),
        }
    }

    /// Returns the short text of a tick, which leaves out zeros that say nothing.
    fn tick_text(self, value: f64) -> String {
        const THOUSANDS: &[(f64, &str)] = &[(1e9, "G"), (1e6, "M"), (1e3, "k")];
        match self {
            Unit::Time => {
                let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (0.0, "ns")];
                let (scale, unit) =
                    units.into_iter().find(|(least, _)| value >= *least).unwrap_or((0.0, "ns"));
                format!("{} {unit}", plain(value / scale.max(1.0)))
            }
            Unit::Rate | Unit::Count => {
                let found = THOUSANDS.iter().find(|(least, _)| value >= *least);
                let (scale, unit) = found.copied().unwrap_or((1.0, ""));
                format!("{}{unit}", plain(value / scale))
            }
            _ => self.text(value),
        }
    }
}

/// Returns a number with at most four significant digits and no zeros at its end.
fn plain(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 1_000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Returns `99.9 %` for 1000.
fn percentile_text(inverse: f64) -> String {
    let share = 100.0 * (1.0 - 1.0 / inverse.max(1.0));
    let text = format!("{share:.6}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// One axis of a figure.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Axis {
    /// What the values are, with their unit.
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) log: bool,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Axis {
    /// Creates an axis from 0, or from a bit below the least value if `values` are close together.
    pub(super) fn linear(title: &str, unit: Unit, values: impl Iterator<Item = f64>) -> Axis {
        let greatest = values.filter(|value| VALUES.contains(value)).fold(0.0, f64::max);
        let max = if greatest > 0.0 { greatest * 1.05 } else { 1.0 };
        Axis { title: title.to_owned(), unit, log: false, min: 0.0, max }
    }

    /// Creates a logarithmic axis that ends at 1, 2 or 5 times a power of ten on both sides.
    pub(super) fn log(title: &str, unit: Unit, values: impl Iterator<Item = f64>) -> Axis {
        let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| VALUES.contains(value)) {
            least = least.min(value);
            greatest = greatest.max(value);
        }
        if greatest == 0.0 {
            (least, greatest) = (1.0, 10.0);
        }
        let (min, mut max) = (nice(least, f64::max, false), nice(greatest, f64::min, true));
        if max <= min {
            max = min * 10.0;
        }
        Axis { title: title.to_owned(), unit, log: true, min, max }
    }

    /// Returns where a value lies: 0 at the minimum, 1 at the maximum, not beyond.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.min) / self.min).ln() / (self.max / self.min).ln(),
            false => (value - self.min) / (self.max - self.min),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Returns the values that get a tick, with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let values = if self.log { self.log_ticks() } else { self.linear_ticks() };
        values.into_iter().map(|value| (value, self.unit.tick_text(value))).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.max / self.min).log10();
        let factors: &[f64] = if decades < DECADES_FEW && self.unit != Unit::Percentile {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let mut values = Vec::new();
        let mut power = 10_f64.powf(self.min.log10().floor());
        while power <= self.max * 1.001 {
            let within = factors.iter().map(|factor| power * factor);
            values.extend(within.filter(|v| *v >= self.min * 0.999 && *v <= self.max * 1.001));
            power *= 10.0;
        }
        values
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.max - self.min) / TICKS_MAX;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| rough <= power * factor);
        let mut step = power * factor.unwrap_or(10.0);
        if self.unit == Unit::Count {
            step = step.max(1.0);
        }
        let first = (self.min / step).ceil();
        let mut values = Vec::new();
        let mut index = first;
        while index * step <= self.max * 1.000_001 {
            values.push(index * step);
            index += 1.0;
        }
        values
    }
}

/// Returns the nearest of 1, 2 and 5 times a power of ten that does not lie inside of the value.
fn nice(value: f64, pick: fn(f64, f64) -> f64, is_upper: bool) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let all = [1.0, 2.0, 5.0, 10.0].map(|factor| power * factor);
    let outside = all.into_iter().filter(|bound| match is_upper {
        true => *bound >= value * 0.999_999,
        false => *bound <= value * 1.000_001,
    });
    outside.reduce(pick).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_logarithmic_axis_ends_at_round_values() {
        let axis = Axis::log("latency", Unit::Time, [71_000.0, 6_400_000.0].into_iter());
        assert_eq!((axis.min, axis.max), (50_000.0, 10_000_000.0));
        let expected = ["50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms", "5 ms", "10 ms"];
        assert_eq!(texts(&axis), expected);
        let axis = Axis::log("percentile", Unit::Percentile, [1.0, 100_000.0].into_iter());
        assert_eq!(texts(&axis), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }

    #[test]
    fn a_linear_axis_begins_at_0() {
        let axis = Axis::linear("rate", Unit::Rate, [20_000.0, 48_000.0].into_iter());
        assert_eq!(texts(&axis), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(texts(&Axis::linear("", Unit::Count, [].into_iter())), ["0", "1"]);
    }

    proptest! {
        #[test]
        fn any_values_make_an_axis_with_few_ticks(values: Vec<f64>, is_log: bool) {
            let make = if is_log { Axis::log } else { Axis::linear };
            let axis = make("", Unit::Time, values.iter().copied().map(f64::abs));
            let ticks = axis.ticks();
            prop_assert!(ticks.len() <= 100, "{}", ticks.len());
            for value in values {
                let place = axis.place(value);
                prop_assert!((0.0..=1.0).contains(&place), "{value} {place}");
            }
        }
    }
}
