//! The loop: it decides when a source may run. It does not know sockets or what they carry.
//!
//! One turn is **wait → mark → run**:
//!
//! 1. *Wait* is the only place where the thread sleeps. It sleeps until an event comes, or until
//!    the first timer, the handler's tick or the caller's timeout is due. It does not sleep if the
//!    previous turn left work.
//! 2. *Mark* reads the events. Each event names a [`Key`]; the loop adds the event to the
//!    [readiness](crate::Readiness) that it remembers for that key and puts the key on the ready
//!    list. A timer that is due puts its key on the list as well. No source is touched in this
//!    phase, so no event can reach the wrong source when the same batch frees a slot.
//! 3. *Run* gives each key on the list one bounded slice of its [`Handler`]. Signals and the
//!    handler's timer come before the slices. After them the handler gets the messages that other
//!    threads sent through a [`Handle`], and its [`tick`](Handler::tick) runs. Only the loop
//!    inserts, registers and removes sources: the handler returns a [`Next`] and makes requests
//!    through its [`Context`].
//!
//! epoll is used edge-triggered. A source whose slice ends before `WouldBlock` gets no second
//! event, so the loop keeps it on the ready list (epoll(7), "Possible pitfalls"). A new event takes
//! the same path.
//!
//! ```
//! use std::convert::Infallible;
//! use std::io::{self, Read};
//! # use std::os::fd::{AsFd, BorrowedFd};
//! use std::os::unix::net::UnixStream;
//!
//! use resound::Readiness;
//! use resound::mio::Interest;
//! use resound::reactor::{Handler, Next, Reactor, Source, SourceContext};
//!
//! /// Counts the bytes that arrive on a stream, and stops the loop at its end.
//! struct Count(usize);
//! struct Stream(UnixStream);
//!
//! impl Handler for Count {
//!     type Source = Stream;
//!     type Message = Infallible; // other threads send nothing
//!
//!     fn ready(
//!         &mut self,
//!         source: &mut Stream,
//!         readiness: &mut Readiness,
//!         context: &mut SourceContext<'_, Stream>,
//!     ) -> Next {
//!         let mut buf = [0; 16];
//!         match source.0.read(&mut buf) {
//!             Ok(0) => {
//!                 context.stop();
//!                 Next::Close
//!             }
//!             Ok(count) => {
//!                 self.0 += count;
//!                 Next::Again // a bounded slice: one read
//!             }
//!             Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
//!                 readiness.clear_readable();
//!                 Next::Wait
//!             }
//!             Err(_) => Next::Close,
//!         }
//!     }
//! }
//! # impl Source for Stream {
//! #     fn interest(&self) -> Interest { Interest::READABLE }
//! # }
//! # impl AsFd for Stream {
//! #     fn as_fd(&self) -> BorrowedFd<'_> { self.0.as_fd() }
//! # }
//!
//! # fn main() -> io::Result<()> {
//! let (near, far) = UnixStream::pair()?;
//! near.set_nonblocking(true)?;
//! io::Write::write_all(&mut &far, b"forty-two bytes, give or take a few of them")?;
//! drop(far);
//! let mut reactor = Reactor::new()?;
//! reactor.insert(Stream(near))?;
//! let mut count = Count(0);
//! reactor.run(&mut count)?;
//! assert_eq!(count.0, 43);
//! # Ok(())
//! # }
//! ```

mod calls;
#[cfg(debug_assertions)]
mod checks;
mod context;
mod handler;
mod inbox;
mod key;
mod meter;
mod probe;
#[cfg(feature = "signals")]
mod signals;
mod slots;
mod sources;
mod spin;
mod timers;
mod turn;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

pub use self::calls::{Call, CallLog, Calls, Logged};
use self::context::Core;
pub use self::context::{Context, SourceContext};
pub use self::handler::{Closed, Handler, Next};
use self::inbox::Inbox;
pub use self::inbox::{Handle, SendError};
pub use self::key::Key;
use self::meter::Meter;
pub use self::meter::{Histogram, LoopCounts, TurnMeasures};
pub use self::probe::{Mark, MarkedBy, Moved, Probe, Waited};
pub use self::sources::{Source, Sources};
pub use self::spin::Spin;
use self::spin::Spinning;

