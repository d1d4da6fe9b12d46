//! Datagrams by the batch: receive many, decide each answer, send many.
//!
//! [`Batch`] is the shape. [`SystemBatch`] is the version of this system: recvmmsg(2) and
//! sendmmsg(2) on Linux, elsewhere [`PortableBatch`], which makes one call a datagram.

mod queue;
mod portable;

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

pub use self::queue::Train;
pub(super) use self::queue::{Line, TRAIN_BYTES_MAX};
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

/// What one slot received, as long as its batch is not received into again: a datagram, or a train
/// of them from one sender, where the socket [takes trains](super::Datagram::receive_trains).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its bytes, or the first of them when it was cut.
    pub bytes: &'a [u8],
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
    /// It was longer than a slot: what is here is not all of it.
    pub truncated: bool,
    /// Its sender has an address to answer to. Unix senders need not have one.
    pub answerable: bool,
    /// It was sent to a broadcast or multicast address, as far as the system tells.
    pub to_group: bool,
    /// The system had more to tell of it than there was room for (`MSG_CTRUNC`), so that it may
    /// have been sent to a group without [`to_group`](Message::to_group).
    pub control_truncated: bool,
}

impl<'a> Message<'a> {
    /// How many datagrams it is: at least 1, which may be empty.
    pub fn count(&self) -> usize {
        Train::of(0, self.bytes.len(), self.segment_bytes).datagrams
    }

    /// The bytes of each of its datagrams.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        datagrams(self.bytes, self.segment_bytes)
    }
}

/// An answer with an address of its own, to be kept until it can be sent: a datagram or a train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where to.
    pub peer: SockAddr,
    /// Which address of this host to send from, and by which interface where the address alone
    /// does not tell (link-local IPv6; 0 otherwise).
    pub source: Option<(IpAddr, u32)>,
    /// What to send.
    pub bytes: Box<[u8]>,
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
}

impl Parcel {
    /// How many datagrams it is.
    pub fn count(&self) -> usize {
        Train::of(0, self.bytes.len(), self.segment_bytes).datagrams
    }

    /// Its datagrams, each in a parcel of its own.
    pub fn take_apart(&self) -> impl DoubleEndedIterator<Item = Parcel> {
        datagrams(&self.bytes, self.segment_bytes).map(|bytes| Parcel {
            peer: self.peer.clone(),
            source: self.source,
            bytes: bytes.into(),
            segment_bytes: bytes.len(),
        })
    }

    /// What the kernel is told of a train.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn segment(&self) -> Option<u16> {
        if self.count() > 1 { u16::try_from(self.segment_bytes).ok() } else { None }
    }
}

/// The bytes of each datagram of a train, or of the one datagram.
fn datagrams(bytes: &[u8], segment_bytes: usize) -> impl DoubleEndedIterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(segment_bytes.max(1)).chain(empty)
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

    /// Receives up to `limit` datagrams or trains (and no more than it has slots), forgetting those
    /// of the call before and any answer not sent.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of recvmsg(2). An error that comes after some
    /// datagrams is given by the next call.
    fn receive(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// A datagram or train of the last receive.
    ///
    /// # Panics
    ///
    /// When `index` is not below the count received; so do all methods that take an index.
    fn message(&self, index: usize) -> Message<'_>;

    /// Who sent it.
    fn peer(&self, index: usize) -> SockAddr;

    /// The IP address and port of who sent it; `None` for Unix sockets.
    fn sender(&self, index: usize) -> Option<SocketAddr> {
        self.peer(index).as_socket()
    }

    /// The name that a Unix sender is bound to: a path, or behind a zero byte an abstract name.
    /// Empty for a sender without a name, and for UDP.
    fn unix_name(&self, index: usize) -> &[u8];

    /// Has the answer to a datagram go to this address instead of its sender's. To be called before
    /// it is [queued](Batch::queue_answer); [`peer`](Batch::peer) is still the sender.
    fn redirect(&mut self, index: usize, to: &SockAddr);

    /// How many datagrams or trains the socket has lost for want of receive buffer since it was
    /// made, as far as the last receive told (`SO_RXQ_OVFL`; wraps). `None` when it told nothing.
    fn overflow(&self) -> Option<u32>;

    /// Puts the answer to a datagram or train in the line, to its sender, from the address that it
    /// asked: in a train of its own, or in the latest of that peer's.
    fn queue_answer(&mut self, index: usize);

    /// What is answered: the reply, or the bytes of the datagram or train.
    fn answer(&self, index: usize) -> &[u8];

    /// The answer to a datagram or train, copied out.
    fn parcel(&self, index: usize) -> Parcel;

    /// How many trains of answers are in the line. A single answer is a train of one.
    fn unsent(&self) -> usize;

    /// The `nth` train of the line.
    fn unsent_train(&self, nth: usize) -> Train;

    /// How many trains from the front of the line may leave as they are: up to one of a length
    /// that is [forbidden](Batch::forbid_trains). It is to be taken apart.
    fn unforbidden(&self) -> usize {
        self.unsent()
    }

    /// The first train of the line, copied out.
    fn unsent_parcel(&self) -> Parcel;

    /// Sends up to `limit` trains from the front of the line, and returns how many (at least 1).
    /// They stay in the line until they are [passed](Batch::pass).
    ///
    /// # Errors
    ///
    /// When the first train of the line cannot be sent: nothing of it is.
    fn send(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// Takes the first `count` trains out of the line, sent or given up.
    fn pass(&mut self, count: usize);

    /// Makes no more trains, on this socket, of datagrams of this length and longer: they were
    /// refused for being one. Those that are received are still received whole.
    fn forbid_trains(&mut self, socket: &Self::Socket, segment_bytes: usize) {
        let _ = (socket, segment_bytes);
    }

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

#[cfg(test)]
mod tests;
