//! recvmmsg, sendmmsg and their control messages by libc: the one module with `unsafe`.
//!
//! By libc because rustix lacks recvmmsg, nix's sendmmsg shares one control buffer among all
//! messages, and mio, std and socket2 have none of it.

#![allow(unsafe_code)]
// Sizes of structures and numbers of slots, which the C interfaces take as 32-bit integers.
#![allow(clippy::cast_possible_truncation)]

mod calls;
mod control;
mod train;

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{c_uint, iovec, mmsghdr, msghdr, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

pub(super) use self::calls::{
    force_send_buf, note_destination, note_overflow, receive, unsent_bytes,
};
use self::control::{CONTROL_BYTES, Control, Notes, write_notes};
pub(super) use self::train::{receive_train, receive_trains, send_train};
use super::Datagram;
use super::SEND_FLAGS;
use super::batch::{Batch, BatchOptions, Line, Message, Parcel, SendBufUse};

/// Slots lie one cache line further apart than they are long. At a distance of a power of two the
/// first lines of all small datagrams would fall into one set of the first-level cache.
const SLOT_STAGGER_BYTES: usize = 64;

/// A batch on recvmmsg(2) and sendmmsg(2).
///
/// An answer uses the received datagram's own buffers: nothing is copied.
pub struct LinuxBatch {
    // The headers point into the vectors below them and into the reply, none of which is ever
    // resized: their heap blocks stay where they are when the batch moves.
    received_headers: Vec<mmsghdr>,
    answer_headers: Vec<mmsghdr>,
    _received_parts: Vec<iovec>,
    _answer_parts: Vec<iovec>,
    names: Vec<SockAddrStorage>,
    _controls: Vec<Control>,
    arena: Vec<u8>,
    options: BatchOptions,
    received: usize,
    line: Line,
    overflow: Option<u32>,
}

// SAFETY: the raw pointers point into heap blocks that the batch owns and that nobody else knows.
unsafe impl Send for LinuxBatch {}

impl std::fmt::Debug for LinuxBatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = (&self.options, self.received, &self.line);
        formatter.debug_tuple("LinuxBatch").field(&fields).finish_non_exhaustive()
    }
}

impl LinuxBatch {
    /// Makes an empty batch. Its memory is touched, and so made resident, only as it is used.
    ///
    /// # Panics
    ///
    /// When there is no slot.
    pub fn new(options: BatchOptions) -> LinuxBatch {
        assert!(options.slots > 0, "a batch has slots");
        let slots = options.slots;
        let stride = options.slot_bytes + SLOT_STAGGER_BYTES;
        let mut arena = vec![0_u8; slots * stride];
        let mut names: Vec<_> = (0..slots).map(|_| SockAddrStorage::zeroed()).collect();
        let mut controls = vec![Control::EMPTY; slots];
        let part = |start: *mut u8| iovec { iov_base: start.cast(), iov_len: options.slot_bytes };
        // One base pointer a vector, and from here on no reference to a whole one: what the kernel
        // writes by the pointers derived from it must not be taken for borrowed.
        let arena_start = arena.as_mut_ptr();
        let mut received_parts: Vec<iovec> =
            (0..slots).map(|slot| part(arena_start.wrapping_add(slot * stride))).collect();
        let mut answer_parts = received_parts.clone();
        let parts = (received_parts.as_mut_ptr(), answer_parts.as_mut_ptr());
        let (names_start, controls_start) = (names.as_mut_ptr(), controls.as_mut_ptr());
        let received_headers = (0..slots)
            .map(|slot| {
                header(
                    names_start.wrapping_add(slot),
                    parts.0.wrapping_add(slot),
                    controls_start.wrapping_add(slot),
                )
            })
            .collect();
        let answer_headers = (0..slots)
            .map(|slot| header(ptr::null_mut(), parts.1.wrapping_add(slot), ptr::null_mut()))
            .collect();
        LinuxBatch {
            received_headers,
            answer_headers,
            _received_parts: received_parts,
            _answer_parts: answer_parts,
            names,
            _controls: controls,
            arena,
            received: 0,
            line: Line::new(slots),
            overflow: None,
            options,
        }
    }

    fn received_header(&self, index: usize) -> &mmsghdr {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        &self.received_headers[index]
    }

    /// The length of the sender's address, as the kernel takes it back. It tells one byte more
    /// than it takes for a path of the whole `sun_path`, which no zero byte ends (unix(7), Bugs).
    fn name_length(&self, index: usize) -> socklen_t {
        const LENGTH_MAX: socklen_t = size_of::<libc::sockaddr_un>() as socklen_t;
        self.received_header(index).msg_hdr.msg_namelen.min(LENGTH_MAX)
    }

    /// What the datagram's control messages tell.
    fn notes(&self, index: usize) -> Notes {
        // SAFETY: the kernel has written this header and its control buffer, which is ours.
        unsafe { Notes::read(&self.received_header(index).msg_hdr) }
    }
}

