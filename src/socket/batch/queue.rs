//! The queue of replies: their order, and which of them leave in one train.
//!
//! Replies to one peer that have one length form a *train*: one send, which the kernel or the
//! device splits into datagrams (`UDP_SEGMENT`, udp(7)). This saves most of the cost of a send,
//! which on loopback is three quarters of the cost of an echo.
//!
//! Each peer gets exactly its replies in order, each as a separate datagram, including empty ones.
//! Only the order between peers changes: a reply that joins a train overtakes the replies to other
//! peers that were queued after the train began.

/// The maximum number of datagrams in a train: the limit of every kernel that has trains
/// (`UDP_MAX_SEGMENTS`, 64 until Linux 6.9 and 128 since). With 64 the cost of the send per
/// datagram is small already.
pub(in crate::socket) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// The maximum number of bytes in a train: what UDP carries over IPv4. (Over IPv6 it is 20 more.)
pub(in crate::socket) const TRAIN_BYTES_MAX: usize = 65_507;

/// The length of a datagram that every path carries unfragmented: the smallest path MTU that Linux
/// accepts from a router, 552 bytes (`net.ipv4.route.min_pmtu`), less the headers of IPv4 and UDP.
/// Without this bound one peer behind such a path would end the trains of all peers.
const PATH_BYTES_MIN: usize = 524;

/// The number of entries for trains that replies may join, found by a hash of the peer. Two peers
/// that share an entry overwrite each other's train in it, and need more trains.
const ENTRIES: usize = 1 << ENTRY_BITS;
const ENTRY_BITS: u32 = 7;

/// The value of an entry without a train.
const NO_TRAIN: u16 = u16::MAX;

/// The replies that one call sends: to one message, or to several messages of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// The index of the first message that it replies to.
    pub index: usize,
    /// The number of messages that it replies to.
    pub parts: usize,
    /// The number of datagrams, at least 1.
    pub datagrams: usize,
    /// The total length of the datagrams.
    pub bytes: usize,
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
}

impl Train {
    /// Creates a train that contains only the reply to the message at this index.
    pub fn of(index: usize, bytes: usize, segment_bytes: usize) -> Train {
        let datagrams = if bytes <= segment_bytes { 1 } else { bytes.div_ceil(segment_bytes) };
        Train { index, parts: 1, datagrams, bytes, segment_bytes }
    }

    /// Returns true if `next` can follow in the same send. Only the last datagram of a train may be
    /// shorter than the first, and none may be empty.
    fn takes(&self, next: &Train) -> bool {
        let is_open = self.bytes > 0 && self.bytes == self.datagrams * self.segment_bytes;
        let fits = next.segment_bytes == self.segment_bytes
            || (next.datagrams == 1 && next.bytes > 0 && next.bytes < self.segment_bytes);
        is_open
            && fits
            && self.bytes + next.bytes <= TRAIN_BYTES_MAX
            && self.datagrams + next.datagrams <= TRAIN_DATAGRAMS_MAX
    }
}

/// The trains that a socket may send: those of datagrams up to some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainLimit {
    segment_bytes_max: usize,
}

impl TrainLimit {
    /// Allows no trains: each datagram leaves alone.
    pub const NONE: TrainLimit = TrainLimit { segment_bytes_max: 0 };

    /// Allows trains of datagrams of any length.
    pub const ANY: TrainLimit = TrainLimit { segment_bytes_max: TRAIN_BYTES_MAX };

    /// Allows trains of datagrams of up to this length.
    pub fn up_to(segment_bytes_max: usize) -> TrainLimit {
        TrainLimit { segment_bytes_max }
    }

    /// Forbids trains of datagrams of this length and longer, after the kernel has refused one. If
    /// every path carries this length, the device is the cause, so all trains become forbidden.
    ///
    /// The socket goes on receiving trains. Otherwise the kernel would no longer report where the
    /// datagrams end in the trains that are queued already.
    pub fn forbid(&mut self, segment_bytes: usize) {
        let longest = if segment_bytes > PATH_BYTES_MIN { segment_bytes - 1 } else { 0 };
        self.segment_bytes_max = self.segment_bytes_max.min(longest);
    }

