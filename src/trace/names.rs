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
