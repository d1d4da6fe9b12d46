//! Samples of messages with the kernel's timestamps (`--timestamps`).
//!
//! A sampled flow moves its bytes through a [`SampledStream`] or a [`SampledDatagram`] instead of
//! its socket. One of [`SENDS_PER_SAMPLE`] sends asks the kernel for a timestamp. The movers do not
//! know about samples, and flows without samples run none of this code. On a stream a sample is
//! complete when the flow has read as many bytes as it had written, because an echo has the length
//! of its message. A datagram is found by the number that it carries.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use super::clock::Clock;
use super::datagram::Wire;
use super::pattern::carried_number;
use super::recorder::Recorder;
use super::run::{Run, SCRATCH_BYTES};
use crate::endpoint::ResolvedEndpoint;
use crate::measured::{Passage, PercentileList, Split, SplitValues, Stretches};
use crate::socket::stamps::{
    StampingKernel, enable_stamps, receive_stamped, send_stamped, take_sent_stamp, wall_clock_ns,
};
use crate::socket::{Datagram, Stream};

/// Sends of a flow per sample. A sample takes some microseconds of CPU time: one more system call,
/// to read the error queue, control messages with two others, and the kernel's work for the
/// timestamps. Over this many sends that is 5 to 7 % of the CPU time per message on loopback
/// (`docs/bench.md`). At 100 messages per second a run of ten seconds still has thirty samples,
/// enough for a median.
const SENDS_PER_SAMPLE: u32 = 32;

/// The samples of a run.
#[derive(Debug)]
pub(super) struct Samples {
    /// Why the system has no timestamps, if it has none.
    kernel: io::Result<StampingKernel>,
    timeout_ns: u64,
    values: SplitValues,
    /// Samplers made so far: each has its own random numbers.
    samplers: u64,
    /// Sampled messages whose echo came in time, with or without all timestamps.
    answered: u64,
}

impl Samples {
    pub(super) fn start(timeout_ns: u64) -> Samples {
        Samples {
            kernel: StampingKernel::start(),
            timeout_ns,
            values: SplitValues::default(),
            samplers: 0,
            answered: 0,
        }
    }

    /// Creates the sampler of a flow that is connected.
    pub(super) fn sampler(&mut self, clock: Clock, length_bytes: Option<usize>) -> Box<Sampler> {
        self.samplers += 1;
        let mut random = fastrand::Rng::with_seed(self.samplers);
        let sends_left = random.u32(0..SENDS_PER_SAMPLE);
        let is_enabled = if self.kernel.is_ok() { None } else { Some(false) };
        Box::new(Sampler {
            random,
            sends_left,
            clock,
            timeout_ns: self.timeout_ns,
            length_bytes,
            is_enabled,
            asked: 0,
            key_offset: None,
            written: 0,
            read: 0,
            pending: None,
            answered: None,
        })
    }

    /// Takes the sample that a slice of a flow has completed, if there is one.
    pub(super) fn take(&mut self, sampler: &mut Sampler, recorder: &Recorder) {
        let Some(answered) = sampler.answered.take() else { return };
        if recorder.is_measured(answered.called_ns) {
            self.answered += 1;
            if let Some(stretches) = answered.stretches {
                self.values.record(stretches);
            }
        }
    }

    pub(super) fn split(&self, percentiles: &PercentileList) -> Split {
        self.values.split(percentiles)
    }

    /// Returns what the user should know about the samples. `is_multipath`: the sockets are of
    /// Multipath TCP, also where they fell back to TCP.
    pub(super) fn warning(&self, is_multipath: bool) -> Option<String> {
        const NO_EFFECT: &str = "--timestamps without effect";
        let samples = self.values.count();
        match &self.kernel {
            Err(error) => Some(format!("{NO_EFFECT}: the kernel has no timestamps ({error})")),
            Ok(_) if samples == 0 && is_multipath => Some(format!(
                "{NO_EFFECT}: the kernel gives no timestamps of sent packets over Multipath TCP"
            )),
            Ok(_) if samples == 0 && self.answered > 0 => Some(format!(
                "{NO_EFFECT}: the kernel gave no timestamps of {} sampled messages",
                self.answered
            )),
            Ok(_) if samples == 0 => Some(format!(
                "{NO_EFFECT}: one of {SENDS_PER_SAMPLE} messages is sampled, and none of these was \
                 answered"
            )),
            Ok(_) => None,
        }
    }
}

impl Run {
    /// Creates the sampler of a flow that is connected, if messages are sampled.
    pub(super) fn sampler(&mut self) -> Option<Box<Sampler>> {
        let (clock, length_bytes) = (self.clock, self.length_max());
        let length_bytes = (!self.is_mixed()).then_some(length_bytes);
        self.samples.as_mut().map(|samples| samples.sampler(clock, length_bytes))
    }

