//! The raw message headers of a batch, and all memory that they point to.

use std::io;
use std::mem::size_of;
use std::os::fd::BorrowedFd;
use std::ptr;

use libc::{iovec, mmsghdr, sa_family_t, socklen_t};
use socket2::{SockAddr, SockAddrStorage};

use super::control::write_control;
use super::control::{Control, ControlInfo, RECEIVED_CONTROL_BYTES, ReceivedControl};
use super::message::header;
use super::mmsg::Calls;
use crate::socket::batch::{BatchOptions, LocalAddr, Message, Train};

/// Slots lie one cache line further apart than they are long. At a distance of a power of two the
/// first lines of all small datagrams would fall into one set of the first-level cache.
const SLOT_STAGGER_BYTES: usize = 64;

/// Slots that recvmmsg(2) fills, and replies from these slots that sendmmsg(2) sends. A reply uses
/// the bytes, the address and the control buffer of the message that it replies to: nothing is
/// copied, and a train of replies is gathered from the bytes of all its messages.
pub(in crate::socket) struct RawMessages {
    // The headers point into the vectors below them and into the reply, none of which is ever
    // resized: their heap blocks stay where they are when this moves.
    received_headers: Vec<mmsghdr>,
    /// One per train.
    reply_headers: Vec<mmsghdr>,
    _received_parts: Vec<iovec>,
    /// One per reply, those of a train side by side.
    reply_parts: Vec<iovec>,
    names: Vec<SockAddr>,
    /// Where the replies to some messages go instead.
    redirects: Vec<Option<SockAddr>>,
    has_redirects: bool,
    _controls: Vec<ReceivedControl>,
    arena: Vec<u8>,
    options: BatchOptions,
    received: usize,
    control: Vec<ControlInfo>,
    /// The room for control messages that every header states which no call has used.
    control_bytes: usize,
    calls: Calls,
    /// Where the next part of each train goes, while they are laid out.
    part_places: Vec<usize>,
}

// SAFETY: the raw pointers point into heap blocks that this owns and that nothing else refers to.
unsafe impl Send for RawMessages {}

impl RawMessages {
    /// Its memory is touched, and so made resident, only as it is used.
    pub(in crate::socket) fn new(options: BatchOptions) -> RawMessages {
        let slots = options.slots;
        let stride = options.slot_bytes + SLOT_STAGGER_BYTES;
        let mut arena = vec![0_u8; slots * stride];
        // SAFETY: a length of 0 needs no valid bytes.
        let unnamed = unsafe { SockAddr::new(SockAddrStorage::zeroed(), 0) };
        // The kernel writes to the storage of these, which is a private field.
        let storage_offset = unnamed.as_ptr().addr() - ptr::from_ref(&unnamed).addr();
        let mut names = vec![unnamed; slots];
        let mut controls = vec![ReceivedControl::EMPTY; slots];
        let part = |start: *mut u8| iovec { iov_base: start.cast(), iov_len: options.slot_bytes };
        // Each vector has one base pointer, and no reference to a whole vector is made after it.
        // The kernel writes through pointers derived from it, which a reference would invalidate.
        let arena_start = arena.as_mut_ptr();
        let mut received_parts: Vec<iovec> =
            (0..slots).map(|slot| part(arena_start.wrapping_add(slot * stride))).collect();
        let parts_start = received_parts.as_mut_ptr();
        let (names_start, controls_start) = (names.as_mut_ptr(), controls.as_mut_ptr());
        let received_headers = (0..slots)
            .map(|slot| {
                header(
                    names_start.wrapping_add(slot).wrapping_byte_add(storage_offset).cast(),
                    parts_start.wrapping_add(slot),
                    controls_start.wrapping_add(slot).cast(),
                )
            })
            .collect();
        let no_reply = header(ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        RawMessages {
            received_headers,
            reply_headers: vec![no_reply; slots],
            reply_parts: received_parts.clone(),
            _received_parts: received_parts,
            names,
            redirects: vec![None; slots],
            has_redirects: false,
            _controls: controls,
            arena,
            received: 0,
            control: vec![ControlInfo::default(); slots],
            // No room yet, not even for a name: the first receive makes it.
            control_bytes: usize::MAX,
            calls: Calls::default(),
            part_places: Vec::with_capacity(slots),
            options,
        }
    }

    /// Receives up to `limit` messages into the slots. Without `takes_control` there is no room for
    /// control messages.
    pub(in crate::socket) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        takes_control: bool,
        limit: usize,
    ) -> io::Result<usize> {
        let control_bytes = if takes_control { RECEIVED_CONTROL_BYTES } else { 0 };
        if control_bytes != self.control_bytes {
            self.control_bytes = control_bytes;
            self.received = self.options.slots;
        }
        // The kernel has changed the headers that it used, and no others.
        for header in &mut self.received_headers[..self.received] {
            offer(header, control_bytes);
        }
        self.received = 0;
        if std::mem::take(&mut self.has_redirects) {
            self.redirects.fill(None);
        }
        let headers = &mut self.received_headers[..limit.min(self.options.slots)];
        // SAFETY: these headers are valid, each with a name, one part and a control buffer of the
        // lengths it states, all owned by this and not borrowed.
        self.received = unsafe { self.calls.receive(fd, headers) }?;
        let headers = &headers[..self.received];
        for ((header, control), name) in headers.iter().zip(&mut self.control).zip(&mut self.names)
        {
            // SAFETY: the kernel has written this header and its control buffer, which is ours.
            *control = unsafe { ControlInfo::read(&header.msg_hdr) };
            control.is_cut &= control_bytes > 0;
            // SAFETY: the storage is zeroed, and the kernel has written this length of it.
            unsafe { name.set_length(name_length(header)) };
        }
        Ok(self.received)
    }

