//! Code shared by the clients without a reactor: how they connect, and the socket file at which a
//! Unix datagram client receives answers.

mod client_path;
pub(crate) mod connect;

use self::client_path::ClientPath;
pub(crate) use self::client_path::OnSignal;
