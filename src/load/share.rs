//! Which part of a load this generator makes, if several generators make it together.

use std::fmt;
use std::str::FromStr;

/// A load may have this many parts. Merging reads the documents of all of them into memory, about
/// two megabytes each.
const PARTS_MAX: u64 = 1_000;

/// One of the equal parts of a load. The messages, connections and due times of all parts together
/// are those of one generator: message `k`, and connection `k`, belong to part `k` modulo the
/// number of parts.
///
/// As text it is `I/N`, and `I` counts from 1.
///
/// ```
/// use resound::load::Share;
///
/// let second: Share = "2/3".parse()?;
/// assert_eq!(second.of_count(50), 17, "50 are 17, 17 and 16");
/// assert_eq!(second.split(0, 2).to_string(), "2/6");
/// assert!("4/3".parse::<Share>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Counted from 0.
    index: u64,
    parts: u64,
}

impl Share {
    /// The whole load.
    pub const WHOLE: Share = Share { index: 0, parts: 1 };

    /// Returns part `index`, counted from 0, of `parts` equal parts of this share. The order of
    /// messages stays: message `k` of this share belongs to its part `k` modulo `parts`.
    ///
    /// # Panics
    ///
    /// `index` is not below `parts`.
    pub fn split(self, index: u64, parts: u64) -> Share {
        assert!(index < parts, "part {index} of {parts}");
        Share { index: self.index + index * self.parts, parts: self.parts * parts }
    }

    /// Returns the place of this share among all, counted from 0.
    pub(super) fn index(self) -> u64 {
        self.index
    }

    /// Returns the number of parts that the load has.
    pub fn parts(self) -> u64 {
        self.parts
    }

    /// Returns how many of `count` messages or connections belong to this share.
    pub fn of_count(self, count: u64) -> u64 {
        count.saturating_sub(self.index).div_ceil(self.parts)
    }

    /// Returns how many of the `count` messages from `first` on belong to this share.
    pub(super) fn of_messages(self, first: u64, count: u64) -> u64 {
        self.of_count(first.saturating_add(count)) - self.of_count(first)
    }

    /// Returns this share of a rate.
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a last digit does not matter")]
    pub(super) fn of_rate(self, rate: u64) -> f64 {
        rate as f64 / self.parts as f64
    }

    /// Returns the place of flow `place` of `flows` of this share among the flows of all parts, and
    /// the number of these.
    pub(super) fn flow(self, (place, flows): (u64, u64)) -> (u64, u64) {
        (self.index + place * self.parts, flows * self.parts)
    }
}

impl Default for Share {
    fn default() -> Share {
        Share::WHOLE
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.parts)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let numbers = text.split_once('/').and_then(|(place, parts)| {
            Some((place.parse::<u64>().ok()?, parts.parse::<u64>().ok()?))
        });
        match numbers {
            Some((place, parts)) if 1 <= place && place <= parts && parts <= PARTS_MAX => {
                Ok(Share { index: place - 1, parts })
            }
            _ => {
                Err(format!("expected I/N with I from 1 to N and N up to {PARTS_MAX}, such as 2/4"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::pacing::{Schedule, Spacing};

    fn share(index: u64, parts: u64) -> Share {
        Share::WHOLE.split(index, parts)
    }

    #[test]
    fn a_part_is_written_as_it_is_typed() {
        for text in ["1/1", "2/4", "1000/1000"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in ["", "1", "/", "0/1", "2/1", "1/0", "-1/2", "1/1001", "1/2/3", "a/b", "1.0/2"] {
            let refused = text.parse::<Share>().unwrap_err();
            assert!(refused.contains("such as 2/4"), "{text:?}: {refused}");
        }
    }

    proptest! {
        /// case B16 and case B17
        #[test]
        fn the_parts_of_a_count_add_up_at_every_level(
            count in any::<u64>(),
            parts in 1_u64..50,
            loops in 1_u64..9,
        ) {
            let of_part = |part| share(part, parts).of_count(count);
            prop_assert_eq!((0..parts).map(of_part).sum::<u64>(), count);
            let of_loop = |index| share(parts - 1, parts).split(index, loops).of_count(count);
            prop_assert_eq!((0..loops).map(of_loop).sum::<u64>(), of_part(parts - 1));
        }

        /// case B16 and case B17
        #[test]
        fn the_schedules_of_all_parts_together_are_that_of_one_generator(
            rate in 1_u64..2_000_000,
            parts in 1_u64..6,
            loops in 1_u64..4,
            flows in 1_u64..8,
            each in 1_u64..9,
        ) {
            let mut dues = Vec::new();
            for share in (0..parts).flat_map(|part| {
                (0..loops).map(move |index| share(part, parts).split(index, loops))
            }) {
                for place in 0..flows {
                    let place = share.flow((place, flows));
                    let mut schedule = Schedule::new(rate, Spacing::Fixed, place, 1_000);
                    for _ in 0..each {
                        dues.push(schedule.due_ns());
                        schedule.take();
                    }
                }
            }
            dues.sort_unstable();
            let mut whole = Schedule::new(rate, Spacing::Fixed, (0, 1), 1_000);
            for due_ns in dues {
                prop_assert_eq!(due_ns, whole.due_ns());
                whole.take();
            }
        }
    }
}
