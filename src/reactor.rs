//! The loop: when a source may run. It knows nothing of sockets or of what is done with them.
//!
//! One turn is **wait → mark → run**:
//!
//! 1. *Wait* is the only place the thread sleeps, at most until the first timer is due. Work left
//!    over from the turn before forbids it.
//! 2. *Mark* reads the events: each names a [`Key`], adds to the
//!    [readiness](crate::Readiness) that the loop remembers of it, and claims its place on the
//!    ready list. A timer that is due claims a place as well. No source is touched meanwhile, so no
//!    event of a batch can reach the wrong tenant of a slot that the same batch freed.
//! 3. *Run* gives each key on the list one bounded slice of its [`Handler`], and then passes on
//!    what other threads have sent by a [`Handle`]. Only the loop inserts, registers and removes:
//!    the handler answers with a [`Next`] and asks by its [`Context`].
//!
//! The ready list is the one of epoll(7), "Possible pitfalls": epoll is edge-triggered here, so a
//! source whose slice ends before `WouldBlock` has no second event coming, and comes back by the
//! list, as a fresh event does.
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
//! /// Counts what arrives on a stream, and stops the loop at its end.
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

#[cfg(debug_assertions)]
mod checks;
mod context;
mod handler;
mod inbox;
mod key;
mod meter;
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

use self::context::Core;
pub use self::context::{Context, SourceContext};
pub use self::handler::{Closed, Handler, Next};
use self::inbox::Inbox;
pub use self::inbox::{Handle, SendError};
pub use self::key::Key;
use self::meter::Meter;
pub use self::meter::{Histogram, LoopCounts, TurnMeasures};
pub use self::sources::{Source, Sources};
pub use self::spin::Spin;
use self::spin::Spinning;

/// Events fetched by one poll. Those beyond it are fetched by the next, in turn: epoll rotates its
/// list. 1024 of them are 12 KiB and spread the cost of the call thin.
const EVENTS_PER_POLL: usize = 1024;

/// Messages that the handler receives in one turn: a flood of them leaves the sources their slices.
const MESSAGES_PER_TURN: usize = 256;

/// Tokens the reactor keeps for itself; no [`Key`] packs to one (see `Key::INDEX_LIMIT`).
const INBOX: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX >> 1);

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There may be more to do.
    Running,
    /// [`Context::stop`] or a [`Handle`] ended it.
    Stopped,
}

/// A single-threaded readiness loop that owns every source and asks its handler, statically known,
/// what to do with each. See the [module](self) for how a turn goes.
///
/// `S` is the handler's [`Source`](Handler::Source), `M` its [`Message`](Handler::Message).
///
/// A reactor nests in another loop: its [descriptor](AsFd) is readable when a turn has events to
/// read, [`next_timeout`](Reactor::next_timeout) says when a turn is due without one, and
/// [`turn_timeout`](Reactor::turn_timeout) with [`Duration::ZERO`] does not sleep.
#[derive(Debug)]
pub struct Reactor<S, M = Infallible> {
    poll: Poll,
    events: Events,
    sources: Sources<S>,
    core: Core<S>,
    /// When the handler's next tick is due; `None` waits for an event or a timer.
    tick_at: Option<Instant>,
    spinning: Spinning,
    /// While turns are measured.
    meter: Option<Meter>,
    inbox: Inbox<M>,
    #[cfg(debug_assertions)]
    left_readable: checks::LeftReadable,
    #[cfg(feature = "signals")]
    signals: Option<signals::Signals>,
    has_signal: bool,
}

impl<S: Source, M> Reactor<S, M> {
    /// Makes a reactor with no source.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left for the selector or for what wakes it.
    pub fn new() -> io::Result<Reactor<S, M>> {
        let poll = Poll::new()?;
        let now = Instant::now();
        Ok(Reactor {
            inbox: Inbox::new(poll.registry(), INBOX)?,
            sources: Sources::new(),
            core: Core::new(now),
            events: Events::with_capacity(EVENTS_PER_POLL),
            // The first turn does not sleep: the handler has not said yet when its tick is due.
            tick_at: Some(now),
            spinning: Spinning::new(now),
            meter: None,
            #[cfg(debug_assertions)]
            left_readable: checks::LeftReadable::default(),
            poll,
            #[cfg(feature = "signals")]
            signals: None,
            has_signal: false,
        })
    }

