//! The raw message headers of a batch, and the memory that they point to.

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

/// The distance between the end of a slot and the next slot: one cache line. If slots began at
/// multiples of a power of two, the first lines of all small datagrams would share one set of the
/// first-level cache.
const SLOT_STAGGER_BYTES: usize = 64;

/// Slots that recvmmsg(2) fills, and replies from these slots that sendmmsg(2) sends. A reply uses
/// the bytes, the address and the control buffer of its message, so nothing is copied. The kernel
/// gathers a train of replies from the slots of its messages.
pub(in crate::socket) struct RawMessages {
    // The headers point into the vectors below them and into the reply. None of these is ever
    // resized, and moving this struct does not move their heap blocks.
    received_headers: Vec<mmsghdr>,
    /// One header per train.
    reply_headers: Vec<mmsghdr>,
    _received_parts: Vec<iovec>,
    /// One part per reply. The parts of a train are adjacent.
    reply_parts: Vec<iovec>,
    names: Vec<SockAddr>,
    /// For each message the address that its reply goes to instead of the sender's.
    redirects: Vec<Option<SockAddr>>,
    has_redirects: bool,
    _controls: Vec<ReceivedControl>,
    arena: Vec<u8>,
    options: BatchOptions,
    received: usize,
    control_infos: Vec<ControlInfo>,
    /// The length of the control buffer in each header that no receive has used since it was set.
    control_bytes: usize,
    calls: Calls,
    /// While [`RawMessages::lay_out`] runs, the index of the next part of each train.
    next_parts: Vec<usize>,
}

// SAFETY: the raw pointers point into heap blocks that only this struct owns and refers to.
unsafe impl Send for RawMessages {}

