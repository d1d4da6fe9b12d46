//! The lengths of messages: one for all, several by weight, or all of a range.
//!
//! The length of a message follows from its flow and its number alone. So no length is stored, and
//! an echo can be compared with its message.

use std::fmt;
use std::str::FromStr;

use super::pattern::MessageId;
use crate::measured::LENGTH_CLASSES_MAX as CLASSES_MAX;
use crate::units::{parse_percent, parse_size};

/// All weights together: 100 % in millionths of a percent, as [`parse_percent`] counts.
const WEIGHT_ALL: u64 = 100_000_000;

/// The lengths of the messages of a run.
///
/// ```
/// use resound::load::Lengths;
///
/// let lengths: Lengths = "64:70%,1200:25%,9000:5%".parse()?;
/// assert_eq!((lengths.least(), lengths.mean(), lengths.greatest()), (64, 795, 9_000));
/// let range: Lengths = "64..1500".parse()?;
/// assert_eq!((range.least(), range.mean(), range.greatest()), (64, 782, 1_500));
/// assert_eq!("1KiB".parse(), Ok(Lengths::from(1_024)));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    One(u64),
    /// Two or more, each with its weight. The weights add up to [`WEIGHT_ALL`].
    Weighted(Vec<(u64, u64)>),
    /// Any from the first to the second, which is greater.
    Range(u64, u64),
}

impl Lengths {
    /// Returns the least length, at least 1.
    pub fn least(&self) -> u64 {
        match &self.0 {
            Kind::One(length) | Kind::Range(length, _) => *length,
            Kind::Weighted(lengths) => lengths.iter().map(|(length, _)| *length).min().unwrap_or(1),
        }
    }

    /// Returns the greatest length.
    pub fn greatest(&self) -> u64 {
        match &self.0 {
            Kind::One(length) | Kind::Range(_, length) => *length,
            Kind::Weighted(lengths) => lengths.iter().map(|(length, _)| *length).max().unwrap_or(1),
        }
    }

    /// Returns the expected mean, to the nearest byte.
    pub fn mean(&self) -> u64 {
        let mean = match &self.0 {
            Kind::One(length) => u128::from(*length),
            Kind::Range(least, greatest) => {
                (u128::from(*least) + u128::from(*greatest)).div_ceil(2)
            }
            Kind::Weighted(lengths) => {
                let weighted =
                    |(length, weight): &(u64, u64)| u128::from(*length) * u128::from(*weight);
                let all = u128::from(WEIGHT_ALL);
                (lengths.iter().map(weighted).sum::<u128>() + all / 2) / all
            }
        };
        u64::try_from(mean).unwrap_or(u64::MAX)
    }

    /// Returns the least and the greatest length of each class. A range is split evenly.
    pub(super) fn classes(&self) -> Vec<(u64, u64)> {
        match &self.0 {
            Kind::One(length) => vec![(*length, *length)],
            Kind::Weighted(lengths) => {
                lengths.iter().map(|(length, _)| (*length, *length)).collect()
            }
            Kind::Range(least, greatest) => {
                let (span, classes) = split(*least, *greatest);
                let bound = |class: u64| {
                    let offset = (u128::from(span) * u128::from(class)).div_ceil(classes.into());
                    least + u64::try_from(offset).expect("an offset is at most the span")
                };
                (0..classes).map(|class| (bound(class), bound(class + 1) - 1)).collect()
            }
        }
    }

    /// Returns how the length of a message is drawn; `None` if all have the same.
    pub(super) fn mix(&self) -> Option<Mix> {
        match &self.0 {
            Kind::One(_) => None,
            Kind::Weighted(lengths) => {
                let mut below = 0;
                let steps = lengths.iter().map(|(length, weight)| {
                    below += weight;
                    (below, to_usize(*length))
                });
                Some(Mix::Weighted(steps.collect()))
            }
            Kind::Range(least, greatest) => {
                let (span, classes) = split(*least, *greatest);
                Some(Mix::Range { least: *least, span, classes })
            }
        }
    }
}

