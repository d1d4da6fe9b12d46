//! What the generator's thread takes of a processor, and how long it has to wait for one.

use rustix::time::{ClockId, clock_gettime};

/// A poll with nothing to do takes some microseconds at the most; what took longer was a sleep.
const IDLE_POLL_NS_MAX: u64 = 100_000;

/// Measures the thread that it is called on.
#[derive(Debug, Default)]
pub(super) struct Meter {
    from: Reading,
    until: Reading,
    /// Time of polling that found nothing, since the beginning.
    idle_ns: u64,
    turned_ns: u64,
    was_idle: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    at_ns: u64,
    cpu_ns: u64,
    waited_ns: u64,
    idle_ns: u64,
}

impl Meter {
    /// Adds up the time of polling that found nothing: it is no work, though it costs a processor.
    pub(super) fn note_turn(&mut self, now_ns: u64, has_worked: bool) {
        let passed_ns = now_ns.saturating_sub(self.turned_ns);
        if self.was_idle && passed_ns < IDLE_POLL_NS_MAX {
            self.idle_ns += passed_ns;
        }
        self.turned_ns = now_ns;
        self.was_idle = !has_worked;
    }

    /// The time of the last turn that was noted.
    #[cfg(test)]
    pub(super) fn turned_ns(&self) -> u64 {
        self.turned_ns
    }

    /// Measures from now on.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.from = self.reading(now_ns);
        self.until = self.from;
    }

    /// Measures until now, or until a later call.
    pub(super) fn stop(&mut self, now_ns: u64) {
        self.until = self.reading(now_ns);
    }

    fn reading(&self, at_ns: u64) -> Reading {
        let cpu_ns = clock_ns(ClockId::ThreadCPUTime);
        Reading { at_ns, cpu_ns, waited_ns: waited_ns(), idle_ns: self.idle_ns }
    }

    /// How long was measured.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.until.at_ns.saturating_sub(self.from.at_ns)
    }

    /// Processor time of work.
    pub(super) fn cpu_ns(&self) -> u64 {
        let cpu_ns = self.until.cpu_ns.saturating_sub(self.from.cpu_ns);
        cpu_ns.saturating_sub(self.until.idle_ns.saturating_sub(self.from.idle_ns))
    }

    /// How long the thread could have run and others did.
    pub(super) fn waited_ns(&self) -> u64 {
        self.until.waited_ns.saturating_sub(self.from.waited_ns)
    }
}

/// Processor time that all threads of this process have used.
pub(super) fn process_cpu_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds_ns = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    seconds_ns + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// How long this thread has waited on a run queue so far (proc_pid_schedstat(5), the second field);
/// 0 where the system does not say.
fn waited_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_that_found_nothing_is_no_work_and_sleeping_is_no_polling() {
        let mut meter = Meter::default();
        meter.note_turn(1_000, false);
        meter.note_turn(3_000, false);
        assert_eq!(meter.idle_ns, 2_000);
        meter.note_turn(3_000 + IDLE_POLL_NS_MAX, true);
        assert_eq!(meter.idle_ns, 2_000, "it slept");
        meter.note_turn(3_500 + IDLE_POLL_NS_MAX, false);
        assert_eq!(meter.idle_ns, 2_000, "it worked");
    }

    #[test]
    fn what_was_used_lies_between_start_and_stop() {
        let mut meter = Meter::default();
        meter.start(1_000);
        assert_eq!((meter.elapsed_ns(), meter.cpu_ns()), (0, 0));
        // Until the clock of this thread's processor time has moved.
        let before_ns = clock_ns(ClockId::ThreadCPUTime);
        while clock_ns(ClockId::ThreadCPUTime) == before_ns {}
        meter.stop(5_000);
        assert_eq!(meter.elapsed_ns(), 4_000);
        assert!(meter.cpu_ns() > 0);
    }
}
