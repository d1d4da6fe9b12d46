//! The length of each message, and what is counted by length.

use super::Run;
use crate::load::pattern::MessageId;
use crate::load::recorder::InFlight;

impl Run {
    /// Returns true if messages have different lengths.
    pub(in crate::load) fn is_mixed(&self) -> bool {
        self.mix.is_some()
    }

    /// Returns the length of a message. `MIXED`: messages may have different lengths.
    #[inline(always)]
    pub(in crate::load) fn length<const MIXED: bool>(&self, id: MessageId) -> usize {
        match &self.mix {
            Some(mix) if MIXED => mix.draw(id).length_bytes,
            _ => self.length_bytes,
        }
    }

    /// Returns the greatest length of a message.
    pub(in crate::load) fn length_max(&self) -> usize {
        self.length_bytes
    }

    /// Counts a message as sent. `MIXED`: messages may have different lengths.
    #[inline(always)]
    pub(in crate::load) fn note_sent<const MIXED: bool>(
        &mut self,
        id: MessageId,
        intended_ns: u64,
    ) {
        self.recorder.sent(intended_ns);
        if MIXED {
            self.note_class_sent(id, intended_ns);
        }
    }

    /// Counts a sent message in its class, if lengths are mixed.
    pub(in crate::load) fn note_class_sent(&mut self, id: MessageId, intended_ns: u64) {
        if let Some(mix) = self.mix.as_ref().filter(|_| self.recorder.is_measured(intended_ns)) {
            self.recorder.classes[mix.draw(id).class].sent += 1;
        }
    }

    /// Records an echo that came in time in the class of its message, if lengths are mixed.
    pub(in crate::load) fn note_class_received(
        &mut self,
        id: MessageId,
        message: InFlight,
        now_ns: u64,
    ) {
        let is_measured = self.recorder.is_measured(message.intended_ns);
        if let Some(mix) = self.mix.as_ref().filter(|_| is_measured) {
            let class = &mut self.recorder.classes[mix.draw(id).class];
            class.latency.record(now_ns.saturating_sub(message.intended_ns));
        }
    }
}