/// Events that one poll fetches. The next poll fetches the rest: epoll moves the
/// descriptors that it has reported to the end of its list.
/// 1024 events take 12 KiB on x86-64 and 16 KiB elsewhere, and make the cost of the call per event
/// small.
const EVENTS_PER_POLL: usize = 1024;

/// Messages that the handler receives in one turn. The bound lets the sources run during a flood of
/// messages.
const MESSAGES_PER_TURN: usize = 256;

/// Tokens that the reactor reserves. No [`Key`] has one of these tokens (see
/// `Key::INDEX_LIMIT`).
const INBOX: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX >> 1);

/// Whether the loop continues after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopState {
    /// The loop continues.
    Running,
    /// [`Context::stop`] or [`Handle::stop`] ended the loop.
    Stopped,
}

/// A single-threaded readiness loop. It owns every source and asks one statically known handler
/// what to do with each. The [module](self) describes a turn.
///
/// `S` is the handler's [`Source`](Handler::Source), `M` its [`Message`](Handler::Message). `P` is
/// told every step; by default it is `()`, which does nothing.
///
/// A reactor can run inside another loop: its [descriptor](AsFd) is readable when a turn has events
/// to read, [`next_timeout`](Reactor::next_timeout) returns when a turn is due without an event,
/// and [`turn_timeout`](Reactor::turn_timeout) with [`Duration::ZERO`] does not sleep.
#[derive(Debug)]
pub struct Reactor<S, M = Infallible, P = ()> {
    poll: Poll,
    events: Events,
    sources: Sources<S>,
    core: Core<S>,
    /// When the handler's next tick is due. With `None` the loop waits for an event or a timer.
    tick_at: Option<Instant>,
    /// `core.now` is too old to compute the length of a sleep: since it was read, the loop has run
    /// more than one slice, or the caller may have done anything.
    is_now_old: bool,
    spinning: Spinning,
    /// Present while turns are measured.
    meter: Option<Meter>,
    inbox: Inbox<M>,
    probe: P,
    #[cfg(debug_assertions)]
    left_readable: checks::LeftReadable,
    #[cfg(feature = "signals")]
    signals: Option<signals::Signals>,
    has_signal: bool,
}

impl<S: Source, M> Reactor<S, M> {
    /// Creates a reactor without sources.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no descriptor left for the selector or its waker.
    pub fn new() -> io::Result<Reactor<S, M>> {
        let poll = Poll::new()?;
        let now = Instant::now();
        Ok(Reactor {
            inbox: Inbox::new(poll.registry(), INBOX)?,
            sources: Sources::new(),
            core: Core::new(now),
            events: Events::with_capacity(EVENTS_PER_POLL),
            // The first turn does not sleep, because the handler has not yet returned a tick time.
            tick_at: Some(now),
            is_now_old: false,
            spinning: Spinning::new(now),
            meter: None,
            probe: (),
            #[cfg(debug_assertions)]
            left_readable: checks::LeftReadable::default(),
            poll,
            #[cfg(feature = "signals")]
            signals: None,
            has_signal: false,
        })
    }

    /// Returns this reactor with a probe, which is told every step from now on. The sources that
    /// the reactor has already are reported as opened.
    pub fn with_probe<P: Probe>(self, mut probe: P) -> Reactor<S, M, P> {
        self.sources.iter().for_each(|(key, source)| probe.opened(key, source));
        Reactor {
            poll: self.poll,
            events: self.events,
            sources: self.sources,
            core: self.core,
            tick_at: self.tick_at,
            is_now_old: self.is_now_old,
            spinning: self.spinning,
            meter: self.meter,
            inbox: self.inbox,
            probe,
            #[cfg(debug_assertions)]
            left_readable: self.left_readable,
            #[cfg(feature = "signals")]
            signals: self.signals,
            has_signal: self.has_signal,
        }
    }
}

impl<S: Source, M, P: Probe> Reactor<S, M, P> {
    /// Inserts a source from outside the loop.
    ///
    /// # Errors
    ///
    /// Returns an error and closes the source if the system refuses to register it.
    pub fn insert(&mut self, source: S) -> io::Result<Key> {
        let key = self.core.slots.claim(source.interest());
        self.store(key, source).map_err(|(_, error)| error)?;
        Ok(key)
    }

