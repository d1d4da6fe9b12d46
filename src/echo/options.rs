//! How an echo server behaves: the options as meant, whoever typed them.

use std::time::Duration;

use super::access::Access;
use super::bounds::EXCESS_BYTES_PER_SECOND_MAX;
use crate::socket::SocketOptions;

/// What a message is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// The message itself (RFC 862).
    #[default]
    Echo,
    /// The same bytes each time.
    Text(Box<[u8]>),
    /// Nothing (RFC 863).
    Nothing,
}

/// The options of a [`Server`](super::Server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a message is answered with.
    pub reply: Reply,
    /// Serve one connection or one datagram, then stop the loop.
    pub one_off: bool,
    /// Stop accepting at this many open connections, go on when one closes. To be kept below the
    /// descriptor limit.
    pub connections_max: usize,
    /// Close a further connection of an address that has this many open, once it is accepted. IPv6
    /// counts by /64, IPv4 inside IPv6 as IPv4.
    pub connections_per_address_max: Option<usize>,
    /// Who may come over TCP and UDP. A connection of anybody else closes once it is accepted; what
    /// datagrams of anybody else say is not looked at.
    pub access: Access,
    /// Leave UDP datagrams unanswered that no client sends, and that may be meant to have this and
    /// another service answer each other for ever: from port 0, ports below 1024, ports of services
    /// known to answer anything and ports of this process's own UDP endpoints; from multicast,
    /// broadcast and unspecified addresses; and those sent to a broadcast or multicast address (on
    /// Linux, where the system tells). Leave Unix datagrams unanswered whose sender's path leads to
    /// another socket, such as one of this server (on Linux, where `/proc` is mounted).
    pub loop_guard: bool,
    /// Answer so many UDP datagrams per second from one source, and as many at once.
    /// IPv6 counts by /64, IPv4 inside IPv6 as IPv4.
    pub datagrams_per_second_max: Option<u64>,
    /// Send one UDP source at most so many bytes per second more than it has sent, when an
    /// [`Reply::Text`] is longer than the datagram. Otherwise a server that other hosts can reach
    /// sends a third party more than a forger of that party's address has sent. It holds for
    /// sockets that are not bound to a loopback address. That many bytes may leave at once, or one
    /// reply. Sources count as for
    /// [`datagrams_per_second_max`](Options::datagrams_per_second_max), which holds as well.
    pub excess_bytes_per_second_max: Option<u64>,
    /// Close a connection that moved no byte for this long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose peer has taken nothing of its answer for this long, whether the
    /// server or the kernel holds the answer, and drop the answers to a Unix datagram peer that has
    /// taken none. What a slow peer reads shows when its system opens the window again: after a
    /// segment, or after a sixteenth of its receive buffer if that is more. Time in which the
    /// process is halted does not count.
    pub stall_timeout: Duration,
    /// How long a drain waits for peers to finish.
    pub drain_timeout: Duration,
    /// Give the [`Observer`](super::Observer) the counters this often.
    pub report_interval: Option<Duration>,
    /// Take UDP datagrams in trains and answer in trains, where the system can
    /// ([`Train`](crate::socket::batch::Train)).
    pub trains: bool,
    /// Let the bytes of streams in bulk go through a pipe, and so never enter user space (Linux).
    ///
    /// The pipe holds references to pages. A peer on this host that sends its own pages by
    /// sendfile(2), splice(2) or vmsplice(2), and changes them before it has received the echo,
    /// gets the changed bytes back.
    pub splice: bool,
    /// Settings of every socket.
    pub socket: SocketOptions,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reply: Reply::Echo,
            one_off: false,
            connections_max: usize::MAX,
            connections_per_address_max: None,
            access: Access::default(),
            loop_guard: true,
            datagrams_per_second_max: None,
            excess_bytes_per_second_max: Some(EXCESS_BYTES_PER_SECOND_MAX),
            idle_timeout: None,
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            report_interval: None,
            trains: true,
            splice: true,
            socket: SocketOptions::default(),
        }
    }
}