    /// Takes the sample that a slice of a flow has completed, if there is one.
    pub(super) fn take_sample(&mut self, sampler: &mut Sampler) {
        if let Some(samples) = &mut self.samples {
            samples.take(sampler, &self.recorder);
        }
    }
}

/// Takes samples of one flow, one at a time.
#[derive(Debug)]
pub(super) struct Sampler {
    random: fastrand::Rng,
    /// Sends until the next sample.
    sends_left: u32,
    clock: Clock,
    timeout_ns: u64,
    /// The length of every message; `None` if lengths are mixed.
    length_bytes: Option<usize>,
    /// Whether the socket takes timestamps; `None` before the first sample.
    is_enabled: Option<bool>,
    /// Timestamps of datagrams that the socket asked for.
    asked: u32,
    /// The difference between the place of a sample and the kernel's key of it.
    key_offset: Option<u32>,
    /// Bytes of a stream written and read so far.
    written: u64,
    read: u64,
    pending: Option<Pending>,
    answered: Option<Answered>,
}

/// A sampled message that is not answered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    mark: Mark,
    /// Before the call that sends, by the run's clock and by the wall clock.
    called_ns: u64,
    called_wall_ns: u64,
    /// The place that the kernel's key counts: the number of the last byte of a stream, or of the
    /// timestamp asked for.
    place: u32,
    sent_wall_ns: Option<u64>,
}

/// What tells the echo of a sampled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// The number of bytes that are read when it is complete.
    Bytes(u64),
    /// The part of a datagram's number that it carries.
    Number(u64),
}

/// A sampled message that was answered in time.
#[derive(Clone, Copy, Debug)]
struct Answered {
    called_ns: u64,
    /// `None` if a timestamp is missing or belongs to another packet.
    stretches: Option<Stretches>,
}

impl Sampler {
    /// Returns true if the next send is sampled.
    fn is_due(&mut self) -> bool {
        if self.is_enabled == Some(false) {
            return false;
        }
        if self.sends_left > 0 {
            self.sends_left -= 1;
            return false;
        }
        match &self.pending {
            Some(Pending { called_ns, .. }) => {
                self.clock.now_ns().saturating_sub(*called_ns) >= self.timeout_ns
            }
            None => true,
        }
    }

    /// Sends and asks for a timestamp. If the kernel turns out to know no such request, sends
    /// without.
    fn send(
        &mut self,
        socket: &impl AsFd,
        bytes: &[u8],
        segment_bytes: Option<u16>,
        mark: Mark,
    ) -> Option<io::Result<usize>> {
        let is_enabled = *self.is_enabled.get_or_insert_with(|| enable_stamps(socket).is_ok());
        if !is_enabled {
            return None;
        }
        let place = match mark {
            // The kernel counts modulo 2^32.
            #[expect(clippy::cast_possible_truncation, reason = "the kernel's count wraps")]
            Mark::Bytes(end) => end as u32,
            Mark::Number(_) => self.asked,
        };
        let called_ns = self.clock.now_ns();
        let called_wall_ns = wall_clock_ns();
        let sent = send_stamped(socket, bytes, segment_bytes);
        match &sent {
            Ok(count) => {
                self.asked = self.asked.wrapping_add(1);
                // A mean gap of the number, but in step with no other pattern of the load.
                self.sends_left = self.random.u32(0..2 * SENDS_PER_SAMPLE - 1);
                self.pending = None;
                // What a stream has taken in part ends within a message.
                if *count == bytes.len() {
                    let sent_wall_ns = None;
                    let pending = Pending { mark, called_ns, called_wall_ns, place, sent_wall_ns };
                    self.pending = Some(pending);
                    self.find_sent(socket);
                }
            }
            // Some kernels count a timestamp of a packet that was not sent, and some do not.
            Err(error) => {
                self.key_offset = None;
                if error.raw_os_error() == Some(libc::EINVAL) && segment_bytes.is_none() {
                    self.is_enabled = Some(false);
                    return None;
                }
            }
        }
        Some(sent)
    }

    /// Looks for the timestamp of the pending message in the error queue.
    fn find_sent(&mut self, socket: &impl AsFd) {
        let Some(pending) = &mut self.pending else { return };
        let Pending { place, called_wall_ns, .. } = *pending;
        let offset = self.key_offset;
        let stamp = take_sent_stamp(socket, |stamp| {
            let is_key = offset.is_none_or(|offset| stamp.key.wrapping_add(offset) == place);
            is_key && stamp.sent_ns >= called_wall_ns
        });
        if let Some(stamp) = stamp {
            self.key_offset = Some(place.wrapping_sub(stamp.key));
            pending.sent_wall_ns = Some(stamp.sent_ns);
        }
    }

