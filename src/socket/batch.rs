//! Datagrams in batches: receive many, decide each reply, send many.
//!
//! [`Batch`] is the interface. A caller exchanges [`Message`]s, [`Train`]s and [`Parcel`]s with it.
//! [`SystemBatch`] is the implementation for this system: recvmmsg(2) and sendmmsg(2) on Linux,
//! [`PortableBatch`] with one call per datagram elsewhere.

#[cfg(target_os = "linux")]
mod linux;
mod portable;
// Other systems have no trains.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod queue;

use std::io;
use std::net::IpAddr;

use socket2::SockAddr;

#[cfg(target_os = "linux")]
pub use self::linux::LinuxBatch;
/// The batch to use on this system.
#[cfg(target_os = "linux")]
pub use self::linux::LinuxBatch as SystemBatch;
pub use self::portable::PortableBatch;
/// The batch to use on this system.
#[cfg(not(target_os = "linux"))]
pub use self::portable::PortableBatch as SystemBatch;
use self::queue::ReplyQueue;
pub use self::queue::{Train, TrainLimit};

/// An address of this host, and the interface where the address alone does not tell it (link-local
/// IPv6; 0 otherwise).
pub type LocalAddr = (IpAddr, u32);

/// How large a batch is and what it replies.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// The most datagrams that one call receives.
    pub slots: usize,
    /// The longest datagram that is received whole, in bytes. A longer one is
    /// [cut](Message::truncated).
    pub slot_bytes: usize,
    /// The reply to every datagram; `None` sends each datagram back.
    pub reply: Option<Box<[u8]>>,
}

/// What one slot received, valid until the batch receives again: a datagram, or a train of them
/// from one sender, where the socket [receives trains](super::Datagram::receive_trains).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The address of its sender.
    pub from: &'a SockAddr,
    /// The address of this host that it was sent to, where the system tells and a reply has to
    /// leave from there.
    pub to: Option<LocalAddr>,
    /// Its bytes, or the first of them when it was cut.
    pub bytes: &'a [u8],
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
    /// It was longer than a slot: the rest of it is lost.
    pub truncated: bool,
    /// Its sender has an address to reply to. Unix senders need not have one.
    pub answerable: bool,
    /// It was sent to a broadcast or multicast address, as far as the system tells.
    pub to_group: bool,
    /// The system had more to tell of it than there was room for (`MSG_CTRUNC`), so that it may
    /// have been sent to a group without [`to_group`](Message::to_group).
    pub control_truncated: bool,
    /// How many datagrams or trains the socket has dropped since it was made because its receive
    /// buffer was full (`SO_RXQ_OVFL`; wraps). `None` when the system does not tell.
    pub overflow: Option<u32>,
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

/// A reply that owns its address and bytes, kept until it can be sent: a datagram or a train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The address to send to.
    pub peer: SockAddr,
    /// The address of this host to send from.
    pub source: Option<LocalAddr>,
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

    /// Its datagrams, each in a parcel of its own, or `None` when there is no memory for it.
    pub fn take_apart(&self) -> impl DoubleEndedIterator<Item = Option<Parcel>> {
        datagrams(&self.bytes, self.segment_bytes).map(|bytes| {
            Some(Parcel {
                peer: self.peer.clone(),
                source: self.source,
                bytes: joined(bytes.len(), [bytes])?,
                segment_bytes: bytes.len(),
            })
        })
    }
}

/// The bytes of each datagram of a train, or of the one datagram.
fn datagrams(bytes: &[u8], segment_bytes: usize) -> impl DoubleEndedIterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(segment_bytes.max(1)).chain(empty)
}

/// A copy of these parts, which are so long in all; `None` when there is no memory for it.
pub(super) fn joined<'a>(
    length: usize,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Box<[u8]>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
    Some(bytes.into())
}

/// How full a send buffer is, in the system's own count, which includes its overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBufUse {
    /// Bytes of datagrams that were sent and are not read yet.
    pub used_bytes: usize,
    /// Bytes at which the next send blocks.
    pub size_bytes: usize,
}

/// A socket that can tell how full its send buffer is.
pub trait SendBuf {
    /// How full the send buffer is, where that depends on receivers that need not read: with Unix
    /// datagrams on Linux. Makes a system call.
    fn send_buf_use(&self) -> Option<SendBufUse>;
}

/// Slots for received messages, and the queue of replies to them.
///
/// Memory is allocated once, when a batch is made; only [`parcel`](Batch::parcel) allocates. The
/// expected order of calls is [`receive`](Batch::receive), then [`message`](Batch::message) and
/// [`queue_reply`](Batch::queue_reply) for each index below the count, then [`send`](Batch::send)
/// and [`dequeue`](Batch::dequeue) until nothing is [queued](Batch::queued).
pub trait Batch {
    /// What it receives from and sends by.
    type Socket: SendBuf + ?Sized;

    /// Receives up to `limit` messages (and no more than it has slots). Those of the call before,
    /// and the replies still queued, are forgotten.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none is queued, and all of recvmsg(2). The next call returns an error that
    /// comes after some messages.
    fn receive(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// A message of the last receive.
    ///
    /// # Panics
    ///
    /// When `index` is not below the count received.
    fn message(&self, index: usize) -> Message<'_>;

    /// Queues the reply to a message. It leaves from the address that the message was sent to, and
    /// goes to `to`, or to the sender if that is `None`. It joins the latest train to that sender
    /// if `trains` allows it, and is a train of its own otherwise.
    ///
    /// # Panics
    ///
    /// When `index` is not below the count received.
    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, trains: TrainLimit);

    /// The trains of replies in the queue. A single reply is a train of one.
    fn queued(&self) -> &[Train];

    /// The first train of the queue, copied out. Its address is that of the sender. `None` when
    /// there is no memory for the copy.
    ///
    /// # Panics
    ///
    /// When the queue is empty.
    fn parcel(&self) -> Option<Parcel>;

    /// Sends up to `limit` trains from the front of the queue, and returns how many (at least 1).
    /// They stay in the queue until they are [removed](Batch::dequeue).
    ///
    /// # Errors
    ///
    /// When the first train of the queue cannot be sent: none of its datagrams is.
    fn send(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// Removes the first `count` trains from the queue, sent or given up.
    fn dequeue(&mut self, count: usize);

    /// Sends one kept reply.
    ///
    /// # Errors
    ///
    /// All of sendmsg(2).
    fn send_parcel(&mut self, socket: &Self::Socket, parcel: &Parcel) -> io::Result<()>;
}

#[cfg(test)]
mod tests;
