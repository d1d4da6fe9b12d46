//! Options of the packets of IP sockets, which not every system has.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{c_int, socklen_t};
use socket2::{Protocol, SockRef, Socket};

use super::calls::set_option;

/// Level and option of Multipath TCP (`linux/mptcp.h`), which not every C library has.
const SOL_MPTCP: c_int = 284;
const MPTCP_INFO: c_int = 1;

pub(in crate::socket) fn set_traffic_class_ipv6(socket: &Socket, class: u32) -> io::Result<()> {
    socket.set_tclass_v6(class)
}

pub(in crate::socket) fn traffic_class_ipv6(socket: &SockRef<'_>) -> io::Result<u32> {
    socket.tclass_v6()
}

pub(in crate::socket) fn set_busy_poll(socket: &Socket, micros: u32) -> io::Result<()> {
    socket.set_busy_poll(micros)
}

pub(in crate::socket) fn busy_poll(socket: &SockRef<'_>) -> io::Result<u32> {
    socket.busy_poll()
}

pub(in crate::socket) fn bind_to_interface(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind_device(Some(name.as_bytes()))
}

/// Leaves the port of a bind(2) with port 0 to connect(2), which knows the peer.
pub(in crate::socket) fn pick_port_at_connect(socket: &Socket) -> io::Result<()> {
    set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

pub(in crate::socket) fn multipath() -> io::Result<Protocol> {
    Ok(Protocol::MPTCP)
}

/// Whether a connection is one of Multipath TCP, and has not fallen back to TCP: then it has no
/// `MPTCP_INFO`.
pub(in crate::socket) fn is_multipath(socket: &SockRef<'_>) -> bool {
    let mut length: socklen_t = 0;
    // SAFETY: the call writes as many bytes as `length` says, which are none, and the length.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), SOL_MPTCP, MPTCP_INFO, ptr::null_mut(), &mut length)
    };
    result == 0
}
