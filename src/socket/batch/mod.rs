//! Datagrams by the batch: receive many, decide each answer, send many.
//!
//! [`Batch`] is the shape. [`SystemBatch`] is the version of this system: recvmmsg(2) and
//! sendmmsg(2) on Linux, elsewhere [`PortableBatch`], which makes one call a datagram.

mod portable;

use std::io;
use std::net::IpAddr;

use socket2::SockAddr;

pub use self::portable::PortableBatch;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use super::sys::LinuxBatch;

/// The batch to use on this system.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub type SystemBatch = LinuxBatch;
/// The batch to use on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub type SystemBatch = PortableBatch;

/// How large a batch is and what it answers with.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Datagrams received by one call at the most.
    pub slots: usize,
    /// The longest datagram taken whole, in bytes. A longer one is [cut](Message::truncated).
    pub slot_bytes: usize,
    /// The answer to every datagram; `None` answers each with itself.
    pub reply: Option<Box<[u8]>>,
}

/// One received datagram, as long as its batch is not received into again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its bytes, or the first of them when it was cut.
    pub bytes: &'a [u8],
    /// It was longer than a slot: what is here is not all of it.
    pub truncated: bool,
    /// Its sender has an address to answer to. Unix senders need not have one.
    pub answerable: bool,
}

/// An answer with an address of its own, to be kept until it can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where to.
    pub peer: SockAddr,
    /// Which address of this host to send from, and by which interface where the address alone
    /// does not tell (link-local IPv6; 0 otherwise).
    pub source: Option<(IpAddr, u32)>,
    /// What to send.
    pub bytes: Box<[u8]>,
}

/// How full a send buffer is, in the system's own count, which includes its overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBufUse {
    /// Bytes of datagrams that were sent and are not read yet.
    pub used_bytes: usize,
    /// Bytes at which the next send blocks.
    pub size_bytes: usize,
}

/// Slots for received datagrams, and the line of answers made from them.
///
/// Memory is allocated once, when a batch is made; a call allocates nothing. The expected order of
/// calls is [`receive`](Batch::receive), then [`message`](Batch::message) and
/// [`queue_answer`](Batch::queue_answer) for each index below the count, then
/// [`send`](Batch::send) until [`unsent`](Batch::unsent) is 0.
pub trait Batch {
    /// What it receives from and sends by.
    type Socket: ?Sized;

    /// Receives up to `limit` datagrams (and no more than it has slots), forgetting those of the
    /// call before and any answer not sent.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of recvmsg(2). An error that comes after some
    /// datagrams is given by the next call.
    fn receive(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// A datagram of the last receive.
    ///
    /// # Panics
    ///
    /// When `index` is not below the count received; so do all methods that take an index.
    fn message(&self, index: usize) -> Message<'_>;

    /// Who sent it.
    fn peer(&self, index: usize) -> SockAddr;

    /// How many datagrams the socket has lost for want of receive buffer since it was made, as far
    /// as the last receive told (`SO_RXQ_OVFL`; wraps). `None` when it told nothing.
    fn overflow(&self) -> Option<u32>;

    /// Puts the answer to a datagram in the line, to its sender, from the address that it asked.
    fn queue_answer(&mut self, index: usize);

    /// What a datagram is answered with: the reply, or its own bytes.
    fn answer(&self, index: usize) -> &[u8];

    /// The answer to a datagram, copied out.
    fn parcel(&self, index: usize) -> Parcel;

    /// How many answers are in the line.
    fn unsent(&self) -> usize;

    /// Which datagram the `nth` answer of the line is to.
    fn unsent_index(&self, nth: usize) -> usize;

    /// Sends up to `limit` answers from the front of the line, and returns how many (at least 1).
    /// They stay in the line until they are [passed](Batch::pass).
    ///
    /// # Errors
    ///
    /// When the first answer of the line cannot be sent.
    fn send(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// Takes the first `count` answers out of the line, sent or given up.
    fn pass(&mut self, count: usize);

    /// How full the socket's send buffer is, where that depends on receivers that need not read:
    /// with Unix datagrams on Linux. Takes a system call.
    fn send_buf_use(&self, socket: &Self::Socket) -> Option<SendBufUse> {
        let _ = socket;
        None
    }

    /// Sends one kept answer.
    ///
    /// # Errors
    ///
    /// All of sendmsg(2).
    fn send_parcel(&mut self, socket: &Self::Socket, parcel: &Parcel) -> io::Result<()>;
}

/// The line of answers: which datagrams are answered, and how many of those are behind us.
#[derive(Debug)]
pub(super) struct Line {
    indexes: Vec<usize>,
    passed: usize,
}

impl Line {
    pub(super) fn new(slots: usize) -> Line {
        Line { indexes: Vec::with_capacity(slots), passed: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.indexes.clear();
        self.passed = 0;
    }

    /// Adds an answer and returns its place, counted from the first ever in the line.
    pub(super) fn push(&mut self, index: usize) -> usize {
        self.indexes.push(index);
        self.indexes.len() - 1
    }

    pub(super) fn passed(&self) -> usize {
        self.passed
    }

    pub(super) fn pass(&mut self, count: usize) {
        self.passed = (self.passed + count).min(self.indexes.len());
    }

    pub(super) fn unsent(&self) -> usize {
        self.indexes.len() - self.passed
    }

    pub(super) fn unsent_index(&self, nth: usize) -> usize {
        self.indexes[self.passed + nth]
    }
}

#[cfg(test)]
mod tests;
