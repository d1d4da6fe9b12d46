//! Percentiles as typed, and their ranks. The arithmetic uses integers: in floating point,
//! 99.9 / 100 * 12000 is slightly above 11988, which makes the rank one too high.

use std::str::FromStr;

/// A percentile from 0 to below 100, exactly as typed.
///
/// ```
/// use resound::measured::Percentile;
///
/// let percentile: Percentile = "99.9".parse()?;
/// assert_eq!(percentile.rank(12_000), 11_988);
/// assert_eq!(percentile.rank(12_001), 11_989);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile {
    /// For 99.9 it is 999; trailing zeros of the decimals are dropped.
    numerator: u128,
    /// The numerator that would be 100 %: for 99.9 it is 1,000.
    denominator: u128,
}

impl Percentile {
    /// The median.
    pub const P50: Percentile = Percentile { numerator: 50, denominator: 100 };
    /// The 99th.
    pub const P99: Percentile = Percentile { numerator: 99, denominator: 100 };

    /// Returns the rank among `count` samples. The least sample has rank 1; percentile 0 has rank
    /// 0.
    pub fn rank(self, count: u64) -> u64 {
        // At most 19 digits times a 64-bit count stay below 2^128.
        let rank = (self.numerator * u128::from(count)).div_ceil(self.denominator);
        u64::try_from(rank).unwrap_or(count)
    }

    /// Returns the percentile as a share from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits than a float has")]
    pub(super) fn share(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// Returns true if at least `beyond` of `count` samples lie beyond the percentile.
    pub(super) fn has_beyond(self, count: u64, beyond: u64) -> bool {
        let part = self.denominator - self.numerator;
        let beyond = self.denominator.saturating_mul(u128::from(beyond));
        part.saturating_mul(u128::from(count)) >= beyond
    }
}

impl FromStr for Percentile {
    type Err = String;

    /// Parses a plain decimal number of at most 20 bytes. The length is bounded because the text is
    /// a key of the document and part of messages.
    fn from_str(word: &str) -> Result<Percentile, String> {
        parse(word).ok_or_else(|| {
            "expected percentiles from 0 to below 100, such as 50,90,99,99.9".to_owned()
        })
    }
}

fn parse(word: &str) -> Option<Percentile> {
    const WORD_BYTES_MAX: usize = 20;
    let (whole, decimals) = word.split_once('.').unwrap_or((word, ""));
    let is_plain = [whole, decimals].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    if word.len() > WORD_BYTES_MAX || !is_plain || (whole.is_empty() && decimals.is_empty()) {
        return None;
    }
    let decimals = decimals.trim_end_matches('0');
    let numerator = format!("0{whole}{decimals}").parse().ok()?;
    let denominator = 100 * 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    (numerator < denominator).then_some(Percentile { numerator, denominator })
}

/// A list of percentiles, as text and as numbers: `50,90,99,99.9,99.99`.
#[derive(Clone, Debug, PartialEq)]
pub struct PercentileList(Vec<(String, Percentile)>);

impl PercentileList {
    /// Returns each percentile as typed and as a number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Percentile)> {
        self.0.iter().map(|(text, percentile)| (text.as_str(), *percentile))
    }
}

impl Default for PercentileList {
    fn default() -> PercentileList {
        "50,90,99,99.9,99.99".parse().expect("all are percentiles")
    }
}

impl FromStr for PercentileList {
    type Err = String;

    fn from_str(text: &str) -> Result<PercentileList, String> {
        const LENGTH_MAX: usize = 100;
        let mut list = Vec::<(String, Percentile)>::new();
        for word in text.split(',').map(str::trim) {
            let percentile = (word.to_owned(), word.parse()?);
            // A repeated percentile is dropped: a key of a JSON object must be unique.
            if !list.contains(&percentile) {
                list.push(percentile);
            }
        }
        if list.len() > LENGTH_MAX {
            return Err(format!("expected at most {LENGTH_MAX} percentiles, such as 50,99"));
        }
        Ok(PercentileList(list))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(word: &str, count: u64) -> u64 {
        word.parse::<Percentile>().unwrap().rank(count)
    }

    #[test]
    fn a_rank_is_exact_for_every_round_count() {
        for thousands in 1..200 {
            assert_eq!(rank("99.9", thousands * 1_000), thousands * 999);
        }
        assert_eq!(rank("99.99", 10_000), 9_999);
        assert_eq!(rank("99.99", 10_001), 10_000);
        assert_eq!(rank("12.345", 100_000), 12_345);
        assert_eq!(rank("50", 3), 2);
        assert_eq!(rank("0", 3), 0);
        assert_eq!(rank("0.000001", 3), 1);
        assert_eq!(rank("99.99999999999999999", u64::MAX), u64::MAX - 1);
    }

    #[test]
    fn equal_numbers_are_equal_percentiles_however_written() {
        let percentile = |word: &str| word.parse::<Percentile>().unwrap();
        assert_eq!(percentile("50"), Percentile::P50);
        assert_eq!(percentile("099.900"), percentile("99.9"));
        assert_eq!(percentile(".5"), percentile("0.5"));
        assert_eq!(percentile("5."), percentile("5"));
    }

    #[test]
    fn a_text_that_is_not_a_percentile_is_refused() {
        let long = ["9".repeat(20), format!("0.{}", "1".repeat(19))];
        let words = ["", ".", "100", "-1", "x", "50,,99", "1e1", "nan", "+5", "101", "1.2.3"];
        for text in words.into_iter().chain(long.iter().map(String::as_str)) {
            let refused = text.parse::<PercentileList>().unwrap_err();
            assert!(refused.contains("such as"), "{text:?}");
        }
        let list = "50, 99.9".parse::<PercentileList>().unwrap();
        assert_eq!(list.0[1], ("99.9".to_owned(), "99.9".parse().unwrap()));
    }
}
