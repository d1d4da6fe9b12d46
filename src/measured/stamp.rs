//! Which run a document is of, and when it measured.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How far the host's clock may be off, as the kernel knows from the program that synchronizes it
/// (adjtimex(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockError {
    /// Whether a program keeps the clock synchronized.
    pub synchronized: bool,
    /// The estimated error.
    pub estimated_ns: u64,
    /// The greatest possible error.
    pub max_ns: u64,
}

/// What tells a run from others, and when it took place.
///
/// All times are those of the system's clock at the start of the run plus what the monotonic clock
/// has counted since, so a step of the system's clock during the run does not tear them apart.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RunStamp {
    /// 16 random hexadecimal digits, which no other run has; empty for a run that could not start.
    pub id: String,
    /// Which part of a load that several processes share: `I/N`, counted from 1.
    pub part: String,
    /// When the generator began to open connections; null if it did not.
    #[serde(serialize_with = "rfc3339_or_null", deserialize_with = "from_rfc3339")]
    pub started_at: Option<SystemTime>,
    /// When the first measured message could be sent: the end of the warm-up.
    #[serde(serialize_with = "rfc3339_or_null", deserialize_with = "from_rfc3339")]
    pub measured_from: Option<SystemTime>,
    /// The end of the time that was measured.
    #[serde(serialize_with = "rfc3339_or_null", deserialize_with = "from_rfc3339")]
    pub measured_to: Option<SystemTime>,
    /// The clock of these times.
    pub clock: String,
    /// What the kernel knows about the clock's error; null if it does not say.
    pub clock_error: Option<ClockError>,
}

impl RunStamp {
    /// Creates the stamp of a run that measured for `elapsed` from `measured_from` on.
    pub fn new(started_at: SystemTime, measured_from: SystemTime, elapsed: Duration) -> RunStamp {
        RunStamp {
            id: format!("{:016x}", fastrand::u64(..)),
            started_at: Some(started_at),
            measured_from: Some(measured_from),
            measured_to: Some(measured_from + elapsed),
            ..RunStamp::default()
        }
    }
}

impl Default for RunStamp {
    /// Returns the stamp of a run that could not start.
    fn default() -> RunStamp {
        RunStamp {
            id: String::new(),
            part: "1/1".to_owned(),
            started_at: None,
            measured_from: None,
            measured_to: None,
            clock: "realtime".to_owned(),
            clock_error: None,
        }
    }
}

/// Writes a time as RFC 3339 with nanoseconds, in UTC.
fn rfc3339_or_null<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&humantime::format_rfc3339_nanos(*time)),
        None => serializer.serialize_none(),
    }
}

/// Reads what [`rfc3339_or_null`] has written.
fn from_rfc3339<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SystemTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| humantime::parse_rfc3339(&text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_with_nanoseconds() {
        let from = SystemTime::UNIX_EPOCH + Duration::new(1_764_236_133, 7);
        let stamp =
            RunStamp::new(from - Duration::from_secs(1), from, Duration::from_millis(1_500));
        let json = serde_json::to_value(&stamp).unwrap();
        assert_eq!(json["started_at"], "2025-11-27T09:35:32.000000007Z");
        assert_eq!(json["measured_from"], "2025-11-27T09:35:33.000000007Z");
        assert_eq!(json["measured_to"], "2025-11-27T09:35:34.500000007Z");
        assert_eq!((&json["part"], &json["clock"]), (&"1/1".into(), &"realtime".into()));
    }

    #[test]
    fn each_run_has_an_id_of_its_own() {
        let now = SystemTime::now();
        let ids = [(); 2].map(|()| RunStamp::new(now, now, Duration::ZERO).id);
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.len() == 16), "{ids:?}");
    }
}
