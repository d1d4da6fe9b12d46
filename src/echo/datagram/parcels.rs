//! Replies that wait for a UDP socket, each with the memory that it takes.

use std::collections::VecDeque;

use crate::echo::cause::Cause;
use crate::echo::counters::TransportCounters;
use crate::socket::batch::{Batch, Parcel};

/// Holds all that is queued. A reply that finds no memory is dropped and counted.
pub(super) fn hold_all<B: Batch>(
    batch: &mut B,
    parcels: &mut VecDeque<Parcel>,
    counters: &mut TransportCounters,
) {
    while let Some(train) = batch.queued().first() {
        let datagrams = train.datagrams as u64;
        match place_for(batch.parcel(), parcels) {
            Some(parcel) => {
                counters.add(Cause::Held, datagrams);
                parcels.push_back(parcel);
            }
            None => counters.add(Cause::AnswerNoMemory, datagrams),
        }
        batch.dequeue(1);
    }
}

/// Puts the datagrams of a train at the front, because one may go where many may not. One that
/// finds no memory is counted.
pub(super) fn put_apart(
    train: &Parcel,
    parcels: &mut VecDeque<Parcel>,
    counters: &mut TransportCounters,
) {
    for parcel in train.take_apart().rev() {
        match place_for(parcel, parcels) {
            Some(parcel) => parcels.push_front(parcel),
            None => counters.add(Cause::AnswerNoMemory, 1),
        }
    }
}

/// The parcel, if there is memory for it and for its place among these.
fn place_for(parcel: Option<Parcel>, parcels: &mut VecDeque<Parcel>) -> Option<Parcel> {
    parcel.filter(|_| parcels.try_reserve(1).is_ok())
}
