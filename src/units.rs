//! Parses counts, sizes and times as people write them (`10k` messages, `64KiB`, `200us`), and
//! converts times to whole nanoseconds.
//!
//! One exact decimal parser uses three tables. Each crate that parses such numbers lacks one of
//! these: `k` as 1000 in a count and as 1024 in a size, fractions, or the range of `u64`.

use std::time::Duration;

const COUNTS: &[(&str, u64)] = &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)];

const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
];

const PERCENTAGES: &[(&str, u64)] = &[("%", 1_000_000)];

/// A number without a unit is seconds, as in ping(8) and nc(1).
const TIMES_NS: &[(&str, u64)] = &[
    ("", 1_000_000_000),
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("min", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Parses a count: `250`, `10k`, `2.5m` (thousands).
///
/// # Errors
///
/// Returns a sentence that says what was expected.
pub fn parse_count(text: &str) -> Result<u64, String> {
    scaled(text, COUNTS)
        .ok_or_else(|| "expected a count such as 250, 10k or 2.5m (k = 1000)".to_owned())
}

/// Parses a size in bytes: `100`, `64KiB`, `64k`, `1MiB` (k = 1024; `kB` = 1000).
///
/// # Errors
///
/// Returns a sentence that says what was expected.
pub fn parse_size(text: &str) -> Result<u64, String> {
    scaled(text, SIZES)
        .ok_or_else(|| "expected a size such as 512, 64k, 64KiB or 1MiB (k = 1024)".to_owned())
}

/// Parses a percentage into millionths of a percent: `70%` is 70,000,000, `0.5%` is 500,000.
///
/// # Errors
///
/// Returns a sentence that says what was expected.
pub fn parse_percent(text: &str) -> Result<u64, String> {
    scaled(text, PERCENTAGES).ok_or_else(|| "expected a percentage such as 70% or 0.5%".to_owned())
}

/// Parses a time: `200us`, `1.5s`, `2m`. A number without a unit is seconds.
///
/// # Errors
///
/// Returns a sentence that says what was expected.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    scaled(text, TIMES_NS)
        .map(Duration::from_nanos)
        .ok_or_else(|| "expected a time such as 200us, 1.5s or 2m".to_owned())
}

/// Parses a time as [`parse_time`] does, but refuses 0.
///
/// # Errors
///
/// Returns a sentence that says what was expected.
pub fn parse_time_above_zero(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 200ms".to_owned()),
        time => Ok(time),
    }
}

/// Returns a count with its noun.
///
/// ```
/// use resound::units::counted;
///
/// assert_eq!(counted(1, "message"), "1 message");
/// assert_eq!(counted(2000, "message"), "2000 messages");
/// ```
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", plural(count))
}

/// Returns the ending of a noun after a count: none for 1, else `s`.
///
/// ```
/// assert_eq!(resound::units::plural(0), "s");
/// ```
pub fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Returns a duration in whole nanoseconds. A duration of more than 584 years gives `u64::MAX`.
///
/// ```
/// use std::time::Duration;
///
/// use resound::units::duration_ns;
///
/// assert_eq!(duration_ns(Duration::from_micros(3)), 3_000);
/// assert_eq!(duration_ns(Duration::MAX), u64::MAX);
/// ```
pub fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Parses a decimal number with one of the suffixes, exactly. Returns `None` if the value is not a
/// whole number of the smallest unit, or does not fit a `u64`.
fn scaled(text: &str, suffixes: &[(&str, u64)]) -> Option<u64> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let suffix = suffix.to_lowercase();
    let (_, scale) = suffixes.iter().find(|(name, _)| *name == suffix)?;

    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let has_point = number.contains('.');
    if whole.is_empty() || (has_point && fraction.is_empty()) {
        return None;
    }
    // A `u128` holds any `u64` scaled by any fraction of up to 18 digits.
    const FRACTION_DIGITS_MAX: usize = 18;
    if fraction.len() > FRACTION_DIGITS_MAX || fraction.contains('.') {
        return None;
    }
    let whole = u128::from(whole.parse::<u64>().ok()?) * u128::from(*scale);
    let fraction_value = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let fraction_scaled = fraction_value * u128::from(*scale);
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    if fraction_scaled % divisor != 0 {
        return None;
    }
    u64::try_from(whole + fraction_scaled / divisor).ok()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_is_1000_in_a_count_and_1024_in_a_size() {
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("2.5m"), Ok(2_500_000));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert_eq!(parse_size("1.5k"), Ok(1536));
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(parse_time("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_time_above_zero_is_any_time_except_zero() {
        assert_eq!(parse_time_above_zero("1ns"), Ok(Duration::from_nanos(1)));
        for text in ["0", "0s", "0.0ms"] {
            assert!(parse_time_above_zero(text).unwrap_err().contains("above 0"), "{text}");
        }
        assert_eq!(parse_time_above_zero("soon"), parse_time("soon"));
    }

    #[test]
    fn a_text_that_is_not_a_number_is_refused_with_an_example() {
        for text in ["", "k", "-1", "+1", "1e3", "1 k", ".5", "5.", "1..2", "0x10", "1kk", "nan"] {
            assert!(parse_count(text).is_err(), "{text:?}");
            assert!(parse_size(text).is_err(), "{text:?}");
            assert!(parse_time(text).unwrap_err().contains("such as"), "{text:?}");
        }
        assert!(parse_count("0.5").is_err(), "half a message");
        assert!(parse_time("99999999999d").is_err(), "more nanoseconds than a u64 holds");
    }
}
