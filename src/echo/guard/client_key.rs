//! Who counts as one when addresses are counted.

use std::net::IpAddr;

/// An IPv4 address, or a /64 of IPv6: what one host or one home has for itself (RFC 6177), and may
/// pick its addresses from at will.
///
/// A number: the prefix of IPv6, and an IPv4 address behind a prefix that IPv6 has reserved and
/// never uses (`::/8`, RFC 4291 2.4), so that no two share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::echo) struct ClientKey(u64);

impl ClientKey {
    /// Who has no IP address: the peer of a Unix socket. No host has this prefix, which is one of
    /// multicast.
    pub(in crate::echo) const NONE: ClientKey = ClientKey(u64::MAX);

    /// An IPv4 address inside an IPv6 one (`::ffff:192.0.2.1`), as sockets of both families give
    /// it, is that IPv4 address.
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
