//! The queue of replies: in which order they leave, and which leave together.
//!
//! Replies to one peer that are of one length make a *train*: one send, which the kernel or the
//! device takes apart into datagrams again (`UDP_SEGMENT`, udp(7)). It saves most of what a send
//! costs, which on loopback is three quarters of what an echo costs.
//!
//! What each peer gets is exact: its replies in its order, each a datagram of its own, the empty
//! ones as well. The order changes only between peers: a reply that joins a train overtakes the
//! replies to other peers that stand between.

/// Datagrams of one train: what every kernel that has trains takes (`UDP_MAX_SEGMENTS`, 64 until
/// Linux 6.9 and 128 since). At 64 the cost of the send is spread thin.
pub(in crate::socket) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// Bytes of one train: what UDP carries over IPv4. (Over IPv6 it is 20 more.)
pub(in crate::socket) const TRAIN_BYTES_MAX: usize = 65_507;

/// The length of a datagram that every path carries unfragmented: the smallest path MTU that Linux
/// accepts from a router, 552 bytes (`net.ipv4.route.min_pmtu`), less the headers of IPv4 and UDP.
/// Without this bound one peer behind such a path would end the trains of all peers.
const PATH_BYTES_MIN: usize = 524;

/// The number of entries for trains that replies may join, found by a hash of the peer. Two peers
/// that share an entry overwrite each other's train in it, and need more trains.
const ENTRIES: usize = 1 << ENTRY_BITS;
const ENTRY_BITS: u32 = 7;

/// An entry that no train has.
const NO_TRAIN: u16 = u16::MAX;

/// Replies that leave by one call: to one message, or to several messages of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// The first message that it replies to.
    pub index: usize,
    /// How many messages it replies to.
    pub parts: usize,
    /// How many datagrams it is, at least 1.
    pub datagrams: usize,
    /// The sum of their bytes.
    pub bytes: usize,
    /// The length of each but the last, which may be shorter.
    pub segment_bytes: usize,
}

impl Train {
    /// The reply to the message at this index, in a train of its own.
    pub fn of(index: usize, bytes: usize, segment_bytes: usize) -> Train {
        let datagrams = if bytes <= segment_bytes { 1 } else { bytes.div_ceil(segment_bytes) };
        Train { index, parts: 1, datagrams, bytes, segment_bytes }
    }

    /// Whether `next` can follow in the same send. Only the last datagram of a train may be
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

/// Which trains of a socket may be sent: those of datagrams up to some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainLimit {
    segment_bytes_max: usize,
}

impl TrainLimit {
    /// Every reply leaves by itself.
    pub const NONE: TrainLimit = TrainLimit { segment_bytes_max: 0 };

    /// Datagrams of any length may leave in trains.
    pub const ANY: TrainLimit = TrainLimit { segment_bytes_max: TRAIN_BYTES_MAX };

    /// Datagrams of up to this length may leave in trains.
    pub fn up_to(segment_bytes_max: usize) -> TrainLimit {
        TrainLimit { segment_bytes_max }
    }

    /// Allows no more trains of datagrams of this length and longer, because one was refused. If
    /// every path takes that length, the device is the cause, and no train is allowed any more.
    ///
    /// The socket goes on receiving trains. Otherwise the kernel would no longer report where the
    /// datagrams end in the trains that are queued already.
    pub fn forbid(&mut self, segment_bytes: usize) {
        let longest = if segment_bytes > PATH_BYTES_MIN { segment_bytes - 1 } else { 0 };
        self.segment_bytes_max = self.segment_bytes_max.min(longest);
    }

    /// Whether a train may be sent as it is. One that is not allowed has to be taken apart.
    pub fn allows(&self, train: &Train) -> bool {
        train.datagrams == 1 || train.segment_bytes <= self.segment_bytes_max
    }

    /// Whether other replies may join this one.
    fn allows_more(&self, train: &Train) -> bool {
        train.segment_bytes <= self.segment_bytes_max
    }
}

/// Which messages are replied to, in which trains, and how many of those have left the queue.
#[derive(Debug)]
pub(in crate::socket) struct ReplyQueue {
    trains: Vec<Train>,
    /// The train and index of each reply, in the order in which they joined.
    members: Vec<(usize, usize)>,
    dequeued: usize,
    /// The latest train of the peers of each entry. A reply never joins an earlier one, because it
    /// would overtake its peer's later ones.
    latest: [u16; ENTRIES],
}

impl ReplyQueue {
    pub(in crate::socket) fn new(slots: usize) -> ReplyQueue {
        assert!(slots < usize::from(NO_TRAIN), "{slots} slots have numbers");
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

    /// Adds a reply as a train of its own.
    pub(in crate::socket) fn push(&mut self, reply: Train) {
        self.members.push((self.trains.len(), reply.index));
        self.trains.push(reply);
    }

    /// Adds a reply to the latest train of its peer, or as a train of its own, which the next
    /// replies may join. `hash` is of the peer, and `is_same_peer` tells whether the message at an
    /// index has the same peer and the same address of this host.
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

    /// All trains, those that have left as well.
    pub(in crate::socket) fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// The number of the train and the index of each reply, in the order in which they joined.
    pub(in crate::socket) fn members(&self) -> &[(usize, usize)] {
        &self.members
    }

    /// How many trains have left.
    pub(in crate::socket) fn dequeued(&self) -> usize {
        self.dequeued
    }

    pub(in crate::socket) fn dequeue(&mut self, count: usize) {
        self.dequeued = (self.dequeued + count).min(self.trains.len());
    }

    /// The trains that have not left.
    pub(in crate::socket) fn queued(&self) -> &[Train] {
        &self.trains[self.dequeued..]
    }
}

/// The highest bits of a product are its best.
fn entry(hash: u64) -> usize {
    (hash >> (u64::BITS - ENTRY_BITS)) as usize
}

#[cfg(test)]
mod tests;
