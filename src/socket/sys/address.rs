//! Addresses as the kernel writes them.

use std::net::SocketAddr;

use libc::{c_int, sa_family_t};

use crate::socket::reply_path::whole_name;

/// The IP address in a socket address (ip(7), ipv6(7)), without what IPv6 has besides: scope and
/// flow. It is asked of every datagram, and need not copy the whole address.
#[inline]
pub(super) fn ip_addr(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match c_int::from(sa_family_t::from_ne_bytes(*family)) {
        libc::AF_INET => Some((*rest.first_chunk::<4>()?, port).into()),
        // Behind the flow information, of four bytes.
        libc::AF_INET6 => Some((*rest.get(4..)?.first_chunk::<16>()?, port).into()),
        _ => None,
    }
}

/// Of an address, for the line: a product, whose upper bits depend on all of it.
pub(super) fn hash(name: &[u8]) -> u64 {
    // A prime near the golden ratio of 2^64 (Knuth 6.4). The last bytes that make no whole word
    // tell scopes of IPv6 apart, which need no place of their own.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = name.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    words.fold(0, |hash, word| (hash ^ word).wrapping_mul(FACTOR))
}

/// The name in a Unix socket's address; empty for another family.
#[inline]
pub(super) fn unix_name(addr: &[u8]) -> &[u8] {
    match addr.split_first_chunk() {
        Some((family, name))
            if c_int::from(sa_family_t::from_ne_bytes(*family)) == libc::AF_UNIX =>
        {
            whole_name(name)
        }
        _ => &[],
    }
}
