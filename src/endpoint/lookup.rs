//! The look-up of a host's addresses, with a precise reason when it fails.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, getaddrinfo};

use super::HostPort;

impl HostPort {
    /// Returns the addresses to listen on. Blocks during the look-up of a name.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`HostPort::connect_addrs`].
    pub fn listen_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let host = match self.interface() {
            Some(_) => split_zone(&self.host).0,
            None => &self.host,
        };
        if host.is_empty() {
            let every: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            return Ok(every.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
        }
        look_up(host, self.port)
    }

    /// Returns the addresses to connect to, in the order to try them. Blocks during the look-up of
    /// a name.
    ///
    /// # Errors
    ///
    /// - `NotFound` if the host does not exist, or the interface after the `%` of a link-local
    ///   address does not.
    /// - `InvalidInput` if a link-local address lacks its interface, or another host has one.
    /// - `TimedOut` if the name server did not answer; the host may still exist.
    pub fn connect_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        if self.interface().is_some() {
            let (host, _) = split_zone(&self.host);
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("only a link-local address has an interface, unlike {host}"),
            ));
        }
        look_up(self.client_host(), self.port)
    }

    /// Returns the addresses to connect to, like [`HostPort::connect_addrs`], but waits for at most
    /// `timeout`.
    ///
    /// getaddrinfo(3) has no time limit, so it runs on a thread. When the time is over, the thread
    /// continues and its result is dropped. If the system refuses a thread, the call runs on this
    /// thread, and only the resolver's limits apply (`options timeout` and `attempts` in
    /// resolv.conf(5)).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`HostPort::connect_addrs`], and `TimedOut` when the time is over.
    pub fn connect_addrs_within(&self, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
        if !self.is_looked_up() {
            return self.connect_addrs();
        }
        let (sender, found) = mpsc::channel();
        let host_port = self.clone();
        let look_up = move || {
            // This fails only if the caller no longer waits.
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
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the look-up thread panicked"))
            }
        }
    }

    /// Returns the network interface to which a listener's sockets are bound, `DEV` of `HOST%DEV`.
    /// That of a link-local address is a part of the address, and not returned.
    pub fn interface(&self) -> Option<&str> {
        let (host, zone) = split_zone(&self.host);
        zone.filter(|_| !host.parse().is_ok_and(is_link_local))
    }

    /// Returns the address if the host is an address and not a name.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        split_zone(&self.host).0.parse().ok()
    }

    /// Returns true if a client must look up the host's addresses, which may block.
    pub fn is_looked_up(&self) -> bool {
        let (address, _) = split_zone(self.client_host());
        address.parse::<IpAddr>().is_err()
    }

    fn client_host(&self) -> &str {
        if self.host.is_empty() { "localhost" } else { &self.host }
    }
}

/// Returns the error of a look-up that took longer than the caller allows.
pub(crate) fn look_up_timed_out() -> io::Error {
    let words = "the look-up timed out: the name server did not answer";
    io::Error::new(io::ErrorKind::TimedOut, words)
}

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = match resolve(host, port) {
        Ok(addrs) => addrs,
        // "localhost" always means loopback (RFC 6761, section 6.3). In an empty root directory
        // getaddrinfo(3) finds no name server to ask.
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            loopback.map(|ip| SocketAddr::new(ip, port)).to_vec()
        }
        Err(error) => return Err(zone_error(host).unwrap_or_else(|| look_up_error(error))),
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
    // Without a socket type each address would come once per type.
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints))?;
    // This drops addresses of families other than IP.
    let addrs = found.filter_map(Result::ok).map(|info| info.sockaddr);
    Ok(addrs.map(|addr| with_port(addr, port)).collect())
}

/// Returns the address with another port. It keeps the interface of a link-local address.
fn with_port(mut addr: SocketAddr, port: u16) -> SocketAddr {
    addr.set_port(port);
    addr
}

/// Converts the code of getaddrinfo(3) to an error. The error of the standard library has no code.
fn look_up_error(error: LookupError) -> io::Error {
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

/// Splits `fe80::1%eth0` into its address and zone.
fn split_zone(host: &str) -> (&str, Option<&str>) {
    match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    }
}

