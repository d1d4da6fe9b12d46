//! What Linux offers and neither std nor socket2 has, by libc. [`sys_portable.rs`](super::sys) has
//! the same interface for other systems. `unsafe` stands here and nowhere else.
//!
//! By libc because rustix lacks recvmmsg, nix's sendmmsg shares one control buffer among all
//! messages, and mio, std and socket2 have none of it.

#![allow(unsafe_code)]
// Sizes of structures and numbers of slots, which the C interfaces take as 32-bit integers.
#![allow(clippy::cast_possible_truncation)]
// Lengths and flags that one C library declares as other integers than the next.
#![allow(clippy::unnecessary_cast)]

mod address;
mod calls;
mod control;
mod message;
mod mmsg;
mod options;
mod raw;
mod splice;
#[cfg(feature = "program")]
mod standard;
mod tcp_info;

pub(super) use libc::O_PATH;

pub(crate) use self::address::unix_name;
pub(super) use self::address::{abstract_name, address_bytes};
pub(super) use self::calls::{
    bind_with_mode, force_send_buf, lost_datagrams, note_destination_and_overflow, peek_bytes,
    receive_bytes, receive_unix, send_bytes, share_port, unsent_bytes,
};
use self::message::header;
pub(super) use self::message::{receive_train, receive_trains, send_message};
pub(super) use self::options::{
    congestion, has_protocol, keepalive, keepalive_gives_up_after, keepalive_times, listens,
    set_congestion,
};
pub(super) use self::raw::RawMessages;
pub(super) use self::splice::{pipe, set_pipe_size, splice, without_sigpipe};
#[cfg(feature = "program")]
pub(crate) use self::standard::was_stdout_closed;
pub(super) use self::tcp_info::{acked_bytes, tcp_info};

/// A peer that has closed answers a write with EPIPE, never with the SIGPIPE that ends a process
/// which has not switched it off (send(2)).
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;

/// Whether a stream's input can be seen without being taken.
pub(super) const CAN_PEEK: bool = true;
