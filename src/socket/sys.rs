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
mod raw;
mod splice;

pub(super) use self::address::address_bytes;
pub(crate) use self::address::unix_name;
pub(super) use self::calls::{
    acked_bytes, clear_umask_of_thread, force_send_buf, lost_datagrams, note_destination,
    note_overflow, peek_bytes, receive, receive_bytes, send_bytes, unsent_bytes,
};
use self::message::header;
pub(super) use self::message::{receive_train, receive_trains, send_message};
pub(super) use self::raw::RawMessages;
pub(super) use self::splice::{pipe, set_pipe_size, splice, without_sigpipe};
