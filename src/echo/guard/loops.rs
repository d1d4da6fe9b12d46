//! The loop guard: refuses datagrams that no client sends, because another service may have sent
//! them and may answer the reply.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::echo::cause::Cause;

/// The number of service ports, which are the lowest ports. Clients get none of them (IANA's system
/// ports, RFC 6335 section 6), and a program needs privilege to use one.
const SERVICE_PORTS: u16 = 1024;

/// Higher ports of services that answer a datagram of any content, or that attackers are known to
/// reflect from (CISA's alert TA14-017A and later reports), and the default port of this program.
/// None is in a range from which systems give ports to clients (32,768 and above on Linux, 49,152
/// and above by RFC 6335 section 6), so a client hardly gets one by accident.
const ANSWERING_PORTS: [u16; 21] = [
    1434,  // SQL Server's browser
    1604,  // Citrix ICA browser
    1701,  // L2TP
    1900,  // SSDP
    3283,  // Apple Remote Desktop
    3478,  // STUN
    3702,  // WS-Discovery
    5060,  // SIP
    5093,  // Sentinel
    5351,  // NAT-PMP
    5353,  // mDNS
    5355,  // LLMNR
    5683,  // CoAP
    7007,  // resound
    10001, // Ubiquiti discovery
    11211, // memcached
    17185, // VxWorks debugging
    19132, // Minecraft
    27015, // Source engine
    27960, // Quake engine
    30718, // Lantronix
];

/// The words of a set with one bit for each of 2^16 ports.
const PORT_WORDS: usize = (1 << 16) / u64::BITS as usize;

/// What the system reports about the address that a datagram was sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::echo) struct Destination {
    /// The address is a broadcast or multicast address.
    pub(in crate::echo) to_group: bool,
    /// The system could not report all of the address. It may be such an address.
    pub(in crate::echo) is_unclear: bool,
}

/// Decides which datagrams get no reply.
#[derive(Debug)]
pub(super) struct LoopGuard {
    /// The service ports and the process's own ports, with one bit per port. Of these 8 KiB the
    /// guard reads only the words of ports that peers use.
    suspects: Box<[u64; PORT_WORDS]>,
    own_ports: Vec<u16>,
}

impl LoopGuard {
    pub(super) fn new() -> LoopGuard {
        let mut guard = LoopGuard { suspects: Box::new([0; PORT_WORDS]), own_ports: Vec::new() };
        (0..SERVICE_PORTS).chain(ANSWERING_PORTS).for_each(|port| guard.suspect(port));
        guard
    }

    pub(super) fn note_own_port(&mut self, port: u16) {
        self.suspect(port);
        self.own_ports.push(port);
    }

    /// Returns true if a datagram gets no reply. Called for every datagram; nearly always false.
    #[inline]
    pub(super) fn refuses(&self, from: SocketAddr, destination: Destination) -> bool {
        let (word, bit) = word_and_bit(from.port());
        destination.to_group
            || destination.is_unclear
            || self.suspects[word] & bit != 0
            || !is_unicast(from.ip())
    }

    /// Returns why [`LoopGuard::refuses`] returned true.
    #[cold]
    pub(super) fn cause(&self, from: SocketAddr, destination: Destination) -> Cause {
        let (word, bit) = word_and_bit(from.port());
        if destination.to_group {
            Cause::LoopGroup
        } else if destination.is_unclear {
            Cause::ControlTruncated
        } else if self.own_ports.contains(&from.port()) {
            Cause::LoopOwnPort
        } else if self.suspects[word] & bit != 0 {
            Cause::LoopPort
        } else {
            Cause::LoopSource
        }
    }

    fn suspect(&mut self, port: u16) {
        let (word, bit) = word_and_bit(port);
        self.suspects[word] |= bit;
    }
}

/// Returns the index of a port's word in a set of ports, and the port's bit in that word.
#[inline]
fn word_and_bit(port: u16) -> (usize, u64) {
    (usize::from(port) / u64::BITS as usize, 1 << (u32::from(port) % u64::BITS))
}

