//! The kernel's timestamps of probes and of their echoes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::measured::{Passage, Stretches};
use crate::socket::stamps::{enable_stamps, send_stamped, take_sent_stamp, wall_clock_ns};
use crate::units::duration_ns;

/// Probes whose echo is awaited and whose timestamps are kept.
const AWAITED_MAX: usize = 1 << 12;

/// The timestamps of the probes of one socket.
#[derive(Debug)]
pub(super) struct Stamps {
    is_stream: bool,
    /// Bytes of a stream, or timestamps of datagrams, that were asked for so far.
    place: u32,
    /// The difference between the place of a probe and the kernel's key of it; `None` before the
    /// first timestamp, and after a send failed.
    key_offset: Option<u32>,
    awaited: VecDeque<Sent>,
    /// When the kernel got the last bytes, and when the program had them, by the wall clock.
    arrived_ns: Option<u64>,
    received_ns: u64,
}

/// A probe that was sent.
#[derive(Debug)]
struct Sent {
    number: u64,
    called_at: Instant,
    called_ns: u64,
    /// The place of its last byte, or of its timestamp.
    place: u32,
    sent_ns: Option<u64>,
}

impl Stamps {
    /// Prepares a connected socket. Returns `None` if the system has no timestamps for it.
    pub(super) fn enable(socket: &impl AsFd, is_stream: bool) -> Option<Stamps> {
        enable_stamps(socket).ok()?;
        Some(Stamps {
            is_stream,
            place: 0,
            key_offset: None,
            awaited: VecDeque::new(),
            arrived_ns: None,
            received_ns: 0,
        })
    }

    /// Notes that a probe of this length is about to be sent.
    pub(super) fn begin(&mut self, number: u64, length: usize, called_at: Instant) {
        if self.awaited.len() == AWAITED_MAX {
            self.awaited.pop_front();
        }
        // The kernel counts modulo 2^32, the bytes of a stream and the datagrams from 0.
        let bytes = u32::try_from(length).unwrap_or(0);
        let place = if self.is_stream { self.place.wrapping_add(bytes) } else { self.place };
        let called_ns = wall_clock_ns();
        self.awaited.push_back(Sent { number, called_at, called_ns, place, sent_ns: None });
    }

    /// Sends bytes of the probe that was begun last.
    pub(super) fn send(&mut self, socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        let count = send_stamped(socket, bytes, None).inspect_err(|error| {
            if error.kind() != io::ErrorKind::WouldBlock {
                // Some kernels count a timestamp of a packet that was not sent, and some do not.
                self.key_offset = None;
            }
        })?;
        let taken = if self.is_stream { u32::try_from(count).unwrap_or(0) } else { 1 };
        self.place = self.place.wrapping_add(taken);
        self.collect(socket);
        Ok(count)
    }

    /// Notes that the probe that was begun last was not sent.
    pub(super) fn cancel(&mut self) {
        self.awaited.pop_back();
    }

    /// Reads the timestamps in the error queue.
    pub(super) fn collect(&mut self, socket: &impl AsFd) {
        let (awaited, key_offset) = (&mut self.awaited, &mut self.key_offset);
        let Some(last) = awaited.back().map(|last| (last.place, last.called_ns)) else { return };
        take_sent_stamp(socket, |stamp| {
            if key_offset.is_none() && stamp.sent_ns >= last.1 {
                *key_offset = Some(last.0.wrapping_sub(stamp.key));
            }
            let place = key_offset.map(|offset| stamp.key.wrapping_add(offset));
            let sent = awaited.iter_mut().rfind(|sent| Some(sent.place) == place);
            if let Some(sent) = sent.filter(|sent| sent.sent_ns.is_none()) {
                sent.sent_ns = Some(stamp.sent_ns);
            }
            false // the queue is read to its end
        });
    }

    /// Notes that bytes were received.
    pub(super) fn received(&mut self, arrived_ns: Option<u64>) {
        self.received_ns = wall_clock_ns();
        self.arrived_ns = arrived_ns;
    }

    /// Returns where the time of a probe went whose echo is what was received last. `None` if a
    /// timestamp is missing or belongs to another packet.
    pub(super) fn take(
        &mut self,
        socket: &impl AsFd,
        number: u64,
        received_at: Instant,
    ) -> Option<Stretches> {
        self.collect(socket);
        let place = self.awaited.iter().position(|sent| sent.number == number)?;
        let sent = self.awaited.remove(place)?;
        let passage = Passage {
            called_ns: sent.called_ns,
            sent_ns: sent.sent_ns?,
            arrived_ns: self.arrived_ns?,
            received_ns: self.received_ns,
        };
        let round_trip: Duration = received_at.saturating_duration_since(sent.called_at);
        passage.stretches(duration_ns(round_trip))
    }
}
