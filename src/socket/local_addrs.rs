//! Where a client's sockets leave from: addresses and ports in turn.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::SocketOptions;
use crate::endpoint::{Family, HostPort, ResolvedEndpoint, is_interface};
use crate::error::Error;

/// Ports of a range that are tried for one socket after the whole range was found taken. Each costs
/// three system calls; all 65,535 of them would stop the loop for about 0.2 s each time.
const PORTS_TRIED_AGAIN: usize = 64;

/// An address to leave from, with its interface and its ports: `ADDR[%DEV][:PORT[-PORT]]`. An IPv6
/// address with ports stands in brackets.
///
/// ```
/// use resound::socket::BindAddr;
///
/// for text in ["10.0.0.2", "10.0.0.2%eth0:5000-5999", "::1", "[fe80::1%eth0]:5000"] {
///     let bind: BindAddr = text.parse().expect("an address");
///     assert_eq!(bind.to_string(), text);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddr {
    ip: IpAddr,
    interface: Option<String>,
    ports: Option<RangeInclusive<u16>>,
}

impl BindAddr {
    /// The family of the address.
    pub fn family(&self) -> Family {
        Family::of(self.ip)
    }

    /// The address with its interface, as a host to listen on has both, and without a port.
    fn host_port(&self) -> HostPort {
        let zone = self.interface.as_ref().map_or_else(String::new, |name| format!("%{name}"));
        HostPort { host: format!("{}{zone}", self.ip), port: 0 }
    }
}

impl FromStr for BindAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<BindAddr, String> {
        parse(text).ok_or_else(|| {
            "expected ADDR[%DEV][:PORT[-PORT]], such as 10.0.0.2, 10.0.0.2%eth0:5000-5999 or \
             [fe80::1%eth0]:5000"
                .to_owned()
        })
    }
}

fn parse(text: &str) -> Option<BindAddr> {
    let (host, ports) = split_ports(text)?;
    let (ip, interface) = match host.split_once('%') {
        Some((ip, name)) if is_interface(name) => (ip, Some(name.to_owned())),
        Some(_) => return None,
        None => (host, None),
    };
    let ports = match ports {
        // The system picks the port, as it does without one.
        None | Some("0") => None,
        Some(ports) => Some(port_range(ports)?),
    };
    Some(BindAddr { ip: ip.parse().ok()?, interface, ports })
}

/// What stands before the ports, without brackets, and the ports.
fn split_ports(text: &str) -> Option<(&str, Option<&str>)> {
    if text.split('%').next()?.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            host.contains(':').then_some(())?;
            if behind.is_empty() {
                Some((host, None))
            } else {
                Some((host, Some(behind.strip_prefix(':')?)))
            }
        }
        None => {
            Some(text.split_once(':').map_or((text, None), |(host, ports)| (host, Some(ports))))
        }
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| is_number && *port > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

impl fmt::Display for BindAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host_port().host;
        match &self.ports {
            Some(_) if self.ip.is_ipv6() => write!(formatter, "[{host}]")?,
            _ => formatter.write_str(&host)?,
        }
        match &self.ports {
            Some(ports) if ports.start() == ports.end() => write!(formatter, ":{}", ports.start()),
            Some(ports) => write!(formatter, ":{}-{}", ports.start(), ports.end()),
            None => Ok(()),
        }
    }
}

/// The addresses that a client's sockets leave from in turn; none, if the kernel picks them.
#[derive(Clone, Debug, Default)]
pub struct LocalAddrs {
    locals: Vec<Local>,
    /// Whose turn it is.
    next: usize,
    /// The turns of other loops between two sockets of this one.
    skipped: usize,
}

#[derive(Clone, Debug)]
struct Local {
    bind: BindAddr,
    /// The address, with port 0.
    addr: SocketAddr,
    /// The interface, unless it is a part of the address.
    interface: Option<String>,
    /// Ports of the range that have had their turn.
    turns: usize,
    /// No port of the range was free when all of them were tried last.
    is_used_up: bool,
    /// Sockets opened.
    opened: u64,
}

/// How many sockets left from an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUse {
    /// The address, with its interface and its ports.
    pub bind: BindAddr,
    /// Sockets opened; one that is opened again counts again.
    pub opened: u64,
}

