//! Figures of the generator's sockets that only one transport has.

use serde::{Deserialize, Serialize};

use super::{Distribution, Percentile};

/// The kernel's figures of TCP connections (`TCP_INFO`), each read at the connection's end and so
/// over its whole life, with set-up and warm-up. Only Linux has them, since 4.19.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tcp {
    /// The number of connections in these figures.
    pub connections: u64,
    /// The congestion control of the last of them.
    pub congestion: Option<String>,
    /// Segments that this host retransmitted, including SYNs.
    pub retransmits: u64,
    /// Bytes of payload that this host retransmitted.
    pub bytes_retransmitted: u64,
    /// The connections' smoothed round-trip times.
    pub rtt_ns: Rtt,
    /// The least round-trip time of any connection; null if the kernel measured none.
    pub min_rtt_ns: Option<u64>,
    /// The mean congestion window, in segments.
    pub cwnd: u64,
    /// The least maximum segment size, in bytes.
    pub mss: u64,
    /// The mean delivery rate of a connection, in bytes per second.
    pub delivery_rate: u64,
    /// Segments that the kernel considered lost when the connections ended.
    pub lost: u64,
    /// How often segments, or their acknowledgements, came out of order.
    pub reordering: u64,
    /// The round-trip times behind `rtt_ns`.
    #[serde(skip)]
    pub rtts: Distribution,
}

/// Smoothed round-trip times over all connections; null if the kernel measured none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rtt {
    /// The median, to three digits.
    pub p50: Option<u64>,
    /// The greatest.
    pub max: Option<u64>,
}

impl Rtt {
    /// Returns the figures of these round-trip times.
    pub fn of(rtts: &Distribution) -> Rtt {
        let p50 = (rtts.count() > 0).then(|| rtts.value_at(Percentile::P50));
        Rtt { p50, max: rtts.max_ns() }
    }
}

/// The kernel's figures of UDP sockets, over their whole lives. Only Linux has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Udp {
    /// Datagrams that the kernel dropped because the generator's receive buffer was full. A train
    /// counts once. Their messages are lost by the generator's fault.
    pub receive_drops: u64,
}

/// How many UDP datagrams went per system call. Several of them in one call are a *train*, sent
/// with `UDP_SEGMENT` or received with `UDP_GRO`. Counts the whole run, with warm-up and drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trains {
    /// Whether trains were asked for: by a depth above 1, without `--no-offload`.
    pub asked: bool,
    /// Whether the system refused to receive trains or to send one. From then on each datagram was
    /// sent alone.
    pub refused: bool,
    /// System calls that sent something.
    pub sends: u64,
    /// Datagrams that these calls sent.
    pub sent: u64,
    /// System calls that received something.
    pub receives: u64,
    /// Datagrams that these calls received.
    pub received: u64,
}
