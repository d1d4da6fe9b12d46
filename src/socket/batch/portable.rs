//! One call a datagram, by std alone: for systems without recvmmsg, and the judge of the other.

use std::io;

use socket2::SockAddr;

use super::{Batch, BatchOptions, Line, Message, Parcel, Train};
use crate::socket::{Datagram, unix_name};

/// A batch made of single calls. The answer leaves from the address that routing picks.
#[derive(Debug)]
pub struct PortableBatch {
    options: BatchOptions,
    /// One byte more a slot than is taken whole: a datagram that reaches it was cut.
    arena: Vec<u8>,
    received: Vec<(usize, SockAddr)>,
    names: Vec<Box<[u8]>>,
    redirects: Vec<Option<SockAddr>>,
    line: Line,
    /// An error that came after some datagrams: given by the next receive.
    deferred: Option<io::Error>,
}

impl PortableBatch {
    /// Makes an empty batch.
    ///
    /// # Panics
    ///
    /// When there is no slot.
    pub fn new(options: BatchOptions) -> PortableBatch {
        assert!(options.slots > 0, "a batch has slots");
        PortableBatch {
            arena: vec![0; options.slots * (options.slot_bytes + 1)],
            received: Vec::with_capacity(options.slots),
            names: Vec::with_capacity(options.slots),
            redirects: vec![None; options.slots],
            line: Line::new(options.slots),
            deferred: None,
            options,
        }
    }
}

impl Batch for PortableBatch {
    type Socket = Datagram;

    fn receive(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        self.received.clear();
        self.line.clear();
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        let slots = self.arena.chunks_exact_mut(self.options.slot_bytes + 1);
        for slot in slots.take(limit) {
            match socket.receive_from(slot) {
                Ok(received) => self.received.push(received),
                Err(error) if self.received.is_empty() => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        self.names.clear();
        self.names.extend(self.received.iter().map(|(_, peer)| unix_name(peer)));
        self.redirects.fill(None);
        Ok(self.received.len())
    }

    fn message(&self, index: usize) -> Message<'_> {
        let (length, peer) = &self.received[index];
        let start = index * (self.options.slot_bytes + 1);
        let whole = (*length).min(self.options.slot_bytes);
        Message {
            bytes: &self.arena[start..start + whole],
            segment_bytes: whole,
            truncated: *length > self.options.slot_bytes,
            answerable: !peer.is_unix() || !peer.is_unnamed(),
            to_group: false,
            control_truncated: false,
        }
    }

    fn peer(&self, index: usize) -> SockAddr {
        self.received[index].1.clone()
    }

    fn unix_name(&self, index: usize) -> &[u8] {
        &self.names[index]
    }

    fn redirect(&mut self, index: usize, to: &SockAddr) {
        assert!(index < self.received.len());
        self.redirects[index] = Some(to.clone());
    }

    fn overflow(&self) -> Option<u32> {
        None
    }

    fn queue_answer(&mut self, index: usize) {
        assert!(index < self.received.len());
        let bytes = self.answer(index).len();
        self.line.push(Train::of(index, bytes, bytes));
    }

    fn answer(&self, index: usize) -> &[u8] {
        let message = self.message(index);
        self.options.reply.as_deref().unwrap_or(message.bytes)
    }

    fn parcel(&self, index: usize) -> Parcel {
        let bytes = self.answer(index);
        let segment_bytes = bytes.len();
        Parcel { peer: self.peer(index), source: None, bytes: bytes.into(), segment_bytes }
    }

    fn unsent(&self) -> usize {
        self.line.unsent()
    }

    fn unsent_train(&self, nth: usize) -> Train {
        self.line.unsent_train(nth)
    }

    fn unsent_parcel(&self) -> Parcel {
        self.parcel(self.unsent_train(0).index)
    }

    fn send(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        for nth in 0..limit.min(self.unsent()) {
            let index = self.unsent_train(nth).index;
            let to = self.redirects[index].as_ref().unwrap_or(&self.received[index].1);
            let sent = socket.send_to(self.answer(index), to);
            match sent {
                Ok(()) => {}
                Err(error) if nth == 0 => return Err(error),
                // It is the first of the next call, and is met again there.
                Err(_) => return Ok(nth),
            }
        }
        Ok(limit.min(self.unsent()))
    }

    fn pass(&mut self, count: usize) {
        self.line.pass(count);
    }

    fn send_parcel(&mut self, socket: &Datagram, parcel: &Parcel) -> io::Result<()> {
        socket.send_to(&parcel.bytes, &parcel.peer)
    }
}
