//! Socket settings, the same for every transport where they make sense.

mod packets;

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{Dscp, SocketFacts, sys};
use crate::endpoint::{Family, ResolvedEndpoint};
use crate::error::Error;
use crate::units::parse_time;

/// The default listen(2) backlog. A burst beyond the backlog waits for SYN retransmits of one
/// second and more; Linux caps it at `net.core.somaxconn`, 4096 since Linux 5.4.
const BACKLOG_DEFAULT: u32 = 4096;

/// What to set on sockets before they are bound. Accepted streams inherit it from their listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// The listen(2) backlog.
    pub backlog: u32,
    /// `SO_RCVBUF` in bytes; the system doubles it and has its own limits (socket(7)).
    pub receive_buf_bytes: Option<usize>,
    /// `SO_SNDBUF` in bytes.
    pub send_buf_bytes: Option<usize>,
    /// `TCP_NODELAY`: small replies leave at once.
    pub nodelay: bool,
    /// `TCP_CONGESTION`: the name of a congestion control algorithm.
    pub congestion: Option<String>,
    /// Whether the kernel asks silent peers of accepted TCP connections if they are still there.
    pub keepalive: Keepalive,
    /// The mode of socket files. Linux creates them with it, less the umask of the process where a
    /// thread cannot have its own umask (`CLONE_FS` of unshare(2)).
    pub unix_mode: u32,
    /// Whether an IP socket has its port to itself.
    pub port_use: PortUse,
    /// The only family of IP to use.
    pub family: Option<Family>,
    /// `IP_TOS` and `IPV6_TCLASS`: how routers treat the packets.
    pub dscp: Option<Dscp>,
    /// `IP_TTL` and `IPV6_UNICAST_HOPS`: how many routers a packet may pass, at least 1.
    pub ttl: Option<u8>,
    /// `TCP_MAXSEG`: the longest TCP segment, within [`MSS_RANGE`].
    pub mss: Option<u16>,
    /// TCP connections by Multipath TCP (RFC 8684), which falls back to TCP with a peer without it.
    pub multipath: bool,
    /// `SO_BUSY_POLL`: how long a receive polls the device before it sleeps, in whole microseconds.
    pub busy_poll: Option<Duration>,
    /// `SO_BINDTODEVICE`: the network interface that an IP socket is bound to.
    pub interface: Option<String>,
    /// Where a client's IP socket leaves from. With port 0 the kernel picks a port for each peer.
    pub local: Option<SocketAddr>,
}

/// The values of `TCP_MAXSEG` that Linux accepts (`TCP_MIN_MSS`, `MAX_TCP_WINDOW` in `net/tcp.h`).
pub const MSS_RANGE: RangeInclusive<u16> = 88..=32_767;

/// Whether an IP socket shares its port with other sockets of the same user (`SO_REUSEPORT`). Linux
/// spreads connections and datagrams among them by the addresses of their two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortUse {
    /// No other socket can have the port.
    #[default]
    Alone,
    /// The first of several sockets. Binding fails if any socket has the port. Afterwards sockets
    /// with [`Join`](PortUse::Join) can share it.
    Lead,
    /// A further socket. Binding fails unless all sockets of the port share it.
    Join,
}

/// Whether the kernel asks the silent peer of an accepted TCP connection if it is still there
/// (`SO_KEEPALIVE`, tcp(7)). The connection of a peer that does not answer ends with `ETIMEDOUT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// It does not.
    Off,
    /// It does, so that a peer that has vanished is gone within two minutes: after
    /// [`Keepalive::AFTER_DEFAULT`], or at the system's times (`net.ipv4.tcp_keepalive_*`) if these
    /// find out sooner. A socket that was handed over with `SO_KEEPALIVE` keeps its own times.
    #[default]
    Auto,
    /// It does, at the system's times, over two hours by default, or at those of a socket that was
    /// handed over.
    System,
    /// It does after so long a silence, and gives up after as long again. In whole seconds, rounded
    /// up, and at most [`Keepalive::AFTER_MAX`].
    After(Duration),
}

