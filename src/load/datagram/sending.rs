//! Sending: one message per call, or a train where several may be sent and the socket supports it
//! (`UDP_SEGMENT`, udp(7)).

use std::io::{self, ErrorKind};

use super::{DatagramMover, Wire};
use crate::load::pattern::MessageId;
use crate::load::recorder::InFlight;
use crate::load::run::{Admission, Run};
use crate::measured::LossCause;

/// Datagrams sent in one slice: see [`RECEIVES_PER_SLICE`](super::RECEIVES_PER_SLICE).
pub(super) const SENDS_PER_SLICE: usize = 64;

/// Datagrams of one train: `UDP_MAX_SEGMENTS` of Linux before 6.9. Later kernels take 128.
pub(super) const TRAIN_MAX: usize = 64;

/// Bytes of one train, which has one set of headers: the payload limit of a UDP datagram over IPv4.
pub(super) const TRAIN_BYTES_MAX: usize = 65_507;

/// Errors after which a message is lost. The kernel reports the error of an earlier datagram once,
/// instead of sending. A Unix socket whose peer is gone needs one send to learn that, and another
/// for the peer that has replaced it.
pub(super) const ERRORS_PER_SEND: usize = 3;

/// The result of a send.
enum SendResult {
    /// The socket took this many messages.
    Taken(usize),
    /// The send would block.
    NotNow,
    /// The message cannot be sent.
    Failed(LossCause),
}

impl DatagramMover {
    /// Sends what may be sent. Returns false if the slice was used up before that.
    pub(super) fn send<const MIXED: bool>(
        &mut self,
        wire: &impl Wire,
        run: &mut Run,
    ) -> io::Result<bool> {
        self.is_blocked = false;
        let mut sent = 0;
        while sent < SENDS_PER_SLICE {
            if self.held.is_none() && self.window.len() >= run.in_flight_max {
                return Ok(true);
            }
            let now_ns = run.send_ns();
            if now_ns < self.backs_off_until_ns {
                run.not_before_ns = Some(self.backs_off_until_ns);
                return Ok(true);
            }
            let (message, companions) = match self.held {
                // Sent alone: there may be room for one message where there was none for the train.
                Some(message) => (InFlight { sent_ns: now_ns, ..message }, 0),
                None => match run.admission(self.flow, self.window.len(), now_ns) {
                    Admission::Begin(intended_ns) => {
                        let message = run.begin(self.flow, intended_ns, now_ns);
                        (message, self.companions::<MIXED>(SENDS_PER_SLICE - sent, now_ns, run))
                    }
                    _ => return Ok(true),
                },
            };
            let count = match self.send_some::<MIXED>(wire, 1 + companions, run) {
                Ok(SendResult::Taken(count)) => count,
                Ok(SendResult::NotNow) => {
                    self.keep(message, run);
                    return Ok(true);
                }
                Ok(SendResult::Failed(cause)) => {
                    self.lose_at_send(message, cause, run, now_ns);
                    sent += 1;
                    continue;
                }
                Err(error) => {
                    run.recorder.not_taken(message);
                    return Err(error);
                }
            };
            self.has_sent = true;
            self.end_outage(run, now_ns);
            if self.held.take().is_some() {
                run.note_free(self.flow, now_ns);
            }
            self.sent::<MIXED>(message, run);
            // Begun only now, because a train that the socket does not take must not begin them.
            for _ in 1..count {
                let message = run.begin_next(self.flow, now_ns);
                self.sent::<MIXED>(message, run);
            }
            run.recorder.trains.sends += 1;
            run.recorder.trains.sent += count as u64;
            sent += count;
        }
        Ok(false)
    }

    /// Keeps a message that the socket does not take now.
    fn keep(&mut self, message: InFlight, run: &mut Run) {
        if self.held.is_none() && !run.is_open_loop() {
            run.recorder.waits_for_room(message.sent_ns);
        }
        self.held = Some(message);
    }

    /// Returns how many messages may join one that has been begun, at most `most` in all: those
    /// that may be begun at this moment.
    #[inline]
    fn companions<const MIXED: bool>(&self, most: usize, now_ns: u64, run: &Run) -> usize {
        if !self.takes_trains || run.recorder.trains.refused {
            return 0;
        }
        let length = run.length::<MIXED>(self.next_id());
        let fitting = (TRAIN_BYTES_MAX / length).min(TRAIN_MAX).min(most);
        let companions = fitting.saturating_sub(1);
        let companions = if MIXED { self.fitting(length, companions, run) } else { companions };
        run.admissible(self.flow, self.window.len() + 1, now_ns, companions)
    }

