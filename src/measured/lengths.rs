//! The messages of each length, and how long their echoes took.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{RunResult, Times};

/// The classes of a run: a table of them fits a screen, and each takes a histogram of 270 KiB.
pub(crate) const LENGTH_CLASSES_MAX: usize = 8;

/// The measured messages of one length, or of one part of a range of lengths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LengthClass {
    /// The greatest length of the class, in bytes.
    pub length: u64,
    /// The least length of the class; equal to `length` unless lengths are a range.
    pub length_min: u64,
    /// Messages sent.
    pub messages: u64,
    /// Response times of those that were answered in time.
    pub latency_ns: Times,
}

impl RunResult {
    /// Adds the classes of a part, which has the same.
    pub(super) fn add_lengths(&mut self, part: Vec<LengthClass>) {
        if self.lengths.is_empty() {
            self.lengths = part;
            return;
        }
        for (own, other) in self.lengths.iter_mut().zip(part) {
            own.messages = own.messages.saturating_add(other.messages);
            own.latency_ns.values.add(&other.latency_ns.values);
        }
    }

    /// Returns the mean length of an answered message.
    pub fn mean_length_received(&self) -> f64 {
        match (&self.lengths[..], self.messages.received) {
            ([] | [_], _) | (_, 0) => self.length as f64,
            (_, received) => self.bytes.received as f64 / received as f64,
        }
    }
}

/// Reads classes, but no more than a run has: each takes the memory of a histogram.
pub(super) fn read_classes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<LengthClass>, D::Error> {
    struct Classes;

    impl<'de> Visitor<'de> for Classes {
        type Value = Vec<LengthClass>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {LENGTH_CLASSES_MAX} lengths")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut classes = Vec::new();
            while let Some(class) = list.next_element()? {
                if classes.len() == LENGTH_CLASSES_MAX {
                    return Err(de::Error::invalid_length(LENGTH_CLASSES_MAX + 1, &self));
                }
                classes.push(class);
            }
            Ok(classes)
        }
    }

    deserializer.deserialize_seq(Classes)
}
