//! What the refusal of a train means.

use std::io;

use crate::echo::cause::Cause;
use crate::echo::counters::TransportCounters;
use crate::socket::batch::Parcel;

/// Counts a train that was refused. Returns the length from which datagrams must not form trains if
/// the datagrams of this one can be sent singly; 0 forbids all trains.
pub(super) fn length_refused(
    train: &Parcel,
    error: &io::Error,
    counters: &mut TransportCounters,
) -> Option<usize> {
    counters.add(Cause::TrainRefused, 1);
    match error.raw_os_error() {
        // Longer than the path takes in one piece.
        Some(libc::EINVAL | libc::EMSGSIZE) => Some(train.segment_bytes),
        // The device makes no checksums.
        Some(libc::EIO) => Some(0),
        _ => None,
    }
}
