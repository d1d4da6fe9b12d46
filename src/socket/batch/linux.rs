//! A batch on recvmmsg(2) and sendmmsg(2): one call for many messages.

use std::io;
use std::os::fd::AsFd;

use socket2::SockAddr;

use super::{Batch, BatchOptions, Message, Parcel, ReplyQueue, Train, TrainLimit, joined};
use crate::endpoint::Transport;
use crate::socket::Datagram;
use crate::socket::sys::{self, RawMessages};

/// A batch that uses recvmmsg(2) and sendmmsg(2), and trains (`UDP_GRO` and `UDP_SEGMENT`, udp(7)).
pub struct LinuxBatch {
    raw: RawMessages,
    queue: ReplyQueue,
    /// True if the raw message headers describe the queue as it is now.
    is_laid_out: bool,
}

impl std::fmt::Debug for LinuxBatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("LinuxBatch").field(&self.queue).finish_non_exhaustive()
    }
}

impl LinuxBatch {
    /// Creates an empty batch. A page of its memory becomes resident when it is first used.
    ///
    /// # Panics
    ///
    /// If `options.slots` is 0.
    pub fn new(options: BatchOptions) -> LinuxBatch {
        assert!(options.slots > 0, "a batch has slots");
        let queue = ReplyQueue::new(options.slots);
        LinuxBatch { raw: RawMessages::new(options), queue, is_laid_out: false }
    }
}

impl Batch for LinuxBatch {
    type Socket = Datagram;

    const RECEIVE: &'static str = "recvmmsg";
    const SEND: &'static str = "sendmmsg";
    const SEND_PARCEL: &'static str = "sendmsg";

    fn receive(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        self.queue.clear();
        // A Unix socket gets no buffer for control messages. With a buffer, the kernel would
        // install every descriptor that a peer sends (`SCM_RIGHTS`, unix(7)), and this process
        // would run out of descriptors.
        self.raw.receive(socket.as_fd(), socket.transport() == Transport::Udp, limit)
    }

    #[inline(always)]
    fn message(&self, index: usize) -> Message<'_> {
        self.raw.message(index)
    }

    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, trains: TrainLimit) {
        let reply = self.raw.train_of(index);
        if let Some(to) = to {
            self.raw.redirect(index, to);
        }
        self.is_laid_out = false;
        if trains == TrainLimit::NONE {
            return self.queue.push(reply);
        }
        let raw = &self.raw;
        let (from, to) = raw.addresses(index);
        let name = sys::address_bytes(from);
        self.queue.join(reply, hash(name), trains, |first| {
            let (first_from, first_to) = raw.addresses(first);
            first_to == to && sys::address_bytes(first_from) == name
        });
    }

    fn queued(&self) -> &[Train] {
        self.queue.queued()
    }

    fn parcel(&self) -> Option<Parcel> {
        let (number, train) = (self.queue.dequeued(), self.queued()[0]);
        let members = self.queue.members().iter().filter(|(of, _)| *of == number);
        let message = self.message(train.index);
        Some(Parcel {
            peer: message.from.clone(),
            source: message.to,
            bytes: joined(train.bytes, members.map(|(_, index)| self.raw.reply(*index)))?,
            segment_bytes: train.segment_bytes,
        })
    }

    fn send(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        if !std::mem::replace(&mut self.is_laid_out, true) {
            self.raw.lay_out(self.queue.trains(), self.queue.members());
        }
        self.raw.send(socket.as_fd(), self.queue.dequeued(), limit)
    }

    fn dequeue(&mut self, count: usize) {
        self.queue.dequeue(count);
    }

    fn send_parcel(&mut self, socket: &Datagram, parcel: &Parcel) -> io::Result<()> {
        let segment_bytes =
            if parcel.count() > 1 { u16::try_from(parcel.segment_bytes).ok() } else { None };
        let Parcel { peer, source, bytes, .. } = parcel;
        sys::send_message(socket.as_fd(), Some(peer), *source, bytes, segment_bytes)
    }
}

/// Returns a hash of a peer's address: a product whose upper bits depend on the whole address.
fn hash(name: &[u8]) -> u64 {
    // A prime near the golden ratio of 2^64 (Knuth 6.4). The trailing bytes that do not fill a word
    // are skipped: they only hold the scope of an IPv6 address, which needs no entry of its own.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = name.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
    words.fold(0, |hash, word| (hash ^ word).wrapping_mul(FACTOR))
}
