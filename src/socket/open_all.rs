//! Opens a host: one socket for each of its addresses, all on one port.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::endpoint::{Family, HostPort};
use crate::error::Error;

/// The maximum number of ports that the system picks. A port that it picks for one address family
/// may be in use in the other.
const PORT_PICKS_MAX: usize = 16;

/// Opens a socket for each address of a host, all on one port. Returns each socket with its
/// address. Blocks while the name is resolved. Errors name `endpoint`.
///
/// An empty host is one socket for each family, or one socket if `family` is set or this machine
/// lacks the other family.
///
/// # Errors
///
/// If the host cannot be resolved, and all errors of `open`.
pub fn open_all<T>(
    endpoint: &impl fmt::Display,
    host_port: &HostPort,
    family: Option<Family>,
    open: impl Fn(SocketAddr) -> Result<T, Error>,
    local_addr: impl Fn(&T) -> Option<SocketAddr>,
) -> Result<Vec<(T, SocketAddr)>, Error> {
    let failed = |error| Error::new("bind", endpoint, error);
    let mut addrs = host_port.listen_addrs().map_err(failed)?;
    if let Some(family) = family {
        addrs = family.keep(addrs).map_err(failed)?;
    }
    let mut picks = 0;
    'pick: loop {
        picks += 1;
        let mut opened: Vec<(T, SocketAddr)> = Vec::new();
        let mut missing = None;
        for addr in &addrs {
            let port = opened.first().map_or(addr.port(), |(_, first)| first.port());
            // The copy keeps the scope of a link-local address, which is not part of its IP.
            let mut wanted = *addr;
            wanted.set_port(port);
            match open(wanted) {
                Ok(socket) => {
                    let addr = local_addr(&socket).unwrap_or(wanted);
                    opened.push((socket, addr));
                }
                Err(error) if lacks_family(&error) && addrs.len() > 1 => missing = Some(error),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && addr.port() == 0
                        && picks < PORT_PICKS_MAX =>
                {
                    continue 'pick;
                }
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if opened.is_empty() => return Err(error),
            _ => return Ok(opened),
        }
    }
}

/// Returns true if this host has no addresses of that family. A host with IPv6 disabled can still
/// serve "every interface" and `localhost`.
fn lacks_family(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