/// Returns the reason why the zone of an IPv6 address is wrong. getaddrinfo(3) reports only that
/// the host does not exist.
fn zone_error(host: &str) -> Option<io::Error> {
    let (address, zone) = split_zone(host);
    let ip = address.parse::<Ipv6Addr>().ok()?;
    zone.filter(|_| is_link_local(ip)).map(no_interface)
}

fn no_interface(zone: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no interface {zone}"))
}

/// Checks that a link-local address names an existing interface. connect(2) would only report
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
    // getaddrinfo(3) accepts any number as an interface; bind(2) checks it.
    match UdpSocket::bind(with_port(addr, 0)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            Err(no_interface(&v6.scope_id().to_string()))
        }
        _ => Ok(()),
    }
}

/// Returns true if the address needs an interface, because every link may have it: unicast
/// link-local, or multicast of interface or link scope (RFC 4291, sections 2.5.6 and 2.7).
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
    fn an_empty_host_means_every_interface_for_a_listener() {
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
    fn the_error_of_a_link_local_address_says_what_is_wrong_with_its_interface() {
        let needed = "a link-local address needs its interface, as in [fe80::1%eth0]";
        for host in ["fe80::1", "febf::1", "ff02::1", "ff12::1", "ff01::1"] {
            assert_eq!(addrs(host), Err(needed.to_owned()), "{host}");
        }
        assert_eq!(addrs("fe80::1%nosuch"), Err("no interface nosuch".to_owned()));
        assert_eq!(addrs("ff02::1%nosuch"), Err("no interface nosuch".to_owned()));
        // No test machine has an interface with this number.
        assert_eq!(addrs("fe80::1%999999"), Err("no interface 999999".to_owned()));
        let unlike = "only a link-local address has an interface, unlike 2001:db8::1";
        assert_eq!(addrs("2001:db8::1%nosuch"), Err(unlike.to_owned()));
        for host in ["fec0::1", "ff05::1", "2001:db8::1"] {
            assert_eq!(addrs(host), Ok(vec![format!("[{host}]:7")]), "{host}");
        }
    }

    #[test]
    fn a_listener_is_bound_to_the_interface_behind_any_other_address() {
        for (host, found, interface) in [
            ("127.0.0.1%lo", &["127.0.0.1:7"][..], Some("lo")),
            ("::1%lo", &["[::1]:7"], Some("lo")),
            ("%lo", &["0.0.0.0:7", "[::]:7"], Some("lo")),
            ("127.0.0.1", &["127.0.0.1:7"], None),
        ] {
            let host_port = HostPort { host: host.to_owned(), port: 7 };
            let addrs = host_port.listen_addrs().unwrap();
            let shown: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            assert_eq!(shown, found);
            assert_eq!(host_port.interface(), interface);
            assert_eq!(host_port.connect_addrs().is_err(), interface.is_some(), "{host}");
        }
        let link_local = HostPort { host: "fe80::1%lo".to_owned(), port: 7 };
        assert_eq!(link_local.interface(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_is_known_by_its_name_and_by_its_number() {
        assert_eq!(addrs("fe80::1%lo"), Ok(vec!["[fe80::1%1]:7".to_owned()]));
        assert_eq!(addrs("fe80::1%1"), Ok(vec!["[fe80::1%1]:7".to_owned()]));
    }

    #[test]
    fn the_error_of_a_failed_look_up_differs_from_that_of_an_unknown_name() {
        for (code, kind, text) in [
            (libc::EAI_NONAME, io::ErrorKind::NotFound, "no such host"),
            (libc::EAI_AGAIN, io::ErrorKind::TimedOut, "the name server did not answer"),
            (libc::EAI_FAIL, io::ErrorKind::Other, "the name server refused to answer"),
        ] {
            let error = look_up_error(LookupError::new(code));
            let said = error.to_string();
            assert_eq!(
                (error.kind(), said.trim_start_matches("the look-up failed: ")),
                (kind, text)
            );
            assert_eq!(said.contains("failed"), kind != io::ErrorKind::NotFound, "{said}");
        }
    }
}
