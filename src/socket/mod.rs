//! How bytes move: sockets made with socket2, non-blocking from birth, and handed to mio.
//!
//! Nothing here knows of the loop, of slabs or of echo. All difference between the transports is
//! in this folder: [`Stream`] and [`Listener`] for TCP and Unix streams, [`Datagram`] and its
//! batches for UDP and Unix datagrams.

mod inherited;
mod hints;
pub mod batch;
mod datagram;
mod open_all;
mod listener;
mod options;
mod path;
mod peer;
mod pipe;
mod stream;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod sys;
mod target;
mod reply_path;

#[cfg(feature = "program")]
pub(crate) use self::hints::{connect_error, out_of_ports};
pub use self::datagram::Datagram;
pub use self::open_all::open_all;
pub use self::listener::Listener;
pub use self::options::{Keepalive, PortUse, SocketOptions};
pub use self::peer::Peer;
pub(crate) use self::pipe::{Pipe, PipePool, Splice};
pub use self::stream::Stream;
pub(crate) use self::stream::{Peek, SEND_FLAGS, SendQueue};
pub use self::target::Target;
pub(crate) use self::target::refuse_self_connection;
pub(crate) use self::reply_path::{ReplyPathError, ReplyPathFinder, ReplyPath, unix_name};
