//! How bytes move: socket2 creates the sockets, non-blocking from the start, and mio polls them.
//!
//! Nothing here knows the loop, slabs or echo. This folder contains all differences between the
//! transports: [`Stream`] and [`Listener`] for TCP and Unix streams, [`Datagram`] and its batches
//! for UDP and Unix datagrams.

pub mod batch;
mod connect;
mod datagram;
mod deferred;
mod dscp;
mod facts;
mod hints;
mod inherited;
mod listener;
mod local_addrs;
mod open_all;
mod options;
mod path;
mod peer;
mod pipe;
mod reply_path;
#[cfg(feature = "program")]
pub(crate) mod stamps;
mod stream;
mod tcp_info;
// The only choice of the platform. Both modules have the same interface.
#[cfg(target_os = "linux")]
mod sys;
#[cfg(not(target_os = "linux"))]
#[path = "socket/sys_portable.rs"]
mod sys;

#[cfg(feature = "program")]
pub(crate) use self::connect::refuse_self_connection;
pub use self::datagram::Datagram;
pub use self::dscp::Dscp;
pub use self::facts::SocketFacts;
#[cfg(feature = "program")]
pub(crate) use self::hints::{connect_error, out_of_ports};
pub use self::listener::Listener;
pub use self::local_addrs::{BindAddr, LocalAddrs, LocalUse};
pub use self::open_all::open_all;
pub use self::options::{Keepalive, MSS_RANGE, PortUse, SocketOptions};
pub use self::peer::Peer;
pub(crate) use self::pipe::{Pipe, PipePool, Splice};
pub(crate) use self::reply_path::{ReplyPath, ReplyPathError, ReplyPathFinder};
pub use self::stream::Stream;
pub(crate) use self::stream::{Peek, SendQueue};
pub(crate) use self::sys::{SEND_FLAGS, STREAM_INTEREST, unix_name};
#[cfg(feature = "program")]
pub(crate) use self::sys::{clock_error, was_stdin_closed, was_stdout_closed};
pub use self::tcp_info::TcpInfo;

/// How far the system's clock may be off, as the kernel knows it.
#[cfg(feature = "program")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockError {
    /// A program keeps the clock synchronized.
    pub(crate) is_synchronized: bool,
    pub(crate) estimated: std::time::Duration,
    pub(crate) most: std::time::Duration,
}