    /// Takes a source in from outside the loop.
    ///
    /// # Errors
    ///
    /// When the system will not register it; the source is closed then.
    pub fn insert(&mut self, source: S) -> io::Result<Key> {
        let key = self.core.slots.claim(source.interest());
        self.store(key, source).map_err(|(_, error)| error)?;
        Ok(key)
    }

    /// Takes a source out, which closes when it is dropped. `None` when it is gone already.
    /// [`Handler::closed`] is not called.
    pub fn remove(&mut self, key: Key) -> Option<S> {
        self.core.slots.free(key);
        self.sources.remove(self.poll.registry(), key)
    }

    /// As [`Context::wake`], from outside the loop.
    pub fn wake(&mut self, key: Key) {
        self.core.context().wake(key);
    }

    /// As [`Context::wake_at`], from outside the loop.
    pub fn wake_at(&mut self, key: Key, at: Instant) {
        self.core.context().wake_at(key, at);
    }

    /// As [`Context::set_timer`], from outside the loop: for the first time, say.
    pub fn set_timer(&mut self, at: Instant) {
        self.core.context().set_timer(at);
    }

    /// The sources it holds.
    pub fn sources(&self) -> &Sources<S> {
        &self.sources
    }

    /// What the loop has counted since its start.
    pub fn counts(&self) -> LoopCounts {
        self.core.counts
    }

    /// A handle by which any thread can send messages to the handler and end the loop.
    pub fn handle(&self) -> Handle<M> {
        self.inbox.handle()
    }

    /// Ends the reactor, closes its sources, and returns the messages that were accepted and not
    /// received. There are some when the handler stopped the loop, or when a poll failed.
    pub fn into_messages(mut self) -> VecDeque<M> {
        self.inbox.end()
    }

    /// Sets how long it polls without sleeping. At first it sleeps at once.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spinning.spin = spin;
    }

    /// Sets whether turns are measured, for [`LoopCounts::measures`]. At first they are not: it
    /// takes another look at the clock each turn.
    pub fn measure_turns(&mut self, on: bool) {
        self.meter = on.then(|| Meter::new(&self.core.counts));
    }

    /// Makes these signals events of the loop, given to [`Handler::signalled`]. Their default
    /// action is off from here on, for the whole process.
    ///
    /// # Errors
    ///
    /// When a signal cannot be caught (SIGKILL, SIGSTOP) or tells of a fault in the program
    /// (SIGILL, SIGFPE, SIGSEGV), and when no descriptor is left.
    #[cfg(feature = "signals")]
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        self.signals = Some(signals::Signals::new(signals, self.poll.registry(), SIGNALS)?);
        Ok(())
    }

    /// How long the next turn may sleep if no event comes: zero when work is left or a timer is
    /// due, `None` when only an event brings work.
    pub fn next_timeout(&self) -> Option<Duration> {
        let has_work = self.has_work() || self.spinning.is_on(self.core.now);
        if has_work { Some(Duration::ZERO) } else { self.until_due(Instant::now()) }
    }

    /// Turns until stopped.
    ///
    /// # Errors
    ///
    /// When the poll call itself fails. No error of a source ends the loop.
    pub fn run<H: Handler<Source = S, Message = M>>(&mut self, handler: &mut H) -> io::Result<()> {
        while self.turn(handler)? == Flow::Running {}
        Ok(())
    }

    /// Waits for events, marks the sources that have work, runs each once.
    ///
    /// # Errors
    ///
    /// When the poll call itself fails.
    pub fn turn<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
    ) -> io::Result<Flow> {
        self.turn_within(handler, None)
    }

    /// As [`turn`](Reactor::turn), and sleeps no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// When the poll call itself fails.
    pub fn turn_timeout<H: Handler<Source = S, Message = M>>(
        &mut self,
        handler: &mut H,
        timeout: Duration,
    ) -> io::Result<Flow> {
        self.turn_within(handler, Some(timeout))
    }
}

#[cfg(test)]
impl<S, M> Reactor<S, M> {
    /// Whether a source has a timer.
    pub(crate) fn has_timer(&self) -> bool {
        self.core.slots.first_timer().is_some()
    }
}

impl<S, M> AsFd for Reactor<S, M> {
    /// The selector, for another loop to watch: it is readable when a turn has events to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

#[cfg(test)]
mod tests;