    /// Returns how many of the messages behind the next one, which has this length, may join its
    /// train: its datagrams have the same length, but the last may be shorter (udp(7)).
    fn fitting(&self, length: usize, most: usize, run: &Run) -> usize {
        let MessageId { flow, number } = self.next_id();
        let behind = (number + 1..).map(|number| run.length::<true>(MessageId { flow, number }));
        let mut count = 0;
        for next in behind.take(most) {
            count += usize::from(next <= length);
            if next != length {
                break;
            }
        }
        count
    }

    /// Returns the next message.
    fn next_id(&self) -> MessageId {
        MessageId { flow: self.flow, number: self.window.next_number() }
    }

    fn sent<const MIXED: bool>(&mut self, message: InFlight, run: &mut Run) {
        let id = self.next_id();
        run.note_sent::<MIXED>(id, message.intended_ns);
        run.recorder.bytes_sent(run.length::<MIXED>(id), message.intended_ns);
        self.window.sent(message, run.recorder.is_measured(message.intended_ns));
    }

    /// Sends the next messages by one call. The socket takes all of them or none, or only the first
    /// if it turns out to refuse trains.
    fn send_some<const MIXED: bool>(
        &mut self,
        wire: &impl Wire,
        count: usize,
        run: &mut Run,
    ) -> io::Result<SendResult> {
        let first = self.next_id();
        let length = run.length::<MIXED>(first);
        let mut end = 0;
        for number in (first.number..).take(count) {
            let id = MessageId { number, ..first };
            let next = run.length::<MIXED>(id);
            run.pattern.fill(id, 0, &mut run.scratch[end..end + next]);
            end += next;
        }
        let mut failure = None;
        for _ in 0..ERRORS_PER_SEND {
            match send_together(wire, &run.scratch[..end], length) {
                Ok(()) => {
                    self.note_earlier_error(failure.as_ref(), run);
                    return Ok(SendResult::Taken(count));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.note_earlier_error(failure.as_ref(), run);
                    self.is_blocked = true;
                    return Ok(SendResult::NotNow);
                }
                Err(error) if count > 1 && is_refusal_of_trains(&error) => {
                    run.recorder.trains.refused = true;
                    return self.send_some::<MIXED>(wire, 1, run);
                }
                // If the peer is gone, the error of connecting to its successor is the one that
                // counts.
                Err(error) => failure = wire.reconnect(&run.target).err().or(Some(error)),
            }
        }
        match failure {
            None => Ok(SendResult::NotNow),
            // There may be memory for one message where there is none for the train.
            Some(_) if count > 1 => self.send_some::<MIXED>(wire, 1, run),
            // EMSGSIZE can come from the path and concern an earlier message. Before any was sent,
            // it means that the socket takes no message of this length. It may take a shorter one.
            Some(error)
                if error.raw_os_error() == Some(libc::EMSGSIZE) && !self.has_sent && !MIXED =>
            {
                Err(error)
            }
            Some(error) => Ok(SendResult::Failed(LossCause::of(&error))),
        }
    }

    /// Notes the error of a send that then succeeded, if it may concern earlier datagrams.
    fn note_earlier_error(&mut self, failure: Option<&io::Error>, run: &mut Run) {
        let cause = failure.map(LossCause::of).filter(|cause| may_concern_earlier_datagram(*cause));
        if let Some(cause) = cause {
            self.note_error(cause, run);
        }
    }
}

/// Returns true if an error can concern an earlier datagram: ICMP reported it (icmp(7)), or the
/// server of a Unix socket is gone. Other errors concern only the send that failed.
fn may_concern_earlier_datagram(cause: LossCause) -> bool {
    matches!(
        cause,
        LossCause::Refused
            | LossCause::Disconnected
            | LossCause::NetworkUnreachable
            | LossCause::HostUnreachable
            | LossCause::AccessDenied
            | LossCause::MessageTooLong
    )
}

#[inline(always)]
fn send_together(wire: &impl Wire, bytes: &[u8], length: usize) -> io::Result<()> {
    match u16::try_from(length) {
        Ok(segment_bytes) if bytes.len() > length => wire.send_train(bytes, segment_bytes),
        _ => wire.send(bytes),
    }
}

/// Returns true if the kernel can have refused a train as such: its messages are longer than the
/// path takes unfragmented, or the device computes no checksums. If the reason is another, a single
/// datagram meets the same error again.
fn is_refusal_of_trains(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE))
}