impl RawMessages {
    /// Creates empty slots. A page of their memory becomes resident when it is first used.
    pub(in crate::socket) fn new(options: BatchOptions) -> RawMessages {
        let slots = options.slots;
        let stride = options.slot_bytes + SLOT_STAGGER_BYTES;
        let mut arena = vec![0_u8; slots * stride];
        // SAFETY: a length of 0 needs no valid bytes.
        let unnamed = unsafe { SockAddr::new(SockAddrStorage::zeroed(), 0) };
        // The kernel writes to the storage inside each SockAddr, which is a private field.
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
            control_infos: vec![ControlInfo::default(); slots],
            // No header states its buffers yet, so the first receive sets all of them.
            control_bytes: usize::MAX,
            calls: Calls::default(),
            next_parts: Vec::with_capacity(slots),
            options,
        }
    }

    /// Receives up to `limit` messages into the slots. Without `takes_control` the kernel gets no
    /// buffer for control messages.
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
        // The kernel has changed only the headers of received messages.
        for header in &mut self.received_headers[..self.received] {
            prepare_receive(header, control_bytes);
        }
        self.received = 0;
        if std::mem::take(&mut self.has_redirects) {
            self.redirects.fill(None);
        }
        let headers = &mut self.received_headers[..limit.min(self.options.slots)];
        // SAFETY: each header has a name, one part and a control buffer of the lengths that it
        // states. This struct owns them, and nothing borrows them.
        self.received = unsafe { self.calls.receive(fd, headers) }?;
        let headers = &headers[..self.received];
        let received = headers.iter().zip(&mut self.control_infos).zip(&mut self.names);
        for ((header, info), name) in received {
            // SAFETY: the kernel has written this header and its control buffer, which this struct
            // owns.
            *info = unsafe { ControlInfo::read(&header.msg_hdr) };
            info.is_truncated &= control_bytes > 0;
            // SAFETY: the storage was zeroed, and the kernel has written this many bytes of it.
            unsafe { name.set_length(name_length(header)) };
        }
        Ok(self.received)
    }

    fn received_header(&self, index: usize) -> &mmsghdr {
        assert!(index < self.received, "message {index} of {}", self.received);
        &self.received_headers[index]
    }

    /// Returns how many bytes of a message are in its slot.
    fn length(&self, index: usize) -> usize {
        (self.received_header(index).msg_len as usize).min(self.options.slot_bytes)
    }

    /// Returns the length of each datagram but the last of a message with `length` bytes in its
    /// slot.
    fn segment_bytes(&self, index: usize, length: usize) -> usize {
        let segment_bytes = self.control_infos[index].segment_bytes.filter(|bytes| *bytes > 0);
        segment_bytes.unwrap_or(length).min(length)
    }

    fn slot_start(&self, index: usize) -> usize {
        index * (self.options.slot_bytes + SLOT_STAGGER_BYTES)
    }

    /// Returns the content of a slot. Inlined, so that each caller reads only the fields that it
    /// uses.
    #[inline(always)]
    pub(in crate::socket) fn message(&self, index: usize) -> Message<'_> {
        let header = self.received_header(index);
        let (start, length) = (self.slot_start(index), self.length(index));
        let (from, info) = (&self.names[index], &self.control_infos[index]);
        Message {
            from,
            to: info.destination,
            bytes: &self.arena[start..start + length],
            segment_bytes: self.segment_bytes(index, length),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            // The address of an unnamed Unix sender is empty, or contains only the family.
            answerable: from.len() as usize > size_of::<sa_family_t>(),
            to_group: info.to_group,
            control_truncated: info.is_truncated,
            overflow: info.overflow,
        }
    }

    /// Returns the sender of a message, and the address of this host that it was sent to.
    pub(in crate::socket) fn addresses(&self, index: usize) -> (&SockAddr, Option<LocalAddr>) {
        assert!(index < self.received, "message {index} of {}", self.received);
        (&self.names[index], self.control_infos[index].destination)
    }

    /// Returns the bytes of the reply to a message.
    pub(in crate::socket) fn reply(&self, index: usize) -> &[u8] {
        match &self.options.reply {
            Some(reply) => reply,
            None => self.message(index).bytes,
        }
    }

    /// Returns the reply to a message as a separate train.
    pub(in crate::socket) fn train_of(&self, index: usize) -> Train {
        let length = self.length(index);
        match &self.options.reply {
            Some(reply) => Train::of(index, reply.len(), reply.len()),
            None => Train::of(index, length, self.segment_bytes(index, length)),
        }
    }

    /// Sets the address that the reply to a message goes to instead of the sender's.
    pub(in crate::socket) fn redirect(&mut self, index: usize, to: &SockAddr) {
        assert!(index < self.received, "message {index} of {}", self.received);
        self.redirects[index] = Some(to.clone());
        self.has_redirects = true;
    }

    /// Writes the headers of the trains and the parts of the replies. Each reply is the number of
    /// its train and the index of its message.
    pub(in crate::socket) fn lay_out(&mut self, trains: &[Train], replies: &[(usize, usize)]) {
        self.next_parts.clear();
        let parts_start = self.reply_parts.as_mut_ptr();
        let mut place = 0;
        for (train, reply_header) in trains.iter().zip(&mut self.reply_headers) {
            let segment_bytes =
                if train.datagrams > 1 { u16::try_from(train.segment_bytes).ok() } else { None };
            assert!(train.index < self.received);
            let request = &self.received_headers[train.index].msg_hdr;
            // The request's control messages have been read, so the reply's can overwrite them.
            let control = request.msg_control.cast::<Control>();
            let source = self.control_infos[train.index].destination;
            // SAFETY: the pointer is to this slot's control buffer, which nothing borrows now.
            let control_length = write_control(unsafe { &mut *control }, source, segment_bytes);
            let header = &mut reply_header.msg_hdr;
            header.msg_iov = parts_start.wrapping_add(place);
            header.msg_iovlen = train.parts as _;
            let to = self.redirects[train.index].as_ref().unwrap_or(&self.names[train.index]);
            (header.msg_name, header.msg_namelen) = (to.as_ptr().cast_mut().cast(), to.len());
            header.msg_control = if control_length > 0 { control.cast() } else { ptr::null_mut() };
            header.msg_controllen = control_length as _;
            self.next_parts.push(place);
            place += train.parts;
        }
        // The headers let the kernel read this many parts.
        assert!(place <= self.options.slots);
        for &(train, index) in replies {
            let part = self.reply_part(index);
            let place = &mut self.next_parts[train];
            assert!(*place < self.options.slots);
            // SAFETY: there is a part for each slot, and nothing borrows them now.
            unsafe { *parts_start.add(*place) = part };
            *place += 1;
        }
    }

    /// Returns the same bytes as [`RawMessages::reply`], but without a reference to them.
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
        let last = first.saturating_add(limit).min(self.next_parts.len());
        let headers = &mut self.reply_headers[first..last];
        // SAFETY: the headers are valid. Each points to a name, its parts and perhaps control
        // messages that this struct owns, and nothing borrows these mutably.
        unsafe { self.calls.send(fd, headers) }
    }
}

/// Sets the lengths of the name and the control buffer in a header, for a receive.
fn prepare_receive(header: &mut mmsghdr, control_bytes: usize) {
    header.msg_hdr.msg_namelen = size_of::<SockAddrStorage>() as socklen_t;
    header.msg_hdr.msg_controllen = control_bytes as _;
    header.msg_hdr.msg_flags = 0;
}

/// Returns the length of the sender's address as a send accepts it. For a path that fills
/// `sun_path` and so has no terminating zero byte, the kernel states one byte more than it accepts
/// (unix(7), Bugs).
fn name_length(header: &mmsghdr) -> socklen_t {
    const LENGTH_MAX: socklen_t = size_of::<libc::sockaddr_un>() as socklen_t;
    header.msg_hdr.msg_namelen.min(LENGTH_MAX)
}