/// Returns the number of lengths of a range, and of its classes.
fn split(least: u64, greatest: u64) -> (u64, u64) {
    let span = greatest - least + 1;
    (span, span.min(CLASSES_MAX as u64))
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

impl From<usize> for Lengths {
    /// All messages have this length; 0 means 1.
    fn from(length: usize) -> Lengths {
        Lengths(Kind::One(length.max(1) as u64))
    }
}

impl FromStr for Lengths {
    type Err = String;

    /// Parses a size (`64`), sizes with weights that add up to 100 % (`64:70%,1200:30%`), or a
    /// range of sizes (`64..1500`).
    fn from_str(text: &str) -> Result<Lengths, String> {
        if text.contains([':', ',']) {
            return weighted(text);
        }
        let Some((least, greatest)) = text.split_once("..") else {
            return size(text).map(|length| Lengths(Kind::One(length)));
        };
        match (size(least), size(greatest)) {
            (Ok(least), Ok(greatest)) if least < greatest => {
                Ok(Lengths(Kind::Range(least, greatest)))
            }
            (Ok(least), Ok(greatest)) if least == greatest => Ok(Lengths(Kind::One(least))),
            _ => Err("expected a range from a size to a greater one, such as 64..1500".to_owned()),
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("expected a size of at least 1 byte, such as 64".to_owned()),
        size => Ok(size),
    }
}

fn weighted(text: &str) -> Result<Lengths, String> {
    const EXAMPLE: &str = "such as 64:70%,1200:25%,9000:5%";
    let mut lengths = Vec::new();
    for part in text.split(',') {
        let pair = part.split_once(':').and_then(|(length, weight)| {
            size(length).ok().zip(parse_percent(weight).ok().filter(|weight| *weight > 0))
        });
        let Some((length, weight)) = pair else {
            return Err(format!("expected sizes with weights above 0 %, {EXAMPLE}"));
        };
        if lengths.iter().any(|(other, _)| *other == length) {
            return Err(format!(
                "{length} bytes are named twice: expected each size once, {EXAMPLE}"
            ));
        }
        lengths.push((length, weight));
    }
    if lengths.len() > CLASSES_MAX {
        let given = lengths.len();
        return Err(format!("expected at most {CLASSES_MAX} sizes but found {given}, {EXAMPLE}"));
    }
    let all = lengths.iter().map(|(_, weight)| *weight).fold(0, u64::saturating_add);
    if all != WEIGHT_ALL {
        let percent = percent_text(all);
        return Err(format!(
            "expected weights that add up to 100 % but found {percent} %, {EXAMPLE}"
        ));
    }
    Ok(Lengths(match lengths[..] {
        [(length, _)] => Kind::One(length),
        _ => Kind::Weighted(lengths),
    }))
}

/// Returns millionths of a percent as percent, exactly.
fn percent_text(weight: u64) -> String {
    let text = format!("{}.{:06}", weight / 1_000_000, weight % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Lengths {
    /// Writes what [`Lengths::from_str`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::One(length) => write!(f, "{length}"),
            Kind::Range(least, greatest) => write!(f, "{least}..{greatest}"),
            Kind::Weighted(lengths) => {
                let parts = lengths
                    .iter()
                    .map(|(length, weight)| format!("{length}:{}%", percent_text(*weight)));
                f.write_str(&parts.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// How the length of a message is drawn.
#[derive(Clone, Debug)]
pub(super) enum Mix {
    /// Each length, with the weight of it and all before it.
    Weighted(Vec<(u64, usize)>),
    Range {
        least: u64,
        /// The number of lengths.
        span: u64,
        classes: u64,
    },
}

/// The length of a message, and the index of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) length_bytes: usize,
    pub(super) class: usize,
}

impl Mix {
    /// Returns the length of a message. It is the same whenever the caller asks.
    pub(super) fn draw(&self, id: MessageId) -> Drawn {
        let random = random(id);
        match self {
            Mix::Weighted(steps) => {
                let drawn = scaled(random, WEIGHT_ALL);
                let last = steps.len() - 1;
                let class = steps.iter().position(|(below, _)| drawn < *below).unwrap_or(last);
                Drawn { length_bytes: steps[class].1, class }
            }
            Mix::Range { least, span, classes } => {
                let offset = scaled(random, *span);
                let class = u128::from(offset) * u128::from(*classes) / u128::from(*span);
                let class = usize::try_from(class).expect("there are few classes");
                Drawn { length_bytes: to_usize(least + offset), class }
            }
        }
    }
}

/// Returns a random number that depends on the message alone: the output function of SplitMix64,
/// which spreads consecutive numbers over the whole range.
fn random(id: MessageId) -> u64 {
    let mut mixed = (id.number ^ (u64::from(id.flow) << 40)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Maps a random number to one below `all`.
fn scaled(random: u64, all: u64) -> u64 {
    let product = u128::from(random) * u128::from(all);
    u64::try_from(product >> 64).expect("the high half of a product is a u64")
}

#[cfg(test)]
mod tests;
