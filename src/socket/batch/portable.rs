//! A batch that makes one call per datagram with std, for systems without recvmmsg(2). Tests run it
//! on Linux too.

use std::io;
use std::os::fd::AsFd;

use socket2::SockAddr;

use super::{Batch, BatchOptions, Message, Parcel, ReplyQueue, Train, TrainLimit, joined};
use crate::socket::Datagram;
use crate::socket::deferred::DeferredErrors;

/// A batch that makes one call per datagram. A reply leaves from the address that routing picks.
/// The batch neither receives nor sends trains.
#[derive(Debug)]
pub struct PortableBatch {
    options: BatchOptions,
    /// The slots, one after another. Each has one byte more than `slot_bytes`: a datagram that
    /// reaches that byte is truncated.
    arena: Vec<u8>,
    received: Vec<(usize, SockAddr)>,
    /// For each message the address that its reply goes to instead of the sender's.
    redirects: Vec<Option<SockAddr>>,
    queue: ReplyQueue,
    deferred: DeferredErrors,
}

impl PortableBatch {
    /// Creates an empty batch.
    ///
    /// # Panics
    ///
    /// If `options.slots` is 0.
    pub fn new(options: BatchOptions) -> PortableBatch {
        assert!(options.slots > 0, "a batch has slots");
        PortableBatch {
            arena: vec![0; options.slots * (options.slot_bytes + 1)],
            received: Vec::with_capacity(options.slots),
            redirects: vec![None; options.slots],
            queue: ReplyQueue::new(options.slots),
            deferred: DeferredErrors::default(),
            options,
        }
    }

    fn reply(&self, index: usize) -> &[u8] {
        let message = self.message(index);
        self.options.reply.as_deref().unwrap_or(message.bytes)
    }
}

impl Batch for PortableBatch {
    type Socket = Datagram;

    fn receive(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        self.received.clear();
        self.queue.clear();
        if let Some(error) = self.deferred.take(socket.as_fd()) {
            return Err(error);
        }
        let slots = self.arena.chunks_exact_mut(self.options.slot_bytes + 1);
        for slot in slots.take(limit) {
            match socket.receive_from(slot) {
                Ok(received) => self.received.push(received),
                Err(error) if self.received.is_empty() => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.deferred.push(socket.as_fd(), error);
                    break;
                }
            }
        }
        Ok(self.received.len())
    }

    fn message(&self, index: usize) -> Message<'_> {
        let (length, from) = &self.received[index];
        let start = index * (self.options.slot_bytes + 1);
        let whole = (*length).min(self.options.slot_bytes);
        Message {
            from,
            to: None,
            bytes: &self.arena[start..start + whole],
            segment_bytes: whole,
            truncated: *length > self.options.slot_bytes,
            answerable: !from.is_unix() || !from.is_unnamed(),
            to_group: false,
            control_truncated: false,
            overflow: None,
        }
    }

    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, _: TrainLimit) {
        let bytes = self.reply(index).len();
        self.redirects[index] = to.cloned();
        self.queue.push(Train::of(index, bytes, bytes));
    }

    fn queued(&self) -> &[Train] {
        self.queue.queued()
    }

    fn parcel(&self) -> Option<Parcel> {
        let index = self.queued()[0].index;
        let bytes = self.reply(index);
        let segment_bytes = bytes.len();
        let peer = self.received[index].1.clone();
        Some(Parcel { peer, source: None, bytes: joined(segment_bytes, [bytes])?, segment_bytes })
    }

    fn send(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        let trains = self.queued();
        let limit = limit.min(trains.len());
        for (count, train) in trains[..limit].iter().enumerate() {
            let to = self.redirects[train.index].as_ref();
            let to = to.unwrap_or(&self.received[train.index].1);
            match socket.send_to(self.reply(train.index), to) {
                Ok(()) => {}
                Err(error) if count == 0 => return Err(error),
                // The next call tries this train first, and returns its error.
                Err(_) => return Ok(count),
            }
        }
        Ok(limit)
    }

    fn dequeue(&mut self, count: usize) {
        self.queue.dequeue(count);
    }

    fn send_parcel(&mut self, socket: &Datagram, parcel: &Parcel) -> io::Result<()> {
        socket.send_to(&parcel.bytes, &parcel.peer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{ConnectionRefused, WouldBlock};

    use super::*;
    use crate::socket::SocketOptions;

    /// case U9: the sockets of a server share one batch.
    #[test]
    fn a_deferred_error_is_returned_for_its_own_socket_only() {
        let socket =
            || Datagram::udp("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        let (first, other) = (socket(), socket());
        let mut batch = PortableBatch::new(BatchOptions { slots: 4, slot_bytes: 64, reply: None });
        batch.deferred.push(first.as_fd(), ConnectionRefused.into());
        let mut receive = |socket: &Datagram| batch.receive(socket, 4).unwrap_err().kind();
        assert_eq!(receive(&other), WouldBlock);
        assert_eq!([receive(&first), receive(&first)], [ConnectionRefused, WouldBlock]);
    }
}
