//! The options of an echo server, independent of the command line.

use std::time::Duration;

use super::access::Access;
use super::bounds::EXCESS_BYTES_PER_SECOND_MAX;
use crate::socket::SocketOptions;

/// The reply to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// The message itself (RFC 862).
    #[default]
    Echo,
    /// The same bytes for every message.
    Text(Box<[u8]>),
    /// No reply (RFC 863).
    Nothing,
}

/// The options of a [`Server`](super::Server).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The reply to each message.
    pub reply: Reply,
    /// Serve one connection or one datagram, then stop the loop.
    pub one_off: bool,
    /// Stop accepting at this many open connections, and go on when one closes. Keep it below the
    /// descriptor limit.
    pub connections_max: usize,
    /// Close a connection after accept(2) if its address already has this many open connections.
    /// IPv6 addresses count by /64, IPv4-mapped addresses as IPv4.
    pub connections_per_address_max: Option<usize>,
    /// The addresses that are served over TCP and UDP. A connection from any other address closes
    /// after accept(2). A datagram from any other address is dropped, and its bytes are not looked
    /// at.
    pub access: Access,
    /// Do not answer UDP datagrams that no client sends. An attacker sends them to make this and
    /// another service answer each other without end. They come from port 0, from ports below 1024,
    /// from ports of services known to answer anything, and from ports of this process's own UDP
    /// endpoints; from multicast, broadcast and unspecified addresses; or they are sent to a
    /// broadcast or multicast address (on Linux, where the system reports it). Do not answer Unix
    /// datagrams if the path of their sender leads to another socket, such as one of this server
    /// (on Linux, where `/proc` is mounted).
    pub loop_guard: bool,
    /// Answer at most this many UDP datagrams per second from one source, and at most as many at
    /// once. IPv6 addresses count by /64, IPv4-mapped addresses as IPv4.
    pub datagrams_per_second_max: Option<u64>,
    /// If a [`Reply::Text`] is longer than the datagram, send one UDP source per second at most
    /// this many bytes more than it has sent. Without this limit, an attacker that forges the
    /// address of a victim makes the server send the victim more bytes than the attacker sends. The
    /// limit applies to sockets that are not bound to a loopback address. That many bytes, or one
    /// reply, may leave at once. Sources count as for
    /// [`datagrams_per_second_max`](Options::datagrams_per_second_max), which applies as well.
    pub excess_bytes_per_second_max: Option<u64>,
    /// Close a connection that moved no byte for this long.
    pub idle_timeout: Option<Duration>,
    /// Close a connection whose peer has taken none of its reply for this long, whether the server
    /// or the kernel holds the reply. Drop the held replies to a Unix datagram peer that has taken
    /// none for this long. The server sees that a slow peer reads when the peer's system opens the
    /// window again: after a segment, or after a sixteenth of the peer's receive buffer if that is
    /// more. Time in which the process is halted does not count.
    pub stall_timeout: Duration,
    /// Wait this long for peers to finish when draining.
    pub drain_timeout: Duration,
    /// Give the [`Observer`](super::Observer) the counters at this interval.
    pub report_interval: Option<Duration>,
    /// Receive and send UDP datagrams in trains where the system supports it
    /// ([`Train`](crate::socket::batch::Train)).
    pub trains: bool,
    /// Move the bytes of streams in bulk through a pipe, so that they never enter user space
    /// (Linux).
    ///
    /// The pipe holds references to pages. A peer on this host that sends its own pages by
    /// sendfile(2), splice(2) or vmsplice(2), and changes them before it has received the echo,
    /// gets the changed bytes back.
    pub splice: bool,
    /// The settings of every socket.
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