/// Returns true if one host may have this address. The broadcast address of a subnet looks like any
/// other, but the system does not send to it (EACCES, ip(7)).
#[inline]
fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_unicast_ipv4(ip),
        // Only a few kinds of IPv6 address begin with zeroes, among them the unspecified address
        // and mapped IPv4 addresses.
        IpAddr::V6(ip) if ip.segments()[0] == 0 => match ip.to_ipv4_mapped() {
            Some(ip) => is_unicast_ipv4(ip),
            None => !ip.is_unspecified(),
        },
        IpAddr::V6(ip) => !ip.is_multicast(),
    }
}

#[inline]
fn is_unicast_ipv4(ip: Ipv4Addr) -> bool {
    !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(guard: &LoopGuard, from: &str) -> Option<Cause> {
        let from = from.parse().unwrap();
        let destination = Destination::default();
        guard.refuses(from, destination).then(|| guard.cause(from, destination))
    }

    /// case U11
    #[test]
    fn service_ports_get_no_reply_and_client_ports_do() {
        let mut guard = LoopGuard::new();
        let services = [0, 1, 7, 19, 53, 69, 123, 1023];
        for port in services.into_iter().chain(ANSWERING_PORTS) {
            for ip in ["192.0.2.1", "[2001:db8::1]", "[::ffff:192.0.2.1]"] {
                let refusal = refusal(&guard, &format!("{ip}:{port}"));
                assert_eq!(refusal, Some(Cause::LoopPort), "{ip} {port}");
            }
        }
        for port in [1024, 1025, 7008, 32768, 49152, 65535] {
            assert_eq!(refusal(&guard, &format!("192.0.2.1:{port}")), None, "{port}");
        }
        guard.note_own_port(32768);
        assert_eq!(refusal(&guard, "192.0.2.1:32768"), Some(Cause::LoopOwnPort));
        assert_eq!(refusal(&guard, "192.0.2.1:32769"), None);
    }

    #[test]
    fn only_service_ports_and_the_listed_ports_are_refused() {
        let ports = 0..=u16::MAX;
        let guard = LoopGuard::new();
        let from = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let suspects =
            ports.filter(|port| guard.refuses(from(*port), Destination::default())).count();
        assert_eq!(suspects, usize::from(SERVICE_PORTS) + ANSWERING_PORTS.len());
        assert!(ANSWERING_PORTS.iter().all(|port| *port < 32_768), "below those of clients");
    }

    /// case U11
    #[test]
    fn sources_that_no_single_host_can_have_get_no_reply() {
        let guard = LoopGuard::new();
        let not_hosts = [
            "224.0.0.1:5000",
            "239.1.2.3:5000",
            "255.255.255.255:5000",
            "0.0.0.0:5000",
            "[ff02::1]:5000",
            "[::]:5000",
            "[::ffff:224.0.0.1]:5000",
            "[::ffff:0.0.0.0]:5000",
        ];
        for from in not_hosts {
            assert_eq!(refusal(&guard, from), Some(Cause::LoopSource), "{from}");
        }
        for from in ["127.0.0.1:5000", "[::1]:5000", "[fe80::1%3]:5000", "10.0.0.255:5000"] {
            assert_eq!(refusal(&guard, from), None, "{from}");
        }
    }

    /// case U11
    #[test]
    fn a_datagram_that_was_sent_to_a_group_gets_no_reply() {
        let guard = LoopGuard::new();
        let from = "192.0.2.1:5000".parse().unwrap();
        let to_group = Destination { to_group: true, ..Destination::default() };
        assert!(guard.refuses(from, to_group) && !guard.refuses(from, Destination::default()));
        assert_eq!(guard.cause(from, to_group), Cause::LoopGroup);
    }

    /// case U11
    #[test]
    fn a_datagram_that_may_have_been_sent_to_a_group_gets_no_reply() {
        let guard = LoopGuard::new();
        let from = "192.0.2.1:5000".parse().unwrap();
        let unclear = Destination { is_unclear: true, ..Destination::default() };
        assert!(guard.refuses(from, unclear));
        assert_eq!(guard.cause(from, unclear), Cause::ControlTruncated);
    }
}
