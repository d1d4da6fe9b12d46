//! The limit of connections that the descriptor limit allows.

use tracing::warn;

use super::Options;
use crate::echo::REPLY_PATH_DESCRIPTORS_MAX;
use crate::endpoint::{Endpoint, Transport};
use crate::process::descriptors::DescriptorLimit;
use crate::units::counted;

/// Descriptors for everything but connections: the standard streams, the selector, its waker, the
/// signals, the spare one, 16 for the pipes of bulk, and what libraries open for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// The descriptors of each loop after the first: the selector, its waker, the two ends of the
/// signal pipe, the spare one, 16 for the pipes of bulk.
pub(super) const DESCRIPTORS_PER_LOOP: u64 = 21;

/// The number of connections that a recommended descriptor limit has room for.
const CONNECTIONS_ADVISED: u64 = 512;

/// Raises the descriptor limit as far as possible, and fits the connection limit into it. Returns
/// the connection limit, and log lines that matter only if everything can be bound.
pub(super) fn connection_limit(
    options: &Options,
    loops: usize,
    passed: usize,
) -> (u64, Vec<String>) {
    let set_aside = passed as u64 + set_aside(options);
    let descriptors = DescriptorLimit::raise();
    let limit = descriptors.limit_or_usual();
    let mut log_lines = Vec::new();
    if let Some((soft, hard)) = descriptors.before.filter(|(soft, _)| limit > *soft) {
        log_lines
            .push(format!("descriptor limit raised from {soft} to {limit} (hard limit {hard})"));
    }
    if let Some(warning) = descriptors.warning {
        warn!("{warning}");
    }
    // An endpoint may have several sockets: two for all interfaces, or one per address of a name.
    const SOCKETS_PER_ENDPOINT: u64 = 2;
    let sockets = SOCKETS_PER_ENDPOINT * options.endpoints.len() as u64;
    let of_first = DESCRIPTORS_RESERVED + set_aside + sockets;
    let of_each_other = DESCRIPTORS_PER_LOOP + sockets;
    let reserved = of_first + (loops as u64 - 1) * of_each_other;
    let most = limit.saturating_sub(reserved).max(1);
    if limit <= reserved {
        // A power of two that leaves room for some connections.
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
            let connections = counted(most, "connection");
            log_lines.push(format!("at most {connections} (descriptor limit {limit})"));
            most
        }
    };
    (chosen, log_lines)
}

/// Returns the descriptors of the metrics server, and of the reply paths of Unix datagrams.
fn set_aside(options: &Options) -> u64 {
    let of_metrics = if options.metrics.is_some() { crate::metrics::DESCRIPTORS } else { 0 };
    let is_unixgram = |endpoint: &Endpoint| endpoint.transport() == Transport::Unixgram;
    let of_reply_paths =
        if options.endpoints.iter().any(is_unixgram) { REPLY_PATH_DESCRIPTORS_MAX } else { 0 };
    of_metrics + of_reply_paths
}