    fn received_header(&self, index: usize) -> &mmsghdr {
        assert!(index < self.received, "message {index} of {}", self.received);
        &self.received_headers[index]
    }

    /// How many bytes of a message are in its slot.
    fn length(&self, index: usize) -> usize {
        (self.received_header(index).msg_len as usize).min(self.options.slot_bytes)
    }

    /// The length of each of its datagrams but the last, in a slot that holds this much.
    fn segment_bytes(&self, index: usize, length: usize) -> usize {
        let segment_bytes = self.control[index].segment_bytes.filter(|bytes| *bytes > 0);
        segment_bytes.unwrap_or(length).min(length)
    }

    fn slot_start(&self, index: usize) -> usize {
        index * (self.options.slot_bytes + SLOT_STAGGER_BYTES)
    }

    /// What a slot has received. Inlined, so that each caller reads only the fields that it uses.
    #[inline(always)]
    pub(in crate::socket) fn message(&self, index: usize) -> Message<'_> {
        let header = self.received_header(index);
        let (start, length) = (self.slot_start(index), self.length(index));
        let (from, control) = (&self.names[index], &self.control[index]);
        Message {
            from,
            to: control.destination,
            bytes: &self.arena[start..start + length],
            segment_bytes: self.segment_bytes(index, length),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // An unnamed Unix sender has no address at all, or its family alone.
            answerable: from.len() as usize > size_of::<sa_family_t>(),
            to_group: control.to_group,
            control_truncated: control.is_cut,
            overflow: control.overflow,
        }
    }

    /// The sender of a message, and the address of this host that it was sent to.
    pub(in crate::socket) fn addresses(&self, index: usize) -> (&SockAddr, Option<LocalAddr>) {
        assert!(index < self.received, "message {index} of {}", self.received);
        (&self.names[index], self.control[index].destination)
    }

    /// The bytes that reply to a message.
    pub(in crate::socket) fn reply(&self, index: usize) -> &[u8] {
        match &self.options.reply {
            Some(reply) => reply,
            None => self.message(index).bytes,
        }
    }

    /// The reply to a message, as a train of its own.
    pub(in crate::socket) fn train_of(&self, index: usize) -> Train {
        let length = self.length(index);
        match &self.options.reply {
            Some(reply) => Train::of(index, reply.len(), reply.len()),
            None => Train::of(index, length, self.segment_bytes(index, length)),
        }
    }

    /// Sends the reply to a message to this address instead of its sender's.
    pub(in crate::socket) fn redirect(&mut self, index: usize, to: &SockAddr) {
        assert!(index < self.received, "message {index} of {}", self.received);
        self.redirects[index] = Some(to.clone());
        self.has_redirects = true;
    }

    /// Makes the headers and parts of the replies: a train each, with the number of the train and
    /// the index of the message of each reply.
    pub(in crate::socket) fn lay_out(&mut self, trains: &[Train], replies: &[(usize, usize)]) {
        self.part_places.clear();
        let parts_start = self.reply_parts.as_mut_ptr();
        let mut place = 0;
        for (train, reply_header) in trains.iter().zip(&mut self.reply_headers) {
            let segment_bytes =
                if train.datagrams > 1 { u16::try_from(train.segment_bytes).ok() } else { None };
            assert!(train.index < self.received);
            let request = &self.received_headers[train.index].msg_hdr;
            // The request's control messages have been read: the reply's go there.
            let control = request.msg_control.cast::<Control>();
            let source = self.control[train.index].destination;
            // SAFETY: it points to this slot's control buffer, which nothing borrows now.
            let control_length = write_control(unsafe { &mut *control }, source, segment_bytes);
            let header = &mut reply_header.msg_hdr;
            header.msg_iov = parts_start.wrapping_add(place);
            header.msg_iovlen = train.parts as _;
            let to = self.redirects[train.index].as_ref().unwrap_or(&self.names[train.index]);
            (header.msg_name, header.msg_namelen) = (to.as_ptr().cast_mut().cast(), to.len());
            header.msg_control = if control_length > 0 { control.cast() } else { ptr::null_mut() };
            header.msg_controllen = control_length as _;
            self.part_places.push(place);
            place += train.parts;
        }
        // The kernel reads this many parts.
        assert!(place <= self.options.slots);
        for &(train, index) in replies {
            let part = self.reply_part(index);
            let place = &mut self.part_places[train];
            assert!(*place < self.options.slots);
            // SAFETY: there is a part for each slot, and nothing borrows them now.
            unsafe { *parts_start.add(*place) = part };
            *place += 1;
        }
    }

    /// Where the bytes of a reply are. As [`RawMessages::reply`], without a slice of them.
    fn reply_part(&self, index: usize) -> iovec {
        let (start, length) = match &self.options.reply {
            Some(reply) => (reply.as_ptr(), reply.len()),
            None => (self.arena.as_ptr().wrapping_add(self.slot_start(index)), self.length(index)),
        };
        iovec { iov_base: start.cast_mut().cast(), iov_len: length }
    }

    /// Sends up to `limit` of the laid out trains, beginning with train `first`. Returns how many
    /// were sent.
    pub(in crate::socket) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        first: usize,
        limit: usize,
    ) -> io::Result<usize> {
        let last = first.saturating_add(limit).min(self.part_places.len());
        let headers = &mut self.reply_headers[first..last];
        // SAFETY: the headers are valid; each points to a name, its parts and perhaps control
        // messages within this, none of which is borrowed mutably.
        unsafe { self.calls.send(fd, headers) }
    }
}

/// States the room of a header's name and control buffer, for a receive.
fn offer(header: &mut mmsghdr, control_bytes: usize) {
    header.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as socklen_t;
    header.msg_hdr.msg_controllen = control_bytes as _;
    header.msg_hdr.msg_flags = 0;
}

/// The length of the sender's address, as the kernel takes it back. The kernel states one byte more
/// than it takes for a path of the whole `sun_path`, which no zero byte ends (unix(7), Bugs).
fn name_length(header: &mmsghdr) -> socklen_t {
    const LENGTH_MAX: socklen_t = size_of::<libc::sockaddr_un>() as socklen_t;
    header.msg_hdr.msg_namelen.min(LENGTH_MAX)
}
