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

/// An address of this host and the index of its interface. The index is 0 unless the address needs
/// it (link-local IPv6).
pub type LocalAddr = (IpAddr, u32);

/// The size of a batch, and its reply.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// The maximum number of messages that one call receives.
    pub slots: usize,
    /// The length in bytes of the longest message that a slot holds. A longer one is
    /// [truncated](Message::truncated).
    pub slot_bytes: usize,
    /// The reply to every message. `None` sends each message back.
    pub reply: Option<Box<[u8]>>,
}

/// The content of one slot: a datagram, or a train of datagrams from one sender if the socket
/// [receives trains](super::Datagram::receive_trains). It is valid until the batch receives again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The address of the sender.
    pub from: &'a SockAddr,
    /// The address of this host that the sender used, if the system reports it and the reply must
    /// leave from it.
    pub to: Option<LocalAddr>,
    /// The received bytes, without those beyond the end of the slot.
    pub bytes: &'a [u8],
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
    /// True if the message was longer than its slot. The rest is lost.
    pub truncated: bool,
    /// True if the sender has an address to reply to. A Unix sender may have none.
    pub answerable: bool,
    /// True if the system reports that the destination was a broadcast or multicast address.
    pub to_group: bool,
    /// True if the control messages did not fit into their buffer (`MSG_CTRUNC`). The destination
    /// may then be a group although [`to_group`](Message::to_group) is false.
    pub control_truncated: bool,
    /// The number of datagrams or trains that the socket has dropped since its creation because its
    /// receive buffer was full (`SO_RXQ_OVFL`; wraps). `None` if the system does not report it.
    pub overflow: Option<u32>,
}

impl<'a> Message<'a> {
    /// Returns the number of datagrams, at least 1. A single datagram may be empty.
    pub fn count(&self) -> usize {
        Train::of(0, self.bytes.len(), self.segment_bytes).datagrams
    }

    /// Returns the bytes of each datagram.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        datagrams(self.bytes, self.segment_bytes)
    }
}

/// A reply that owns its address and bytes, a datagram or a train. The caller keeps it until it can
/// be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The address to send to.
    pub peer: SockAddr,
    /// The address of this host to send from.
    pub source: Option<LocalAddr>,
    /// The bytes to send.
    pub bytes: Box<[u8]>,
    /// The length of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
}

impl Parcel {
    /// Returns the number of datagrams.
    pub fn count(&self) -> usize {
        Train::of(0, self.bytes.len(), self.segment_bytes).datagrams
    }

    /// Returns each datagram as a separate parcel, or `None` for one that needs more memory than
    /// there is.
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

/// Returns the bytes of each datagram of a train, or of a single datagram.
fn datagrams(bytes: &[u8], segment_bytes: usize) -> impl DoubleEndedIterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    bytes.chunks(segment_bytes.max(1)).chain(empty)
}

/// Returns the concatenation of `parts`, whose total length is `length`, or `None` if there is not
/// enough memory.
pub(super) fn joined<'a>(
    length: usize,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Box<[u8]>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
    Some(bytes.into())
}

/// How full a send buffer is, as the system counts. The count includes the system's overhead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBufUse {
    /// The bytes of sent datagrams that no receiver has read yet.
    pub used_bytes: usize,
    /// The number of used bytes from which on a send blocks.
    pub size_bytes: usize,
}

/// A socket that can report how full its send buffer is.
pub trait SendBuf {
    /// Returns how full the send buffer is if unread datagrams occupy it, as those of Unix sockets
    /// on Linux do, and `None` otherwise. Makes a system call.
    fn send_buf_use(&self) -> Option<SendBufUse>;
}

/// Slots for received messages, and the queue of replies to them.
///
/// A batch allocates its memory when it is created. After that only [`parcel`](Batch::parcel)
/// allocates. The expected order of calls is [`receive`](Batch::receive), then
/// [`message`](Batch::message) and [`queue_reply`](Batch::queue_reply) for each index below the
/// count, then [`send`](Batch::send) and [`dequeue`](Batch::dequeue) until nothing is
/// [queued](Batch::queued).
pub trait Batch {
    /// The socket that receives and sends.
    type Socket: SendBuf + ?Sized;

    /// The name of the system call by which the batch receives.
    const RECEIVE: &'static str = "recvfrom";

    /// The name of the system call by which the batch sends.
    const SEND: &'static str = "sendto";

    /// The name of the system call that sends a parcel.
    const SEND_PARCEL: &'static str = "sendto";

    /// Receives up to `limit` messages, at most one per slot. Discards the messages of the previous
    /// call and the replies that are still queued.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no message is queued, and all errors of recvmsg(2). If an error occurs after
    /// some messages, the next call for the same socket returns it.
    fn receive(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// Returns a message of the last receive.
    ///
    /// # Panics
    ///
    /// If `index` is not below the count received.
    fn message(&self, index: usize) -> Message<'_>;

    /// Queues the reply to a message. It leaves from the address that the message was sent to, and
    /// goes to `to`, or to the sender if `to` is `None`. It joins the latest train to that sender
    /// if `trains` allows that, and forms a new train otherwise.
    ///
    /// # Panics
    ///
    /// If `index` is not below the count received.
    fn queue_reply(&mut self, index: usize, to: Option<&SockAddr>, trains: TrainLimit);

    /// Returns the trains of replies in the queue. A single reply is a train of one.
    fn queued(&self) -> &[Train];

    /// Copies the first train of the queue. The copy's address is the sender's. Returns `None` if
    /// there is not enough memory.
    ///
    /// # Panics
    ///
    /// If the queue is empty.
    fn parcel(&self) -> Option<Parcel>;

    /// Sends up to `limit` trains from the front of the queue, and returns how many (at least 1).
    /// They stay in the queue until the caller [removes](Batch::dequeue) them.
    ///
    /// # Errors
    ///
    /// If the first train of the queue cannot be sent. None of its datagrams is sent then.
    fn send(&mut self, socket: &Self::Socket, limit: usize) -> io::Result<usize>;

    /// Removes the first `count` trains from the queue, whether sent or not.
    fn dequeue(&mut self, count: usize);

    /// Sends a parcel.
    ///
    /// # Errors
    ///
    /// All errors of sendmsg(2).
    fn send_parcel(&mut self, socket: &Self::Socket, parcel: &Parcel) -> io::Result<()>;
}

#[cfg(test)]
mod tests;
