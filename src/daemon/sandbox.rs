//! `--sandbox`: once all is open, the process gives up what serving does not take, so that whoever
//! gets hold of it gets little.
//!
//! Three parts of Linux, each for what the others cannot say. *No new privileges*: no program that
//! it might start is set-user-ID. *Landlock* looks at names: which files, and that no TCP port is
//! bound or connected to. *Seccomp* looks at the calls themselves and at their plain arguments.
//!
//! The user and its capabilities stay, and the log says so where they are more than anybody's.
//!
//! All is best effort: what a kernel lacks is said, and the server serves. What is forbidden fails
//! (EPERM, of landlock EACCES) and does not kill: a call of a library that nobody has foreseen is
//! an error like any other.

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

/// What is used later on besides the sockets that are open.
#[derive(Debug, Default)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(super) struct Needs {
    /// In these are the socket files, which are removed at the end.
    pub(super) folders: Vec<PathBuf>,
    /// A thread answers over TCP what `/proc/self` tells of this process.
    pub(super) process_figures: bool,
    /// The socket that is connected to what the path of a Unix datagram sender leads to.
    pub(super) path_probe: Option<i32>,
    /// Sockets are made to tell a service manager how the server fares (sd_notify(3)).
    pub(super) notices: bool,
}

impl Needs {
    /// Those of a server with these endpoints.
    pub(super) fn of(bound: &[Bound]) -> Needs {
        let mut folders: Vec<_> = bound.iter().filter_map(folder).collect();
        folders.sort();
        folders.dedup();
        let notices = std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| !name.is_empty());
        Needs { folders, process_figures: false, path_probe: None, notices }
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

/// Enters the sandbox, as far as there is one. To be called while this is the only thread.
#[cfg(target_os = "linux")]
pub(super) fn enter(needs: &Needs) {
    let mut held = Vec::new();
    // Before the calls that tell are forbidden.
    let kept = kept_rights();
    // First: without it only root may ask for the others.
    match rustix::thread::set_no_new_privs(true) {
        Ok(()) => held.push("no new privileges".to_owned()),
        Err(error) => warn!("sandbox: privileges can still be gained: {error}"),
    }
    let files = files::restrict(needs);
    let files_are_restricted = files.is_ok();
    match files {
        Ok(what) => held.push(format!("landlock ({what})")),
        Err(reason) => warn!("sandbox: no landlock: {reason}"),
    }
    match restrict_calls(needs, files_are_restricted) {
        Ok(count) => held.push(format!("seccomp ({count} calls)")),
        Err(reason) => warn!(
            "sandbox: no seccomp: {reason}; landlock alone lets a TCP connection be made by \
             MSG_FASTOPEN"
        ),
    }
    if !held.is_empty() {
        tracing::info!("sandbox: {}", held.join(", "));
    }
    if let Some(kept) = kept {
        tracing::info!("sandbox: {kept}: start it as another user to have neither inside");
    }
}

/// What a process started with rights still has in the sandbox, which takes none away.
#[cfg(target_os = "linux")]
fn kept_rights() -> Option<String> {
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
