//! recvmmsg(2) and sendmmsg(2), and one call per datagram where the system refuses these two.
//!
//! A container's seccomp profile, an old kernel or an emulated one refuses them with `ENOSYS` or
//! `EPERM`, while recvmsg(2) and sendmsg(2) go on working.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, mmsghdr};

use crate::socket::SEND_FLAGS;

/// Which calls a batch makes. A refusal holds for the life of the process, so it is met once.
#[derive(Debug, Default)]
pub(super) struct Calls {
    receives_one_by_one: bool,
    sends_one_by_one: bool,
    /// An error that came behind some datagrams: the next receive returns it.
    deferred: Option<io::Error>,
}

impl Calls {
    /// Receives into the first headers, and returns how many it has filled.
    ///
    /// # Safety
    ///
    /// Each header must point to a name, parts and a control buffer of the lengths it states, which
    /// outlive the call and are not borrowed.
    pub(super) unsafe fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if !self.receives_one_by_one {
            // SAFETY: as the caller promises.
            let error = match unsafe { receive_together(fd, headers) } {
                Err(error) => error,
                received => return received,
            };
            // SAFETY: no header is no memory.
            if !is_refusal(&error, || unsafe { receive_together(fd, &mut []) }) {
                return Err(error);
            }
            self.receives_one_by_one = true;
        }
        // SAFETY: as the caller promises.
        unsafe { self.receive_one_by_one(fd, headers) }
    }

    /// Sends the messages of the first headers, and returns how many have left.
    ///
    /// # Safety
    ///
    /// As for [`Calls::receive`], and the parts may be shared.
    pub(super) unsafe fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if !self.sends_one_by_one {
            // SAFETY: as the caller promises.
            let error = match unsafe { send_together(fd, headers) } {
                Err(error) => error,
                sent => return sent,
            };
            // SAFETY: no header is no memory.
            if !is_refusal(&error, || unsafe { send_together(fd, &mut []) }) {
                return Err(error);
            }
            self.sends_one_by_one = true;
        }
        // SAFETY: as the caller promises.
        unsafe { send_one_by_one(fd, headers) }
    }

    /// # Safety
    ///
    /// As for [`Calls::receive`].
    unsafe fn receive_one_by_one(
        &mut self,
        fd: BorrowedFd<'_>,
        headers: &mut [mmsghdr],
    ) -> io::Result<usize> {
        if let Some(error) = self.deferred.take() {
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
                    // An empty queue is met again by the next call.
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.deferred = Some(error);
                    }
                    return Ok(count);
                }
            }
        }
        Ok(headers.len())
    }
}

/// Whether the system refuses a call as such. A firewall answers a send with `EPERM` as well, so
/// the call is made again with no message, which no firewall sees.
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
/// As for [`Calls::receive`].
unsafe fn receive_together(fd: BorrowedFd<'_>, headers: &mut [mmsghdr]) -> io::Result<usize> {
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
    counted(count)
}

/// # Safety
///
/// As for [`Calls::send`]. The kernel writes nothing but each header's `msg_len`.
unsafe fn send_together(fd: BorrowedFd<'_>, headers: &mut [mmsghdr]) -> io::Result<usize> {
    // SAFETY: the headers are valid, as the caller promises.
    let count = unsafe {
        let length = headers.len() as c_uint;
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), length, SEND_FLAGS as _)
    };
    counted(count)
}

/// # Safety
///
/// As for [`Calls::send`].
unsafe fn send_one_by_one(fd: BorrowedFd<'_>, headers: &[mmsghdr]) -> io::Result<usize> {
    for (count, header) in headers.iter().enumerate() {
        // SAFETY: the header is valid, as the caller promises; the call only reads.
        let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &header.msg_hdr, SEND_FLAGS) };
        if sent < 0 {
            // Behind others it is the first of the next call, which meets its error again.
            return if count == 0 { Err(io::Error::last_os_error()) } else { Ok(count) };
        }
    }
    Ok(headers.len())
}

fn counted(count: c_int) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: c_int) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(number))
    }

    /// case U4: a firewall's `EPERM` is an error of one answer, and not of sendmmsg(2).
    #[test]
    fn an_eperm_that_a_call_with_no_message_does_not_meet_is_no_refusal_of_the_call() {
        let eperm = io::Error::from_raw_os_error(libc::EPERM);
        assert!(!is_refusal(&eperm, || Ok(0)));
        assert!(!is_refusal(&eperm, || error(libc::ECONNREFUSED)));
        assert!(is_refusal(&eperm, || error(libc::EPERM)));
        assert!(is_refusal(&io::Error::from_raw_os_error(libc::ENOSYS), || Ok(0)));
        assert!(!is_refusal(&io::Error::from_raw_os_error(libc::EAGAIN), || error(libc::EPERM)));
    }

    #[test]
    fn both_calls_take_no_message_without_an_error() {
        use std::os::fd::AsFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        // SAFETY: no header is no memory.
        unsafe {
            assert_eq!(receive_together(socket.as_fd(), &mut []).unwrap(), 0);
            assert_eq!(send_together(socket.as_fd(), &mut []).unwrap(), 0);
        }
    }
}
