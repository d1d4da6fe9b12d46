//! The settings of a run's sockets.

use serde::{Deserialize, Serialize};

/// What the kernel says of the settings of the first socket that was connected (getsockopt(2)); all
/// others have the same. Null where it has no such setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sockets {
    /// `SO_RCVBUF` in bytes, by the kernel's count, which includes its overhead.
    pub rcvbuf: Option<u64>,
    /// `SO_SNDBUF`, by the same count.
    pub sndbuf: Option<u64>,
    /// The code point in `IP_TOS` or `IPV6_TCLASS`.
    pub dscp: Option<u64>,
    /// `IP_TTL` or `IPV6_UNICAST_HOPS`.
    pub ttl: Option<u64>,
    /// `TCP_MAXSEG` of the connection.
    pub mss: Option<u64>,
    /// Whether the connection is one of Multipath TCP, and has not fallen back to TCP.
    pub mptcp: Option<bool>,
    /// `SO_BUSY_POLL`.
    pub busy_poll_ns: Option<u64>,
    /// `TCP_CONGESTION`.
    pub congestion: Option<String>,
    /// Where the sockets left from, by `--bind`.
    pub bind: Vec<BindUse>,
    /// The report shows them as text, because settings were asked for.
    #[serde(skip)]
    pub is_shown: bool,
}

/// How many sockets left from an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindUse {
    /// The address with its interface and its ports, as in `--bind`.
    pub address: String,
    /// Sockets opened; one that is opened again counts again.
    pub opened: u64,
}