/// As text: `system`, `off`, or a time such as `60s`.
impl FromStr for Keepalive {
    type Err = String;

    fn from_str(text: &str) -> Result<Keepalive, String> {
        const SECOND: Duration = Duration::from_secs(1);
        match (text, parse_time(text)) {
            ("system", _) => Ok(Keepalive::System),
            ("off", _) => Ok(Keepalive::Off),
            (_, Ok(time)) if (SECOND..=Keepalive::AFTER_MAX).contains(&time) => {
                Ok(Keepalive::After(time))
            }
            _ => Err("expected a time from 1s to 32767s, such as 60s, or system or off".to_owned()),
        }
    }
}

impl Keepalive {
    /// The longest time that Linux accepts for `TCP_KEEPIDLE`.
    pub const AFTER_MAX: Duration = Duration::from_secs(32_767);

    /// The silence after which [`Keepalive::Auto`] has the kernel ask. A vanished peer is gone
    /// after two minutes, and a silent one costs a packet each way in a minute.
    pub const AFTER_DEFAULT: Duration = Duration::from_secs(60);

    /// Probes that the peer leaves unanswered before the system gives up.
    const PROBES_MAX: u32 = 5;

    /// Sets it on a listener, from which accepted sockets inherit it: no system call for each.
    pub(super) fn apply(self, listener: &Socket) -> Result<(), Error> {
        let set = match self {
            Keepalive::Off => listener.set_keepalive(false),
            Keepalive::Auto => auto_keepalive(listener),
            Keepalive::System => listener.set_keepalive(true),
            Keepalive::After(time) => listener.set_tcp_keepalive(&keepalive_after(time)),
        };
        set.map_err(|error| Error::new("set", "SO_KEEPALIVE", error))
    }
}

fn auto_keepalive(listener: &Socket) -> io::Result<()> {
    if listener.keepalive()? {
        return Ok(());
    }
    match sys::keepalive_gives_up_after(listener) {
        Some(time) if time <= 2 * Keepalive::AFTER_DEFAULT => listener.set_keepalive(true),
        _ => listener.set_tcp_keepalive(&keepalive_after(Keepalive::AFTER_DEFAULT)),
    }
}

/// Keepalive after so long a silence, which gives up after as long again.
fn keepalive_after(time: Duration) -> TcpKeepalive {
    let seconds = time.min(Keepalive::AFTER_MAX).as_nanos().div_ceil(1_000_000_000);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
    let probes = seconds.min(Keepalive::PROBES_MAX);
    sys::keepalive(seconds, seconds.div_ceil(probes), probes)
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            backlog: BACKLOG_DEFAULT,
            receive_buf_bytes: None,
            send_buf_bytes: None,
            nodelay: true,
            congestion: None,
            keepalive: Keepalive::Auto,
            unix_mode: 0o600,
            port_use: PortUse::Alone,
            family: None,
            dscp: None,
            ttl: None,
            mss: None,
            multipath: false,
            busy_poll: None,
            interface: None,
            local: None,
        }
    }
}

impl SocketOptions {
    /// An unbound, non-blocking IP socket with these settings. An IPv6 socket takes IPv6 only, so
    /// that `0.0.0.0` and `[::]` can have the same port side by side.
    pub(super) fn ip_socket(&self, addr: SocketAddr, kind: Type) -> Result<Socket, Error> {
        let socket = self.unbound_ip_socket(addr, kind)?;
        if addr.is_ipv6() {
            let set = socket.set_only_v6(true);
            set.map_err(|error| Error::new("set IPV6_V6ONLY on", addr, error))?;
        }
        Ok(socket)
    }

