//! `--metrics`: the figures of the loops for the pages of the metrics server.
//!
//! The server sends each loop a message to ask for its counters, and the loop that replies last
//! sends the snapshots of all.

mod text;

use tracing::{info, warn};

pub(super) use self::text::Constants;
use super::handles::{Handles, Snapshots};
use crate::endpoint::HostPort;
use crate::error::Error;
use crate::metrics::{Figures, Format, Metrics};

/// The loops, and the values that do not change.
#[derive(Debug)]
pub(super) struct LoopFigures {
    pub(super) handles: Handles,
    pub(super) constants: Constants,
}

impl Figures for LoopFigures {
    type Snapshot = Snapshots;

    const LATE: &'static str = "a loop does not answer";

    fn ask(&self, reply: impl Fn(Snapshots) + Send + Sync + 'static) {
        self.handles.ask(reply);
    }

    fn health(snapshots: &Snapshots) -> Result<(), &'static str> {
        if text::is_draining(snapshots) { Err("draining") } else { Ok(()) }
    }

    fn page(&self, snapshots: &Snapshots, format: Format) -> String {
        text::page(&self.constants, snapshots, format)
    }

    fn warn(&self, line: &str) {
        warn!("{line}");
    }
}

/// Listens on each address of the host, and logs the URLs.
pub(super) fn bind(host_port: &HostPort) -> Result<Metrics<LoopFigures>, Error> {
    let metrics = Metrics::bind(host_port)?;
    let (line, warning) = metrics.lines();
    info!("{line}");
    if let Some(warning) = warning {
        warn!("{warning}");
    }
    Ok(metrics)
}
