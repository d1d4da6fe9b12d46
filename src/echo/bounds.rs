//! What the server bounds, in one place: each bound with its reason.
//!
//! Beside these: connections and their number by address, the timeouts, and the rate of answers, as
//! the [options](super::Options) say; events a poll, in the reactor; the pipes of bulk, in the pool
//! that lends them.

use std::time::Duration;

// Turns: what one source may do before the next has its slice.

/// Connections accepted in one slice. A burst longer than that takes turns with the echo of those
/// that were accepted.
pub(super) const ACCEPTS_PER_SLICE: usize = 64;

/// Reads of one slice. With the scratch buffer of 64 KiB a flooding peer moves 256 KiB before the
/// next source has its turn.
pub(super) const READS_PER_SLICE: usize = 4;

/// Bytes of one splice: more gains nothing, and half as many cost a twentieth more. A slice of
/// bulk is four of these, and takes the time of ten full reads or so.
pub(super) const SPLICE_BYTES_MAX: usize = 256 << 10;

/// Connections that one sweep for overdue peers looks at, by one or two system calls each: they
/// take about a millisecond. The next sweep goes on with the others.
pub(super) const LOOKS_PER_SWEEP: usize = 1024;

/// Batches of one slice: 256 datagrams of UDP before the next source has its turn.
pub(super) const BATCHES_PER_SLICE: usize = 4;

/// Bytes received in one slice before it ends with its batch. Batches of trains carry more than
/// their number tells, up to 4 MiB each; a megabyte takes about as long as 256 single datagrams.
pub(super) const RECEIVED_BYTES_PER_SLICE: usize = 1 << 20;

/// Failed receives of one slice. Each takes one pending error off the socket, and a router may
/// send many; an error that lasts must not keep the loop from sleeping.
pub(super) const RECEIVE_ERRORS_PER_SLICE: usize = 16;

/// Answers sent by the retries of one slice: as many as two batches of UDP.
pub(super) const RETRIED_PER_SLICE: usize = 128;

// Memory: what a peer, and all of them, may have the server hold.

/// Bytes read from a stream at once, and the most that one connection can owe.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

/// Bytes owed to all streams together, of all loops: a thousand peers that do not read. Beyond it a
/// stream is read only as far as its socket takes the echo, at the cost of one more call for each
/// read.
pub(super) const UNSENT_BYTES_MAX: usize = 64 << 20;

/// Datagrams received by one call. At the gain of one call shared among many, 64 come near to what
/// more would give; the memory is touched only as it is used.
pub(super) const UDP_SLOTS: usize = 64;

/// More than UDP can carry over IPv4 (65,507) or IPv6 (65,527, short of jumbograms).
pub(super) const UDP_SLOT_BYTES: usize = 65_535;

/// As many as a Unix receiver's queue usually holds (`net.unix.max_dgram_qlen`, 10), and some.
pub(super) const UNIX_SLOTS: usize = 16;

/// More than a Unix socket can send whose buffer was not enlarged (`net.core.wmem_default`,
/// 212,992).
pub(super) const UNIX_SLOT_BYTES: usize = 256 << 10;

/// Peers that are waited for at once: their retries cost system calls, their lists memory.
pub(super) const HELD_PEERS_MAX: usize = 256;

/// Answers held for one peer: several times the usual queue of 10 (`net.unix.max_dgram_qlen`).
pub(super) const HELD_REPLIES_PER_PEER_MAX: usize = 64;

/// Bytes held for one peer: two answers of the largest size, or all 64 of an ordinary one. Less
/// than the bound for all, so that one deaf peer does not use that up.
pub(super) const HELD_BYTES_PER_PEER_MAX: usize = 512 << 10;

/// Bytes held for all peers together.
pub(super) const HELD_BYTES_MAX: usize = 16 << 20;

/// Socket files of Unix datagram senders that are held open, each by a descriptor: several times
/// the slots of a batch, whose replies all need theirs. A further sender replaces the sender that
/// was quiet for longest.
pub(super) const REPLY_PATHS_MAX: usize = 64;

/// Sources that are remembered, [`RATE_WAYS`] in each of these sets: 16,384 in 288 KiB, allocated
/// once. More would help only against a forger of sources, which has 2^32 of them.
pub(super) const RATE_SETS: usize = 1 << 12;

/// Sources whose hashes fall into one set before the one that has been quiet for longest is
/// forgotten. At eight thousand busy sources one in 19 finds its set full (Poisson, mean 2).
pub(super) const RATE_WAYS: usize = 4;

/// Bytes per second that replies to one source may have beyond its requests, where it may be
/// forged: one reply of the greatest length. To a victim that is half a megabit per second.
pub(super) const EXCESS_BYTES_PER_SECOND_MAX: u64 = 64 << 10;

// Time: when to come back to what no event will bring.

/// How long accepting pauses after an error that only time can mend. The listener is edge-triggered
/// and still has connections queued: no event will come for them.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often a listener looks for a permit that another server may release, because the release
/// does not wake this loop. A small share of what a client waits for, at the cost of a hundred
/// slices per second. In a drain, a datagram socket looks as often whether the streams of other
/// servers are done.
pub(super) const PERMIT_RETRY: Duration = Duration::from_millis(10);

/// How long a socket whose receive goes on failing is left alone.
pub(super) const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// The first retry comes after a receiver had time to be scheduled, later ones back off: a peer
/// that has stopped reading costs 16 wake-ups per second.
pub(super) const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_millis(64);

/// How long a socket file is taken for the one that its path leads to. A new socket at the path of
/// one that is still open somewhere is not answered for that long at the most; 64 looks in that
/// time cost a thousandth of it.
pub(super) const REPLY_PATH_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// How much of a drain's time is kept for peers to take their last bytes after FIN: a quarter, and
/// no more than this.
pub(super) const LINGER_MAX: Duration = Duration::from_millis(500);

/// What is read after FIN and thrown away, in KiB: more than a peer and the systems of both ends
/// hold on their way by default. A peer that sends more than that does not mean to stop, and what
/// it sends stays in the kernel's buffer.
pub(super) const LINGER_READ_KIB_MAX: u16 = 16 << 10;
