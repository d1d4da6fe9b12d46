//! The flags of a load that several processes make together.

use std::time::{Duration, SystemTime};

use clap::Args;
use resound::load::{Share, check_start, parse_start};
use serde_json::{Map, Value};

use crate::cli::values::can_be_dealt_out;

#[derive(Debug, Args)]
pub(super) struct PartFlags {
    /// Make part I of N of the load: its share of --connections, --rate and --count, in its phase
    /// of the schedule. 'resound merge' adds the results
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub(super) part: Share,

    /// Connect and warm up before TIME, and measure from then on: RFC 3339, or Unix seconds
    /// [default: as soon as possible]
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
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
        let check = |start_at| check_start(start_at, warmup);
        self.start_at.map_or(Ok(()), check).map_err(|error| format!("--start-at {error}"))
    }

    pub(super) fn meant(&self) -> Map<String, Value> {
        let start_at = self.start_at.map(|time| humantime::format_rfc3339_nanos(time).to_string());
        let part = Value::from(self.part.to_string());
        Map::from_iter([("part".to_owned(), part), ("start_at".to_owned(), start_at.into())])
    }
}
