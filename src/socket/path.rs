//! Socket files: taken over when stale, never when alive, and removed only by who made them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;
use crate::endpoint::{Transport, UnixName};
use crate::error::Error;

/// How long to wait for another process that is just binding in the same folder. Binding takes
/// microseconds; a lock held longer is not held by one of us.
const FOLDER_LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const FOLDER_LOCK_RETRY: Duration = Duration::from_millis(5);

/// A socket file that this process made. Dropping it removes the file, unless another file has
/// taken its place meanwhile.
///
/// To be dropped *before* its socket: while the socket lives nobody takes the file for stale, and
/// its inode number is not handed out again, so that the look and the removal need no lock.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    /// Device and inode, by which a successor's file is told from ours. None if something else had
    /// taken the path right after it was bound.
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

/// Device and inode of the socket file at a path, if there is one.
fn socket_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.file_type().is_socket().then(|| (metadata.dev(), metadata.ino()))
}

/// Binds a Unix socket to its name.
///
/// Two processes that start at once and find the same stale file must not both remove it: the
/// second would remove the first one's new file. So the look, the removal and the bind happen
/// under a lock on the folder (flock(2)), which leaves no file behind.
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
        // Nothing to remove; when it is the folder that is missing, bind(2) says so.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        Err(error) => return Err((error, "the path cannot be looked at")),
    };
    if !metadata.file_type().is_socket() {
        return Err((in_use(), "the path exists and is not a socket; remove it or pick another"));
    }
    match is_alive(path) {
        Ok(false) => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err((error, "the stale socket file there cannot be removed"))
            }
            _ => Ok(()),
        },
        Ok(true) => Err((in_use(), "a socket with this path is open already")),
        Err(error) => Err((error, "whether the socket there is alive cannot be told")),
    }
}

/// Whether some process still has the socket of this file.
///
/// Asked by a datagram socket whatever is there, so that a living listener is not handed a
/// connection that means nothing: it answers EPROTOTYPE, a datagram socket takes the connect
/// without a trace, and a file whose socket is gone refuses.
fn is_alive(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            // Of the other kind; or a datagram socket that takes from one peer alone.
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

/// Locks a folder until the returned file is dropped. Best effort: a folder that cannot be read,
/// a file system without locks, or a stranger who keeps the lock, which anyone may who can read
/// the folder, must not keep a server from starting.
fn lock_folder(path: &Path) -> Option<File> {
    // What is no folder, such as a FIFO, is not waited for. That it is none is for bind(2) to say.
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
        // Where no file can be made at all, as in /proc, bind(2) says the same.
        io::ErrorKind::NotFound if !folder_of(path).exists() => {
            error.hint(format!("the folder {folder} does not exist"))
        }
        io::ErrorKind::PermissionDenied => {
            error.hint(format!("no right to make files in {folder}"))
        }
        io::ErrorKind::NotADirectory => error.hint(format!("{folder} is not a folder")),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
