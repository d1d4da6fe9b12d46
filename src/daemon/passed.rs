//! Sockets that a service manager passes to the server (sd_listen_fds(3)).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process;

use listenfd::ListenFd;
use tracing::warn;

use crate::error::Error;

/// The first passed descriptor, after the standard streams.
const FIRST: usize = 3;

/// The largest plausible number of descriptors: the default of `fs.nr_open`.
const COUNT_MAX: usize = 1 << 20;

/// The passed sockets.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) sockets: Vec<PassedSocket>,
    /// Why there are none, although the environment names some.
    ignored: Option<String>,
}

/// A passed socket of any kind.
#[derive(Debug)]
pub(super) struct PassedSocket {
    pub(super) fd: OwnedFd,
    /// The name that the manager gave it (`FileDescriptorName=` of systemd.socket(5)).
    pub(super) name: Option<String>,
}

/// Takes the sockets that were passed to this process, and removes the variables that announce them
/// from the environment. Call it once, before a second thread starts, which might read the
/// environment.
pub(super) fn take() -> Result<Passed, Error> {
    let Some(count) = variable("LISTEN_FDS") else { return Ok(Passed::default()) };
    let pid = variable("LISTEN_PID");
    // The variables are inherited from a parent process, which the sockets were passed to.
    if pid.as_ref().and_then(|pid| pid.to_str()?.parse().ok()) != Some(process::id()) {
        let expected = match pid {
            Some(pid) => format!("LISTEN_PID is {}", pid.display()),
            None => "LISTEN_PID is not set".to_owned(),
        };
        let ignored = format!("LISTEN_FDS is ignored: {expected}, and this is {}", process::id());
        return Ok(Passed { sockets: Vec::new(), ignored: Some(ignored) });
    }
    match count.to_str().and_then(|count| count.parse::<usize>().ok()) {
        Some(count) if count <= COUNT_MAX => {}
        _ => {
            let reason = format!("it is {}, and no count of descriptors", count.display());
            let reason = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(Error::new("take sockets by", "LISTEN_FDS", reason));
        }
    }
    let names = variable("LISTEN_FDNAMES").and_then(|names| names.into_string().ok());
    let mut names = names.iter().flat_map(|names| names.split(':'));
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).map(|index| {
        let name = names.next().filter(|name| !name.is_empty()).map(str::to_owned);
        match take_socket(&mut passed, index) {
            Some(fd) => Ok(PassedSocket { fd, name }),
            None => Err(not_a_socket(FIRST + index)),
        }
    });
    Ok(Passed { sockets: sockets.collect::<Result<_, _>>()?, ignored: None })
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the socket at this index, or `None` if the descriptor is not a socket.
///
/// The crate hands out an owned descriptor only to a caller that names its family and kind.
fn take_socket(passed: &mut ListenFd, index: usize) -> Option<OwnedFd> {
    // The families that can be served (`AF_INET` covers IPv6) and those that an error can name.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FAMILIES: &[i32] =
        &[libc::AF_INET, libc::AF_UNIX, libc::AF_NETLINK, libc::AF_VSOCK, libc::AF_PACKET];
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FAMILIES: &[i32] = &[libc::AF_INET, libc::AF_UNIX];
    const KINDS: [i32; 4] =
        [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET, libc::SOCK_RAW];
    let all = FAMILIES.iter().flat_map(|family| KINDS.map(|kind| (*family, kind)));
    let mut take = |(family, kind)| passed.take_custom(index, family, kind, "").ok().flatten();
    all.into_iter().find_map(&mut take)
}

/// Returns the error for a descriptor that is not a socket. It names what the descriptor is, where
/// the system says so.
fn not_a_socket(number: usize) -> Error {
    const OPEN: &str = "/proc/self/fd";
    let reason = match fs::read_link(format!("{OPEN}/{number}")) {
        Ok(target) => format!("it is {}, and not a socket", target.display()),
        Err(_) if fs::exists(OPEN).is_ok_and(|exists| exists) => "it is not open".to_owned(),
        Err(_) => "it is not a socket".to_owned(),
    };
    let reason = io::Error::new(io::ErrorKind::InvalidInput, reason);
    Error::new("serve", format!("descriptor {number}"), reason)
}

impl Passed {
    /// Warns if passed sockets were ignored.
    pub(super) fn warn(&self) {
        if let Some(ignored) = &self.ignored {
            warn!("{ignored}");
        }
    }
}
