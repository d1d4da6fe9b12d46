//! The values of a swept flag: `1k..200k` or `1k,5k,20k`.

use std::ops::RangeInclusive;

/// The bound on the points of a sweep. Each keeps the histograms of its run, about a megabyte.
pub const POINTS_MAX: usize = 100;

/// The values that were typed for a swept flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// `A..B`: from A to B.
    Range(RangeInclusive<u64>),
    /// `A,B,C`: these.
    List(Vec<u64>),
}

impl Values {
    /// Returns true if a text is meant as a range or a list, whether it is a valid one or not.
    /// Mixed lengths (`64:70%,1200:30%`) are one value.
    pub fn is_meant(text: &str) -> bool {
        (text.contains("..") || text.contains(',')) && !text.contains('%')
    }

    /// Parses a range or a list, each number by `parse`.
    ///
    /// ```
    /// use resound::experiment::Values;
    /// use resound::units::parse_count;
    ///
    /// let values = Values::parse("1k..8k", parse_count)?;
    /// assert_eq!(values.points(4), [1_000, 2_000, 4_000, 8_000]);
    /// let values = Values::parse("50, 1, 7", parse_count)?;
    /// assert_eq!(values.points(4), [50, 1, 7]);
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a sentence that says what was expected.
    pub fn parse(
        text: &str,
        parse: impl Fn(&str) -> Result<u64, String>,
    ) -> Result<Values, String> {
        let Some((low, high)) = text.split_once("..") else {
            let list = text.split(',').map(|word| parse(word.trim()));
            let list = list.collect::<Result<Vec<u64>, String>>()?;
            return match list.len() {
                2..=POINTS_MAX => Ok(Values::List(list)),
                0 | 1 => Err("expected a range or a list, such as 1k..200k or 1k,5k".to_owned()),
                _ => Err(format!("expected at most {POINTS_MAX} values, such as 1k,5k")),
            };
        };
        let (low, high) = (parse(low.trim())?, parse(high.trim())?);
        if low == 0 || low >= high {
            let expected = "expected a range from at least 1 to a greater value, such as 1k..200k";
            return Err(expected.to_owned());
        }
        Ok(Values::Range(low..=high))
    }

    /// Returns the values of the points. A range becomes `steps` values with the same factor from
    /// one to the next, both ends included; values that round to the same whole number are one.
    pub fn points(&self, steps: usize) -> Vec<u64> {
        let range = match self {
            Values::List(list) => return list.clone(),
            Values::Range(range) => range,
        };
        let (low, high) = (*range.start(), *range.end());
        let factor = high as f64 / low as f64;
        let mut points: Vec<u64> = (0..steps)
            .map(|step| {
                let value = low as f64 * factor.powf(step as f64 / (steps - 1) as f64);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a float to integer cast saturates; the value is above 0"
                )]
                let value = value.round() as u64;
                // Floats round the ends of a very wide range.
                value.clamp(low, high)
            })
            .collect();
        points.extend([low, high]);
        points.sort_unstable();
        points.dedup();
        points
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{parse_count, parse_size};

    #[test]
    fn a_range_or_a_list_is_told_from_one_value() {
        for text in ["1..2", "1,2", "64..64KiB", "1k..", ",", "..", "1..2,3"] {
            assert!(Values::is_meant(text), "{text}");
        }
        for text in ["1", "1.5k", "", "64:70%,1200:30%", "always"] {
            assert!(!Values::is_meant(text), "{text}");
        }
    }

    #[test]
    fn a_list_is_used_as_given_and_a_range_in_steps_of_one_factor() {
        let parsed = |text| Values::parse(text, parse_size).unwrap().points(10);
        assert_eq!(parsed("1k,64,64"), [1_024, 64, 64]);
        assert_eq!(
            parsed("64..32KiB"),
            [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768]
        );
        assert_eq!(parsed("1..4"), [1, 2, 3, 4], "whole numbers");
        assert_eq!(Values::parse("1k..1m", parse_count).unwrap().points(2), [1_000, 1_000_000]);
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in ["1k..", "..5", "5..5", "9..5", "0..5", "1,", ",", "1,x", "1...5", "1..5..9"] {
            let refused = Values::parse(text, parse_count).unwrap_err();
            assert!(refused.starts_with("expected ") && refused.contains("such as"), "{refused}");
        }
        let many = vec!["1"; POINTS_MAX + 1].join(",");
        assert!(Values::parse(&many, parse_count).unwrap_err().contains("at most 100 values"));
    }

    proptest! {
        #[test]
        fn points_ascend_from_one_end_to_the_other(
            low in 1..u64::MAX,
            width in 1..u64::MAX,
            steps in 2..=POINTS_MAX,
        ) {
            let high = low.saturating_add(width);
            let points = Values::Range(low..=high).points(steps);
            prop_assert!(points.len() <= steps + 2 && points.is_sorted_by(|a, b| a < b));
            prop_assert_eq!((points[0], points[points.len() - 1]), (low, high));
        }
    }
}
