//! The cause that an error of the system counts as.

use std::io;

use super::Cause;

/// Returns the cause of an error of accept(2). An error of one connection means that only this
/// connection is gone; an error of this host lasts. Linux also passes on pending network errors of
/// the new socket, and accept(2) says to treat them like `EAGAIN`. EPERM comes from a firewall.
pub(in crate::echo) fn accept_cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(
            libc::ECONNABORTED
            | libc::ECONNRESET
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ETIMEDOUT,
        ) => Cause::AcceptAborted,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(libc::ENONET) => Cause::AcceptAborted,
        Some(libc::EMFILE | libc::ENFILE) => Cause::AcceptNoDescriptor,
        Some(libc::ENOBUFS | libc::ENOMEM) => Cause::AcceptNoMemory,
        _ => Cause::AcceptFailed,
    }
}

/// Returns why an error ended a stream.
pub(in crate::echo) fn stream_cause(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Cause::Reset,
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => Cause::BrokenPipe,
        io::ErrorKind::OutOfMemory => Cause::NoMemory,
        io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => Cause::TimedOut,
        _ => Cause::StreamFailed,
    }
}

/// Returns why a reply could not be sent. None of these errors predicts the fate of the next reply.
pub(in crate::echo) fn reply_cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Cause::ReplyTooLong,
        Some(libc::EPERM | libc::EACCES) => Cause::ReplyForbidden,
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => Cause::ReplyUnreachable,
        Some(libc::ENOBUFS | libc::ENOMEM) => Cause::ReplyNoMemory,
        // EPROTOTYPE: a stream socket now has the peer's path.
        // EPIPE: the peer has shut down its receiving side.
        Some(
            libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::ENOENT
            | libc::ENOTDIR
            | libc::ELOOP
            | libc::EPROTOTYPE
            | libc::EPIPE,
        ) => Cause::ReplyRefused,
        _ => Cause::ReplyFailed,
    }
}
