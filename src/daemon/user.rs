//! `--user`: a server that root starts opens privileged ports and then becomes an ordinary user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Access, access};
use tracing::{info, warn};

use crate::echo::Bound;
use crate::endpoint::{Endpoint, UnixName};
use crate::error::Error;

/// The name of a user and of its group: `NAME[:GROUP]`. Each may also be a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    name: String,
    group: Option<String>,
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<UserName, String> {
        let (name, group) = match text.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (text, None),
        };
        if name.is_empty() || group.is_some_and(str::is_empty) {
            return Err("expected NAME or NAME:GROUP such as daemon or echo:echo".to_owned());
        }
        Ok(UserName { name: name.to_owned(), group: group.map(str::to_owned) })
    }
}

/// A user that exists, with its groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceUser {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl ServiceUser {
    /// Looks up the user and its groups. A number that is no name needs no entry in the user
    /// database; its group is then the same number, unless one is given.
    ///
    /// # Errors
    ///
    /// There is no such user or group, it is root, or this process is not root.
    pub(super) fn find(user: &UserName) -> Result<ServiceUser, Error> {
        let failed = |reason: &str| {
            let reason = std::io::Error::other(reason.to_owned());
            Error::new("become", format!("user '{}'", user.name), reason)
        };
        let found = User::from_name(&user.name).map_err(|error| failed(error.desc()))?;
        let (uid, gid) = match (&found, user.name.parse()) {
            (Some(found), _) => (found.uid, found.gid),
            (None, Ok(number)) => (Uid::from_raw(number), Gid::from_raw(number)),
            (None, Err(_)) => return Err(failed("no such user")),
        };
        let gid = match &user.group {
            None => gid,
            Some(name) => {
                let group = Group::from_name(name).map_err(|error| failed(error.desc()))?;
                let number = || name.parse().ok().map(Gid::from_raw);
                let gid = group.map(|group| group.gid).or_else(number);
                gid.ok_or_else(|| failed(&format!("no such group '{name}'")))?
            }
        };
        if uid.is_root() || gid.as_raw() == 0 {
            return Err(failed("root would keep its rights; expected another user and group"));
        }
        if !Uid::effective().is_root() {
            return Err(failed("only root may change its user")
                .hint("start the server as root, or as that user without --user"));
        }
        let groups = match found {
            Some(found) => groups_of(&found, gid).map_err(|error| failed(error.desc()))?,
            None => vec![gid],
        };
        Ok(ServiceUser { name: user.name.clone(), uid, gid, groups })
    }

    /// Makes this process run as the user, for good: no thread can become root again. Call it while
    /// the process has a single thread.
    ///
    /// # Errors
    ///
    /// The kernel refuses the change, or it would leave a way back.
    pub(super) fn take_over(self) -> Result<(), Error> {
        let failed = |reason| Error::new("become", format!("user '{}'", self.name), reason);
        // The group first: the user has no right to change it.
        set_groups(&self.groups).map_err(|error| failed(error.into()))?;
        nix::unistd::setgid(self.gid).map_err(|error| failed(error.into()))?;
        nix::unistd::setuid(self.uid).map_err(|error| failed(error.into()))?;
        if nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
            return Err(failed(std::io::Error::other("the process could become root again")));
        }
        finish().map_err(|error| failed(error.into()))?;
        info!("running as user {} ({}), group {}", self.name, self.uid, self.gid);
        Ok(())
    }
}

/// The socket files that a server may not remove once it runs as its user: endpoint and path.
#[derive(Default)]
pub(super) struct StayingFiles(Vec<(String, PathBuf)>);

impl StayingFiles {
    /// Finds them, and warns of each. Call it once the process runs as its user.
    pub(super) fn warned_of(endpoints: &[Bound], user: &UserName) -> StayingFiles {
        let path = |bound: &Bound| match &bound.endpoint {
            Endpoint::Unix(UnixName::Path(path)) | Endpoint::Unixgram(UnixName::Path(path)) => {
                Some((bound.endpoint.to_string(), path.clone()))
            }
            _ => None,
        };
        let files: Vec<_> =
            endpoints.iter().filter_map(path).filter(|(_, path)| !may_remove(path)).collect();
        for (endpoint, _) in &files {
            warn!(
                "{endpoint}: the socket file stays when the server ends: user {} may not remove \
                 files from its folder",
                user.name
            );
        }
        StayingFiles(files)
    }

    /// Warns of each that is still there when the server ends.
    pub(super) fn warn_at_end(&self) {
        for (endpoint, path) in self.0.iter().filter(|(_, path)| path.exists()) {
            warn!("{endpoint}: the socket file stays: remove {}", path.display());
        }
    }
}

/// Returns true unless the rights of the folder keep this process from removing a file there.
fn may_remove(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return false;
    }
    let (Ok(file), Ok(folder)) = (fs::symlink_metadata(path), fs::metadata(folder)) else {
        return true;
    };
    // In a folder such as /tmp, only the owner of the file or of the folder may remove it.
    let user = Uid::effective().as_raw();
    folder.mode() & STICKY == 0 || file.uid() == user || folder.uid() == user
}

/// The restricted deletion flag of chmod(1), `S_ISVTX`.
const STICKY: u32 = 0o1000;

/// Returns the user's groups by the group database, and `gid`.
#[cfg(not(target_vendor = "apple"))]
fn groups_of(user: &User, gid: Gid) -> nix::Result<Vec<Gid>> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    nix::unistd::getgrouplist(&name, gid)
}

#[cfg(not(target_vendor = "apple"))]
fn set_groups(groups: &[Gid]) -> nix::Result<()> {
    nix::unistd::setgroups(groups)
}

// On these systems the groups of a process have two meanings, and nix sets neither.
#[cfg(target_vendor = "apple")]
fn groups_of(_: &User, gid: Gid) -> nix::Result<Vec<Gid>> {
    Ok(vec![gid])
}

#[cfg(target_vendor = "apple")]
fn set_groups(_: &[Gid]) -> nix::Result<()> {
    Err(nix::Error::ENOTSUP)
}

/// Closes the last ways to more rights, and opens the process's own figures again.
#[cfg(target_os = "linux")]
fn finish() -> rustix::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    // No program that this process starts gains rights by set-user-ID. It starts none.
    rustix::thread::set_no_new_privs(true)?;
    // Linux makes `/proc/self` of a process that has changed its user a folder of root. The metrics
    // count descriptors there.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    match rustix::thread::capabilities(None)?.permitted.is_empty() {
        true => Ok(()),
        false => Err(rustix::io::Errno::PERM),
    }
}

#[cfg(not(target_os = "linux"))]
fn finish() -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<ServiceUser, Error> {
        ServiceUser::find(&text.parse().unwrap())
    }

    #[test]
    fn a_user_and_a_group_are_not_empty() {
        for text in ["", ":", "daemon:", ":nogroup"] {
            let error = text.parse::<UserName>().unwrap_err();
            assert!(error.starts_with("expected NAME"), "{text}: {error}");
        }
    }

    #[test]
    fn root_is_no_user_to_change_to() {
        for text in ["root", "0", "65534:0", "daemon:root"] {
            let error = find(text).unwrap_err().to_string();
            assert!(error.contains("root would keep its rights"), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_user_or_group_is_named() {
        let error = find("no-such-user").unwrap_err().to_string();
        assert_eq!(error, "cannot become user 'no-such-user': no such user");
        let error = find("daemon:no-such-group").unwrap_err().to_string();
        assert_eq!(error, "cannot become user 'daemon': no such group 'no-such-group'");
    }
}
