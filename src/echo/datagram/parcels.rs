//! Holds replies for a UDP socket that has no room, as far as there is memory.

use std::collections::VecDeque;

use crate::echo::cause::Cause;
use crate::echo::counters::TransportCounters;
use crate::socket::batch::{Batch, Parcel};

/// Holds all queued replies. Drops and counts a reply for which there is no memory.
pub(super) fn hold_all<B: Batch>(
    batch: &mut B,
    parcels: &mut VecDeque<Parcel>,
    counters: &mut TransportCounters,
) {
    while let Some(train) = batch.queued().first() {
        let datagrams = train.datagrams as u64;
        match if_room(batch.parcel(), parcels) {
            Some(parcel) => {
                counters.add(Cause::Held, datagrams);
                parcels.push_back(parcel);
            }
            None => counters.add(Cause::AnswerNoMemory, datagrams),
        }
        batch.dequeue(1);
    }
}

/// Puts the datagrams of a train at the front, each as a parcel of its own: the system may send
/// them although it refused the train. Drops and counts a datagram for which there is no memory.
pub(super) fn split_train(
    train: &Parcel,
    parcels: &mut VecDeque<Parcel>,
    counters: &mut TransportCounters,
) {
    for parcel in train.take_apart().rev() {
        match if_room(parcel, parcels) {
            Some(parcel) => parcels.push_front(parcel),
            None => counters.add(Cause::AnswerNoMemory, 1),
        }
    }
}

/// Returns the parcel if there was memory for it and there is memory for its place in the list.
fn if_room(parcel: Option<Parcel>, parcels: &mut VecDeque<Parcel>) -> Option<Parcel> {
    parcel.filter(|_| parcels.try_reserve(1).is_ok())
}
