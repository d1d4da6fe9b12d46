//! The server's bounds, each with its reason.
//!
//! Other bounds stand elsewhere: the [options](super::Options) bound connections, connections per
//! address, the timeouts and the rate of replies; the reactor bounds the events of one poll; the
//! pool of pipes bounds the pipes of bulk streams.

use std::time::Duration;

// Turns: what one source may do before the next has its slice.

/// Connections accepted in one slice. After that, the accepted connections get their slices before
/// the listener accepts more of a burst.
pub(super) const ACCEPTS_PER_SLICE: usize = 64;

/// Reads in one slice of a stream. With the scratch buffer of 64 KiB a flooding peer moves 256 KiB
/// before the next source has its slice.
pub(super) const READS_PER_SLICE: usize = 4;

/// Bytes of one splice. More gains nothing; half as many cost a twentieth more. A slice of bulk is
/// four splices, and takes about as long as ten full reads.
pub(super) const SPLICE_BYTES_MAX: usize = 256 << 10;

/// Connections that one sweep for overdue peers checks. Each check is one or two system calls, so
/// a sweep takes about a millisecond. The next sweep continues with the remaining connections.
pub(super) const LOOKS_PER_SWEEP: usize = 1024;

/// Batches in one slice: 256 UDP datagrams before the next source has its slice.
pub(super) const BATCHES_PER_SLICE: usize = 4;

/// Bytes received in one slice, after which it ends with the current batch. A batch of trains
/// carries up to 4 MiB, so a bound on batches is not enough. 1 MiB takes about as long as 256
/// single datagrams.
pub(super) const RECEIVED_BYTES_PER_SLICE: usize = 1 << 20;

/// Failed receives in one slice. Each takes one pending error off the socket, and a router may
/// cause many. An error that persists must not keep the loop from sleeping.
pub(super) const RECEIVE_ERRORS_PER_SLICE: usize = 16;

/// Held replies that the retries of one slice try to send: as many as two UDP batches.
pub(super) const RETRIED_PER_SLICE: usize = 128;

// Memory: what the server holds for one peer, and for all peers.

/// Bytes of one read of a stream, and the most that the server keeps for one connection.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// Bytes that the streams of all loops together owe: those of a thousand peers that do not read.
/// Beyond this, the server reads from a stream only what its socket takes of the echo, at the cost
/// of one more system call per read.
pub(super) const UNSENT_BYTES_MAX: usize = 64 << 20;

/// Datagrams received by one system call. More than 64 gains little. The system provides the memory
/// of a slot only when the slot is first used.
pub(super) const UDP_SLOTS: usize = 64;

/// More than UDP can carry over IPv4 (65,507 bytes) or IPv6 (65,527 bytes without jumbograms).
pub(super) const UDP_SLOT_BYTES: usize = 65_535;

/// A few more than the queue of a Unix receiver usually holds (`net.unix.max_dgram_qlen`, 10).
pub(super) const UNIX_SLOTS: usize = 16;

/// More than a Unix socket with the default send buffer can send (`net.core.wmem_default`,
/// 212,992 bytes).
pub(super) const UNIX_SLOT_BYTES: usize = 256 << 10;

/// Peers that the server holds replies for at the same time: their retries cost system calls, and
/// their lists cost memory.
pub(super) const HELD_PEERS_MAX: usize = 256;

/// Replies held for one peer: several times the usual queue of 10 (`net.unix.max_dgram_qlen`).
pub(super) const HELD_REPLIES_PER_PEER_MAX: usize = 64;

/// Bytes held for one peer: two replies of the largest size, or 64 replies of an ordinary size.
/// Less than the bound for all peers, so that one deaf peer does not use that up.
pub(super) const HELD_BYTES_PER_PEER_MAX: usize = 512 << 10;

/// Bytes held for all peers together.
pub(super) const HELD_BYTES_MAX: usize = 16 << 20;

/// Socket files of Unix datagram senders that the server holds open, each by one descriptor:
/// several times the slots of a batch, because each reply of a batch needs the file of its peer. A
/// further sender replaces the sender that has been quiet for longest.
pub(super) const REPLY_PATHS_MAX: usize = 64;

/// Sets of sources that the rate limit remembers, with [`RATE_WAYS`] sources each: 16,384 sources
/// in 288 KiB, allocated once. More would help only against an attacker that forges source
/// addresses, and such an attacker has 2^32 of them.
pub(super) const RATE_SETS: usize = 1 << 12;

/// Sources in one set. A further source replaces the source that has been quiet for longest. With
/// 8,000 busy sources, one in 19 finds its set full (Poisson, mean 2).
pub(super) const RATE_WAYS: usize = 4;

/// Bytes per second that replies to one source may exceed its requests by, where the source address
/// may be forged: one reply of the greatest length. For a victim that is half a megabit per second.
pub(super) const EXCESS_BYTES_PER_SECOND_MAX: u64 = 64 << 10;

// Time: when to retry what no event announces.

/// How long accepting pauses after an error that only time can mend. The listener is edge-triggered
/// and connections are already queued: no event will come for them.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often a listener looks for a permit that another server may release, because the release
/// does not wake this loop. It costs a hundred slices per second, and adds little to the time that
/// a client waits at the limit anyway. In a drain, a datagram socket checks at the same interval
/// whether the streams of other servers have ended.
pub(super) const PERMIT_RETRY: Duration = Duration::from_millis(10);

/// How long a socket whose receives keep failing is left alone.
pub(super) const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// When the first retry of a held reply comes: after the receiver has had time to be scheduled.
pub(super) const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
/// The longest time between retries, which back off: a peer that has stopped reading costs 16
/// wake-ups per second.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_millis(64);

/// How long the server trusts that a path still leads to the socket file that it last found there.
/// A new socket at the path of a socket that is still open gets no reply for at most this long. To
/// check 64 paths takes a thousandth of this time.
pub(super) const REPLY_PATH_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How long before its deadline a drain sends FIN, so that peers can take their last bytes. A drain
/// of less than four times this keeps a quarter of its time.
pub(super) const LINGER_MAX: Duration = Duration::from_millis(500);

/// How much the server reads after its FIN and discards, in KiB: more than the buffers of both ends
/// hold by default. A peer that sends more than this does not mean to stop; the rest stays in the
/// kernel's buffer.
pub(super) const LINGER_READ_KIB_MAX: u16 = 16 << 10;
