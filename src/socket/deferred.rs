//! Errors that a receive of many datagrams met after the first of them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use socket2::{SockAddr, SockRef};

/// The errors that the next receives return, at most one per socket. All sockets of a server share
/// a batch, so each error waits for its own socket.
#[derive(Debug, Default)]
pub(in crate::socket) struct DeferredErrors(Vec<Deferred>);

#[derive(Debug)]
struct Deferred {
    fd: RawFd,
    /// Another socket that has the number of the descriptor by now has another address.
    local: Option<SockAddr>,
    error: io::Error,
}

impl DeferredErrors {
    /// Keeps an error until the next receive of its socket.
    pub(in crate::socket) fn push(&mut self, fd: BorrowedFd<'_>, error: io::Error) {
        self.0.push(Deferred { fd: fd.as_raw_fd(), local: local_addr(fd), error });
    }

    /// Takes the error of a socket. Drops that of a closed socket with the same number.
    pub(in crate::socket) fn take(&mut self, fd: BorrowedFd<'_>) -> Option<io::Error> {
        let index = self.0.iter().position(|deferred| deferred.fd == fd.as_raw_fd())?;
        let deferred = self.0.swap_remove(index);
        (deferred.local == local_addr(fd)).then_some(deferred.error)
    }
}

fn local_addr(fd: BorrowedFd<'_>) -> Option<SockAddr> {
    SockRef::from(&fd).local_addr().ok()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable};
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    /// case U9: the sockets of a server share one batch.
    #[test]
    fn each_error_waits_for_its_own_socket() {
        let [first, second, third] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut errors = DeferredErrors::default();
        errors.push(first.as_fd(), ConnectionRefused.into());
        errors.push(second.as_fd(), HostUnreachable.into());
        let mut take = |socket: &UdpSocket| errors.take(socket.as_fd()).map(|error| error.kind());
        assert_eq!(take(&third), None);
        assert_eq!([take(&second), take(&second)], [Some(HostUnreachable), None]);
        assert_eq!([take(&first), take(&first)], [Some(ConnectionRefused), None]);
    }

    /// case U9
    #[test]
    fn a_socket_gets_no_error_of_a_closed_one_that_had_its_descriptor() {
        let [closed, open] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut errors = DeferredErrors::default();
        errors.push(closed.as_fd(), ConnectionRefused.into());
        // Other tests open descriptors too, so the number itself cannot be reused here.
        errors.0[0].fd = open.as_raw_fd();
        assert!(errors.take(open.as_fd()).is_none());
        assert!(errors.0.is_empty());
    }
}
