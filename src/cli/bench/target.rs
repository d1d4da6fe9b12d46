//! The target of the load: an endpoint whose host is resolved.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use resound::Error;
use resound::endpoint::{Endpoint, ResolvedEndpoint, UnixName};
use tempfile::TempDir;

/// The time that one of several addresses of a host has to show that it is served.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The shortest receive timeout. A timeout below the resolution of the system's clock could count
/// as no timeout.
const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Resolves the endpoint's host. Of several addresses it returns the first that accepts a TCP
/// connection, or that does not refuse a UDP datagram within `timeout`.
pub(super) fn resolve(endpoint: &Endpoint, timeout: Duration) -> Result<ResolvedEndpoint, Error> {
    let resolved = endpoint
        .resolve_within(timeout)
        .map_err(|error| Error::new("connect to", endpoint, error))?;
    let timeout = timeout.min(PROBE_TIMEOUT);
    let is_served = |target: &&ResolvedEndpoint| match target {
        ResolvedEndpoint::Tcp(addr) => accepts(*addr),
        ResolvedEndpoint::Udp(addr) => !refuses_datagrams(*addr, timeout),
        ResolvedEndpoint::Unix(_) | ResolvedEndpoint::Unixgram(_) => true,
    };
    let served = if resolved.len() > 1 { resolved.iter().find(is_served) } else { None };
    Ok(served.unwrap_or(&resolved[0]).clone())
}

/// Makes a folder for the socket files of Unix datagram clients, which the server replies to. A
/// client of an abstract name needs none: on Linux the kernel picks an abstract name for it.
pub(super) fn client_folder(target: &ResolvedEndpoint) -> Result<Option<TempDir>, Error> {
    if !matches!(target, ResolvedEndpoint::Unixgram(UnixName::Path(_))) {
        return Ok(None);
    }
    let made = tempfile::Builder::new().prefix("resound-").tempdir().and_then(|folder| {
        use std::os::unix::fs::PermissionsExt;
        // The server may run as another user, and must be able to reach the files.
        let mode = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(folder.path(), mode).map(|()| folder)
    });
    let shown = std::env::temp_dir();
    made.map(Some).map_err(|error| Error::new("make a folder in", shown.display(), error))
}

fn accepts(addr: SocketAddr) -> bool {
    let stream = TcpStream::connect_timeout(&addr, PROBE_TIMEOUT);
    // A socket that is connected to itself has reached no listener.
    stream.is_ok_and(|stream| stream.local_addr().ok() != Some(addr))
}

/// Returns true if a datagram cannot be sent to `addr`, or is refused. UDP has no connection, so
/// this sends a datagram of one byte and waits for the refusal. Silence is not a refusal.
fn refuses_datagrams(addr: SocketAddr, timeout: Duration) -> bool {
    let probe = || -> io::Result<()> {
        let any = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(addr)?;
        if socket.local_addr()? == addr {
            // The kernel picked the target's port for this socket: only the socket itself would
            // answer.
            return Err(ErrorKind::ConnectionRefused.into());
        }
        socket.set_read_timeout(Some(timeout.max(PROBE_TIMEOUT_MIN)))?;
        socket.send(&[0])?;
        socket.recv(&mut [0]).map(|_| ())
    };
    let is_silence = |error: &io::Error| {
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
    };
    probe().is_err_and(|error| !is_silence(&error))
}
