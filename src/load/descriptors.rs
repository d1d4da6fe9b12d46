//! The descriptors of a run.

use std::io;

use crate::error::Error;
use crate::process::descriptors::DescriptorLimit;

/// Descriptors for everything but connections: the standard streams, the selectors, the stop
/// handles, the signals, an output file, and what libraries open for a moment.
const DESCRIPTORS_RESERVED: u64 = 48;

/// Descriptors of each further loop: its selector, its signals and its inbox.
const DESCRIPTORS_PER_LOOP: u64 = 8;

/// Raises the descriptor limit as far as possible, and checks that the connections fit into it. A
/// connection to a server in this process takes two descriptors. Returns a warning for the report.
///
/// # Errors
///
/// The connections do not fit into the limit.
pub fn raise_descriptor_limit(
    connections: u64,
    loops: usize,
    is_server_here: bool,
) -> Result<Option<String>, Error> {
    let DescriptorLimit { limit, warning, .. } = DescriptorLimit::raise();
    let limit = limit.unwrap_or(u64::MAX);
    let ends = if is_server_here { 2 } else { 1 };
    let needed = connections.saturating_mul(ends).saturating_add(DESCRIPTORS_RESERVED)
        + (loops as u64 - 1) * DESCRIPTORS_PER_LOOP;
    if needed <= limit {
        return Ok(warning);
    }
    let reason = io::Error::other(format!(
        "they need {needed} descriptors, and this client's limit is {limit}"
    ));
    Err(Error::new("open", crate::units::counted(connections, "connection"), reason)
        .hint("raise it with ulimit -n, or ask for less"))
}
