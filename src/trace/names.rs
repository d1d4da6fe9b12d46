//! The words that both forms of a trace use.

use super::ring::SliceEnd;
use crate::reactor::{MarkedBy, Waited};
use crate::readiness::Readiness;

pub(super) fn wait_name(waited: Waited) -> &'static str {
    match waited {
        Waited::Polled => "polled",
        Waited::Interrupted => "interrupted",
        Waited::Skipped => "skipped",
    }
}

pub(super) fn mark_name(by: MarkedBy) -> &'static str {
    match by {
        MarkedBy::Event => "event",
        MarkedBy::Timer => "timer",
        MarkedBy::Spin => "spin",
    }
}

pub(super) fn end_name(end: SliceEnd) -> &'static str {
    match end {
        SliceEnd::Drained => "drained",
        SliceEnd::Owing => "owing",
        SliceEnd::Resting => "resting",
        SliceEnd::UsedUp => "bound used up",
        SliceEnd::Closed => "closed",
    }
}

/// Returns what a system call returned, as its manual page writes it.
pub(super) fn result_name(result: Result<u32, i32>) -> String {
    match result {
        Ok(amount) => amount.to_string(),
        Err(number) => ERRORS
            .iter()
            .find(|(known, _)| *known == number)
            .map_or_else(|| format!("error {number}"), |(_, name)| (*name).to_owned()),
    }
}

/// The errors that a slice meets in ordinary life.
const ERRORS: &[(i32, &str)] = &[
    (libc::EAGAIN, "EAGAIN"),
    (libc::EINTR, "EINTR"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::EPIPE, "EPIPE"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENFILE, "ENFILE"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ENOENT, "ENOENT"),
    (libc::EINVAL, "EINVAL"),
    (libc::EPERM, "EPERM"),
];

/// Returns the bits of a readiness in words.
pub(super) fn readiness_words(readiness: Readiness) -> String {
    let words = [
        (Readiness::READABLE, "readable"),
        (Readiness::WRITABLE, "writable"),
        (Readiness::READ_CLOSED, "read-closed"),
        (Readiness::URGENT, "urgent"),
    ];
    let set = words.into_iter().filter(|(bit, _)| readiness.contains(*bit));
    set.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}
