//! Holds the unsent rest of a batch while a UDP socket has no room, as far as there is memory.
//!
//! The socket waits until it is writable, and receives nothing meanwhile. A train that the system
//! refuses is sent as single datagrams.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Instant;

use super::{PacketWork, Policy};
use crate::echo::cause::{Cause, reply_cause};
use crate::echo::counters::TransportCounters;
use crate::readiness::Readiness;
use crate::socket::batch::{Batch, Parcel, TrainLimit};

/// Trains that wait for the socket, in order.
#[derive(Debug)]
pub(in crate::echo) struct HeldTrains {
    parcels: VecDeque<Parcel>,
    /// Which replies may leave in trains.
    pub(super) trains: TrainLimit,
    /// The system refused a train. If the first of its datagrams can then be sent alone, trains of
    /// datagrams of at least this length are forbidden.
    refused_segment_bytes: Option<usize>,
}

impl HeldTrains {
    pub(in crate::echo) fn new(trains: TrainLimit) -> HeldTrains {
        HeldTrains { parcels: VecDeque::new(), trains, refused_segment_bytes: None }
    }

    /// Sends the datagrams of the first queued train one by one, because the system refused this
    /// train (`refusal`) or one like it before. If one of them would block, it is held with all
    /// that follow, the rest of the queue included.
    fn send_split<B: Batch>(
        &mut self,
        refusal: Option<&io::Error>,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        let datagrams = batch.queued()[0].datagrams;
        let train = batch.parcel();
        batch.dequeue(1);
        let Some(train) = train else {
            return work.counters.add(Cause::ReplyNoMemory, datagrams as u64);
        };
        self.split(&train, work.counters);
        self.refused_segment_bytes =
            refusal.and_then(|error| length_refused(&train, error, work.counters));
        // The socket may have room: a refusal does not report that it is full.
        readiness.merge(Readiness::WRITABLE);
        if !self.send_held(batch, socket, readiness, work) {
            work.counters.add(Cause::Held, self.held() as u64);
            self.hold_blocked(batch, readiness, work);
        }
    }

    /// Puts the datagrams of a train at the front, each as a parcel of its own: the system may send
    /// them although it refused the train. Drops and counts a datagram for which there is no
    /// memory.
    fn split(&mut self, train: &Parcel, counters: &mut TransportCounters) {
        for parcel in train.take_apart().rev() {
            match self.if_room(parcel) {
                Some(parcel) => self.parcels.push_front(parcel),
                None => counters.add(Cause::ReplyNoMemory, 1),
            }
        }
    }

    /// Makes room in the list for a parcel, and returns the parcel. Returns `None` if there is no
    /// memory for the room, or was none for the parcel.
    fn if_room(&mut self, parcel: Option<Parcel>) -> Option<Parcel> {
        parcel.filter(|_| self.parcels.try_reserve(1).is_ok())
    }
}

impl Policy for HeldTrains {
    fn held(&self) -> usize {
        self.parcels.iter().map(Parcel::count).sum()
    }

    fn wants_writable(&self) -> bool {
        !self.parcels.is_empty()
    }

    fn retry_at(&self) -> Option<Instant> {
        None
    }

    fn trains(&self) -> TrainLimit {
        self.trains
    }

    fn send_held<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) -> bool {
        while let Some(parcel) = self.parcels.front() {
            if !readiness.is_writable() {
                return false;
            }
            let sent = batch.send_parcel(socket, parcel);
            match &sent {
                Ok(()) => work.counters.sent_many(parcel.count(), parcel.bytes.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    readiness.clear_writable();
                    return false;
                }
                Err(error) if parcel.count() > 1 => {
                    let train = self.parcels.pop_front().expect("the loop looks at the front");
                    self.split(&train, work.counters);
                    self.refused_segment_bytes = length_refused(&train, error, work.counters);
                    continue;
                }
                Err(error) => work.counters.add(reply_cause(error), 1),
            }
            // The first datagram of a refused train leaves alone, so the system refused the train
            // because it is one.
            if let Some(segment_bytes) = self.refused_segment_bytes.take()
                && sent.is_ok()
            {
                self.trains.forbid(segment_bytes);
            }
            self.parcels.pop_front();
        }
        true
    }

    /// Stops before the first train that the system would refuse.
    fn admit<B: Batch>(&mut self, batch: &B, _socket: &B::Socket, _now: Instant) -> usize {
        batch.queued().iter().take_while(|train| self.trains.allows(train)).count()
    }

    fn hold_back<B: Batch>(
        &mut self,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        self.send_split(None, batch, socket, readiness, work);
    }

    /// Holds the whole queue. Drops and counts a reply for which there is no memory.
    fn hold_blocked<B: Batch>(
        &mut self,
        batch: &mut B,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        readiness.clear_writable();
        while let Some(train) = batch.queued().first() {
            let datagrams = train.datagrams as u64;
            match self.if_room(batch.parcel()) {
                Some(parcel) => {
                    work.counters.add(Cause::Held, datagrams);
                    self.parcels.push_back(parcel);
                }
                None => work.counters.add(Cause::ReplyNoMemory, datagrams),
            }
            batch.dequeue(1);
        }
    }

    fn settle_failed<B: Batch>(
        &mut self,
        error: &io::Error,
        batch: &mut B,
        socket: &B::Socket,
        readiness: &mut Readiness,
        work: &mut PacketWork<'_>,
    ) {
        if batch.queued()[0].datagrams > 1 {
            return self.send_split(Some(error), batch, socket, readiness, work);
        }
        work.counters.add(reply_cause(error), 1);
        batch.dequeue(1);
    }
}

/// Counts a refused train. Returns the datagram length from which trains are forbidden if the
/// datagrams of this train can be sent alone; 0 forbids all trains. Returns `None` for an
/// error that has another cause.
fn length_refused(
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
