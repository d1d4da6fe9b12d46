//! The flags of a load that several processes make together.

use std::time::{Duration, SystemTime};

use clap::Args;
use resound::load::Share;
use serde_json::{Map, Value};

use crate::cli::values::{can_be_dealt_out, moment};

#[derive(Debug, Args)]
pub(super) struct PartFlags {
    /// Make part I of N of the load: its share of --connections, --rate and --count, in its phase
    /// of the schedule. 'resound merge' adds the results
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub(super) part: Share,

    /// Connect and warm up before TIME, and measure from then on: RFC 3339, or Unix seconds
    /// [default: as soon as possible]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) start_at: Option<SystemTime>,
}

impl PartFlags {
    /// Checks that each part has a connection and a message, and that the start is not too near.
    pub(super) fn check(
        &self,
        connections: u64,
        count: Option<u64>,
        warmup: Duration,
    ) -> Result<(), String> {
        let parts = self.part.parts();
        can_be_dealt_out(connections, count, parts, &format!("{parts} parts"))?;
        let Some(start_at) = self.start_at else { return Ok(()) };
        match start_at.duration_since(SystemTime::now()) {
            Ok(left) if left >= warmup => Ok(()),
            Ok(left) => Err(format!(
                "--start-at {} is too late: {left:.1?} are left, and the warm-up takes {warmup:?}; \
                 expected a later time or a shorter warm-up, such as --warmup 0",
                humantime::format_rfc3339(start_at)
            )),
            Err(error) => Err(format!(
                "--start-at {} is too late: it was {:.1?} ago; expected a time ahead, such as \
                 $(date +%s --date '10 seconds')",
                humantime::format_rfc3339(start_at),
                error.duration()
            )),
        }
    }

    pub(super) fn meant(&self) -> Map<String, Value> {
        let start_at = self.start_at.map(|time| humantime::format_rfc3339_nanos(time).to_string());
        let part = Value::from(self.part.to_string());
        Map::from_iter([("part".to_owned(), part), ("start_at".to_owned(), start_at.into())])
    }
}
