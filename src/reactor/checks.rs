//! Checks in debug builds for handler mistakes that would leave the loop asleep.
//!
//! Each mistake is otherwise silent: a blocking source keeps the thread in its system call, and a
//! source that was left readable gets no second event, because epoll is edge-triggered here. The
//! checks cost system calls, so release builds do without them.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::key::Key;
use super::sources::{Source, Sources};
use crate::readiness::Readiness;

/// Panics if a source is blocking, because a system call on it that finds nothing might never
/// return.
pub(super) fn assert_nonblocking(source: &impl AsFd) {
    // A descriptor that cannot report its mode passes.
    let blocks = SockRef::from(source).nonblocking().is_ok_and(|is_nonblocking| !is_nonblocking);
    assert!(
        !blocks,
        "a source blocks: set O_NONBLOCK before inserting it, for example by set_nonblocking(true)"
    );
}

/// Sources that a handler left readable when it returned `Wait`.
///
/// This alone is no mistake: the source may wait until it can write, or the handler may wake it. It
/// is a mistake if the loop is about to sleep without a deadline and the source is still readable.
/// A deadline excuses it, because a tick or the slice of another source may then wake the source.
#[derive(Debug, Default)]
pub(super) struct LeftReadable(Vec<Key>);

impl LeftReadable {
    /// Records whether a handler that returned `Wait` left its source readable.
    pub(super) fn note(&mut self, key: Key, interest: Interest, readiness: Readiness) {
        let waits_to_write = interest.is_writable() && !readiness.is_writable();
        let is_left = interest.is_readable() && readiness.is_readable() && !waits_to_write;
        match self.0.iter().position(|other| *other == key) {
            Some(place) if !is_left => drop(self.0.swap_remove(place)),
            None if is_left => self.0.push(key),
            _ => {}
        }
    }

    /// Panics if one of these sources is readable. The loop calls this before it sleeps without a
    /// deadline.
    pub(super) fn assert_none_is_readable<S: Source>(&mut self, sources: &Sources<S>) {
        self.0.retain(|key| sources.get(*key).is_some());
        let lost = self
            .0
            .iter()
            .filter_map(|key| sources.get(*key))
            .any(|source| !source.may_rest() && is_readable(source));
        assert!(
            !lost,
            "a handler returned Next::Wait and left its source readable, so no event will come for \
             it: read until WouldBlock and clear the readiness, return Next::Again, or wake it"
        );
    }
}

/// Returns true if the source is readable now. A new selector reports the current state.
fn is_readable(source: &impl AsFd) -> bool {
    let poll_once = || {
        let mut poll = Poll::new()?;
        let fd = source.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::ZERO))?;
        Ok::<_, std::io::Error>(events.iter().any(|event| event.is_readable()))
    };
    // A source that cannot be polled passes.
    poll_once().unwrap_or(false)
}
