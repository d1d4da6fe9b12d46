//! The target of the load: an endpoint whose host is resolved.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::endpoint::{Endpoint, ResolvedEndpoint, Transport, UnixName};
use crate::error::Error;
use crate::socket::{BindAddr, Datagram, LocalAddrs, SocketOptions, Stream};

/// The time that one of several addresses of a host has to show that it is served.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Resolves the endpoint's host. Of several addresses it returns the first that accepts a TCP
/// connection, or that does not refuse a UDP datagram within the timeout.
///
/// # Errors
///
/// The host has no address of the family that the options name, or the lookup took longer than
/// `timeout`.
pub fn resolve_target(
    endpoint: &Endpoint,
    options: &SocketOptions,
    bind: &[BindAddr],
    timeout: Duration,
) -> Result<ResolvedEndpoint, Error> {
    let mut options = options.clone();
    let resolved = endpoint
        .resolve_within(timeout, options.family)
        .map_err(|error| Error::new("connect to", endpoint, error))?;
    let timeout = timeout.min(PROBE_TIMEOUT);
    let mut is_served = |target: &&ResolvedEndpoint| {
        let Ok(mut locals) = LocalAddrs::new(bind, target) else { return false };
        match target.transport() {
            Transport::Tcp => accepts(target, &mut locals, &mut options),
            Transport::Udp => !refuses_datagrams(target, &mut locals, &mut options, timeout),
            Transport::Unix | Transport::Unixgram => true,
        }
    };
    let served = if resolved.len() > 1 { resolved.iter().find(&mut is_served) } else { None };
    Ok(served.unwrap_or(&resolved[0]).clone())
}

/// Makes a folder for the socket files of Unix datagram clients, which the server replies to. A
/// client of an abstract name needs none: on Linux the kernel picks an abstract name for it.
///
/// # Errors
///
/// The folder for temporary files takes no new folder.
pub fn client_folder(target: &ResolvedEndpoint) -> Result<Option<TempDir>, Error> {
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

fn accepts(
    target: &ResolvedEndpoint,
    locals: &mut LocalAddrs,
    options: &mut SocketOptions,
) -> bool {
    let mut probe = || -> io::Result<bool> {
        let stream = locals.open(options, |options| Stream::connect(target, options));
        let stream = stream.map_err(|error| io::Error::from(error.kind()))?;
        wait_for(&stream, PollFlags::OUT, PROBE_TIMEOUT)?;
        // A socket that is connected to itself has reached no listener, and is an error.
        stream.connected()
    };
    probe().is_ok_and(|is_connected| is_connected)
}

/// Returns true if a datagram cannot be sent to the target, or is refused. UDP has no connection,
/// so this sends a datagram of one byte and waits for the refusal. Silence is not a refusal.
fn refuses_datagrams(
    target: &ResolvedEndpoint,
    locals: &mut LocalAddrs,
    options: &mut SocketOptions,
    timeout: Duration,
) -> bool {
    let mut probe = || -> io::Result<()> {
        let socket = locals.open(options, |options| Datagram::connect(target, None, options));
        let socket = socket.map_err(|error| io::Error::from(error.kind()))?;
        socket.send(&[0])?;
        wait_for(&socket, PollFlags::IN, timeout)?;
        socket.receive(&mut [0]).map(drop)
    };
    probe().is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
}

/// Waits until the socket is ready, or the time is over.
fn wait_for(socket: &impl AsFd, events: PollFlags, timeout: Duration) -> io::Result<()> {
    let until = Instant::now() + timeout;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, events)], Some(&left)) {
            Err(Errno::INTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}
