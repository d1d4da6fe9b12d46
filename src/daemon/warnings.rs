//! Warnings about an endpoint before it serves.

use std::os::unix::fs::PermissionsExt;

use tracing::warn;

use crate::echo::{Bound, Options, Reply};
use crate::endpoint::{Endpoint, Transport, UnixName};

/// The headers of a UDP datagram over IPv4 (20 and 8 bytes), which are also the shortest request.
/// The headers over IPv6 have 20 bytes more, which makes the factor smaller.
const HEADER_BYTES: usize = 28;

/// Warns about what this endpoint lets other hosts and users do, and about what it cannot do.
pub(super) fn warn_of(bound: &Bound, options: &Options) {
    warn_of_forged_sources(bound, options);
    warn_of_too_long_reply(bound, options);
    warn_of_rights_of_root(bound, options);
}

/// Warns about forged UDP sources: the reply goes to the forged address.
fn warn_of_forged_sources(bound: &Bound, options: &Options) {
    let endpoint = &bound.endpoint;
    if endpoint.transport() != Transport::Udp || bound.is_local() {
        return;
    }
    match &options.reply {
        Reply::Nothing => {}
        Reply::Text(text) if !text.is_empty() => {
            let limit = options.excess_bytes_per_second_max.map_or(String::new(), |bytes| {
                format!("; an address gets at most {bytes} bytes per second more than it sends")
            });
            warn!(
                "{endpoint} can be reached from other hosts, and its --reply amplifies: an empty \
                 datagram with a forged source has {HEADER_BYTES} bytes with its headers, and \
                 brings {} to a third party, a factor of {:.1}{limit}",
                text.len() + HEADER_BYTES,
                amplification(text.len()),
            );
        }
        Reply::Echo | Reply::Text(_) => warn!(
            "{endpoint} can be reached from other hosts: an open UDP echo answers forged sources, \
             and so reflects traffic at third parties"
        ),
    }
}

/// Returns the length of a reply divided by that of the shortest request, headers included.
#[allow(clippy::cast_precision_loss, reason = "a length is far below 2^52")]
fn amplification(reply_bytes: usize) -> f64 {
    (reply_bytes + HEADER_BYTES) as f64 / HEADER_BYTES as f64
}

fn warn_of_too_long_reply(bound: &Bound, options: &Options) {
    let Reply::Text(text) = &options.reply else { return };
    if let Some(most) = bound.datagram_bytes_max.filter(|most| text.len() > *most) {
        warn!(
            "{}: --reply is too long: it has {} bytes, and a datagram from there at most {most}; \
             no client gets it",
            bound.endpoint,
            text.len(),
        );
    }
}

/// Warns that replies to Unix datagrams are sent with the rights of root to a path that the sender
/// names, and the sender need not have these rights. The server notices if the path leads to
/// another socket, unless that socket is connected.
fn warn_of_rights_of_root(bound: &Bound, options: &Options) {
    let answers = options.reply != Reply::Nothing;
    let Endpoint::Unixgram(name) = &bound.endpoint else { return };
    const WRITE_OF_OTHERS: u32 = 0o022;
    let others_may_write = || match name {
        UnixName::Path(path) => path
            .metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & WRITE_OF_OTHERS != 0),
        // An abstract name has no permissions.
        UnixName::Abstract(_) => true,
    };
    if answers && rustix::process::geteuid().is_root() && others_may_write() {
        warn!(
            "{}: other users may write to this socket, and its answers go with the rights of root \
             to the paths that they name: a sender can have them delivered to a socket that is \
             connected to this server and that the sender may not write to; run the server as a \
             user of its own",
            bound.endpoint,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// case U19
    #[test]
    fn the_factor_counts_whole_datagrams_with_their_headers() {
        assert!((amplification(0) - 1.0).abs() < 1e-9);
        assert!((amplification(28) - 2.0).abs() < 1e-9);
        assert!((amplification(60_000) - 2143.857).abs() < 1e-3);
    }
}
