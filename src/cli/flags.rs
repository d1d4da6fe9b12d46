//! Groups of flags that several commands share.

use std::time::Duration;

use clap::Args;
use resound::endpoint::{DEFAULT_PORT, Endpoint, Family, HostPort, Scope, Transport};
use resound::socket::{BindAddr, Dscp, SocketOptions};
use resound::units::duration_ns;
use serde_json::{Map, Value, json};

use super::values::{buf_size, busy_poll, congestion, hops, segment_size};

/// The family of IP.
#[derive(Debug, Args)]
pub(super) struct FamilyFlags {
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
}

/// Settings of the packets that a socket sends.
#[derive(Debug, Args)]
pub(super) struct PacketFlags {
    /// Mark IP packets with this code point of differentiated services: cs0 to cs7, af11 to af43,
    /// ef, le, va, or 0 to 63
    #[arg(long, value_name = "NAME|N")]
    dscp: Option<Dscp>,

    /// Let IP packets pass at most N routers (TTL, hop limit)
    #[arg(long, value_name = "N", value_parser = hops)]
    ttl: Option<u8>,
}

/// Where the sockets of a client leave from.
#[derive(Debug, Args)]
pub(super) struct BindFlags {
    /// Leave from this address, out of this interface, from these ports; repeatable, and used in
    /// turn
    #[arg(long, value_name = "ADDR[%DEV][:PORT[-PORT]]")]
    bind: Vec<BindAddr>,
}

/// What a client asks the kernel about its packets.
#[derive(Debug, Args)]
pub(super) struct TimestampFlags {
    /// Split round trips by the kernel's timestamps into send, away and wake (Linux; TCP and UDP);
    /// bench takes those of one message of 32
    #[arg(long)]
    pub(super) timestamps: bool,
}

/// The end of a command's help: how values are written.
pub(super) const VALUES_HELP: &str = "\
N is a count such as 250 or 10k (thousands), SIZE a number of bytes such as 1200 or 64KiB, and T a \
time such as 200us, 1.5s or 2m; a bare number is seconds.";

/// Options of every socket.
#[derive(Debug, Args)]
pub(super) struct SocketFlags {
    /// Receive buffer of each socket (SO_RCVBUF)
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    pub(super) rcvbuf: Option<usize>,

    /// Send buffer of each socket (SO_SNDBUF)
    #[arg(long, value_name = "SIZE", value_parser = buf_size)]
    pub(super) sndbuf: Option<usize>,

    /// Let TCP coalesce small messages (Nagle's algorithm: TCP_NODELAY off)
    #[arg(long)]
    pub(super) nagle: bool,

    /// TCP congestion control algorithm
    #[arg(long, value_name = "NAME", value_parser = congestion)]
    pub(super) congestion: Option<String>,

    /// Send at most N bytes in a TCP segment, and ask the peer for the same
    #[arg(long, value_name = "N", value_parser = segment_size)]
    mss: Option<u16>,

    /// Use Multipath TCP, which falls back to TCP where the peer has none (Linux)
    #[arg(long)]
    pub(super) mptcp: bool,

    /// Let the kernel poll the network device for T before a receive sleeps (SO_BUSY_POLL, Linux)
    #[arg(long, value_name = "T", value_parser = busy_poll)]
    busy_poll: Option<Duration>,

    #[command(flatten)]
    packets: PacketFlags,

    #[command(flatten)]
    pub(super) family: FamilyFlags,
}

impl FamilyFlags {
    pub(super) fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::V4),
            (_, true) => Some(Family::V6),
            _ => None,
        }
    }

    /// The family of the packets to this endpoint, or the one with the shorter datagrams if only
    /// its lookup can tell.
    pub(super) fn likely(&self, endpoint: &Endpoint) -> Family {
        match self.family() {
            _ if Family::V4.excludes(endpoint) => Family::V6,
            _ if Family::V6.excludes(endpoint) => Family::V4,
            asked => asked.unwrap_or(Family::V4),
        }
    }

    /// Whether they can be used with this endpoint.
    pub(super) fn check(&self, endpoint: &Endpoint) -> Result<(), String> {
        let Some(family) = self.family().filter(|family| family.excludes(endpoint)) else {
            return Ok(());
        };
        let flag = self.flag();
        let transport = endpoint.transport().name();
        let host_port = HostPort { host: family.loopback().to_string(), port: DEFAULT_PORT };
        Err(format!(
            "'{flag}' cannot be used with '{endpoint}': expected an {family} address or a name, \
             such as {transport}://{host_port}"
        ))
    }

    fn flag(&self) -> &'static str {
        if self.ipv4 { "-4" } else { "-6" }
    }

    pub(super) fn given(&self) -> Option<&'static str> {
        self.family().map(|_| self.flag())
    }
}

