//! The line of answers: in which order they leave, and which leave together.
//!
//! Answers to one peer that are of one length make a *train*: one send, which the kernel or the
//! device takes apart into datagrams again (`UDP_SEGMENT`, udp(7)). It saves most of what a send
//! costs, which on loopback is three quarters of what an echo costs.
//!
//! What each peer gets is exact: its answers in its order, each a datagram of its own, the empty
//! ones as well. Only between peers the order changes: an answer that joins a train overtakes
//! those to other peers that stand between.

/// Datagrams of one train: what every kernel that has trains takes (`UDP_MAX_SEGMENTS`, 64 until
/// Linux 6.9 and 128 since). At 64 the cost of the send is spread thin.
pub(in crate::socket) const TRAIN_DATAGRAMS_MAX: usize = 64;

/// Bytes of one train: what UDP carries over IPv4. (Over IPv6 it is 20 more.)
pub(in crate::socket) const TRAIN_BYTES_MAX: usize = 65_507;

/// Places of trains that may be joined, found by a hash of the peer. Two peers that share a place
/// take it from each other, and make more trains than they need.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 7;

/// A place that no train has.
const NOBODY: u16 = u16::MAX;

/// What is sent by one call: the answers to one datagram or train received, or to several of one
/// peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// The first datagram or train received that it answers.
    pub index: usize,
    /// How many of those it answers.
    pub parts: usize,
    /// How many datagrams it is, at least 1.
    pub datagrams: usize,
    /// Their bytes in all.
    pub bytes: usize,
    /// The length of each but the last, which may be shorter.
    pub segment_bytes: usize,
}

impl Train {
    /// The answer to the datagrams at this index, in a train of its own.
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

/// Which datagrams are answered, in which trains, and how many of those are behind us.
#[derive(Debug)]
pub(in crate::socket) struct Line {
    trains: Vec<Train>,
    /// Each answer's train and index, in the order in which they joined.
    members: Vec<(usize, usize)>,
    passed: usize,
    /// The latest train of the peers of each place. An earlier one is never joined: that would
    /// be to overtake.
    latest: [u16; PLACES],
}

impl Line {
    pub(in crate::socket) fn new(slots: usize) -> Line {
        assert!(slots < usize::from(NOBODY), "{slots} slots have numbers");
        Line {
            trains: Vec::with_capacity(slots),
            members: Vec::with_capacity(slots),
            passed: 0,
            latest: [NOBODY; PLACES],
        }
    }

    pub(in crate::socket) fn clear(&mut self) {
        self.trains.clear();
        self.members.clear();
        self.passed = 0;
        self.latest.fill(NOBODY);
    }

    /// Adds an answer as a train of its own.
    pub(in crate::socket) fn push(&mut self, answer: Train) {
        self.members.push((self.trains.len(), answer.index));
        self.trains.push(answer);
    }

    /// The train that this answer can join if it is one to the same peer. `hash` is of that.
    pub(in crate::socket) fn joinable(&self, answer: &Train, hash: u64) -> Option<&Train> {
        let latest = usize::from(self.latest[place(hash)]);
        let train = self.trains.get(latest)?;
        (latest >= self.passed && train.takes(answer)).then_some(train)
    }

    /// Adds an answer to the train that is [joinable](Line::joinable), or as one of its own, which
    /// the next answers may join.
    pub(in crate::socket) fn add(&mut self, answer: Train, hash: u64, joins: bool) {
        let latest = &mut self.latest[place(hash)];
        if !joins {
            *latest = u16::try_from(self.trains.len()).unwrap_or(NOBODY);
            return self.push(answer);
        }
        let number = usize::from(*latest);
        let train = &mut self.trains[number];
        train.parts += 1;
        train.datagrams += answer.datagrams;
        train.bytes += answer.bytes;
        self.members.push((number, answer.index));
    }

    /// All trains, sent ones as well.
    pub(in crate::socket) fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// Of each answer which train it is in, and its index, by order of joining.
    pub(in crate::socket) fn members(&self) -> &[(usize, usize)] {
        &self.members
    }

    pub(in crate::socket) fn passed(&self) -> usize {
        self.passed
    }

    pub(in crate::socket) fn pass(&mut self, count: usize) {
        self.passed = (self.passed + count).min(self.trains.len());
    }

    pub(in crate::socket) fn unsent(&self) -> usize {
        self.trains.len() - self.passed
    }

    pub(in crate::socket) fn unsent_train(&self, nth: usize) -> Train {
        self.trains[self.passed + nth]
    }
}

/// The highest bits of a product are its best.
fn place(hash: u64) -> usize {
    (hash >> (u64::BITS - PLACE_BITS)) as usize
}

#[cfg(test)]
mod tests;