    /// Removes a source and returns it; dropping it closes it. Returns `None` if the source was
    /// already removed. Does not call [`Handler::closed`].
    pub fn remove(&mut self, key: Key) -> Option<S> {
        let source = self.sources.remove(self.poll.registry(), key)?;
        self.core.slots.free(key);
        self.probe.closed(key);
        Some(source)
    }

    /// Wakes a source from outside the loop; see [`Context::wake`].
    pub fn wake(&mut self, key: Key) {
        self.core.context().wake(key);
    }

    /// Sets a source's timer from outside the loop; see [`Context::wake_at`].
    pub fn wake_at(&mut self, key: Key, at: Instant) {
        self.core.context().wake_at(key, at);
    }

    /// Sets the handler's own timer from outside the loop, for example for the first time; see
    /// [`Context::set_timer`].
    pub fn set_timer(&mut self, at: Instant) {
        self.core.context().set_timer(at);
    }

    /// Returns the sources of this reactor.
    pub fn sources(&self) -> &Sources<S> {
        &self.sources
    }

    /// Returns the counts of the loop since its start.
    pub fn counts(&self) -> LoopCounts {
        self.core.counts
    }

    /// Returns a handle. With it any thread can send messages to the handler and end the loop.
    pub fn handle(&self) -> Handle<M> {
        self.inbox.handle()
    }

    /// Ends the reactor, closes its sources, and returns the messages that it accepted but the
    /// handler did not receive. Messages can remain when the handler stopped the loop or a poll
    /// failed.
    pub fn into_messages(mut self) -> VecDeque<M> {
        self.inbox.end()
    }

    /// Sets how long the loop polls without sleeping. The default is [`Spin::Never`].
    pub fn set_spin(&mut self, spin: Spin) {
        self.spinning.spin = spin;
    }

    /// Sets whether the loop measures its turns, for [`LoopCounts::measures`]. It does not by
    /// default, because a measurement reads the clock once more per turn.
    pub fn measure_turns(&mut self, on: bool) {
        self.meter = on.then(|| Meter::new(&self.core.counts));
    }

    /// Makes these signals events of the loop, which passes them to [`Handler::signalled`]. This
    /// call disables their default action for the whole process.
    ///
    /// # Errors
    ///
    /// Returns an error if a signal cannot be caught (SIGKILL, SIGSTOP), if it reports a fault in
    /// the program (SIGILL, SIGFPE, SIGSEGV), or if no descriptor is left.
    #[cfg(feature = "signals")]
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        self.signals = Some(signals::Signals::new(signals, self.poll.registry(), SIGNALS)?);
        Ok(())
    }

    /// Returns how long the next turn may sleep if no event comes: zero if work is left or a timer
    /// is due, `None` if only an event can bring work.
    pub fn next_timeout(&self) -> Option<Duration> {
        let has_work = self.has_work() || self.spinning.is_on(self.core.now);
        if has_work { Some(Duration::ZERO) } else { self.until_due(Instant::now()) }
    }

    /// Runs turns until the loop is stopped.
    ///
    /// # Errors
    ///
    /// Returns an error if the poll call itself fails. An error of a source never ends the loop.
    pub fn run<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) -> io::Result<()> {
        self.is_now_old = true;
        while self.turn_within(handler, None)? == LoopState::Running {}
        Ok(())
    }

    /// Waits for events, marks the sources that have work, and runs each once.
    ///
    /// # Errors
    ///
    /// Returns an error if the poll call itself fails.
    pub fn turn<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
    ) -> io::Result<LoopState> {
        self.is_now_old = true;
        self.turn_within(handler, None)
    }

    /// Runs one [turn](Reactor::turn) that sleeps for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns an error if the poll call itself fails.
    pub fn turn_timeout<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
        timeout: Duration,
    ) -> io::Result<LoopState> {
        self.is_now_old = true;
        self.turn_within(handler, Some(timeout))
    }
}

#[cfg(test)]
impl<S, M> Reactor<S, M> {
    /// Returns true if at least one source has a timer.
    pub(crate) fn has_timer(&self) -> bool {
        self.core.slots.first_timer().is_some()
    }
}

impl<S, M, P> AsFd for Reactor<S, M, P> {
    /// Returns the selector. Another loop can watch it: it is readable when a turn has events to
    /// read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

#[cfg(test)]
mod tests;
