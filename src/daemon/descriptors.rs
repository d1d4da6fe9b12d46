//! How many connections the descriptor limit leaves room for.

use tracing::warn;

use super::{Options, metrics};
use crate::echo::REPLY_PATH_DESCRIPTORS_MAX;
use crate::endpoint::{Endpoint, Transport};
use crate::process::descriptors::DescriptorLimit;

/// Descriptors for what is no connection: the standard streams, the selector, what wakes it, the
/// signals, the spare one, 16 for the pipes of bulk, and what libraries open for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// What each loop after the first has of these: the selector, what wakes it, the signals' two ends,
/// the spare one, 16 for the pipes of bulk.
pub(super) const DESCRIPTORS_PER_LOOP: u64 = 21;

/// Connections that the advice of a descriptor limit leaves room for.
const CONNECTIONS_ADVISED: u64 = 512;

/// Raises the descriptor limit as far as it goes, and fits the connection limit into it. Returns
/// the limit, and lines for the log that are of interest only if everything can be bound.
pub(super) fn connection_limit(
    options: &Options,
    loops: usize,
    passed: usize,
) -> (u64, Vec<String>) {
    let set_aside = passed as u64 + set_aside(options);
    let descriptors = DescriptorLimit::raise();
    let limit = descriptors.limit_or_usual();
    let mut said = Vec::new();
    if let Some((soft, hard)) = descriptors.before.filter(|(soft, _)| limit > *soft) {
        said.push(format!("descriptor limit raised from {soft} to {limit} (hard limit {hard})"));
    }
    if let Some(warning) = descriptors.warning {
        warn!("{warning}");
    }
    // An endpoint may be several sockets: two for every interface, one an address for a name.
    const SOCKETS_PER_ENDPOINT: u64 = 2;
    let sockets = SOCKETS_PER_ENDPOINT * options.endpoints.len() as u64;
    let of_first = DESCRIPTORS_RESERVED + set_aside + sockets;
    let of_each_other = DESCRIPTORS_PER_LOOP + sockets;
    let reserved = of_first + (loops as u64 - 1) * of_each_other;
    let most = limit.saturating_sub(reserved).max(1);
    if limit <= reserved {
        // A round figure that leaves at least some for connections.
        let enough = (reserved + CONNECTIONS_ADVISED).next_power_of_two();
        let fewer = match limit.checked_sub(of_first + 1) {
            Some(left) if loops > 1 => format!(", or --threads {}", 1 + left / of_each_other),
            _ => String::new(),
        };
        warn!(
            "the descriptor limit {limit} leaves none for connections: expected more than \
             {reserved}, such as by 'ulimit -n {enough}' (LimitNOFILE= of a service){fewer}"
        );
    }
    let chosen = match options.connections_max {
        Some(asked) if asked > most => {
            warn!("--max-connections {asked} is beyond the descriptor limit {limit}: using {most}");
            most
        }
        Some(asked) => asked,
        None => {
            said.push(format!("at most {most} connections (descriptor limit {limit})"));
            most
        }
    };
    (chosen, said)
}

/// Descriptors for the metrics, and for the ways back to Unix datagram senders.
fn set_aside(options: &Options) -> u64 {
    let of_metrics = if options.metrics.is_some() { metrics::DESCRIPTORS } else { 0 };
    let is_unixgram = |endpoint: &Endpoint| endpoint.transport() == Transport::Unixgram;
    let of_reply_paths =
        if options.endpoints.iter().any(is_unixgram) { REPLY_PATH_DESCRIPTORS_MAX } else { 0 };
    of_metrics + of_reply_paths
}
