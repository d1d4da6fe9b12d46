//! What the refusal of a train means for later trains.

use std::io;

use crate::echo::cause::Cause;
use crate::echo::counters::TransportCounters;
use crate::socket::batch::Parcel;

/// Counts a refused train. Returns the datagram length from which trains are forbidden if the
/// datagrams of this train can be sent alone; 0 forbids all trains. Returns `None` for an
/// error that has another cause.
pub(super) fn length_refused(
    train: &Parcel,
    error: &io::Error,
    counters: &mut TransportCounters,
) -> Option<usize> {
    counters.add(Cause::TrainRefused, 1);
    match error.raw_os_error() {
        // The datagrams are longer than the path takes in one piece.
        Some(libc::EINVAL | libc::EMSGSIZE) => Some(train.segment_bytes),
        // The device does not compute checksums.
        Some(libc::EIO) => Some(0),
        _ => None,
    }
}
