//! Linux system calls that neither std nor socket2 offers. [`sys_portable.rs`](super::sys) has the
//! same interface for other systems. This is the only module with `unsafe`.
//!
//! It uses libc because rustix lacks recvmmsg, nix's sendmmsg shares one control buffer among all
//! messages, and mio, std and socket2 have none of these calls.

#![allow(unsafe_code)]
// The C interfaces take sizes of structures and numbers of slots as 32-bit integers.
#![allow(clippy::cast_possible_truncation)]
// C libraries declare some lengths and flags as different integer types.
#![allow(clippy::unnecessary_cast)]

mod address;
mod calls;
#[cfg(feature = "program")]
mod clock;
mod control;
mod message;
mod mmsg;
mod options;
mod packets;
mod raw;
mod splice;
#[cfg(feature = "program")]
mod stamps;
#[cfg(feature = "program")]
mod standard;
mod tcp_info;

pub(super) use libc::O_PATH;
use mio::Interest;

pub(crate) use self::address::unix_name;
pub(super) use self::address::{abstract_name, address_bytes};
pub(super) use self::calls::{
    bind_with_mode, enable_destination_and_overflow, force_send_buf, lost_datagrams, peek_bytes,
    receive_bytes, receive_unix, send_bytes, share_port, unsent_bytes,
};
#[cfg(feature = "program")]
pub(crate) use self::clock::clock_error;
use self::message::header;
pub(super) use self::message::{receive_train, receive_trains, send_message};
pub(super) use self::options::{
    congestion, has_protocol, keepalive, keepalive_gives_up_after, keepalive_times, listens,
    set_congestion,
};
pub(super) use self::packets::{
    bind_to_interface, busy_poll, is_multipath, multipath, pick_port_at_connect, set_busy_poll,
    set_traffic_class_ipv6, traffic_class_ipv6,
};
pub(super) use self::raw::RawMessages;
pub(super) use self::splice::{pipe, set_pipe_size, splice, without_sigpipe};
#[cfg(feature = "program")]
pub(super) use self::stamps::{enable_stamps, next_sent_stamp, receive_stamped, send_stamped};
#[cfg(feature = "program")]
pub(crate) use self::standard::{was_stdin_closed, was_stdout_closed};
pub(super) use self::tcp_info::{acked_bytes, tcp_info};

/// Flags for sends. A write to a closed peer then fails with EPIPE and raises no SIGPIPE, which
/// ends a process that does not ignore it (send(2)).
pub(crate) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;

/// The events of a stream: both directions, and out-of-band data. A read stops short at the
/// out-of-band mark, and must not be taken for the read that emptied the socket.
pub(crate) const STREAM_INTEREST: Interest =
    Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

/// True if [`peek_bytes`] is supported.
pub(super) const CAN_PEEK: bool = true;
