//! Opening a host: a socket for each of its addresses, all on one port.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::endpoint::HostPort;
use crate::error::Error;

/// How often a port that the system picked in one family may prove taken in the other.
const PORT_PICKS_MAX: usize = 16;

/// Opens a socket for each address of a host, all on one port, and gives each with the address that
/// it has. Blocks while a name is looked up. `endpoint` is what errors name.
///
/// An empty host is two sockets, one a family, or one where this machine lacks the other family.
///
/// # Errors
///
/// When the host cannot be resolved, and those of `open`.
pub fn open_all<T>(
    endpoint: &impl fmt::Display,
    host_port: &HostPort,
    open: impl Fn(SocketAddr) -> Result<T, Error>,
    local_addr: impl Fn(&T) -> Option<SocketAddr>,
) -> Result<Vec<(T, SocketAddr)>, Error> {
    let addrs = host_port.listen_addrs().map_err(|error| Error::new("bind", endpoint, error))?;
    let mut picks = 0;
    'pick: loop {
        picks += 1;
        let mut opened: Vec<(T, SocketAddr)> = Vec::new();
        let mut missing = None;
        for addr in &addrs {
            let port = opened.first().map_or(addr.port(), |(_, first)| first.port());
            // A copy keeps the scope of a link-local address, which lies outside its IP.
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

/// Whether this host has no addresses of that family: a host with IPv6 switched off still serves
/// "every interface", and `localhost`.
fn lacks_family(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
