//! `--sandbox`: once everything is open, the process gives up what serving does not need, so that
//! an attacker who takes it over gets little.
//!
//! Three mechanisms of Linux, each for what the others cannot express. *No new privileges*: a
//! program that the process starts gains nothing by set-user-ID. *Landlock* restricts by name:
//! which files may be used, and that no TCP port is bound or connected to. *Seccomp* restricts the
//! system calls and their plain arguments.
//!
//! The user and its capabilities stay. The log says so if they exceed those of an ordinary user.
//!
//! Everything is best effort: the log names what a kernel lacks, and the server serves. A forbidden
//! call fails (EPERM, or EACCES from landlock) and does not kill the process, because an unforeseen
//! call of a library is an error like any other.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::path::PathBuf;

use tracing::warn;

use crate::echo::Bound;
use crate::endpoint::{Endpoint, UnixName};

/// What the server still uses besides its open sockets.
#[derive(Debug, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) struct Needs {
    /// The folders of the socket files, which are removed at the end.
    pub(super) folders: Vec<PathBuf>,
    /// A thread reads figures of this process from `/proc/self` and sends them over TCP.
    pub(super) process_figures: bool,
    /// The socket that is connected to the paths of Unix datagram senders, to find out what they
    /// lead to.
    pub(super) path_probe: Option<i32>,
    /// Sockets are created to report to a service manager (sd_notify(3)).
    pub(super) notices: bool,
    /// The file of a trace, which is open, is written again and again.
    pub(super) rewrites: bool,
    /// Connections are of Multipath TCP.
    pub(super) multipath: bool,
}

impl Needs {
    /// Returns the needs of a server with these endpoints.
    pub(super) fn of(bound: &[Bound]) -> Needs {
        let mut folders: Vec<_> = bound.iter().filter_map(folder).collect();
        folders.sort();
        folders.dedup();
        let notices = std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty());
        Needs { folders, notices, ..Needs::default() }
    }
}

fn folder(bound: &Bound) -> Option<PathBuf> {
    match &bound.endpoint {
        Endpoint::Unix(UnixName::Path(path)) | Endpoint::Unixgram(UnixName::Path(path)) => {
            // The file is removed by its absolute path.
            std::path::absolute(path).ok()?.parent().map(PathBuf::from)
        }
        _ => None,
    }
}

/// Enters the sandbox, as far as the kernel has one. Call it while the process has a single thread.
#[cfg(target_os = "linux")]
pub(super) fn enter(needs: &Needs) {
    let mut active = Vec::new();
    // This comes before the calls that it needs are forbidden.
    let kept = remaining_rights();
    // This comes first: without it only root may use the other two.
    match rustix::thread::set_no_new_privs(true) {
        Ok(()) => active.push("no new privileges".to_owned()),
        Err(error) => warn!("sandbox: privileges can still be gained: {error}"),
    }
    let files = files::restrict(needs);
    let files_are_restricted = files.is_ok();
    match files {
        Ok(what) => active.push(format!("landlock ({what})")),
        Err(reason) => warn!("sandbox: no landlock: {reason}"),
    }
    match restrict_calls(needs, files_are_restricted) {
        Ok(count) => active.push(format!("seccomp ({count} calls)")),
        Err(reason) => warn!(
            "sandbox: no seccomp: {reason}; landlock alone lets a TCP connection be made by \
             MSG_FASTOPEN"
        ),
    }
    if !active.is_empty() {
        tracing::info!("sandbox: {}", active.join(", "));
    }
    if let Some(kept) = kept {
        tracing::info!("sandbox: {kept}: start it as another user to have neither inside");
    }
}

/// Returns a line about the rights that the process keeps, because the sandbox takes none away.
#[cfg(target_os = "linux")]
fn remaining_rights() -> Option<String> {
    let user = rustix::process::geteuid();
    let capabilities = rustix::thread::capabilities(None).ok()?;
    let has_some = !capabilities.effective.is_empty() || !capabilities.permitted.is_empty();
    match (user.is_root(), has_some) {
        (true, true) => Some("user 0 and its capabilities stay".to_owned()),
        (true, false) => Some("user 0 stays, without capabilities".to_owned()),
        (false, true) => Some(format!("user {} and its capabilities stay", user.as_raw())),
        (false, false) => None,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enter(_: &Needs) {
    warn!("--sandbox without effect: this system is not Linux");
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
fn restrict_calls(needs: &Needs, files_are_restricted: bool) -> Result<usize, String> {
    calls::restrict(needs, files_are_restricted).map_err(|error| calls::reason(&error))
}

#[cfg(all(
    target_os = "linux",
    not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))
))]
fn restrict_calls(_: &Needs, _: bool) -> Result<usize, String> {
    Err("there is no filter for this processor".to_owned())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
