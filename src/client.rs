//! What the clients without a reactor share: how they connect, and the file that a Unix datagram
//! client is answered at.

mod client_path;
pub(crate) mod connect;

use self::client_path::ClientPath;
pub(crate) use self::client_path::OnSignal;
