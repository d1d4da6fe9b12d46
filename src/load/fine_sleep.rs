//! Pacing by sleep: the thread sleeps until the next message is due, to the microsecond.
//!
//! A poll of mio rounds its timeout up to a whole millisecond. The thread therefore sleeps in
//! poll(2) on the descriptor of the reactor, whose timeout counts in nanoseconds (on Linux, by
//! ppoll(2)), and the turn after it does not sleep.

use std::io;
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
    wake_on_time();
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
    // A generator never sleeps for longer than its hiccups' sensor allows.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut [PollFd::new(reactor, PollFlags::IN)], timeout.as_ref()) {
        Err(error) if error != Errno::INTR => Err(error.into()),
        _ => Ok(()),
    }
}

/// Asks the kernel not to delay the wake-ups of this thread. By default it may delay them by 50 us
/// to save energy (PR_SET_TIMERSLACK, prctl(2)). The sleeps are late by that if it refuses.
#[cfg(target_os = "linux")]
fn wake_on_time() {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

#[cfg(not(target_os = "linux"))]
fn wake_on_time() {}
