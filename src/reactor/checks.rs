//! Mistakes of a handler that would leave its loop asleep for good, found in debug builds.
//!
//! Each of them is silent in itself: a source that blocks keeps the thread in its call, and a
//! source that was left readable gets no second event, because epoll is edge-triggered here. The
//! checks cost system calls, so release builds have none of them.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::key::Key;
use super::sources::{Source, Sources};
use crate::readiness::Readiness;

/// Panics if a source would block: the handler's first call on it that finds nothing would then
/// never return.
pub(super) fn assert_nonblocking(source: &impl AsFd) {
    // What cannot be asked is not judged.
    let blocks = SockRef::from(source).nonblocking().is_ok_and(|is_nonblocking| !is_nonblocking);
    assert!(
        !blocks,
        "a source blocks: set O_NONBLOCK before the reactor gets it, as by set_nonblocking(true)"
    );
}

/// Sources that a handler has left readable when it answered `Wait`.
///
/// That alone is no mistake: the source may wait until it can write, or the handler may wake it. It
/// is one if the loop goes to sleep without a deadline, and the source is readable then. A deadline
/// excuses it: what is called then, a tick or the slice of another source, may wake the source.
#[derive(Debug, Default)]
pub(super) struct LeftReadable(Vec<Key>);

impl LeftReadable {
    /// Notes what a handler has left when it answered `Wait`.
    pub(super) fn note(&mut self, key: Key, interest: Interest, readiness: Readiness) {
        let waits_to_write = interest.is_writable() && !readiness.is_writable();
        let is_left = interest.is_readable() && readiness.is_readable() && !waits_to_write;
        match self.0.iter().position(|other| *other == key) {
            Some(place) if !is_left => drop(self.0.swap_remove(place)),
            None if is_left => self.0.push(key),
            _ => {}
        }
    }

    /// Panics if one of these sources is readable. Call it before the loop sleeps until an event
    /// comes.
    pub(super) fn assert_none_is_readable<S: Source>(&mut self, sources: &Sources<S>) {
        self.0.retain(|key| sources.get(*key).is_some());
        let lost = self
            .0
            .iter()
            .filter_map(|key| sources.get(*key))
            .any(|source| !source.may_rest() && is_readable(source));
        assert!(
            !lost,
            "a handler answered Next::Wait and left its source readable, so no event will come for \
             it: read until WouldBlock and clear the readiness, answer Next::Again, or wake it"
        );
    }
}

/// Whether a read would find something now, as a poll of its own tells.
fn is_readable(source: &impl AsFd) -> bool {
    let ask = || {
        let mut poll = Poll::new()?;
        let fd = source.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::ZERO))?;
        Ok::<_, std::io::Error>(events.iter().any(|event| event.is_readable()))
    };
    // What cannot be asked is not judged.
    ask().unwrap_or(false)
}
