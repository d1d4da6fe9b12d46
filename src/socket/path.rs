//! Socket files. A bind replaces a stale file and never one whose socket is open. Only the process
//! that created a file removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;
use crate::endpoint::{Transport, UnixName};
use crate::error::Error;

/// The longest wait for another process that binds in the same folder. Binding takes microseconds,
/// so the holder of a longer lock is another program.
const FOLDER_LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const FOLDER_LOCK_RETRY: Duration = Duration::from_millis(5);

/// A socket file that this process created. Dropping it removes the file, unless another file has
/// replaced it meanwhile.
///
/// Drop it *before* its socket. While the socket is open, no process considers the file stale, and
/// the system does not reuse its inode number. So the check and the removal need no lock.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    /// The device and inode, which distinguish this file from a later one at the same path. `None`
    /// if another process took the path directly after the bind.
    identity: Option<(u64, u64)>,
}

impl BoundPath {
    fn of(path: &Path) -> io::Result<BoundPath> {
        Ok(BoundPath { path: std::path::absolute(path)?, identity: socket_at(path) })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.identity.is_some() && socket_at(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the device and inode of the socket file at a path, if there is one.
fn socket_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.file_type().is_socket().then(|| (metadata.dev(), metadata.ino()))
}

/// Binds a Unix socket to its name.
///
/// Two processes that start at once and find the same stale file must not both remove it: the
/// second would remove the first one's new file. So this function checks, removes and binds under a
/// lock on the folder (flock(2)), which leaves no file behind.
pub(super) fn bind(
    socket: &Socket,
    name: &UnixName,
    transport: Transport,
    mode: u32,
) -> Result<Option<BoundPath>, Error> {
    let object = format!("{}:{name}", transport.name());
    let failed = |error: io::Error| Error::new("bind", &object, error);
    let path = match name {
        UnixName::Path(path) => path,
        UnixName::Abstract(_) => {
            let addr = name.sock_addr().map_err(failed)?;
            return socket.bind(&addr).map(|()| None).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => failed(error).hint("another socket has this name"),
                _ => failed(error),
            });
        }
    };

    let _lock = lock_folder(path);
    remove_if_stale(path).map_err(|(error, hint)| failed(error).hint(hint))?;
    let addr = SockAddr::unix(path).map_err(failed)?;
    sys::bind_with_mode(socket, &addr, mode).map_err(|error| folder_error(failed(error), path))?;
    BoundPath::of(path).map(Some).map_err(failed)
}

fn remove_if_stale(path: &Path) -> Result<(), (io::Error, &'static str)> {
    let in_use = || io::Error::from_raw_os_error(libc::EADDRINUSE);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // There is nothing to remove. If the folder is missing, bind(2) reports that.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        Err(error) => return Err((error, "the path cannot be examined")),
    };
    if !metadata.file_type().is_socket() {
        return Err((in_use(), "the path exists and is not a socket; remove it or pick another"));
    }
    match is_alive(path) {
        Ok(false) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err((error, "the stale socket file at the path cannot be removed"))
            }
            _ => Ok(()),
        },
        Ok(true) => Err((in_use(), "a socket with this path is open already")),
        Err(error) => Err((error, "it is unknown whether the socket at the path is open")),
    }
}

/// Returns true if a process still has the socket of this file open.
///
/// The probe is a datagram socket, so that a listener does not receive an empty connection. A
/// listener answers the probe with EPROTOTYPE. A datagram socket does not notice the connect. A
/// file whose socket is closed refuses.
fn is_alive(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            // EPROTOTYPE: a stream socket. EPERM: a datagram socket that is connected to a peer.
            Some(libc::EPROTOTYPE | libc::EPERM) => Ok(true),
            Some(libc::ECONNREFUSED | libc::ENOENT) => Ok(false),
            _ => Err(error),
        },
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Locks a folder until the returned file is dropped. Returns `None` if the folder cannot be read,
/// the file system has no locks, or another program keeps the lock. These must not prevent a server
/// from starting, because any user that can read the folder can keep the lock.
fn lock_folder(path: &Path) -> Option<File> {
    // The open does not wait if the path is not a folder, such as a FIFO. bind(2) reports that.
    let folder = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK)
        .open(folder_of(path))
        .ok()?;
    let deadline = Instant::now() + FOLDER_LOCK_TIMEOUT;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(FOLDER_LOCK_RETRY);
            }
            Err(_) => return None,
        }
    }
}

fn folder_error(error: Error, path: &Path) -> Error {
    let folder = folder_of(path).display();
    match error.kind() {
        // bind(2) returns NotFound also for a folder in which no file can be created, such as
        // /proc.
        io::ErrorKind::NotFound if !folder_of(path).exists() => {
            error.hint(format!("the folder {folder} does not exist"))
        }
        io::ErrorKind::PermissionDenied => {
            error.hint(format!("no permission to create files in {folder}"))
        }
        io::ErrorKind::NotADirectory => error.hint(format!("{folder} is not a folder")),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
