//! recvmmsg, sendmmsg and their control messages by libc: the one module with `unsafe`.
//!
//! By libc because rustix lacks recvmmsg, nix's sendmmsg shares one control buffer among all
//! messages, and mio, std and socket2 have none of it.

#![allow(unsafe_code)]
// Sizes of structures and numbers of slots, which the C interfaces take as 32-bit integers.
#![allow(clippy::cast_possible_truncation)]

mod calls;
mod control;
mod mmsg;
mod address;
mod splice;
mod train;

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use libc::{iovec, mmsghdr, msghdr, sa_family_t, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

pub(super) use self::calls::{
    acked_bytes, clear_umask_of_thread, force_send_buf, lost_datagrams, note_destination,
    note_overflow, peek_bytes, receive, receive_bytes, send_bytes, unsent_bytes,
};
use self::control::{Control, Notes, RECEIVED_CONTROL_BYTES, ReceivedControl, write_notes};
use self::mmsg::Calls;
use self::address::{hash, ip_addr, unix_name};
pub(super) use self::splice::{pipe, set_pipe_size, splice, without_sigpipe};
pub(super) use self::train::{receive_train, receive_trains, send_train};
use super::Datagram;
use super::SEND_FLAGS;
use super::batch::{Batch, BatchOptions, Line, Message, Parcel, SendBufUse, Train};
use crate::endpoint::Transport;

/// Slots lie one cache line further apart than they are long. At a distance of a power of two the
/// first lines of all small datagrams would fall into one set of the first-level cache.
const SLOT_STAGGER_BYTES: usize = 64;

/// A batch on recvmmsg(2) and sendmmsg(2).
///
/// An answer uses the received datagrams' own buffers: nothing is copied, nor is it for a train of
/// answers, which is gathered from the buffers of all that it answers.
pub struct LinuxBatch {
    // The headers point into the vectors below them and into the reply, none of which is ever
    // resized: their heap blocks stay where they are when the batch moves.
    received_headers: Vec<mmsghdr>,
    /// One a train of the line.
    answer_headers: Vec<mmsghdr>,
    _received_parts: Vec<iovec>,
    /// One an answer, those of a train side by side.
    answer_parts: Vec<iovec>,
    names: Vec<SockAddrStorage>,
    /// Where the answers to some of the received go instead.
    redirects: Vec<Option<SockAddr>>,
    has_redirects: bool,
    _controls: Vec<ReceivedControl>,
    arena: Vec<u8>,
    options: BatchOptions,
    received: usize,
    notes: Vec<Notes>,
    /// The room for control messages that every header states which no call has used.
    control_bytes: usize,
    calls: Calls,
    line: Line,
    /// Headers and parts are those of the line as it is.
    is_laid_out: bool,
    /// Where the next part of each train goes, while they are laid out.
    part_places: Vec<usize>,
    /// The longest datagrams that the socket last received from sends in trains.
    train_segment_bytes_max: usize,
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
        let mut controls = vec![ReceivedControl::EMPTY; slots];
        let part = |start: *mut u8| iovec { iov_base: start.cast(), iov_len: options.slot_bytes };
        // One base pointer a vector, and from here on no reference to a whole one: what the kernel
        // writes by the pointers derived from it must not be taken for borrowed.
        let arena_start = arena.as_mut_ptr();
        let mut received_parts: Vec<iovec> =
            (0..slots).map(|slot| part(arena_start.wrapping_add(slot * stride))).collect();
        let parts_start = received_parts.as_mut_ptr();
        let (names_start, controls_start) = (names.as_mut_ptr(), controls.as_mut_ptr());
        let received_headers = (0..slots)
            .map(|slot| {
                header(
                    names_start.wrapping_add(slot),
                    parts_start.wrapping_add(slot),
                    controls_start.wrapping_add(slot).cast(),
                )
            })
            .collect();
        let answer_headers = vec![header(ptr::null_mut(), ptr::null_mut(), ptr::null_mut()); slots];
        LinuxBatch {
            received_headers,
            answer_headers,
            answer_parts: received_parts.clone(),
            _received_parts: received_parts,
            names,
            redirects: vec![None; slots],
            has_redirects: false,
            _controls: controls,
            arena,
            received: 0,
            notes: vec![Notes::default(); slots],
            // No room yet, not even for a name: the first receive makes it.
            control_bytes: usize::MAX,
            calls: Calls::default(),
            line: Line::new(slots),
            is_laid_out: false,
            part_places: Vec::with_capacity(slots),
            train_segment_bytes_max: 0,
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

    /// The sender's address as the kernel wrote it.
    fn name(&self, index: usize) -> &[u8] {
        let name = ptr::from_ref(&self.names[index]).cast::<u8>();
        // SAFETY: the storage is zeroed or written by the kernel, and as long as any address.
        unsafe { std::slice::from_raw_parts(name, self.name_length(index) as usize) }
    }

    /// The answer to what was received at this index, as a train of its own.
    fn train_of(&self, index: usize) -> Train {
        if let Some(reply) = &self.options.reply {
            return Train::of(index, reply.len(), reply.len());
        }
        let length = self.length(index);
        Train::of(index, length, self.segment_bytes(index, length))
    }

    /// Where the bytes of an answer are. As [`Batch::answer`], without a slice of them.
    fn answer_part(&self, index: usize) -> iovec {
        let (start, length) = match &self.options.reply {
            Some(reply) => (reply.as_ptr(), reply.len()),
            None => (self.arena.as_ptr().wrapping_add(self.slot_start(index)), self.length(index)),
        };
        iovec { iov_base: start.cast_mut().cast(), iov_len: length }
    }

    fn slot_start(&self, index: usize) -> usize {
        index * (self.options.slot_bytes + SLOT_STAGGER_BYTES)
    }

    /// How much of a datagram or train is in its slot.
    fn length(&self, index: usize) -> usize {
        (self.received_header(index).msg_len as usize).min(self.options.slot_bytes)
    }

    /// The length of each of its datagrams but the last, in a slot that holds this much.
    fn segment_bytes(&self, index: usize, length: usize) -> usize {
        let segment_bytes = self.notes[index].segment_bytes.filter(|bytes| *bytes > 0);
        segment_bytes.unwrap_or(length).min(length)
    }

    /// Makes the headers and parts of the line's trains.
    fn lay_out(&mut self) {
        self.part_places.clear();
        let parts_start = self.answer_parts.as_mut_ptr();
        let mut place = 0;
        for (number, train) in self.line.trains().iter().enumerate() {
            let segment_bytes =
                if train.datagrams > 1 { u16::try_from(train.segment_bytes).ok() } else { None };
            let name_length = self.name_length(train.index);
            let request = &self.received_headers[train.index].msg_hdr;
            // The request's control messages have been read: the answer's go there.
            let control = request.msg_control.cast::<Control>();
            let source = self.notes[train.index].destination;
            // SAFETY: it points to this slot's control buffer, which nobody borrows now.
            let control_length = write_notes(unsafe { &mut *control }, source, segment_bytes);
            let header = &mut self.answer_headers[number].msg_hdr;
            header.msg_iov = parts_start.wrapping_add(place);
            header.msg_iovlen = train.parts as _;
            (header.msg_name, header.msg_namelen) = match &self.redirects[train.index] {
                Some(to) => (to.as_ptr().cast_mut().cast(), to.len()),
                None => (request.msg_name, name_length),
            };
            header.msg_control = if control_length > 0 { control.cast() } else { ptr::null_mut() };
            header.msg_controllen = control_length as _;
            self.part_places.push(place);
            place += train.parts;
        }
        for &(train, index) in self.line.members() {
            let part = self.answer_part(index);
            let place = &mut self.part_places[train];
            assert!(*place < self.options.slots);
            // SAFETY: there is a part for each slot, and nobody borrows them now.
            unsafe { *parts_start.add(*place) = part };
            *place += 1;
        }
        self.is_laid_out = true;
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

/// States the room of a header's name and control buffer, for a receive.
fn offer(header: &mut msghdr, control_bytes: usize) {
    header.msg_namelen = size_of::<SockAddrStorage>() as socklen_t;
    header.msg_controllen = control_bytes as _;
    header.msg_flags = 0;
}

/// The room for control messages. A Unix socket has none: with room, the kernel would give this
/// process every descriptor that a peer sends along (`SCM_RIGHTS`, unix(7)), until it has no more.
fn control_room(socket: &Datagram) -> usize {
    if socket.transport() == Transport::Udp { RECEIVED_CONTROL_BYTES } else { 0 }
}

impl Batch for LinuxBatch {
    type Socket = Datagram;

    fn receive(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        let control_bytes = control_room(socket);
        if control_bytes != self.control_bytes {
            self.control_bytes = control_bytes;
            self.received = self.options.slots;
        }
        // The kernel has changed the headers that it used, and no others.
        for header in &mut self.received_headers[..self.received] {
            offer(&mut header.msg_hdr, control_bytes);
        }
        self.received = 0;
        if std::mem::take(&mut self.has_redirects) {
            self.redirects.fill(None);
        }
        self.line.clear();
        self.train_segment_bytes_max = socket.train_segment_bytes_max();
        let headers = &mut self.received_headers[..limit.min(self.options.slots)];
        // SAFETY: these headers are valid, each with a name, one part and a control buffer of the
        // lengths it states, all owned by this batch and not borrowed.
        self.received = unsafe { self.calls.receive(socket.as_fd(), headers) }?;
        let headers = &headers[..self.received];
        for (header, notes) in headers.iter().zip(&mut self.notes) {
            // SAFETY: the kernel has written this header and its control buffer, which is ours.
            *notes = unsafe { Notes::read(&header.msg_hdr) };
            notes.is_cut &= control_bytes > 0;
        }
        Ok(self.received)
    }

    fn message(&self, index: usize) -> Message<'_> {
        let header = self.received_header(index);
        let (start, length) = (self.slot_start(index), self.length(index));
        Message {
            bytes: &self.arena[start..start + length],
            segment_bytes: self.segment_bytes(index, length),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // An unnamed Unix sender has no address at all, or its family alone.
            answerable: header.msg_hdr.msg_namelen as usize > size_of::<sa_family_t>(),
            to_group: self.notes[index].to_group,
            control_truncated: self.notes[index].is_cut,
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

    #[inline]
    fn sender(&self, index: usize) -> Option<SocketAddr> {
        ip_addr(self.name(index))
    }

    #[inline]
    fn unix_name(&self, index: usize) -> &[u8] {
        unix_name(self.name(index))
    }

    fn redirect(&mut self, index: usize, to: &SockAddr) {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        self.redirects[index] = Some(to.clone());
        self.has_redirects = true;
        self.is_laid_out = false;
    }

    fn overflow(&self) -> Option<u32> {
        // The count only grows: the last one's is the newest.
        self.notes[..self.received].last()?.overflow
    }

    fn queue_answer(&mut self, index: usize) {
        let answer = self.train_of(index);
        self.is_laid_out = false;
        if self.train_segment_bytes_max == 0 {
            return self.line.push(answer);
        }
        let hash = hash(self.name(index));
        let joins = self.line.joinable(&answer, hash).is_some_and(|train| {
            train.segment_bytes <= self.train_segment_bytes_max
                && self.notes[train.index].destination == self.notes[index].destination
                && self.name(train.index) == self.name(index)
        });
        self.line.add(answer, hash, joins);
    }

    fn answer(&self, index: usize) -> &[u8] {
        let message = self.message(index);
        self.options.reply.as_deref().unwrap_or(message.bytes)
    }

    fn parcel(&self, index: usize) -> Parcel {
        Parcel {
            peer: self.peer(index),
            source: self.notes[index].destination,
            bytes: self.answer(index).into(),
            segment_bytes: self.train_of(index).segment_bytes,
        }
    }

    fn unsent(&self) -> usize {
        self.line.unsent()
    }

    fn unsent_train(&self, nth: usize) -> Train {
        self.line.unsent_train(nth)
    }

    fn unforbidden(&self) -> usize {
        let longest = self.train_segment_bytes_max;
        let is_allowed = |train: &&Train| train.datagrams == 1 || train.segment_bytes <= longest;
        self.line.trains()[self.line.passed()..].iter().take_while(is_allowed).count()
    }

    fn unsent_parcel(&self) -> Parcel {
        let (number, train) = (self.line.passed(), self.line.unsent_train(0));
        let members = self.line.members().iter().filter(|(of, _)| *of == number);
        let mut bytes = Vec::with_capacity(train.bytes);
        members.for_each(|(_, index)| bytes.extend_from_slice(self.answer(*index)));
        Parcel {
            peer: self.peer(train.index),
            source: self.notes[train.index].destination,
            bytes: bytes.into(),
            segment_bytes: train.segment_bytes,
        }
    }

    fn send(&mut self, socket: &Datagram, limit: usize) -> io::Result<usize> {
        if !self.is_laid_out {
            self.lay_out();
        }
        let first = self.line.passed();
        let headers = &mut self.answer_headers[first..][..limit.min(self.line.unsent())];
        // SAFETY: the headers are valid; each points to a name, its parts and perhaps control
        // messages within this batch, none of which is borrowed mutably.
        unsafe { self.calls.send(socket.as_fd(), headers) }
    }

    fn pass(&mut self, count: usize) {
        self.line.pass(count);
    }

    fn forbid_trains(&mut self, socket: &Datagram, segment_bytes: usize) {
        socket.forbid_trains(segment_bytes);
        self.train_segment_bytes_max = socket.train_segment_bytes_max();
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
        let control_length = write_notes(&mut control, parcel.source, parcel.segment());
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
