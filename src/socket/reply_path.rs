//! The path for replies to a Unix datagram sender whose socket is bound to a file.
//!
//! A Unix datagram names its sender by the path that the sender's socket was bound to. A reply to
//! that path goes to the socket of the file that is there when the reply is sent. A client can
//! replace its file by a link to another socket: to the server's own, which then answers itself
//! without end, to that of another server, or to one to which only the server may write.
//!
//! So the server first opens the file (`O_PATH`), which keeps the file even if the path changes.
//! Then a probe connects to the socket of the file, and the kernel returns the path that the socket
//! was bound to (getpeername(2)). Only the sender's socket has the sender's path. Replies go to the
//! descriptor (`/proc/PID/fd/N`), and so to exactly this file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;

/// An open socket file, and an address that leads only to it.
#[derive(Debug)]
pub(crate) struct ReplyPath {
    addr: SockAddr,
    /// The device and inode, which distinguish this file from a later one at the same path.
    identity: (u64, u64),
    _file: File,
}

/// The reason that there is no reply path.
#[derive(Debug)]
pub(crate) enum ReplyPathError {
    /// The path leads to a socket that is not the sender's, and that is bound to this name.
    OtherSocket(Box<[u8]>),
    /// A system call failed, as a send would have.
    Failed(io::Error),
}

/// Finds reply paths.
#[derive(Debug)]
pub(crate) struct ReplyPathFinder {
    probe: Socket,
    /// The folder of this process's descriptors.
    descriptors: PathBuf,
}

impl ReplyPath {
    /// Returns the address to send replies to.
    pub(crate) fn addr(&self) -> &SockAddr {
        &self.addr
    }

    /// Returns true if the path of this name still leads to this file.
    pub(crate) fn is_at(&self, name: &[u8]) -> bool {
        let there = fs::metadata(path(name)).ok();
        there.is_some_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity)
    }
}

impl ReplyPathFinder {
    /// Creates a finder with one probe socket.
    ///
    /// # Errors
    ///
    /// If no descriptor is left, or if `/proc` is missing or is not that of Linux.
    pub(crate) fn new() -> io::Result<ReplyPathFinder> {
        let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        // The path contains the process number, because the kernel takes a third more time to
        // follow the link `self`. The number depends on the PID namespace of this /proc, so it is
        // read from the link.
        let descriptors = Path::new("/proc").join(fs::read_link("/proc/self")?).join("fd");
        fs::metadata(descriptors.join(probe.as_raw_fd().to_string()))?;
        Ok(ReplyPathFinder { probe, descriptors })
    }

    /// Returns the probe, the only socket that connects to the files of senders.
    pub(crate) fn probe_socket(&self) -> BorrowedFd<'_> {
        self.probe.as_fd()
    }

    /// Checks that the path of this name now leads to the sender, or to a socket that is connected.
    /// Uses no descriptor, so it cannot keep the file.
    pub(crate) fn check(&self, name: &[u8]) -> Result<(), ReplyPathError> {
        let addr = SockAddr::unix(path(name)).map_err(ReplyPathError::Failed)?;
        self.probe(&addr, name)
    }

    fn probe(&self, addr: &SockAddr, name: &[u8]) -> Result<(), ReplyPathError> {
        match self.probe.connect(addr) {
            Ok(()) => {
                let peer = self.probe.peer_addr().map_err(ReplyPathError::Failed)?;
                let found = sys::unix_name(&peer);
                if found == name { Ok(()) } else { Err(ReplyPathError::OtherSocket(found.into())) }
            }
            // The socket there is connected. The kernel refuses every sender but its peer, so its
            // name stays unknown, and it may not be the sender's. In that case it gets the reply if
            // it is connected to this server, and otherwise the kernel refuses the reply. A socket
            // that serves several peers is never connected.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) => Err(ReplyPathError::Failed(error)),
        }
    }

    /// Returns the reply path to the sender that is bound to the path of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Result<ReplyPath, ReplyPathError> {
        let opened = File::options().read(true).custom_flags(sys::O_PATH).open(path(name));
        let file = opened.map_err(ReplyPathError::Failed)?;
        let metadata = file.metadata().map_err(ReplyPathError::Failed)?;
        let addr = SockAddr::unix(self.descriptors.join(file.as_raw_fd().to_string()));
        let addr = addr.map_err(ReplyPathError::Failed)?;
        self.probe(&addr, name)?;
        Ok(ReplyPath { addr, identity: (metadata.dev(), metadata.ino()), _file: file })
    }
}

fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn name(path: &Path) -> &[u8] {
        path.as_os_str().as_bytes()
    }

    fn other_socket(finder: &ReplyPathFinder, path: &Path) -> Box<[u8]> {
        match finder.find(name(path)) {
            Err(ReplyPathError::OtherSocket(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    /// case X10
    #[test]
    fn a_link_of_any_kind_to_another_socket_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (client, server) = (path("client"), path("server"));
        let _server = UnixDatagram::bind(&server).unwrap();
        let finder = ReplyPathFinder::new().unwrap();
        std::os::unix::fs::symlink(&server, &client).unwrap();
        assert_eq!(*other_socket(&finder, &client), *name(&server));
        fs::remove_file(&client).unwrap();
        fs::hard_link(&server, &client).unwrap();
        assert_eq!(*other_socket(&finder, &client), *name(&server));
        fs::remove_file(&client).unwrap();
        // The client's folder becomes a link to the server's folder.
        let inner = path("inner");
        std::os::unix::fs::symlink(folder.path(), &inner).unwrap();
        assert_eq!(*other_socket(&finder, &inner.join("server")), *name(&server));
        fs::rename(&server, &client).unwrap();
        assert_eq!(*other_socket(&finder, &client), *name(&server));
    }

    /// case X10
    #[test]
    fn a_reply_path_leads_to_its_socket_after_the_path_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("client"), folder.path().join("moved"));
        let client = UnixDatagram::bind(&path).unwrap();
        let reply_path = ReplyPathFinder::new().unwrap().find(name(&path)).unwrap();
        assert!(reply_path.is_at(name(&path)));
        fs::rename(&path, &moved).unwrap();
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(!reply_path.is_at(name(&path)));
        let sender = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
        sender.send_to(b"reply", reply_path.addr()).unwrap();
        let mut buf = [0; 9];
        assert_eq!(client.recv(&mut buf).unwrap(), 5);
    }

    /// case X4
    #[test]
    fn a_path_without_an_open_socket_fails_as_a_send_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client");
        let finder = ReplyPathFinder::new().unwrap();
        let failure = || match finder.find(name(&path)) {
            Err(ReplyPathError::Failed(error)) => error.raw_os_error().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(failure(), libc::ENOENT);
        drop(UnixDatagram::bind(&path).unwrap());
        assert_eq!(failure(), libc::ECONNREFUSED);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert_eq!(failure(), libc::ECONNREFUSED);
    }

    #[test]
    fn a_connected_client_has_a_reply_path() {
        let folder = tempfile::tempdir().unwrap();
        let (path, server) = (folder.path().join("client"), folder.path().join("server"));
        let server_socket = UnixDatagram::bind(&server).unwrap();
        let client = UnixDatagram::bind(&path).unwrap();
        client.connect(&server).unwrap();
        let reply_path = ReplyPathFinder::new().unwrap().find(name(&path)).unwrap();
        Socket::from(std::os::fd::OwnedFd::from(server_socket))
            .send_to(b"reply", reply_path.addr())
            .unwrap();
        let mut buf = [0; 9];
        assert_eq!(client.recv(&mut buf).unwrap(), 5);
    }

    /// case X11: a probe cannot identify a connected socket. Such a socket receives datagrams only
    /// from its peer, so one that is connected to a stranger receives nothing.
    #[test]
    fn a_reply_path_to_another_connected_socket_works_only_for_its_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (server, stranger) = (Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap(), path("x"));
        server.bind(&SockAddr::unix(path("server")).unwrap()).unwrap();
        let _stranger = UnixDatagram::bind(&stranger).unwrap();
        let (client, other) = (path("client"), UnixDatagram::bind(path("other")).unwrap());
        std::os::unix::fs::symlink(path("other"), &client).unwrap();
        let finder = ReplyPathFinder::new().unwrap();
        assert_eq!(*other_socket(&finder, &client), *name(&path("other")));

        other.connect(&stranger).unwrap();
        let reply_path = finder.find(name(&client)).unwrap();
        let refused = server.send_to(b"reply", reply_path.addr()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));

        other.connect(path("server")).unwrap();
        let reply_path = finder.find(name(&client)).unwrap();
        server.send_to(b"reply", reply_path.addr()).unwrap();
        assert_eq!(other.recv(&mut [0; 9]).unwrap(), 5);
    }
}
