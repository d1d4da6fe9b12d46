//! The way back to a Unix datagram sender whose socket is bound to a file.
//!
//! A Unix datagram names its sender by the path that the sender's socket was bound to. An answer to
//! that path goes to the socket of whatever file is there by then. A client can put a link to
//! another socket there: to that of the server, which then answers itself without end, to that of
//! another server, or to one that only the server has a right to write to.
//!
//! So the file is opened first (`O_PATH`), which holds on to it whatever becomes of the path. Then
//! its socket is asked for its name by a probe that connects to it: the kernel tells the path that
//! it was bound to (getpeername(2)), and no other socket than the sender's has this one. Answers go
//! to the descriptor (`/proc/PID/fd/N`), and so to that very file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;

/// A socket file that is held open, and an address that leads to it alone.
#[derive(Debug)]
pub(crate) struct ReplyPath {
    addr: SockAddr,
    /// Device and inode, by which a successor's file is told from this one.
    identity: (u64, u64),
    _file: File,
}

/// Why there is no way back.
#[derive(Debug)]
pub(crate) enum ReplyPathError {
    /// The path leads to a socket that is bound to this name, and is not the sender's.
    OtherSocket(Box<[u8]>),
    /// The system says no, as a send would have found out.
    Failed(io::Error),
}

/// Finds ways.
#[derive(Debug)]
pub(crate) struct ReplyPathFinder {
    probe: Socket,
    /// The folder of this process's descriptors.
    descriptors: PathBuf,
}

impl ReplyPath {
    /// Where answers go.
    pub(crate) fn addr(&self) -> &SockAddr {
        &self.addr
    }

    /// Whether a path still leads to this file.
    pub(crate) fn is_at(&self, name: &[u8]) -> bool {
        let there = fs::metadata(path(name)).ok();
        there.is_some_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity)
    }
}

impl ReplyPathFinder {
    /// # Errors
    ///
    /// When there is no descriptor left, or no `/proc` as Linux has it.
    pub(crate) fn new() -> io::Result<ReplyPathFinder> {
        let probe = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        // By number: a kernel takes a third more time for the link `self`. Which number this
        // process has depends on whose processes this /proc shows.
        let descriptors = Path::new("/proc").join(fs::read_link("/proc/self")?).join("fd");
        fs::metadata(descriptors.join(probe.as_raw_fd().to_string()))?;
        Ok(ReplyPathFinder { probe, descriptors })
    }

    /// The one socket that is connected to what a path leads to.
    pub(crate) fn probe_socket(&self) -> BorrowedFd<'_> {
        self.probe.as_fd()
    }

    /// Finds out whether the path of this name leads to the sender at this moment, or to another
    /// connected socket. Takes no descriptor, and so cannot hold on to the file.
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
            // The socket there is connected, and the kernel refuses every sender but its peer, so
            // its name stays unknown. It may be another than the sender's. Then it gets the answer
            // if it is connected to this server, and the kernel refuses the answer otherwise. No
            // socket that serves others is connected.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
            Err(error) => Err(ReplyPathError::Failed(error)),
        }
    }

    /// The way to the sender that is bound to the path of this name.
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

    fn elsewhere(finder: &ReplyPathFinder, path: &Path) -> Box<[u8]> {
        match finder.find(name(path)) {
            Err(ReplyPathError::OtherSocket(found)) => found,
            other => panic!("{other:?}"),
        }
    }

    /// case X10
    #[test]
    fn a_link_of_any_kind_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (client, server) = (path("client"), path("server"));
        let _server = UnixDatagram::bind(&server).unwrap();
        let finder = ReplyPathFinder::new().unwrap();
        std::os::unix::fs::symlink(&server, &client).unwrap();
        assert_eq!(*elsewhere(&finder, &client), *name(&server));
        fs::remove_file(&client).unwrap();
        fs::hard_link(&server, &client).unwrap();
        assert_eq!(*elsewhere(&finder, &client), *name(&server));
        fs::remove_file(&client).unwrap();
        // The folder of the client becomes a link to that of the server.
        let inner = path("inner");
        std::os::unix::fs::symlink(folder.path(), &inner).unwrap();
        assert_eq!(*elsewhere(&finder, &inner.join("server")), *name(&server));
        fs::rename(&server, &client).unwrap();
        assert_eq!(*elsewhere(&finder, &client), *name(&server));
    }

    /// case X10
    #[test]
    fn a_way_leads_to_its_socket_whatever_becomes_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("client"), folder.path().join("moved"));
        let client = UnixDatagram::bind(&path).unwrap();
        let way = ReplyPathFinder::new().unwrap().find(name(&path)).unwrap();
        assert!(way.is_at(name(&path)));
        fs::rename(&path, &moved).unwrap();
        let _other = UnixDatagram::bind(&path).unwrap();
        assert!(!way.is_at(name(&path)));
        let sender = Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap();
        sender.send_to(b"answer", way.addr()).unwrap();
        let mut buf = [0; 9];
        assert_eq!(client.recv(&mut buf).unwrap(), 6);
    }

    /// case X4
    #[test]
    fn a_path_without_a_living_socket_fails_as_a_send_would() {
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
    fn a_client_that_is_connected_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (path, server) = (folder.path().join("client"), folder.path().join("server"));
        let server_socket = UnixDatagram::bind(&server).unwrap();
        let client = UnixDatagram::bind(&path).unwrap();
        client.connect(&server).unwrap();
        let way = ReplyPathFinder::new().unwrap().find(name(&path)).unwrap();
        Socket::from(std::os::fd::OwnedFd::from(server_socket))
            .send_to(b"answer", way.addr())
            .unwrap();
        let mut buf = [0; 9];
        assert_eq!(client.recv(&mut buf).unwrap(), 6);
    }

    /// case X11: the bound of what a probe can tell. A connected socket takes datagrams from its
    /// peer alone, so one that is connected elsewhere gets nothing.
    #[test]
    fn a_path_that_leads_to_another_connected_socket_reaches_it_from_its_peer_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (server, stranger) = (Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap(), path("x"));
        server.bind(&SockAddr::unix(path("server")).unwrap()).unwrap();
        let _stranger = UnixDatagram::bind(&stranger).unwrap();
        let (client, other) = (path("client"), UnixDatagram::bind(path("other")).unwrap());
        std::os::unix::fs::symlink(path("other"), &client).unwrap();
        let finder = ReplyPathFinder::new().unwrap();
        assert_eq!(*elsewhere(&finder, &client), *name(&path("other")));

        other.connect(&stranger).unwrap();
        let way = finder.find(name(&client)).unwrap();
        let refused = server.send_to(b"answer", way.addr()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));

        other.connect(path("server")).unwrap();
        let way = finder.find(name(&client)).unwrap();
        server.send_to(b"answer", way.addr()).unwrap();
        assert_eq!(other.recv(&mut [0; 9]).unwrap(), 6);
    }
}
