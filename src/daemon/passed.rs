//! Sockets that a service manager has opened and passes on (sd_listen_fds(3)).

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process;

use listenfd::ListenFd;
use tracing::warn;

use crate::error::Error;

/// The first descriptor that is passed, behind the standard streams.
const FIRST: usize = 3;

/// More descriptors than a process may have, unless somebody has raised `fs.nr_open`.
const COUNT_MAX: usize = 1 << 20;

/// What is passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) sockets: Vec<PassedSocket>,
    /// Why it is nothing, although there is something for somebody.
    ignored: Option<String>,
}

/// A socket of whatever kind.
#[derive(Debug)]
pub(super) struct PassedSocket {
    pub(super) fd: OwnedFd,
    /// What the manager calls it (`FileDescriptorName=` of systemd.socket(5)).
    pub(super) name: Option<String>,
}

/// Takes what is passed to this process, once, and the variables that tell of it out of the
/// environment: to be called before there is a second thread, which might look there.
pub(super) fn take() -> Result<Passed, Error> {
    let Some(count) = variable("LISTEN_FDS") else { return Ok(Passed::default()) };
    let pid = variable("LISTEN_PID");
    // Inherited from a parent, to whom they were passed.
    if pid.as_ref().and_then(|pid| pid.to_str()?.parse().ok()) != Some(process::id()) {
        let whose = match pid {
            Some(pid) => format!("LISTEN_PID is {}", pid.display()),
            None => "LISTEN_PID is not set".to_owned(),
        };
        let ignored = format!("LISTEN_FDS is ignored: {whose}, and this is {}", process::id());
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
            None => Err(no_socket(FIRST + index)),
        }
    });
    Ok(Passed { sockets: sockets.collect::<Result<_, _>>()?, ignored: None })
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The socket at this index, whatever its kind; `None` when it is none.
///
/// The crate hands out a descriptor that is owned only to who tells what it must be.
fn take_socket(passed: &mut ListenFd, index: usize) -> Option<OwnedFd> {
    // Those that can be served, IPv6 among them with IPv4, and those that can be named.
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

/// The error for a descriptor that is no socket, with what it is where the system tells.
fn no_socket(number: usize) -> Error {
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
    /// Says what was left alone.
    pub(super) fn warn(&self) {
        if let Some(ignored) = &self.ignored {
            warn!("{ignored}");
        }
    }
}
