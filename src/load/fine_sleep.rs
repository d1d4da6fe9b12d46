//! Pacing by sleep: the thread sleeps until the next message is due, and wakes some tens of
//! microseconds late.
//!
//! A poll of mio rounds its timeout up to a whole millisecond. The thread therefore sleeps in
//! poll(2) on the descriptor of the reactor, whose timeout counts in nanoseconds (on Linux, by
//! ppoll(2)), and the turn after it does not sleep.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::team::Command;
use super::{Generator, Observer, Source};
use crate::reactor::{LoopState, Probe, Reactor};

/// Runs a generator to its end.
pub(super) fn drive<O: Observer, P: Probe>(
    reactor: &mut Reactor<Source, Command, P>,
    generator: &mut Generator<O>,
) -> io::Result<()> {
    if !generator.paces_by_sleep() {
        return reactor.run(generator);
    }
    let slack = TimerSlack::least();
    let ran = run(reactor, generator);
    slack.restore();
    ran
}

fn run<O: Observer, P: Probe>(
    reactor: &mut Reactor<Source, Command, P>,
    generator: &mut Generator<O>,
) -> io::Result<()> {
    loop {
        sleep(reactor)?;
        if reactor.turn_timeout(generator, Duration::ZERO)? == LoopState::Stopped {
            return Ok(());
        }
    }
}

/// Sleeps until the loop has an event or something to do.
fn sleep<P: Probe>(reactor: &Reactor<Source, Command, P>) -> io::Result<()> {
    let timeout = reactor.next_timeout();
    if timeout == Some(Duration::ZERO) {
        return Ok(());
    }
    // A generator never sleeps longer than its detector of hiccups allows.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut [PollFd::new(reactor, PollFlags::IN)], timeout.as_ref()) {
        Err(error) if error != Errno::INTR => Err(error.into()),
        _ => Ok(()),
    }
}

/// How long the kernel may delay the wake-ups of this thread to save energy, by default 50 us
/// (PR_SET_TIMERSLACK, prctl(2)). Holds the time from before, if the system says it.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has a slack"))]
struct TimerSlack(Option<NonZeroU64>);

#[cfg(target_os = "linux")]
impl TimerSlack {
    /// Asks for wake-ups on time. The sleeps are late by the slack if the kernel refuses.
    fn least() -> TimerSlack {
        let before = rustix::thread::current_timer_slack().ok().and_then(NonZeroU64::new);
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        TimerSlack(before)
    }

    /// Undoes it, because the first loop runs on the caller's thread.
    fn restore(self) {
        let _ = rustix::thread::set_current_timer_slack(self.0);
    }
}

#[cfg(not(target_os = "linux"))]
impl TimerSlack {
    fn least() -> TimerSlack {
        TimerSlack(None)
    }

    fn restore(self) {}
}
