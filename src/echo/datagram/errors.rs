//! What the errors of sends mean.

use std::io;

use crate::echo::counters::{Cause, Tally};
use crate::socket::batch::Parcel;

/// The length of datagrams of which no train is to be made if those of this one go, which was
/// refused: 0 for all.
pub(super) fn length_refused(
    train: &Parcel,
    error: &io::Error,
    tally: &mut Tally,
) -> Option<usize> {
    tally.add(Cause::TrainRefused, 1);
    match error.raw_os_error() {
        // Longer than the path takes in one piece.
        Some(libc::EINVAL | libc::EMSGSIZE) => Some(train.segment_bytes),
        // The device makes no checksums.
        Some(libc::EIO) => Some(0),
        _ => None,
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
