//! Single calls and socket options that neither std nor socket2 has.

use std::fs::{self, File};
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::ptr;

use libc::{c_int, iovec, socklen_t};
use socket2::{SockAddr, Socket};

use super::header;
use crate::socket::SEND_FLAGS;

/// Receives from a stream.
///
/// This and [`send_bytes`] use syscall(2). libc's recv(2) and send(2) are cancellation points
/// (pthreads(7)). In a process with several threads these cost each call two atomic operations and
/// about 90 instructions per message. This program cancels no threads.
#[inline]
pub(in crate::socket) fn receive_bytes(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    receive_with(fd, buf, 0)
}

/// Receives from a stream without removing the bytes from its queue.
pub(in crate::socket) fn peek_bytes(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    receive_with(fd, buf, libc::MSG_PEEK)
}

#[inline]
fn receive_with(fd: BorrowedFd<'_>, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    let (start, length) = (buf.as_mut_ptr(), buf.len());
    let no_address = ptr::null_mut::<libc::sockaddr>();
    let no_length = ptr::null_mut::<socklen_t>();
    // SAFETY: the arguments are those of recvfrom(2). `buf` outlives the call, which writes at most
    // its length.
    let count = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd.as_raw_fd(),
            start,
            length,
            flags,
            no_address,
            no_length,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends to a stream. A closed peer causes an error and no signal.
pub(in crate::socket) fn send_bytes(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let no_address = ptr::null::<libc::sockaddr>();
    // SAFETY: the arguments are those of sendto(2). `buf` outlives the call, which only reads it.
    let count = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd.as_raw_fd(),
            buf.as_ptr(),
            buf.len(),
            SEND_FLAGS,
            no_address,
            0 as socklen_t,
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Receives from a Unix stream. Returns the number of bytes, and whether the peer passed
/// descriptors with them. The kernel discards the descriptors, because the call has no buffer for
/// them.
pub(in crate::socket) fn receive_unix(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
) -> io::Result<(usize, bool)> {
    let mut part = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut message = header(ptr::null_mut(), &mut part, ptr::null_mut()).msg_hdr;
    // SAFETY: the only part is `buf`, which outlives the call. Name and control are null.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, 0) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    Ok((count, message.msg_flags & libc::MSG_CTRUNC != 0))
}

/// Returns how much of a socket's send buffer is in use: for Unix sockets by bytes that the
/// receiver has not read, for TCP by bytes that the peer has not acknowledged (SIOCOUTQ, tcp(7)).
pub(in crate::socket) fn unsent_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: this request writes one int, which outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.try_into().unwrap_or(0)) }
}

/// Sets the send buffer size beyond the system's limit. Needs CAP_NET_ADMIN (socket(7)).
pub(in crate::socket) fn force_send_buf(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// Asks the kernel to report with each datagram how many were lost. If the socket receives at
/// several addresses, the kernel also reports the destination address of each datagram.
pub(in crate::socket) fn enable_destination_and_overflow(
    fd: BorrowedFd<'_>,
    addr: SocketAddr,
) -> io::Result<()> {
    if addr.ip().is_unspecified() || addr.ip().is_multicast() || is_broadcast(addr) {
        enable_destination(fd, addr.is_ipv6())?;
    }
    enable_overflow(fd)
}

/// Returns true for a broadcast address. That of a network looks like any other address, but a
/// socket without SO_BROADCAST cannot connect to it (EACCES, ip(7)). Sends nothing.
fn is_broadcast(addr: SocketAddr) -> bool {
    let connect = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.connect(addr);
    addr.is_ipv4() && connect().is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
}

/// Asks the kernel to report the destination address of each datagram (ip(7), ipv6(7)).
fn enable_destination(fd: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    if is_ipv6 {
        switch_on(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        switch_on(fd, libc::IPPROTO_IP, libc::IP_PKTINFO)
    }
}

/// Asks the kernel to report with each datagram how many were lost because the receive buffer was
/// full (socket(7)). It reports nothing before the first loss.
fn enable_overflow(fd: BorrowedFd<'_>) -> io::Result<()> {
    switch_on(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)
}

/// Returns the number of datagrams that a socket has lost because its receive buffer was full. No
/// manual page describes this option: Linux's `socket.h` defines it, and `sock_diag.h` the order of
/// its counts.
pub(in crate::socket) fn lost_datagrams(fd: BorrowedFd<'_>) -> io::Result<u32> {
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut counts = [0_u32; DROPS + 1];
    let mut length = size_of_val(&counts) as socklen_t;
    // SAFETY: `counts` outlives the call, which writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &mut length,
        )
    };
    match result {
        0 if length as usize == size_of_val(&counts) => Ok(counts[DROPS]),
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Shares the port of a socket with others (`SO_REUSEPORT`). Linux distributes connections and
/// datagrams among them.
pub(in crate::socket) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Binds to a path. The kernel creates the file with this mode.
///
/// Setting the mode after the bind could change another file that took the path meanwhile, or the
/// target of a link there. Linux creates the file with the mode of the unbound socket's own inode,
/// less the umask. All threads share the umask, so a temporary thread with a separate one binds.
pub(in crate::socket) fn bind_with_mode(
    socket: &Socket,
    addr: &SockAddr,
    mode: u32,
) -> io::Result<()> {
    let inode = File::from(OwnedFd::from(socket.try_clone()?));
    inode.set_permissions(fs::Permissions::from_mode(mode))?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("bind".to_owned());
        let bind = || {
            // If the system refuses this, the umask of the process restricts the mode.
            let _ = clear_umask_of_thread();
            socket.bind(addr)
        };
        match thread.spawn_scoped(scope, bind) {
            Ok(thread) => thread.join().expect("a bind does not panic"),
            // Without a thread, the umask of the process restricts the mode too.
            Err(_) => socket.bind(addr),
        }
    })
}

/// Gives the calling thread a separate umask of 0 (umask(2)), and also a separate current folder
/// and root (`CLONE_FS` of unshare(2)). Those of other threads do not change.
fn clear_umask_of_thread() -> io::Result<()> {
    // SAFETY: both calls take only numbers.
    unsafe {
        if libc::unshare(libc::CLONE_FS) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::umask(0);
    }
    Ok(())
}

fn switch_on(fd: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<()> {
    set_option(fd, level, option, 1)
}

pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the value is a c_int that outlives the call, and the length is that of a c_int.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
