//! recvmmsg(2) and sendmmsg(2), and one call per message if the system refuses these two.
//!
//! A container's seccomp profile, an old kernel or an emulated one may refuse them with `ENOSYS` or
//! `EPERM` although recvmsg(2) and sendmsg(2) work.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, mmsghdr};

use crate::socket::SEND_FLAGS;
use crate::socket::deferred::DeferredErrors;

/// The system calls that a batch makes. A refusal lasts as long as the process, so a batch tries
/// each refused call only once.
#[derive(Debug, Default)]
pub(super) struct Calls {
    receives_one_by_one: bool,
    sends_one_by_one: bool,
    deferred: DeferredErrors,
}

impl Calls {
    /// Receives into the headers from the first on. Returns the number of received messages.
    ///
    /// # Safety
    ///
    /// Each header must point to a name, parts and a control buffer of the lengths that it states.
    /// These must outlive the call and must not be borrowed.
    pub(super) unsafe fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if !self.receives_one_by_one {
            // SAFETY: the caller promises valid headers.
            let error = match unsafe { receive_many(fd, headers) } {
                Err(error) => error,
                received => return received,
            };
            // SAFETY: without headers the call accesses no memory.
            if !is_refusal(&error, || unsafe { receive_many(fd, &mut []) }) {
                return Err(error);
            }
            self.receives_one_by_one = true;
        }
        // SAFETY: the caller promises valid headers.
        unsafe { self.receive_one_by_one(fd, headers) }
    }

    /// Sends the messages of the headers from the first on. Returns the number of sent messages.
    ///
    /// # Safety
    ///
    /// The same as for [`Calls::receive`], but headers may share parts.
    pub(super) unsafe fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if !self.sends_one_by_one {
            // SAFETY: the caller promises valid headers.
            let error = match unsafe { send_many(fd, headers) } {
                Err(error) => error,
                sent => return sent,
            };
            // SAFETY: without headers the call accesses no memory.
            if !is_refusal(&error, || unsafe { send_many(fd, &mut []) }) {
                return Err(error);
            }
            self.sends_one_by_one = true;
        }
        // SAFETY: the caller promises valid headers.
        unsafe { send_one_by_one(fd, headers) }
    }

    /// Makes one call per message. Has the result of [`Calls::receive`].
    ///
    /// # Safety
    ///
    /// The same as for [`Calls::receive`].
    unsafe fn receive_one_by_one(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if let Some(error) = self.deferred.take(fd) {
            return Err(error);
        }
        for (count, header) in headers.iter_mut().enumerate() {
            // SAFETY: the header is valid, as the caller promises.
            let length =
                unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header.msg_hdr, libc::MSG_DONTWAIT) };
            match c_uint::try_from(length) {
                Ok(length) => header.msg_len = length,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if count == 0 {
                        return Err(error);
                    }
                    // If the queue is empty, the next call finds out again.
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.deferred.push(fd, error);
                    }
                    return Ok(count);
                }
            }
        }
        Ok(headers.len())
    }
}

/// Returns true if the system refuses the call itself. A firewall also answers a send with `EPERM`,
/// so `with_no_message` repeats the call without a message, which reaches no firewall.
fn is_refusal(error: &io::Error, with_no_message: impl FnOnce() -> io::Result<usize>) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => true,
        Some(libc::EPERM) => {
            with_no_message().is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
        }
        _ => false,
    }
}

/// # Safety
///
/// The same as for [`Calls::receive`].
unsafe fn receive_many(fd: BorrowedFd<'_>, headers: &mut [mmsghdr]) -> io::Result<usize> {
    // SAFETY: the headers are valid, as the caller promises.
    let count = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    count_or_error(count)
}

/// # Safety
///
/// The same as for [`Calls::send`]. The kernel writes only the `msg_len` of each header.
unsafe fn send_many(fd: BorrowedFd<'_>, headers: &mut [mmsghdr]) -> io::Result<usize> {
    // SAFETY: the headers are valid, as the caller promises.
    let count = unsafe {
        let length = headers.len() as c_uint;
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), length, SEND_FLAGS as _)
    };
    count_or_error(count)
}

/// # Safety
///
/// The same as for [`Calls::send`].
unsafe fn send_one_by_one(fd: BorrowedFd<'_>, headers: &[mmsghdr]) -> io::Result<usize> {
    for (count, header) in headers.iter().enumerate() {
        // SAFETY: the header is valid, as the caller promises. The call only reads.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &header.msg_hdr, SEND_FLAGS) };
        if sent < 0 {
            // After other messages, it becomes the first of the next call, which returns its error.
            return if count == 0 { Err(io::Error::last_os_error()) } else { Ok(count) };
        }
    }
    Ok(headers.len())
}

fn count_or_error(count: c_int) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: c_int) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(number))
    }

    /// case U4: the `EPERM` of a firewall concerns one reply and not sendmmsg(2).
    #[test]
    fn eperm_refuses_the_call_only_if_a_call_without_messages_returns_it_too() {
        let eperm = io::Error::from_raw_os_error(libc::EPERM);
        assert!(!is_refusal(&eperm, || Ok(0)));
        assert!(!is_refusal(&eperm, || error(libc::ECONNREFUSED)));
        assert!(is_refusal(&eperm, || error(libc::EPERM)));
        assert!(is_refusal(&io::Error::from_raw_os_error(libc::ENOSYS), || Ok(0)));
        assert!(!is_refusal(&io::Error::from_raw_os_error(libc::EAGAIN), || error(libc::EPERM)));
    }

    /// case U9: the sockets of a server share one batch.
    #[test]
    fn a_deferred_error_is_returned_for_its_own_socket_only() {
        use std::os::fd::AsFd;
        let [first, other] = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut calls = Calls { receives_one_by_one: true, ..Calls::default() };
        let error = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        calls.deferred.push(first.as_fd(), error);
        // SAFETY: without headers the call accesses no memory.
        let mut receive =
            |socket: &std::net::UdpSocket| unsafe { calls.receive(socket.as_fd(), &mut []) }.ok();
        assert_eq!(receive(&other), Some(0));
        assert_eq!([receive(&first), receive(&first)], [None, Some(0)]);
    }

    #[test]
    fn both_calls_succeed_without_messages() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // SAFETY: without headers the call accesses no memory.
        unsafe {
            assert_eq!(receive_many(socket.as_fd(), &mut []).unwrap(), 0);
            assert_eq!(send_many(socket.as_fd(), &mut []).unwrap(), 0);
        }
    }
}
