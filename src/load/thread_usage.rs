//! How much processor time the generator's thread uses, and how long it waits for a processor.

use rustix::time::{ClockId, clock_gettime};

use super::throttle::throttled_ns;

/// A poll that finds nothing takes some microseconds; a longer turn included a sleep.
const IDLE_POLL_NS_MAX: u64 = 100_000;

/// Measures the calling thread.
#[derive(Debug, Default)]
pub(super) struct ThreadUsage {
    from: Reading,
    until: Reading,
    /// Time spent in polls that found nothing, since the start.
    idle_ns: u64,
    last_turn_ns: u64,
    was_idle: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    at_ns: u64,
    cpu_ns: u64,
    wait: Option<Wait>,
    throttled_ns: Option<u64>,
    idle_ns: u64,
}

/// How long a thread waited on a run queue, and how often it got a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wait {
    waited_ns: u64,
    times: u64,
}

impl ThreadUsage {
    /// Adds up the time of polls that found nothing. It costs processor time, but it is not work.
    pub(super) fn note_turn(&mut self, now_ns: u64, has_worked: bool) {
        let passed_ns = now_ns.saturating_sub(self.last_turn_ns);
        if self.was_idle && passed_ns < IDLE_POLL_NS_MAX {
            self.idle_ns += passed_ns;
        }
        self.last_turn_ns = now_ns;
        self.was_idle = !has_worked;
    }

    /// Returns the time of the last turn that was noted.
    #[cfg(test)]
    pub(super) fn last_turn_ns(&self) -> u64 {
        self.last_turn_ns
    }

    /// Starts the measurement.
    pub(super) fn start(&mut self, now_ns: u64) {
        self.from = self.reading(now_ns);
        self.until = self.from;
    }

    /// Ends the measurement; a later call extends it.
    pub(super) fn stop(&mut self, now_ns: u64) {
        self.until = self.reading(now_ns);
    }

    fn reading(&self, at_ns: u64) -> Reading {
        Reading {
            at_ns,
            cpu_ns: thread_cpu_ns(),
            wait: waited(),
            throttled_ns: throttled_ns(),
            idle_ns: self.idle_ns,
        }
    }

    /// Returns how long the measurement took.
    pub(super) fn elapsed_ns(&self) -> u64 {
        self.until.at_ns.saturating_sub(self.from.at_ns)
    }

    /// Returns the processor time spent on work.
    pub(super) fn cpu_ns(&self) -> u64 {
        let cpu_ns = self.until.cpu_ns.saturating_sub(self.from.cpu_ns);
        cpu_ns.saturating_sub(self.until.idle_ns.saturating_sub(self.from.idle_ns))
    }

    /// Returns how long the thread waited for a processor; `None` if the system does not report it.
    pub(super) fn waited_ns(&self) -> Option<u64> {
        Some(self.waited()?.waited_ns)
    }

    /// Returns the mean of these waits.
    pub(super) fn wait_ns_mean(&self) -> Option<u64> {
        let Wait { waited_ns, times } = self.waited()?;
        Some(waited_ns.checked_div(times).unwrap_or(0))
    }

    fn waited(&self) -> Option<Wait> {
        let (from, until) = (self.from.wait?, self.until.wait?);
        let waited_ns = until.waited_ns.saturating_sub(from.waited_ns);
        Some(Wait { waited_ns, times: until.times.saturating_sub(from.times) })
    }

    /// Returns how long the CPU quota of the process's cgroup kept its threads from running.
    pub(super) fn throttled_ns(&self) -> Option<u64> {
        Some(self.until.throttled_ns?.saturating_sub(self.from.throttled_ns?))
    }
}

/// Returns the processor time that the calling thread has used.
pub(super) fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

/// Returns the processor time that all threads of this process have used.
pub(super) fn process_cpu_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds_ns = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    seconds_ns + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Reads how long this thread has waited on a run queue so far, and how often it ran: the second
/// and the third field of proc_pid_schedstat(5).
fn waited() -> Option<Wait> {
    waited_in(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

fn waited_in(schedstat: &str) -> Option<Wait> {
    let mut fields = schedstat.split_whitespace().skip(1).map(|field| field.parse().ok());
    Some(Wait { waited_ns: fields.next()??, times: fields.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_finds_nothing_is_idle_time_and_a_sleep_is_not() {
        let mut usage = ThreadUsage::default();
        usage.note_turn(1_000, false);
        usage.note_turn(3_000, false);
        assert_eq!(usage.idle_ns, 2_000);
        usage.note_turn(3_000 + IDLE_POLL_NS_MAX, true);
        assert_eq!(usage.idle_ns, 2_000, "it slept");
        usage.note_turn(3_500 + IDLE_POLL_NS_MAX, false);
        assert_eq!(usage.idle_ns, 2_000, "it worked");
    }

    #[test]
    fn a_wait_that_the_system_does_not_report_is_unknown_and_not_0() {
        assert_eq!(waited_in("100 20 4\n"), Some(Wait { waited_ns: 20, times: 4 }));
        for text in ["", "100 20", "x y z"] {
            assert_eq!(waited_in(text), None, "{text:?}");
        }
        let told = Reading { wait: Some(Wait { waited_ns: 90, times: 9 }), ..Reading::default() };
        let usage = |from, until| ThreadUsage { from, until, ..ThreadUsage::default() };
        assert_eq!(usage(Reading::default(), told).waited_ns(), None);
        assert_eq!(usage(told, Reading::default()).wait_ns_mean(), None);
        let later = Reading { wait: Some(Wait { waited_ns: 150, times: 12 }), ..told };
        let usage = usage(told, later);
        assert_eq!((usage.waited_ns(), usage.wait_ns_mean()), (Some(60), Some(20)));
        assert_eq!(usage.throttled_ns(), None);
    }

    #[test]
    fn usage_is_measured_from_start_to_stop() {
        let mut usage = ThreadUsage::default();
        usage.start(1_000);
        assert_eq!((usage.elapsed_ns(), usage.cpu_ns()), (0, 0));
        // Work until the clock of this thread's processor time advances.
        let before_ns = thread_cpu_ns();
        while thread_cpu_ns() == before_ns {}
        usage.stop(5_000);
        assert_eq!(usage.elapsed_ns(), 4_000);
        assert!(usage.cpu_ns() > 0);
    }
}
