//! What became of messages and connections, and how long echoes took.

use crate::report::{Difference, Distribution, Flows, Messages};

/// All counts and distributions of a run. Its memory is taken when it is made and does not grow.
#[derive(Debug)]
pub(super) struct Tally {
    /// Messages due or sent from this time on are measured; those before are the warm-up's.
    pub(super) measure_from_ns: u64,
    pub(super) measured: Messages,
    pub(super) warmup: Messages,
    pub(super) flows: Flows,
    pub(super) flows_open: u64,
    pub(super) held_back: u64,
    pub(super) first_difference: Option<Difference>,
    /// When the last echo of a measured message came.
    pub(super) echo_ns_last: u64,
    /// Whether any echo ever came, and when the last did.
    pub(super) heard_ns_last: Option<u64>,
    /// Response times since the last interval, of measured messages.
    latency: Distribution,
    /// Of the intervals before.
    latency_before: Distribution,
    /// Response times of the warm-up since the last interval.
    latency_warmup: Distribution,
    pub(super) service_time: Distribution,
    pub(super) schedule_lag: Distribution,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            measure_from_ns: u64::MAX,
            measured: Messages::default(),
            warmup: Messages::default(),
            flows: Flows::default(),
            flows_open: 0,
            held_back: 0,
            first_difference: None,
            echo_ns_last: 0,
            heard_ns_last: None,
            latency: Distribution::new(),
            latency_before: Distribution::new(),
            latency_warmup: Distribution::new(),
            service_time: Distribution::new(),
            schedule_lag: Distribution::new(),
        }
    }

    /// Whether a message that was intended at this time is measured.
    pub(super) fn is_measured(&self, intended_ns: u64) -> bool {
        intended_ns >= self.measure_from_ns
    }

    /// The counts that a message belongs to.
    pub(super) fn of(&mut self, is_measured: bool) -> &mut Messages {
        if is_measured { &mut self.measured } else { &mut self.warmup }
    }

    pub(super) fn sent(&mut self, intended_ns: u64) {
        self.of(self.is_measured(intended_ns)).sent += 1;
    }

    /// An echo that came in time.
    pub(super) fn received(&mut self, message: InFlight, now_ns: u64) {
        let latency_ns = now_ns.saturating_sub(message.intended_ns);
        self.heard_ns_last = Some(now_ns);
        if !self.is_measured(message.intended_ns) {
            self.warmup.received += 1;
            self.latency_warmup.record(latency_ns);
            return;
        }
        self.measured.received += 1;
        self.echo_ns_last = now_ns;
        self.latency.record(latency_ns);
        // In a closed loop a message is meant to be sent when it is sent: one time tells both.
        if message.is_scheduled {
            self.service_time.record(now_ns.saturating_sub(message.sent_ns));
        }
    }

    pub(super) fn lost(&mut self, message: InFlight) {
        self.of(self.is_measured(message.intended_ns)).lost += 1;
    }

    pub(super) fn differs(&mut self, difference: Difference, is_measured: bool) {
        self.of(is_measured).corrupted += 1;
        self.first_difference.get_or_insert(difference);
    }

    /// A scheduled message is begun: late by its own connection's fault, or by the generator's.
    pub(super) fn begun(&mut self, due_ns: u64, free_since_ns: u64, now_ns: u64) {
        if !self.is_measured(due_ns) {
            return;
        }
        if due_ns < free_since_ns {
            self.held_back += 1;
        } else {
            self.schedule_lag.record(now_ns.saturating_sub(due_ns));
        }
    }

    /// Messages that have neither come back nor been given up.
    pub(super) fn in_flight(&self) -> u64 {
        let of = |messages: &Messages| messages.sent - messages.received - messages.lost;
        of(&self.measured) + of(&self.warmup)
    }

    /// Response times since the last interval, which are then among those before.
    pub(super) fn take_interval(&mut self, is_warmup: bool) -> Distribution {
        let source = if is_warmup { &mut self.latency_warmup } else { &mut self.latency };
        let taken = source.clone();
        if !is_warmup {
            self.latency_before.add(source);
        }
        source.clear();
        taken
    }

    /// Response times of all measured messages.
    pub(super) fn latency(&mut self) -> &Distribution {
        self.latency_before.add(&self.latency);
        self.latency.clear();
        &self.latency_before
    }
}

/// A message that has been sent, and not yet come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    /// When it was due, or in a closed loop sent.
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
    /// It had a due time: an open loop's.
    pub(super) is_scheduled: bool,
}