impl LocalAddrs {
    /// Those of the addresses that are of the target's family; none for a Unix socket.
    ///
    /// # Errors
    ///
    /// When addresses are given and none is of that family, and when a link-local address has no
    /// interface, or one that does not exist.
    pub fn new(binds: &[BindAddr], target: &ResolvedEndpoint) -> Result<LocalAddrs, Error> {
        let Some(peer) = target.ip_addr() else { return Ok(LocalAddrs::default()) };
        let family = Family::of(peer.ip());
        let mut locals = Vec::new();
        for bind in binds.iter().filter(|bind| bind.family() == family) {
            let host_port = bind.host_port();
            let addrs = host_port.listen_addrs();
            let addrs =
                addrs.map_err(|error| Error::new("bind", format!("{bind} (--bind)"), error))?;
            locals.push(Local {
                bind: bind.clone(),
                addr: addrs[0],
                interface: host_port.interface().map(str::to_owned),
                turns: 0,
                is_used_up: false,
                opened: 0,
            });
        }
        if locals.is_empty() && !binds.is_empty() {
            let reason = io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{target} has an {family} address, and --bind names none"),
            );
            return Err(Error::new("connect to", target, reason));
        }
        Ok(LocalAddrs { locals, next: 0, skipped: 0 })
    }

    /// Returns the addresses for loop `index`, counted from 0, of `loops` loops. Socket `k` of all
    /// loops belongs to loop `k` modulo `loops`, and leaves from address `k` modulo the addresses.
    #[must_use]
    pub fn of_loop(&self, index: usize, loops: usize) -> LocalAddrs {
        let locals = self.locals.clone();
        LocalAddrs { next: index % locals.len().max(1), skipped: loops.saturating_sub(1), locals }
    }

    /// Opens a socket with these settings, from the address whose turn it is. Where its ports are
    /// taken, it leaves from the next one.
    ///
    /// # Errors
    ///
    /// Those of `open`. If all ports are taken, that of the last attempt.
    pub fn open<T>(
        &mut self,
        options: &mut SocketOptions,
        mut open: impl FnMut(&SocketOptions) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut result = match self.locals.is_empty() {
            true => return open(options),
            false => self.open_next(options, &mut open),
        };
        for _ in 1..self.locals.len() {
            if !result.as_ref().is_err_and(is_taken) {
                break;
            }
            result = self.open_next(options, &mut open);
        }
        self.next = (self.next + self.skipped) % self.locals.len();
        result
    }

    /// Opens a socket from the address whose turn it is.
    fn open_next<T>(
        &mut self,
        options: &mut SocketOptions,
        open: &mut impl FnMut(&SocketOptions) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let place = self.next;
        self.next = (place + 1) % self.locals.len();
        self.locals[place].open(options, open)
    }

    /// Makes a socket at each address, and drops it: whether the system takes the settings.
    ///
    /// # Errors
    ///
    /// Names the setting that the system refuses, and what may be done about it.
    pub fn check(
        &mut self,
        options: &SocketOptions,
        target: &ResolvedEndpoint,
    ) -> Result<(), Error> {
        let mut options = options.clone();
        for _ in 0..self.locals.len().max(1) {
            self.open(&mut options, |options| options.client(target).map(drop))?;
        }
        for local in &mut self.locals {
            (local.turns, local.opened) = (0, 0);
        }
        self.next = 0;
        Ok(())
    }

    /// What has left from where.
    pub fn used(&self) -> Vec<LocalUse> {
        let each = |local: &Local| LocalUse { bind: local.bind.clone(), opened: local.opened };
        self.locals.iter().map(each).collect()
    }
}

impl Local {
    fn open<T>(
        &mut self,
        options: &mut SocketOptions,
        open: &mut impl FnMut(&SocketOptions) -> Result<T, Error>,
    ) -> Result<T, Error> {
        options.interface.clone_from(&self.interface);
        let ports = self.bind.ports.as_ref().map_or(1, ExactSizeIterator::len);
        let tried = if self.is_used_up { ports.min(PORTS_TRIED_AGAIN) } else { ports };
        for _ in 0..tried {
            options.local = Some(self.next_addr());
            match open(options) {
                Err(error) if is_taken(&error) && self.bind.ports.is_some() => {}
                Err(error) => return Err(error),
                Ok(opened) => {
                    self.is_used_up = false;
                    self.opened += 1;
                    return Ok(opened);
                }
            }
        }
        self.is_used_up = true;
        let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
        Err(Error::new("bind", format!("{} (--bind)", self.bind), error).hint(
            "this client is out of the ports of --bind: a wider range, more addresses, or fewer \
             connections",
        ))
    }

    fn next_addr(&mut self) -> SocketAddr {
        let mut addr = self.addr;
        if let Some(ports) = &self.bind.ports {
            let place = self.turns % ports.len();
            addr.set_port(ports.clone().nth(place).unwrap_or(*ports.start()));
            self.turns = place + 1;
        }
        addr
    }
}

/// Whether another port may do.
fn is_taken(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests;
