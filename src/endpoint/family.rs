//! IPv4 or IPv6, where only one of them is wanted.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Endpoint;

/// One of the two versions of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The loopback address.
    pub fn loopback(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// The other version.
    pub fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    /// Whether the endpoint names an address of the other family, so that no look-up can help.
    pub fn excludes(self, endpoint: &Endpoint) -> bool {
        let literal = endpoint.host_port().and_then(|host_port| host_port.literal());
        literal.is_some_and(|ip| Family::of(ip) != self)
    }

    /// Those of the addresses that are of this family.
    ///
    /// # Errors
    ///
    /// `NotFound` when none is left.
    pub fn keep(self, mut addrs: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        addrs.retain(|addr| Family::of(addr.ip()) == self);
        if addrs.is_empty() {
            let words = format!("the host has no {self} address");
            return Err(io::Error::new(io::ErrorKind::NotFound, words));
        }
        Ok(addrs)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_other_family_are_left_out_and_none_is_an_error() {
        let addrs: Vec<SocketAddr> =
            ["127.0.0.1:1", "[::1]:1"].map(|text| text.parse().unwrap()).into();
        for (family, kept) in [(Family::V4, addrs[0]), (Family::V6, addrs[1])] {
            assert_eq!(family.keep(addrs.clone()).unwrap(), [kept]);
        }
        let error = Family::V4.keep(vec![addrs[1]]).unwrap_err();
        assert_eq!(error.to_string(), "the host has no IPv4 address");
    }

    #[test]
    fn only_an_address_of_the_other_family_excludes_an_endpoint() {
        for (text, excluded_by) in [
            ("tcp://127.0.0.1:7", Some(Family::V6)),
            ("udp://[::1]:7", Some(Family::V4)),
            ("udp://[fe80::1%eth0]:7", Some(Family::V4)),
            ("tcp://127.0.0.1%lo:7", Some(Family::V6)),
            ("tcp://localhost:7", None),
            ("tcp://:7", None),
            ("unix:/a", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            for family in [Family::V4, Family::V6] {
                assert_eq!(family.excludes(&endpoint), Some(family) == excluded_by, "{text}");
            }
        }
    }
}
