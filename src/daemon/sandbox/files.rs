//! The landlock(7) rules: which files may be used, and no TCP but the sockets that are open.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use tracing::warn;

use super::Needs;

/// The newest ABI whose restrictions are used. Later ones would forbid replies: they restrict the
/// names of Unix sockets (ABI 9) and sends over UDP (ABI 10). The scope for abstract Unix sockets
/// would forbid replies too.
const NEWEST_ABI: ABI = ABI::V7;

/// The first ABIs that restrict TCP and signals.
const TCP_ABI: i32 = 4;
const SIGNALS_ABI: i32 = 6;

/// Restricts this thread and the threads that it starts later. Returns a description of what is
/// allowed, or why nothing is restricted.
pub(super) fn restrict(needs: &Needs) -> Result<String, String> {
    let allowed = allowed(needs);
    let status = enforce(&allowed).map_err(|error| error.to_string())?;
    match (&status.landlock, &status.ruleset) {
        (LandlockStatus::NotImplemented, _) => {
            Err("this kernel does not have it, or a filter forbids it".to_owned())
        }
        (LandlockStatus::NotEnabled, _) => Err("it was not enabled at boot".to_owned()),
        (_, RulesetStatus::NotEnforced) => Err("this kernel restricts nothing by it".to_owned()),
        (LandlockStatus::Available { effective_abi, kernel_abi }, _) => {
            keep_alive(allowed);
            let abi = kernel_abi.unwrap_or(*effective_abi as i32);
            Ok(in_words(abi, needs))
        }
    }
}

/// A file, or a folder with everything below it, and its allowed accesses.
type Allowed = (PathFd, BitFlags<AccessFs>);

fn allowed(needs: &Needs) -> Vec<Allowed> {
    let mut allowed = Vec::new();
    // The spare descriptor is opened from it. Without this file, the spare descriptor is a socket.
    allowed.extend(PathFd::new("/dev/null").ok().map(|fd| (fd, AccessFs::ReadFile.into())));
    for folder in &needs.folders {
        match PathFd::new(folder) {
            Ok(fd) => allowed.push((fd, AccessFs::RemoveFile.into())),
            Err(error) => warn!("sandbox: socket files will be left behind: {error}"),
        }
    }
    if needs.process_figures {
        match PathFd::new("/proc/self") {
            Ok(fd) => allowed.push((fd, AccessFs::ReadFile | AccessFs::ReadDir)),
            Err(error) => warn!("sandbox: figures of the process will be missing: {error}"),
        }
    }
    allowed
}

fn enforce(allowed: &[Allowed]) -> Result<RestrictionStatus, RulesetError> {
    let rules = allowed.iter().map(|(fd, access)| Ok(PathBeneath::new(fd, *access)));
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST_ABI))?
        .handle_access(AccessNet::from_all(NEWEST_ABI))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules::<_, _, _, RulesetError>(rules)?
        .restrict_self()
}

/// Keeps the folders of /proc open. A rule belongs to an inode, and the kernel may free the inode
/// of a folder in /proc when it needs memory and nothing has the folder open; the next lookup then
/// makes another inode.
fn keep_alive(allowed: Vec<Allowed>) {
    for (fd, access) in allowed {
        if access.contains(AccessFs::ReadDir) {
            std::mem::forget(fd);
        }
    }
}

fn in_words(abi: i32, needs: &Needs) -> String {
    let mut words = format!("ABI {abi}: no file but /dev/null");
    if needs.process_figures {
        words += " and /proc/self";
    }
    for (index, folder) in needs.folders.iter().enumerate() {
        words += if index == 0 { ", removal in " } else { " and " };
        words += &folder.display().to_string();
    }
    if abi >= TCP_ABI {
        words += ", no TCP bind or connect";
    }
    if abi >= SIGNALS_ABI {
        words += ", no signal to others";
    }
    words
}