    /// A non-blocking socket with these settings that can connect to the target: to any address of
    /// its family, an IPv4 address inside an IPv6 one (`::ffff:127.0.0.1`) included. It is bound
    /// if it has to leave from [`SocketOptions::local`].
    pub(crate) fn client(&self, target: &ResolvedEndpoint) -> Result<Socket, Error> {
        let kind = if target.transport().is_stream() { Type::STREAM } else { Type::DGRAM };
        let Some(addr) = target.ip_addr() else { return self.unix_socket(kind) };
        let socket = self.unbound_ip_socket(addr, kind)?;
        self.bind_local(&socket, kind)?;
        Ok(socket)
    }

    fn unbound_ip_socket(&self, addr: SocketAddr, kind: Type) -> Result<Socket, Error> {
        let protocol = match kind {
            Type::STREAM if self.multipath => sys::multipath().map_err(packets::no_multipath)?,
            Type::STREAM => Protocol::TCP,
            _ => Protocol::UDP,
        };
        let made = unbound(Domain::for_address(addr), kind, Some(protocol));
        let socket = made.map_err(|error| match kind == Type::STREAM && self.multipath {
            true if error.raw_os_error() != Some(libc::EAFNOSUPPORT) => {
                packets::no_multipath(error)
            }
            _ => unmade(addr, error),
        })?;
        self.apply_bufs(&socket)?;
        self.apply_packets(&socket, addr)?;
        if kind == Type::STREAM {
            self.apply_tcp(&socket)?;
        }
        if self.port_use == PortUse::Join {
            sys::share_port(&socket).map_err(|error| Error::new("set", "SO_REUSEPORT", error))?;
        }
        Ok(socket)
    }

    /// Opens the port of a socket that has taken it to others, if it is to lead them.
    ///
    /// To be called when the port is taken for good. That is after bind(2) for UDP, and after
    /// listen(2) for TCP: of two sockets with `SO_REUSEADDR` that are bound, the second to listen
    /// fails, but would not if both shared their port by then.
    pub(super) fn open_port(&self, socket: &Socket) -> io::Result<()> {
        if self.port_use == PortUse::Lead { sys::share_port(socket) } else { Ok(()) }
    }

    /// An unbound, non-blocking Unix socket with these settings.
    pub(super) fn unix_socket(&self, kind: Type) -> Result<Socket, Error> {
        let socket = unbound(Domain::UNIX, kind, None)
            .map_err(|error| Error::new("make", "a Unix socket", error))?;
        self.apply_bufs(&socket)?;
        Ok(socket)
    }

    pub(super) fn apply_bufs(&self, socket: &Socket) -> Result<(), Error> {
        if let Some(bytes) = self.receive_buf_bytes {
            let set = socket.set_recv_buffer_size(bytes);
            set.map_err(|error| Error::new("set the receive buffer to", bytes, error))?;
        }
        if let Some(bytes) = self.send_buf_bytes {
            let set = socket.set_send_buffer_size(bytes);
            set.map_err(|error| Error::new("set the send buffer to", bytes, error))?;
        }
        Ok(())
    }

    pub(super) fn apply_tcp(&self, socket: &Socket) -> Result<(), Error> {
        // Linux and the BSDs hand TCP_NODELAY on to accepted sockets: one call for all of them.
        let set = socket.set_tcp_nodelay(self.nodelay);
        set.map_err(|error| Error::new("set", "TCP_NODELAY", error))?;
        self.apply_mss(socket)?;
        match &self.congestion {
            Some(name) => apply_congestion(socket, name),
            None => Ok(()),
        }
    }

