//! The access list: networks whose hosts are served, and networks whose hosts are not.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The IP addresses that a server serves. Peers of Unix sockets have no address and are always
/// served: the mode of the socket file protects them.
///
/// ```
/// use resound::echo::Access;
///
/// let allow = ["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?];
/// let deny = ["192.0.2.66/32".parse()?];
/// let access = Access::new(&allow, &deny);
/// assert!(access.admits("192.0.2.1".parse()?));
/// assert!(access.admits("::ffff:192.0.2.1".parse()?), "mapped IPv4 is IPv4");
/// assert!(!access.admits("192.0.2.66".parse()?), "deny wins over allow");
/// assert!(!access.admits("198.51.100.1".parse()?), "an allow list denies all other addresses");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    allow: Networks,
    deny: Networks,
}

/// Networks, by family: sorted, and none inside another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Networks {
    ipv4: Box<[Ipv4Net]>,
    ipv6: Box<[Ipv6Net]>,
}

impl Access {
    /// Creates an access list. `allow` holds the networks whose hosts are served; if it is empty,
    /// all are. `deny` holds the networks whose hosts are not served, and wins over `allow`. A
    /// network of IPv4-mapped IPv6 addresses is the IPv4 network that it maps.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Access {
        Access { allow: Networks::new(allow), deny: Networks::new(deny) }
    }

    /// Returns true if all addresses are served.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Returns true if a host with this address is served. Takes time logarithmic in the number of
    /// networks.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        !self.deny.contains(ip) && (self.allow.is_empty() || self.allow.contains(ip))
    }
}

impl Networks {
    fn new(networks: &[IpNet]) -> Networks {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for network in networks {
            match *network {
                IpNet::V4(network) => ipv4.push(network),
                IpNet::V6(network) => match mapped(network) {
                    Some(network) => ipv4.push(network),
                    None => ipv6.push(network),
                },
            }
        }
        Networks { ipv4: Ipv4Net::aggregate(&ipv4).into(), ipv6: Ipv6Net::aggregate(&ipv6).into() }
    }

    fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    fn contains(&self, ip: IpAddr) -> bool {
        // Only the last network that begins at or before the address can contain it.
        match ip {
            IpAddr::V4(ip) => {
                let behind = self.ipv4.partition_point(|network| network.network() <= ip);
                self.ipv4[..behind].last().is_some_and(|network| network.contains(&ip))
            }
            IpAddr::V6(ip) => {
                let behind = self.ipv6.partition_point(|network| network.network() <= ip);
                self.ipv6[..behind].last().is_some_and(|network| network.contains(&ip))
            }
        }
    }
}

/// Returns the IPv4 network that a network inside `::ffff:0:0/96` maps.
fn mapped(network: Ipv6Net) -> Option<Ipv4Net> {
    let prefix_length = network.prefix_len().checked_sub(96)?;
    Ipv4Net::new(network.network().to_ipv4_mapped()?, prefix_length).ok()
}

/// Parses a network, or an address as the network of this address alone.
///
/// # Errors
///
/// Says what is expected.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| {
        "expected a network or an address, such as 192.0.2.0/24 or 2001:db8::1".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_lists_all_addresses_are_served() {
        let access = Access::default();
        assert!(access.is_open());
        assert!(access.admits(ip("192.0.2.1")) && access.admits(ip("2001:db8::1")));
    }

    #[test]
    fn an_allow_list_of_one_family_denies_the_other_family() {
        let access = Access::new(&networks(&["10.0.0.0/8"]), &[]);
        assert!(!access.is_open());
        assert!(access.admits(ip("10.255.255.255")) && !access.admits(ip("11.0.0.0")));
        assert!(!access.admits(ip("::1")));
    }

    #[test]
    fn deny_wins_over_allow_whichever_network_is_wider() {
        let access = Access::new(&networks(&["10.1.2.3/32"]), &networks(&["10.0.0.0/8"]));
        assert!(!access.admits(ip("10.1.2.3")));
        let access = Access::new(&networks(&["::/0"]), &networks(&["2001:db8::/64"]));
        assert!(!access.admits(ip("2001:db8::1")) && access.admits(ip("2001:db8:0:1::1")));
    }

    #[test]
    fn ipv4_mapped_addresses_are_ipv4_in_lists_and_in_peers() {
        let access = Access::new(&networks(&["::ffff:10.0.0.0/104"]), &[]);
        assert!(access.admits(ip("10.1.2.3")) && access.admits(ip("::ffff:10.1.2.3")));
        assert!(!access.admits(ip("::10.1.2.3")), "an IPv4-compatible address is not mapped");
        let access = Access::new(&networks(&["10.0.0.0/8"]), &[]);
        assert!(access.admits(ip("::ffff:10.1.2.3")));
    }

    #[test]
    fn networks_of_all_addresses_and_at_both_ends_of_the_range_are_complete() {
        for all in [&["0.0.0.0/0", "10.0.0.0/8"][..], &["128.0.0.0/1", "0.0.0.0/1"]] {
            let access = Access::new(&networks(all), &[]);
            assert!(
                ["0.0.0.0", "10.0.0.1", "255.255.255.255"]
                    .map(ip)
                    .iter()
                    .all(|ip| access.admits(*ip))
            );
            assert!(!access.admits(ip("::")));
        }
        let access = Access::new(&networks(&["::/0"]), &networks(&["ffff::/16", "::ffff:0:0/96"]));
        assert!(access.admits(ip("::")) && access.admits(ip("fffe:ffff::")));
        assert!(!access.admits(ip("ffff::")) && !access.admits(ip("127.0.0.1")));
    }

    fn any_network() -> impl Strategy<Value = IpNet> {
        // Few bits differ, so that networks touch and contain each other.
        prop_oneof![
            (0_u32..64, 24_u8..=32).prop_map(|(bits, length)| {
                IpNet::new(Ipv4Addr::from_bits(bits).into(), length).unwrap()
            }),
            (0_u128..64, 120_u8..=128).prop_map(|(bits, length)| {
                IpNet::new(Ipv6Addr::from_bits(1 << 100 | bits).into(), length).unwrap()
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_sorted_list_admits_what_a_linear_search_admits(
            allow in prop::collection::vec(any_network(), 0..6),
            deny in prop::collection::vec(any_network(), 0..6),
            bits in 0_u32..300,
            is_ipv6: bool,
        ) {
            let ip: IpAddr = match is_ipv6 {
                true => Ipv6Addr::from_bits(1 << 100 | u128::from(bits)).into(),
                false => Ipv4Addr::from_bits(bits).into(),
            };
            let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&ip));
            let admitted = !within(&deny) && (allow.is_empty() || within(&allow));
            prop_assert_eq!(Access::new(&allow, &deny).admits(ip), admitted);
        }
    }
}
