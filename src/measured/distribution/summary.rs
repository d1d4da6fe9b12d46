//! The figures of a distribution, as a report shows them.

use serde::de::{self, DeserializeOwned};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Distribution, PercentileList};

/// The figures of a distribution, in whole nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of values. If it is 0, all other figures are 0.
    pub count: u64,
    /// The exact minimum.
    pub min: u64,
    /// The exact mean.
    pub mean: u64,
    /// The exact maximum.
    pub max: u64,
    /// The standard deviation.
    pub stddev: u64,
    /// Percentiles as typed, with their values if enough samples lie beyond them.
    #[serde(serialize_with = "as_map", deserialize_with = "from_map")]
    pub percentiles: Vec<(String, Option<u64>)>,
    /// The 95 % interval of each percentile, by its rank: least and greatest value.
    #[serde(default, serialize_with = "as_map", deserialize_with = "from_map")]
    pub intervals: Vec<(String, Option<[u64; 2]>)>,
}

impl Summary {
    /// Returns the summary of no values.
    pub fn empty(percentiles: &PercentileList) -> Summary {
        let intervals = percentiles.iter().map(|(text, _)| (text.to_owned(), None)).collect();
        let percentiles = percentiles.iter().map(|(text, _)| (text.to_owned(), None)).collect();
        Summary { count: 0, min: 0, mean: 0, max: 0, stddev: 0, percentiles, intervals }
    }

    /// Returns the percentiles of the summary.
    pub(in crate::measured) fn list(&self) -> PercentileList {
        let texts = self.percentiles.iter().map(|(text, _)| text.as_str());
        // A document may have other keys here.
        texts.collect::<Vec<_>>().join(",").parse().unwrap_or_default()
    }

    /// Returns the value of a percentile, named as it was typed.
    pub fn percentile(&self, text: &str) -> Option<u64> {
        self.percentiles.iter().find(|(other, _)| other == text).and_then(|(_, value)| *value)
    }
}

/// Times of one kind: the figures, and the distribution that they come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times {
    /// The figures at the percentiles asked for.
    pub summary: Summary,
    /// All the values.
    #[serde(skip)]
    pub values: Distribution,
}

impl Times {
    /// Creates the times of a distribution, with their figures at these percentiles.
    pub fn of(values: Distribution, percentiles: &PercentileList) -> Times {
        Times { summary: values.summary(percentiles), values }
    }
}

/// Has no values.
impl Default for Times {
    fn default() -> Times {
        Times::of(Distribution::new(), &PercentileList::default())
    }
}

/// Writes percentiles as a map, in their order.
fn as_map<T: Serialize, S: Serializer>(
    pairs: &[(String, Option<T>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pairs.len()))?;
    pairs.iter().try_for_each(|(text, value)| map.serialize_entry(text, value))?;
    map.end()
}

/// Reads what [`as_map`] has written.
fn from_map<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, Option<T>)>, D::Error> {
    let map = serde_json::Map::deserialize(deserializer)?;
    let value = |value| serde_json::from_value(value).map_err(de::Error::custom);
    map.into_iter().map(|(text, json)| Ok((text, value(json)?))).collect()
}
