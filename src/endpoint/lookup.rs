//! From the name of a host to its addresses, with the reason when there are none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, getaddrinfo};

use super::HostPort;

impl HostPort {
    /// The addresses to listen on. Blocks while a name is looked up.
    ///
    /// # Errors
    ///
    /// As [`HostPort::connect_addrs`].
    pub fn listen_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let every: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            return Ok(every.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        look_up(&self.host, self.port)
    }

    /// The addresses to connect to, in the order to try. Blocks while a name is looked up.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such host, or no such interface behind the `%` of an IPv6
    /// address. `InvalidInput` when a link-local address lacks its interface. `TimedOut` when the
    /// name server did not answer, so that nothing is known of the name.
    pub fn connect_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        look_up(self.client_host(), self.port)
    }

    /// As [`HostPort::connect_addrs`], for at most this time.
    ///
    /// getaddrinfo(3) has no limit of its own, so it runs on a thread, which is left behind when
    /// the time is over. Without a thread to be had, the resolver's own limits hold (`options
    /// timeout` and `attempts` in resolv.conf(5)).
    ///
    /// # Errors
    ///
    /// As [`HostPort::connect_addrs`]; `TimedOut` when the time is over.
    pub fn connect_addrs_within(&self, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        if !self.is_looked_up() {
            return self.connect_addrs();
        }
        let (sender, found) = mpsc::channel();
        let host_port = self.clone();
        let look_up = move || {
            // The caller no longer waits when this fails.
            let _ = sender.send(host_port.connect_addrs());
        };
        let Ok(thread) = thread::Builder::new().name("look-up".to_owned()).spawn(look_up) else {
            return self.connect_addrs();
        };
        match found.recv_timeout(timeout) {
            Ok(addrs) => {
                let _ = thread.join();
                addrs
            }
            Err(RecvTimeoutError::Timeout) => Err(look_up_timed_out()),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up has died")),
        }
    }

    /// Whether a client has to ask for the host's addresses, which may block.
    pub fn is_looked_up(&self) -> bool {
        let (address, _) = split_zone(self.client_host());
        address.parse::<IpAddr>().is_err()
    }

    fn client_host(&self) -> &str {
        if self.host.is_empty() { "localhost" } else { &self.host }
    }
}

/// The error of a look-up that took longer than the caller allows.
pub(crate) fn look_up_timed_out() -> io::Error {
    let words = "the look-up timed out: the name server did not answer";
    io::Error::new(io::ErrorKind::TimedOut, words)
}

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = match resolve(host, port) {
        Ok(addrs) => addrs,
        // Known without asking (RFC 6761, section 6.3): an empty root has no name server to ask.
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            loopback.map(|ip| SocketAddr::new(ip, port)).to_vec()
        }
        Err(error) => return Err(zone_error(host).unwrap_or_else(|| words(error))),
    };
    let mut addrs = Vec::new();
    let mut wrong = None;
    for addr in found {
        match check_interface(addr) {
            Ok(()) if !addrs.contains(&addr) => addrs.push(addr),
            Ok(()) => {}
            Err(error) => wrong = Some(error),
        }
    }
    match wrong {
        Some(error) if addrs.is_empty() => Err(error),
        _ if addrs.is_empty() => Err(no_such_host()),
        _ => Ok(addrs),
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // One kind of socket, or each address comes once for each kind.
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints))?;
    // An address of a family other than IP is none for us.
    let addrs = found.filter_map(Result::ok).map(|info| info.sockaddr);
    Ok(addrs.map(|addr| with_port(addr, port)).collect())
}

/// A copy, which keeps the interface of a link-local address.
fn with_port(mut addr: SocketAddr, port: u16) -> SocketAddr {
    addr.set_port(port);
    addr
}

/// Why a look-up failed, by its code in getaddrinfo(3). std's own error has none of it.
fn words(error: LookupError) -> io::Error {
    let (kind, words) = match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => return no_such_host(),
        LookupErrorKind::Again => (io::ErrorKind::TimedOut, "the name server did not answer"),
        LookupErrorKind::Fail => (io::ErrorKind::Other, "the name server refused to answer"),
        LookupErrorKind::Memory => (io::ErrorKind::OutOfMemory, "not enough memory"),
        _ => return error.into(),
    };
    io::Error::new(kind, format!("the look-up failed: {words}"))
}

fn no_such_host() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such host")
}

/// The address and the zone of `fe80::1%eth0`.
fn split_zone(host: &str) -> (&str, Option<&str>) {
    match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    }
}

