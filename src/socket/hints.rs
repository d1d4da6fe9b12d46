//! The causes of those errors of connect(2) and bind(2) whose error number has several.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::endpoint::{ResolvedEndpoint, Transport};

/// The state in /proc/net/tcp of a closed connection that waits for its last segments
/// (`TCP_TIME_WAIT` of linux/tcp.h).
const TIME_WAIT: &str = "06";

/// If connections in TIME_WAIT hold at least this share of the ephemeral ports, the hint names them
/// as the cause.
#[cfg(feature = "program")]
const TIME_WAIT_SHARE_MIN: f64 = 0.5;

/// Returns the error of a failed connect to an IP address with its cause. Leaves other errors
/// unchanged.
///
/// Linux returns EADDRNOTAVAIL both if no port is free and if this machine has no address to send
/// from. The second cause gets a separate message. If no port is free for UDP, Linux returns
/// EAGAIN, which becomes the error that TCP returns.
pub(crate) fn connect_error(target: &ResolvedEndpoint, error: io::Error) -> io::Error {
    let Some(addr) = target.ip_addr() else { return error };
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) if lacks_source(addr) => no_address(addr),
        Some(libc::EAFNOSUPPORT) => no_address(addr),
        Some(libc::EAGAIN) => io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
        _ => error,
    }
}

/// Returns the hint for a client for which the system has no free port.
#[cfg(feature = "program")]
pub(crate) fn out_of_ports() -> String {
    let (cause, remedy) = match time_wait_share() {
        Some(share) if share >= TIME_WAIT_SHARE_MIN => (
            ", most of them held by old connections in TIME_WAIT for a minute",
            "connections that live longer",
        ),
        _ => ("", "fewer connections"),
    };
    format!(
        "this client is out of ephemeral ports{cause}: widen net.ipv4.ip_local_port_range, \
         or use {remedy}"
    )
}

/// Returns the number of connections in TIME_WAIT per ephemeral port of this machine.
#[cfg(feature = "program")]
fn time_wait_share() -> Option<f64> {
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let words = sockets.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let waiting: f64 = words.split(' ').skip_while(|word| *word != "tw").nth(1)?.parse().ok()?;
    let ports: Vec<f64> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let [first, last] = ports[..] else { return None };
    Some(waiting / (last - first + 1.0))
}

/// Returns the hint for a port that is in use: the cause and the remedy.
pub(super) fn port_in_use(transport: Transport, port: u16) -> &'static str {
    match transport {
        Transport::Tcp if is_held_by_time_wait(port) => {
            "only old connections in TIME_WAIT have this port; the kernel frees it within a minute"
        }
        _ => "another socket has this port; pick another, or 0 to let the system pick",
    }
}

/// Returns true if only connections in TIME_WAIT have this TCP port. They block even a socket with
/// SO_REUSEADDR, unless the previous program had set SO_REUSEADDR too.
fn is_held_by_time_wait(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let tables = tables.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    let mut states = tables.iter().flat_map(|table| states_at(table, port)).peekable();
    states.peek().is_some() && states.all(|state| state == TIME_WAIT)
}

/// Returns the states of the sockets with this local port in a table of proc_net_tcp(5).
fn states_at(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let suffix = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        local.ends_with(&suffix).then_some(state)
    })
}

/// Returns the hint for a bind to an address that this machine does not have.
pub(super) fn not_local(addr: SocketAddr) -> &'static str {
    let has_no_ipv6 = addr.is_ipv6()
        && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))
            .is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL));
    if has_no_ipv6 { "this machine has no IPv6 address" } else { "not an address of this machine" }
}

/// Returns true if this machine has no address of that family to send from. A connect of a UDP
/// socket finds out: it sends nothing, and it never returns EADDRNOTAVAIL because of ports.
fn lacks_source(addr: SocketAddr) -> bool {
    let probe = || {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
        socket.connect(&SockAddr::from(addr))
    };
    probe().is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
}

fn no_address(addr: SocketAddr) -> io::Error {
    let family = if addr.is_ipv6() { "IPv6" } else { "IPv4" };
    let words = format!("this machine has no {family} address");
    io::Error::new(io::ErrorKind::AddrNotAvailable, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two lines of /proc/net/tcp and one of /proc/net/tcp6.
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F49 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 26 1 0
   1: 0100007F:1F4A 0100007F:D2C2 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0
   2: 00000000000000000000000001000000:1F4A 00000000000000000000000001000000:A0 01 0:0 00:0 0";

    #[test]
    fn the_states_at_a_port_are_read_from_the_kernels_tables() {
        let states = |port| states_at(TABLE, port).collect::<Vec<_>>();
        assert_eq!(states(0x1f49), ["0A"]);
        assert_eq!(states(0x1f4a), ["06", "01"]);
        // A remote port, and a part of a local port.
        assert_eq!(states(0xd2c2), [""; 0]);
        assert_eq!(states(0x49), [""; 0]);
    }

    #[test]
    fn connect_error_changes_only_errors_with_several_causes() {
        let target = ResolvedEndpoint::Tcp(([127, 0, 0, 1], 9).into());
        for (given, expected) in [
            (libc::ECONNREFUSED, libc::ECONNREFUSED),
            (libc::ENETUNREACH, libc::ENETUNREACH),
            // This machine has an IPv4 address, so the cause is a missing port.
            (libc::EADDRNOTAVAIL, libc::EADDRNOTAVAIL),
            (libc::EAGAIN, libc::EADDRNOTAVAIL),
        ] {
            let error = connect_error(&target, io::Error::from_raw_os_error(given));
            assert_eq!(error.raw_os_error(), Some(expected));
        }
        let error = connect_error(&target, io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        assert_eq!(error.to_string(), "this machine has no IPv4 address");
    }
}