fn header(name: *mut SockAddrStorage, part: *mut iovec, control: *mut Control) -> mmsghdr {
    // SAFETY: all zeroes is a valid msghdr (null pointers, lengths of 0).
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.cast();
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.cast();
    mmsghdr { msg_hdr: message, msg_len: 0 }
}

impl Batch for LinuxBatch {
    type Socket = Datagram;

    fn receive(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        self.received = 0;
        self.line.clear();
        self.overflow = None;
        let limit = limit.min(self.options.slots);
        for header in &mut self.received_headers[..limit] {
            header.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: `limit` headers are valid, each with a name, one part and a control buffer of
        // the lengths it states, all owned by this batch and not borrowed.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.received_headers.as_mut_ptr(),
                limit as c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // The count only grows: the last datagram's is the newest.
        if self.received > 0 {
            self.overflow = self.notes(self.received - 1).overflow;
        }
        Ok(self.received)
    }

    fn message(&self, index: usize) -> Message<'_> {
        let header = self.received_header(index);
        let start = index * (self.options.slot_bytes + SLOT_STAGGER_BYTES);
        let length = (header.msg_len as usize).min(self.options.slot_bytes);
        Message {
            bytes: &self.arena[start..start + length],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // An unnamed Unix sender has no address at all, or its family alone.
            answerable: header.msg_hdr.msg_namelen as usize > size_of::<libc::sa_family_t>(),
        }
    }

    fn peer(&self, index: usize) -> SockAddr {
        let length = self.name_length(index);
        let name = ptr::from_ref(&self.names[index]);
        // SAFETY: the storage is copied whole from one as large; the kernel has written `length`
        // bytes of a socket address to it, or none, which is the unnamed address.
        let copied = unsafe {
            SockAddr::try_init(|storage, storage_length| {
                ptr::copy_nonoverlapping(name, storage, 1);
                *storage_length = length;
                Ok(())
            })
        };
        copied.map(|((), addr)| addr).expect("copying does not fail")
    }

    fn overflow(&self) -> Option<u32> {
        self.overflow
    }

    fn queue_answer(&mut self, index: usize) {
        let source = self.notes(index).destination;
        let name = self.received_header(index).msg_hdr.msg_name;
        let name_length = self.name_length(index);
        let bytes = self.answer(index);
        let part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };

        let place = self.line.push(index);
        // The request's control buffer has been read: the answer's control message goes there.
        let control = self.received_headers[index].msg_hdr.msg_control.cast::<Control>();
        // SAFETY: it points to this datagram's control buffer, which nobody borrows now.
        let control_length = write_notes(unsafe { &mut *control }, source, None);
        // So that a later look at the request finds this message, and nothing behind it.
        self.received_headers[index].msg_hdr.msg_controllen = control_length;
        let header = &mut self.answer_headers[place].msg_hdr;
        // SAFETY: it points to the answer part of this place, which nobody borrows now.
        unsafe { *header.msg_iov = part };
        header.msg_name = name;
        header.msg_namelen = name_length;
        header.msg_control = if control_length > 0 { control.cast() } else { ptr::null_mut() };
        header.msg_controllen = control_length;
    }

    fn answer(&self, index: usize) -> &[u8] {
        let message = self.message(index);
        self.options.reply.as_deref().unwrap_or(message.bytes)
    }

    fn parcel(&self, index: usize) -> Parcel {
        Parcel {
            peer: self.peer(index),
            source: self.notes(index).destination,
            bytes: self.answer(index).into(),
        }
    }

    fn unsent(&self) -> usize {
        self.line.unsent()
    }

    fn unsent_index(&self, nth: usize) -> usize {
        self.line.unsent_index(nth)
    }

    fn send(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        let first = self.line.passed();
        let headers = &mut self.answer_headers[first..][..limit.min(self.line.unsent())];
        // SAFETY: the headers are valid; each points to a name, a part and perhaps a control
        // message within this batch. sendmmsg writes nothing but each header's msg_len.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as c_uint,
                SEND_FLAGS,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn pass(&mut self, count: usize) {
        self.line.pass(count);
    }

    fn send_buf_use(&self, socket: &Datagram) -> Option<SendBufUse> {
        socket.send_buf_use()
    }

    fn send_parcel(&mut self, socket: &Datagram, parcel: &Parcel) -> io::Result<()> {
        let mut part = iovec {
            iov_base: parcel.bytes.as_ptr().cast_mut().cast(),
            iov_len: parcel.bytes.len(),
        };
        let mut control = Control::EMPTY;
        let control_length = write_notes(&mut control, parcel.source, None);
        let mut message =
            header(ptr::null_mut(), ptr::from_mut(&mut part), ptr::from_mut(&mut control)).msg_hdr;
        message.msg_name = parcel.peer.as_ptr().cast_mut().cast();
        message.msg_namelen = parcel.peer.len();
        message.msg_controllen = control_length;
        // SAFETY: name, part and control message outlive the call, which only reads them.
        let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &message, SEND_FLAGS) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