/// Why an IPv6 address was not understood: getaddrinfo(3) says of a wrong zone that there is no
/// such host.
fn zone_error(host: &str) -> Option<io::Error> {
    let (address, zone) = split_zone(host);
    let (ip, zone) = (address.parse::<Ipv6Addr>().ok()?, zone?);
    Some(match is_link_local(ip) {
        true => no_interface(zone),
        false => io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("only a link-local address has an interface, unlike {address}"),
        ),
    })
}

fn no_interface(zone: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no interface {zone}"))
}

/// Whether a link-local address has an interface, and one that exists. connect(2) would say
/// "invalid argument" or "network is unreachable".
fn check_interface(addr: SocketAddr) -> io::Result<()> {
    let SocketAddr::V6(v6) = addr else { return Ok(()) };
    if !is_link_local(*v6.ip()) {
        return Ok(());
    }
    if v6.scope_id() == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a link-local address needs its interface, as in [fe80::1%eth0]",
        ));
    }
    // A number is taken for an interface without a look. bind(2) does look.
    match UdpSocket::bind(with_port(addr, 0)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            Err(no_interface(&v6.scope_id().to_string()))
        }
        _ => Ok(()),
    }
}

/// Whether the address is one of many links: unicast, or multicast of interface or link scope
/// (RFC 4291, sections 2.5.6 and 2.7).
fn is_link_local(ip: Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    ip.is_unicast_link_local() || matches!(first & 0xff0f, 0xff01 | 0xff02)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(host: &str) -> Result<Vec<String>, String> {
        let found = HostPort { host: host.to_owned(), port: 7 }.connect_addrs();
        let shown = |addrs: Vec<SocketAddr>| addrs.iter().map(ToString::to_string).collect();
        found.map(shown).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_host_is_every_interface_to_a_listener() {
        let address = HostPort { host: String::new(), port: 7 };
        let addrs: Vec<String> =
            address.listen_addrs().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(addrs, ["0.0.0.0:7", "[::]:7"]);
        assert!(address.connect_addrs().unwrap().iter().all(|addr| addr.ip().is_loopback()));
    }

    #[test]
    fn an_address_is_not_looked_up() {
        for host in ["127.0.0.1", "::1", "fe80::1%lo", "fe80::1%7"] {
            assert!(!HostPort { host: host.to_owned(), port: 7 }.is_looked_up(), "{host}");
        }
        for host in ["", "localhost", "example.org"] {
            assert!(HostPort { host: host.to_owned(), port: 7 }.is_looked_up(), "{host}");
        }
        assert_eq!(addrs("127.0.0.1"), Ok(vec!["127.0.0.1:7".to_owned()]));
        assert_eq!(addrs("::1"), Ok(vec!["[::1]:7".to_owned()]));
    }

    #[test]
    fn a_link_local_address_is_told_what_is_wrong_with_its_interface() {
        let needed = "a link-local address needs its interface, as in [fe80::1%eth0]";
        for host in ["fe80::1", "febf::1", "ff02::1", "ff12::1", "ff01::1"] {
            assert_eq!(addrs(host), Err(needed.to_owned()), "{host}");
        }
        assert_eq!(addrs("fe80::1%nosuch"), Err("no interface nosuch".to_owned()));
        assert_eq!(addrs("ff02::1%nosuch"), Err("no interface nosuch".to_owned()));
        // Far above the number of any interface that a test machine has.
        assert_eq!(addrs("fe80::1%999999"), Err("no interface 999999".to_owned()));
        let unlike = "only a link-local address has an interface, unlike 2001:db8::1";
        assert_eq!(addrs("2001:db8::1%nosuch"), Err(unlike.to_owned()));
        for host in ["fec0::1", "ff05::1", "2001:db8::1"] {
            assert_eq!(addrs(host), Ok(vec![format!("[{host}]:7")]), "{host}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_is_known_by_its_name_and_by_its_number() {
        assert_eq!(addrs("fe80::1%lo"), Ok(vec!["[fe80::1%1]:7".to_owned()]));
        assert_eq!(addrs("fe80::1%1"), Ok(vec!["[fe80::1%1]:7".to_owned()]));
    }

    #[test]
    fn a_failed_look_up_is_told_from_a_name_that_does_not_exist() {
        for (code, kind, text) in [
            (libc::EAI_NONAME, io::ErrorKind::NotFound, "no such host"),
            (libc::EAI_AGAIN, io::ErrorKind::TimedOut, "the name server did not answer"),
            (libc::EAI_FAIL, io::ErrorKind::Other, "the name server refused to answer"),
        ] {
            let error = words(LookupError::new(code));
            let said = error.to_string();
            assert_eq!(
                (error.kind(), said.trim_start_matches("the look-up failed: ")),
                (kind, text)
            );
            assert_eq!(said.contains("failed"), kind != io::ErrorKind::NotFound, "{said}");
        }
    }
}