impl PacketFlags {
    /// These settings, and the defaults of all others.
    pub(super) fn options(&self) -> SocketOptions {
        SocketOptions { dscp: self.dscp, ttl: self.ttl, ..SocketOptions::default() }
    }

    pub(super) fn given(&self) -> Vec<&'static str> {
        let flags = [("--dscp", self.dscp.is_some()), ("--ttl", self.ttl.is_some())];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

impl BindFlags {
    pub(super) fn addrs(&self) -> &[BindAddr] {
        &self.bind
    }

    pub(super) fn given(&self) -> Option<&'static str> {
        self.bind.first().map(|_| "--bind")
    }

    /// The addresses, as typed.
    pub(super) fn meant(&self) -> Value {
        self.bind.iter().map(BindAddr::to_string).collect()
    }

    /// The family that the addresses leave to a host: theirs, if they have one in common.
    pub(super) fn family(&self) -> Option<Family> {
        let first = self.bind.first()?.family();
        Some(first).filter(|family| self.bind.iter().all(|bind| bind.family() == *family))
    }

    /// Whether one of the endpoints, or what stands for it, has addresses to leave from.
    pub(super) fn check_places(&self, places: &[(String, Transport)]) -> Result<(), String> {
        self.given().map_or(Ok(()), |flag| Scope::Ip.check(flag, places))
    }

    /// Whether they can be used with this endpoint, and with the family asked for.
    pub(super) fn check(
        &self,
        endpoint: Option<&Endpoint>,
        asked: &FamilyFlags,
    ) -> Result<(), String> {
        let Some(family) = self.family() else { return Ok(()) };
        let bind = &self.bind[0];
        if asked.family().is_some_and(|asked| asked != family) {
            let flag = asked.flag();
            return Err(format!(
                "'--bind {bind}' cannot be used with '{flag}': expected addresses of that \
                 family, such as --bind {}",
                family.other().loopback()
            ));
        }
        match endpoint.filter(|endpoint| family.excludes(endpoint)) {
            Some(endpoint) => Err(format!(
                "'--bind {bind}' cannot be used with '{endpoint}': expected addresses of one \
                 family, such as --bind {}",
                family.other().loopback()
            )),
            None => Ok(()),
        }
    }
}

/// The settings of a client's socket. Addresses to leave from decide on the family of a name.
pub(super) fn client_options(
    options: SocketOptions,
    bind: &BindFlags,
    family: &FamilyFlags,
) -> SocketOptions {
    SocketOptions { family: family.family().or(bind.family()), ..options }
}

impl TimestampFlags {
    pub(super) fn given(&self) -> Option<&'static str> {
        self.timestamps.then_some("--timestamps")
    }
}

impl SocketFlags {
    /// Returns the socket options. Options without a flag here have their defaults.
    pub(super) fn options(&self) -> SocketOptions {
        SocketOptions {
            receive_buf_bytes: self.rcvbuf,
            send_buf_bytes: self.sndbuf,
            nodelay: !self.nagle,
            congestion: self.congestion.clone(),
            mss: self.mss,
            multipath: self.mptcp,
            busy_poll: self.busy_poll,
            family: self.family.family(),
            ..self.packets.options()
        }
    }

    /// Returns the given flags among those that only TCP uses.
    pub(super) fn of_tcp(&self) -> Vec<&'static str> {
        let flags = [
            ("--nagle", self.nagle),
            ("--congestion", self.congestion.is_some()),
            ("--mss", self.mss.is_some()),
            ("--mptcp", self.mptcp),
        ];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }

    /// Returns the given flags among those that only IP uses.
    pub(super) fn of_ip(&self) -> Vec<&'static str> {
        let mut given = self.packets.given();
        given.extend(self.busy_poll.map(|_| "--busy-poll"));
        given.extend(self.family.given());
        given
    }

    /// Whether the reader of a report wants to see what the kernel made of them.
    pub(super) fn are_reported(&self) -> bool {
        let of_tcp = self.of_tcp().iter().any(|name| *name != "--nagle");
        let has_bufs = self.rcvbuf.is_some() || self.sndbuf.is_some();
        has_bufs || of_tcp || !self.of_ip().is_empty()
    }

    /// Each with its value, by the keys of a report.
    pub(super) fn meant(&self) -> Map<String, Value> {
        let Value::Object(meant) = json!({
            "rcvbuf": self.rcvbuf,
            "sndbuf": self.sndbuf,
            "nagle": self.nagle,
            "congestion": self.congestion,
            "mss": self.mss,
            "mptcp": self.mptcp,
            "busy_poll_ns": self.busy_poll.map(duration_ns),
            "dscp": self.packets.dscp.map(Dscp::number),
            "ttl": self.packets.ttl,
            "family": self.family.family().map(|family| family.to_string()),
        }) else {
            unreachable!("an object was made")
        };
        meant
    }
}