    /// What the system granted of the settings that were asked for, as `name=value` words.
    pub(super) fn granted(&self, socket: &SockRef<'_>) -> Vec<(&'static str, String)> {
        let mut granted = Vec::new();
        let mut add = |name, value: io::Result<usize>| {
            if let Ok(value) = value {
                granted.push((name, value.to_string()));
            }
        };
        if self.receive_buf_bytes.is_some() {
            add("rcvbuf", socket.recv_buffer_size());
        }
        if self.send_buf_bytes.is_some() {
            add("sndbuf", socket.send_buffer_size());
        }
        if self.congestion.is_some() {
            granted.extend(sys::congestion(socket).map(|name| ("congestion", name)));
        }
        let facts = SocketFacts::of_ref(socket);
        let packets = [
            ("dscp", self.dscp.and(facts.dscp).map(|dscp| dscp.number().to_string())),
            ("ttl", self.ttl.and(facts.ttl).map(|hops| hops.to_string())),
            ("mss", self.mss.and(facts.mss).map(|mss| mss.to_string())),
            ("busy_poll", self.busy_poll.and(facts.busy_poll).map(|time| format!("{time:?}"))),
            ("interface", self.interface.clone()),
        ];
        granted.extend(packets.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if self.multipath && facts.multipath == Some(true) {
            granted.push(("mptcp", "yes".to_owned()));
        }
        // A Unix socket has none.
        if let Keepalive::After(_) = self.keepalive {
            granted.extend(sys::keepalive_times(socket).map(|times| ("keepalive", times)));
        }
        granted
    }

    /// The backlog that listen(2) grants. Linux shortens a longer one without an error.
    pub(super) fn backlog_granted(&self) -> u32 {
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
        let limit = somaxconn.and_then(|text| text.trim().parse().ok()).unwrap_or(u32::MAX);
        self.backlog.min(limit)
    }
}

fn unbound(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    // Socket::new sets close-on-exec in the same call.
    let socket = Socket::new(domain, kind, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Why there is no socket for an address, with what the error number does not tell.
fn unmade(addr: SocketAddr, error: io::Error) -> Error {
    let lacks_family = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    let error = Error::new("make a socket for", addr, error);
    match lacks_family {
        true if addr.is_ipv6() => error.hint("IPv6 is switched off on this machine"),
        _ => error,
    }
}

fn apply_congestion(socket: &Socket, name: &str) -> Result<(), Error> {
    sys::set_congestion(socket, name).map_err(|error| {
        let unsupported = error.kind() == io::ErrorKind::Unsupported;
        let failed = Error::new("set the congestion control to", name, error);
        if unsupported {
            return failed;
        }
        let available = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        failed.hint(match std::fs::read_to_string(available) {
            Ok(names) => format!("this system has: {}", names.trim()),
            Err(_) => "not an algorithm of this system".to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn keepalive_is_asked_of_the_socket_if_it_was_asked_for() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let keepalive = Keepalive::After(Duration::from_millis(6_001));
        let set = SocketOptions { keepalive, ..SocketOptions::default() };
        let socket = set.ip_socket(addr, Type::STREAM).unwrap();
        keepalive.apply(&socket).unwrap();
        assert_eq!(set.granted(&SockRef::from(&socket)), [("keepalive", "7s+5x2s".to_owned())]);
        assert_eq!(SocketOptions::default().granted(&SockRef::from(&socket)), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_congestion_control_is_asked_of_the_socket_and_only_tcp_has_one() {
        let list = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let names = std::fs::read_to_string(list).unwrap();
        let name = names.split_whitespace().next().unwrap();
        let set = SocketOptions { congestion: Some(name.to_owned()), ..SocketOptions::default() };
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let tcp = set.ip_socket(addr, Type::STREAM).unwrap();
        assert_eq!(set.granted(&SockRef::from(&tcp)), [("congestion", name.to_owned())]);
        // What was asked for is not what is repeated.
        let typed =
            SocketOptions { congestion: Some("bogus".to_owned()), ..SocketOptions::default() };
        assert_eq!(typed.granted(&SockRef::from(&tcp)), [("congestion", name.to_owned())]);
        let others = [
            set.ip_socket(addr, Type::DGRAM).unwrap(),
            set.unix_socket(Type::STREAM).unwrap(),
            set.unix_socket(Type::DGRAM).unwrap(),
        ];
        for other in others {
            assert_eq!(set.granted(&SockRef::from(&other)), []);
        }
    }
}