    /// Notes that the echo of the pending message is received.
    fn finish(&mut self, socket: &impl AsFd, arrived_ns: Option<u64>) {
        let received_ns = wall_clock_ns();
        let now_ns = self.clock.now_ns();
        if self.pending.is_some_and(|pending| pending.sent_wall_ns.is_none()) {
            self.find_sent(socket);
        }
        let Some(pending) = self.pending.take() else { return };
        let Pending { called_ns, called_wall_ns, sent_wall_ns, .. } = pending;
        let round_trip_ns = now_ns.saturating_sub(called_ns);
        if round_trip_ns >= self.timeout_ns {
            return;
        }
        let passage = sent_wall_ns.zip(arrived_ns).map(|(sent_ns, arrived_ns)| Passage {
            called_ns: called_wall_ns,
            sent_ns,
            arrived_ns,
            received_ns,
        });
        let stretches = passage.and_then(|passage| passage.stretches(round_trip_ns));
        self.answered = Some(Answered { called_ns, stretches });
    }
}

/// A stream whose messages are sampled.
pub(super) struct SampledStream<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) sampler: &'a mut Sampler,
}

impl Write for SampledStream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let sampler = &mut *self.sampler;
        let end = sampler.written + buf.len() as u64;
        let ends_message = match sampler.length_bytes {
            Some(length_bytes) => end.is_multiple_of(length_bytes as u64),
            // The mover leaves room in its buffer only if no further message may begin.
            None => buf.len() < SCRATCH_BYTES,
        };
        let sent = match ends_message && sampler.is_due() {
            true => sampler.send(self.stream, buf, None, Mark::Bytes(end)),
            false => None,
        };
        let written = sent.unwrap_or_else(|| self.stream.write(buf));
        if let Ok(count) = written {
            sampler.written += count as u64;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SampledStream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let sampler = &mut *self.sampler;
        let Some(Pending { mark: Mark::Bytes(end), .. }) = sampler.pending else {
            let count = self.stream.read(buf)?;
            sampler.read += count as u64;
            return Ok(count);
        };
        let received = receive_stamped(self.stream, buf)?;
        sampler.read += received.count as u64;
        if sampler.read >= end {
            sampler.finish(self.stream, received.arrived_ns);
        }
        Ok(received.count)
    }
}

/// A datagram socket whose messages are sampled.
pub(super) struct SampledDatagram<'a> {
    pub(super) socket: &'a Datagram,
    /// A [`Wire`] is not borrowed exclusively.
    pub(super) sampler: RefCell<&'a mut Sampler>,
}

impl SampledDatagram<'_> {
    /// Sends a sample if one is due; otherwise the caller sends.
    fn send_sampled(&self, bytes: &[u8], segment_bytes: Option<u16>) -> Option<io::Result<()>> {
        let mut sampler = self.sampler.borrow_mut();
        if !sampler.is_due() {
            return None;
        }
        let first = segment_bytes.map_or(bytes, |length| &bytes[..usize::from(length)]);
        let mark = Mark::Number(carried_number(first).0);
        let sent = sampler.send(self.socket, bytes, segment_bytes, mark)?;
        Some(sent.map(|_| ()))
    }

    /// Receives with the time of arrival if a sample is pending; `None` otherwise.
    fn receive_sampled(&self, buf: &mut [u8]) -> Option<io::Result<(usize, usize)>> {
        let mut sampler = self.sampler.borrow_mut();
        let mark = sampler.pending?.mark;
        let received = match receive_stamped(self.socket, buf) {
            Ok(received) => received,
            Err(error) => return Some(Err(error)),
        };
        let (count, segment_bytes) = (received.count, received.segment_bytes);
        let mut datagrams = buf[..count].chunks(segment_bytes.max(1));
        if datagrams.any(|datagram| Mark::Number(carried_number(datagram).0) == mark) {
            sampler.finish(self.socket, received.arrived_ns);
        }
        Some(Ok((count, segment_bytes)))
    }
}

impl Wire for SampledDatagram<'_> {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_sampled(bytes, None).unwrap_or_else(|| self.socket.send(bytes))
    }

    fn send_train(&self, bytes: &[u8], segment_bytes: u16) -> io::Result<()> {
        self.send_sampled(bytes, Some(segment_bytes))
            .unwrap_or_else(|| self.socket.send_train(bytes, segment_bytes))
    }

    fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
        let received = self.receive_sampled(buf).map(|received| received.map(|(count, _)| count));
        received.unwrap_or_else(|| self.socket.receive(buf))
    }

    fn receive_train(&self, buf: &mut [u8]) -> io::Result<(usize, usize)> {
        self.receive_sampled(buf).unwrap_or_else(|| self.socket.receive_train(buf))
    }

    fn reconnect(&self, target: &ResolvedEndpoint) -> io::Result<()> {
        Wire::reconnect(self.socket, target)
    }
}
