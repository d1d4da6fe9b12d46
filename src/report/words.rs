//! Numbers for people, with three digits and a unit, and text without control characters.

use crate::units::plural;

/// Returns a time as `71.2 us`, `1.25 ms` or `10.0 s`.
///
/// ```
/// use resound::report::time_text;
///
/// assert_eq!(time_text(71_234), "71.2 us");
/// assert_eq!(time_text(999_960), "1.00 ms");
/// ```
pub fn time_text(time_ns: u64) -> String {
    // The last unit has no limit.
    const UNITS: &[(&str, f64)] = &[("us", 1e3), ("ms", 1e6), ("s", f64::INFINITY)];
    with_unit(time_ns as f64 / 1e3, UNITS)
}

/// Returns bytes, or bytes per second, as `64 B` or `7.94 MB`. 1 kB is 1,000 bytes, as networks
/// count.
pub(super) fn bytes_text(bytes: f64) -> String {
    const UNITS: &[(&str, f64)] =
        &[("B", 1e3), ("kB", 1e6), ("MB", 1e9), ("GB", 1e12), ("TB", f64::INFINITY)];
    with_unit(bytes, UNITS)
}

/// Returns a value in the unit that fits. `value` and the limit of each unit are in the first unit.
/// A value that would round to the limit of a unit is shown in the next one.
fn with_unit(value: f64, units: &[(&str, f64)]) -> String {
    const ROUNDS_UP: f64 = 0.9995;
    let mut scale = 1.0;
    for (unit, limit) in units {
        if value < limit * ROUNDS_UP || *limit == f64::INFINITY {
            return format!("{} {unit}", three_digits(value / scale));
        }
        scale *= 1e3;
    }
    String::new()
}

/// Returns the significant digits: `0`, `0.81`, `7.94`, `71.2`, `712`.
fn three_digits(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Returns a count with thousands separators: `1,234,567`.
pub(super) fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun: `1 message`, `2,000 messages`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", count_text(count), plural(count))
}

/// Returns a rate per second: `123,456`, `12.5`.
pub(super) fn rate_text(rate: f64) -> String {
    const WHOLE_FROM: f64 = 999.5;
    if rate >= WHOLE_FROM {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float to integer cast saturates; it is above 0"
        )]
        let whole = rate.round() as u64;
        return count_text(whole);
    }
    three_digits(rate)
}

/// Returns `part` in percent of `whole`: `99.98 %`; `0.00 %` if `whole` is 0.
pub(super) fn percent_text(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { part * 100.0 / whole } else { 0.0 };
    format!("{percent:.2} %")
}

/// Returns a text on one line. It escapes newlines and control characters, because the text may be
/// the user's own or quote a peer, and must not control the terminal.
pub(super) fn one_line(text: &str) -> String {
    let is_plain = |c: &char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1;
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(&c) {
            line.push(c);
        } else {
            line.extend(c.escape_debug());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_has_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0, "0 us"),
            (812, "0.81 us"),
            (1_000, "1.00 us"),
            (9_994, "9.99 us"),
            (9_996, "10.0 us"),
            (71_200, "71.2 us"),
            (71_234, "71.2 us"),
            (712_345, "712 us"),
            (999_400, "999 us"),
            (999_600, "1.00 ms"),
            (1_040_000, "1.04 ms"),
            (1_250_000, "1.25 ms"),
            (999_960_000, "1.00 s"),
            (10_000_000_000, "10.0 s"),
            (12_000_000_000, "12.0 s"),
            (3_600_000_000_000, "3600 s"),
            (4_004_000_000_000, "4004 s"),
        ];
        for (time_ns, text) in cases {
            assert_eq!(time_text(time_ns), text);
        }
    }

    #[test]
    fn counts_have_thousands_separators() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (count, text) in cases {
            assert_eq!(count_text(count), text);
        }
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(counted(0, "message"), "0 messages");
        assert_eq!(rate_text(123_456.4), "123,456");
        assert_eq!(rate_text(12.34), "12.3");
        assert_eq!(bytes_text(7_940_000.0), "7.94 MB");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line("a\n\x1b[2J"), r"a\n\u{1b}[2J");
        assert_eq!(one_line("it's \"fine\" \\ grüß"), "it's \"fine\" \\ grüß");
    }

    proptest! {
        #[test]
        fn any_number_has_a_short_text(value: u64, rate in 0.0..1e18) {
            prop_assert!(time_text(value).len() <= "18446744074 s".len());
            prop_assert!(!bytes_text(rate).is_empty() && !rate_text(rate).is_empty());
            prop_assert_eq!(count_text(value).replace(',', ""), value.to_string());
        }

        #[test]
        fn any_text_is_one_line(text: String) {
            prop_assert!(!one_line(&text).contains(char::is_control));
        }
    }
}