    /// Returns true if a train may be sent as it is. Otherwise the caller must split it into single
    /// datagrams.
    pub fn allows(&self, train: &Train) -> bool {
        train.datagrams == 1 || train.segment_bytes <= self.segment_bytes_max
    }

    /// Returns true if other replies may join this train.
    fn allows_more(&self, train: &Train) -> bool {
        train.segment_bytes <= self.segment_bytes_max
    }
}

/// The replies, their trains, and the number of trains that have left the queue.
#[derive(Debug)]
pub(in crate::socket) struct ReplyQueue {
    trains: Vec<Train>,
    /// The train and index of each reply, in the order in which they joined.
    members: Vec<(usize, usize)>,
    dequeued: usize,
    /// The latest train of the peers that share each entry. A reply never joins an earlier train,
    /// because it would overtake later replies to its peer.
    latest: [u16; ENTRIES],
}

impl ReplyQueue {
    pub(in crate::socket) fn new(slots: usize) -> ReplyQueue {
        assert!(slots < usize::from(NO_TRAIN), "the number of a train fits into a u16: {slots}");
        ReplyQueue {
            trains: Vec::with_capacity(slots),
            members: Vec::with_capacity(slots),
            dequeued: 0,
            latest: [NO_TRAIN; ENTRIES],
        }
    }

    pub(in crate::socket) fn clear(&mut self) {
        self.trains.clear();
        self.members.clear();
        self.dequeued = 0;
        self.latest.fill(NO_TRAIN);
    }

    /// Adds a reply as a separate train.
    pub(in crate::socket) fn push(&mut self, reply: Train) {
        self.members.push((self.trains.len(), reply.index));
        self.trains.push(reply);
    }

    /// Adds a reply to the latest train of its peer, or as a new train that later replies may join.
    /// `hash` is the hash of the peer. `is_same_peer` returns true if the message at an index has
    /// the same peer and the same address of this host.
    pub(in crate::socket) fn join(
        &mut self,
        reply: Train,
        hash: u64,
        limit: TrainLimit,
        is_same_peer: impl FnOnce(usize) -> bool,
    ) {
        let latest = &mut self.latest[entry(hash)];
        let number = usize::from(*latest);
        if number >= self.dequeued
            && let Some(train) = self.trains.get_mut(number)
            && train.takes(&reply)
            && limit.allows_more(train)
            && is_same_peer(train.index)
        {
            train.parts += 1;
            train.datagrams += reply.datagrams;
            train.bytes += reply.bytes;
            self.members.push((number, reply.index));
        } else {
            *latest = u16::try_from(self.trains.len()).unwrap_or(NO_TRAIN);
            self.push(reply);
        }
    }

    /// Returns all trains, including those that have left the queue.
    pub(in crate::socket) fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// Returns the number of the train and the index of each reply, in the order in which they
    /// joined.
    pub(in crate::socket) fn members(&self) -> &[(usize, usize)] {
        &self.members
    }

    /// Returns the number of trains that have left the queue.
    pub(in crate::socket) fn dequeued(&self) -> usize {
        self.dequeued
    }

    pub(in crate::socket) fn dequeue(&mut self, count: usize) {
        self.dequeued = (self.dequeued + count).min(self.trains.len());
    }

    /// Returns the trains that are still in the queue.
    pub(in crate::socket) fn queued(&self) -> &[Train] {
        &self.trains[self.dequeued..]
    }
}

/// Returns the entry of a hash. The highest bits of a product depend on the most input bits.
fn entry(hash: u64) -> usize {
    (hash >> (u64::BITS - ENTRY_BITS)) as usize
}

#[cfg(test)]
mod tests;
