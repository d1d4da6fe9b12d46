//! What errors of connect(2) and bind(2) mean, where one error number has several causes.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::endpoint::{ResolvedEndpoint, Transport};

/// The state of a connection in /proc/net/tcp that waits for stray segments of its past
/// (`TCP_TIME_WAIT` of linux/tcp.h).
const TIME_WAIT: &str = "06";

/// From this share of the ephemeral ports on, connections in TIME_WAIT are the reason that none is
/// free.
#[cfg(feature = "program")]
const TIME_WAIT_SHARE_MIN: f64 = 0.5;

/// Names the cause of a failed connect to an IP address. Other errors stay as they are.
///
/// Linux says "address not available" (EADDRNOTAVAIL) both when no port is free and when this
/// machine has no address to send from; the latter gets words of its own. When no port is free for
/// UDP, Linux says EAGAIN, which becomes the error that TCP has.
pub(crate) fn connect_error(target: &ResolvedEndpoint, error: io::Error) -> io::Error {
    let Some(addr) = target.ip_addr() else { return error };
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) if lacks_source(addr) => no_address(addr),
        Some(libc::EAFNOSUPPORT) => no_address(addr),
        Some(libc::EAGAIN) => io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
        _ => error,
    }
}

/// What helps a client for which the system has no free port.
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
        "this client is out of ephemeral ports{cause}: net.ipv4.ip_local_port_range, or {remedy}"
    )
}

/// Connections in TIME_WAIT for each ephemeral port of this machine.
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

/// Why a port cannot be bound that is in use, and what helps.
pub(super) fn port_in_use(transport: Transport, port: u16) -> &'static str {
    match transport {
        Transport::Tcp if is_held_by_time_wait(port) => {
            "only old connections in TIME_WAIT have this port; the kernel frees it within a minute"
        }
        _ => "another socket has this port; pick another, or 0 to let the system pick",
    }
}

/// Whether nothing has this TCP port but connections in TIME_WAIT. They keep it even from a socket
/// with SO_REUSEADDR, unless the program before had set it too.
fn is_held_by_time_wait(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let tables = tables.into_iter().filter_map(Result::ok).collect::<Vec<_>>();
    let mut states = tables.iter().flat_map(|table| states_at(table, port)).peekable();
    states.peek().is_some() && states.all(|state| state == TIME_WAIT)
}

/// The states of the sockets with this local port in a table of proc_net_tcp(5).
fn states_at(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let suffix = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        local.ends_with(&suffix).then_some(state)
    })
}

/// Why an address cannot be bound that is not there.
pub(super) fn not_own(addr: SocketAddr) -> &'static str {
    let has_no_ipv6 = addr.is_ipv6()
        && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))
            .is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL));
    if has_no_ipv6 { "this machine has no IPv6 address" } else { "not an address of this machine" }
}

/// Whether this machine has no address of that family to send from. UDP tells without sending
/// anything, and never says so because of ports.
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
        // The other end's port, and a part of one.
        assert_eq!(states(0xd2c2), [""; 0]);
        assert_eq!(states(0x49), [""; 0]);
    }

    #[test]
    fn errors_of_connect_that_have_one_cause_stay_as_they_are() {
        let target = ResolvedEndpoint::Tcp(([127, 0, 0, 1], 9).into());
        for (given, expected) in [
            (libc::ECONNREFUSED, libc::ECONNREFUSED),
            (libc::ENETUNREACH, libc::ENETUNREACH),
            // This machine has an IPv4 address, so what is missing is a port.
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
