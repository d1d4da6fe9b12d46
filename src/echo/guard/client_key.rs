//! The addresses that count as one client.

use std::net::IpAddr;

/// An IPv4 address, or an IPv6 prefix of 64 bits. One host or one home has at least such a prefix
/// and picks its addresses from it at will (RFC 6177).
///
/// The number is the IPv6 prefix, or the IPv4 address behind a prefix that IPv6 reserves and does
/// not use (`::/8`, RFC 4291 2.4). No two clients share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::echo) struct ClientKey(u64);

impl ClientKey {
    /// The key of a peer without an IP address, such as that of a Unix socket. The number is a
    /// multicast prefix, so no host has it.
    pub(in crate::echo) const NONE: ClientKey = ClientKey(u64::MAX);

    /// Returns the key of an address. An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`), which
    /// sockets of both families report, has the key of the IPv4 address.
    pub(in crate::echo) fn of(ip: IpAddr) -> ClientKey {
        match ip.to_canonical() {
            IpAddr::V4(ip) => ClientKey(0x00ff_ffff << 32 | u64::from(ip.to_bits())),
            IpAddr::V6(ip) => ClientKey((ip.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ip: &str) -> ClientKey {
        ClientKey::of(ip.parse().unwrap())
    }

    /// case A6
    #[test]
    fn ipv6_counts_by_64_bits_and_mapped_ipv4_as_ipv4() {
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::4"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
        assert_ne!(of("::1"), of("127.0.0.1"));
        assert_ne!(of("::1"), of("0.0.0.0"));
    }
}
