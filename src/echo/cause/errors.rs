//! Which cause an error of the system is counted by.

use std::io;

use super::Cause;

/// Sorts the errors of accept(2) into those of the one connection, which is gone, and those of
/// this host, which last. Linux passes on pending network errors of the new socket; its manual
/// page says to treat them like `EAGAIN`, EPERM being a firewall's.
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

/// Why a stream ended.
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

/// Why an answer could not be sent. None of these says anything of the next answer.
pub(in crate::echo) fn answer_cause(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Cause::AnswerTooLong,
        Some(libc::EPERM | libc::EACCES) => Cause::AnswerForbidden,
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => Cause::AnswerUnreachable,
        Some(libc::ENOBUFS | libc::ENOMEM) => Cause::AnswerNoMemory,
        // EPROTOTYPE: a stream socket has taken the peer's path.
        // EPIPE: it has shut its receiving side down.
        Some(
            libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::ENOENT
            | libc::ENOTDIR
            | libc::ELOOP
            | libc::EPROTOTYPE
            | libc::EPIPE,
        ) => Cause::AnswerRefused,
        _ => Cause::AnswerFailed,
    }
}
