//! The loop: when a source may run. It knows nothing of sockets or of what is done with them.
//!
//! One turn is **wait → mark → run**:
//!
//! 1. *Wait* is the only place the thread sleeps. Work left over from the turn before forbids it.
//! 2. *Mark* reads the events: each names a [`Key`], whose remembered [`Readiness`] it adds to, and
//!    whose place on the ready list it claims. Nothing is acted on while events are read, so no
//!    event of a batch can reach the wrong tenant of a slot that the same batch freed.
//! 3. *Run* gives each key on the list one bounded slice of its [`Handler`]. The handler's answer,
//!    a [`Next`], is all it has to say: the loop inserts, registers and removes.
//!
//! The ready list is the one of epoll(7), "Possible pitfalls": epoll is edge-triggered here, so
//! whoever stops before `WouldBlock` must come back by himself, and comes back by the same way as
//! a fresh event does.
//!
//! ```
//! use std::io::{self, Read};
//! use std::time::Instant;
//!
//! use mio::net::UnixStream;
//! use mio::{Interest, Registry, Token, event};
//! use resound::Readiness;
//! use resound::reactor::{Closed, Context, Handler, Next, Reactor, Source};
//!
//! /// Counts what arrives on a stream, and stops the loop at its end.
//! struct Count(usize);
//! struct Stream(UnixStream);
//!
//! impl Handler for Count {
//!     type Source = Stream;
//!
//!     fn ready(
//!         &mut self,
//!         source: &mut Stream,
//!         readiness: &mut Readiness,
//!         context: &mut Context<'_, Stream>,
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
//! # impl event::Source for Stream {
//! #     fn register(&mut self, r: &Registry, t: Token, i: Interest) -> io::Result<()> {
//! #         self.0.register(r, t, i)
//! #     }
//! #     fn reregister(&mut self, r: &Registry, t: Token, i: Interest) -> io::Result<()> {
//! #         self.0.reregister(r, t, i)
//! #     }
//! #     fn deregister(&mut self, r: &Registry) -> io::Result<()> { self.0.deregister(r) }
//! # }
//!
//! # fn main() -> io::Result<()> {
//! let (near, far) = UnixStream::pair()?;
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

mod key;
#[cfg(feature = "signals")]
mod signals;
mod sources;
mod stop;

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

pub use self::key::Key;
pub use self::sources::{Source, Sources};
pub use self::stop::StopHandle;
use crate::readiness::Readiness;

/// Events fetched by one poll. Those beyond it are fetched by the next, in turn: epoll rotates its
/// list. 1024 of them are 12 KiB and spread the cost of the call thin.
const EVENTS_PER_POLL: usize = 1024;

/// Tokens the reactor keeps for itself; no [`Key`] packs to one (see `Key::INDEX_LIMIT`).
const STOP: Token = Token(usize::MAX);
#[cfg(feature = "signals")]
const SIGNALS: Token = Token(usize::MAX >> 1);

/// What to do with each source of a [`Reactor`].
///
/// All methods run on the reactor's thread. They must not block and must not sleep: every other
/// source waits meanwhile.
pub trait Handler: Sized {
    /// Everything this handler has in the reactor, usually an enum: one `match` a slice.
    type Source: Source;

    /// Gives a source one bounded slice of work.
    ///
    /// `readiness` is what the loop remembers of the source. The handler clears a bit when it has
    /// seen `WouldBlock`, and may answer [`Next::Wait`] only when, for all the source still wants,
    /// the bit is clear. A slice may come with nothing ready: when the key was
    /// [woken](Context::wake), or when the system was mistaken.
    fn ready(
        &mut self,
        source: &mut Self::Source,
        readiness: &mut Readiness,
        context: &mut Context<'_, Self::Source>,
    ) -> Next;

    /// Takes back a source that the loop has let go of. Dropping it closes it.
    fn closed(
        &mut self,
        source: Self::Source,
        cause: Closed,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (source, cause, context);
    }

    /// Called at the end of every turn. Returns when to be called again at the latest; later
    /// deadlines of the handler's own are its own to remember. `None` sleeps until an event.
    fn tick(
        &mut self,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) -> Option<Instant> {
        let _ = (sources, context);
        None
    }

    /// A signal asked for by [`Reactor::watch_signals`] has arrived. Called while events are read,
    /// so nothing is closed under it; what it [wakes](Context::wake) runs in this turn.
    #[cfg(feature = "signals")]
    fn signalled(
        &mut self,
        signal: i32,
        sources: &Sources<Self::Source>,
        context: &mut Context<'_, Self::Source>,
    ) {
        let _ = (signal, sources, context);
    }
}

/// A handler's answer to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do before the next event: `WouldBlock` was seen for all that is wanted.
    Wait,
    /// The slice is used up, work is left: to the back of the ready list, and no sleep before.
    Again,
    /// Remove the source and close it.
    Close,
}

/// Why a source came back to its handler.
#[derive(Debug)]
pub enum Closed {
    /// The handler answered [`Next::Close`].
    ByHandler,
    /// The system would not register it (out of memory, or of watches).
    Unregistered(io::Error),
}

/// What a handler can ask of the loop. Requests are carried out when the call returns.
#[derive(Debug)]
pub struct Context<'a, S> {
    now: Instant,
    key: Option<Key>,
    requests: &'a mut Requests<S>,
}

#[derive(Debug)]
struct Requests<S> {
    insert: Vec<S>,
    wake: Vec<Key>,
    stop: bool,
}

impl<S> Context<'_, S> {
    /// The time of this turn, read once when its events arrived.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The key of the source that runs, or that has just been closed.
    ///
    /// # Panics
    ///
    /// In a tick and in a signal, which belong to no source.
    pub fn key(&self) -> Key {
        self.key.expect("a source runs")
    }

    /// Adds a source. Should that fail, it comes back by [`Handler::closed`].
    pub fn insert(&mut self, source: S) {
        self.requests.insert.push(source);
    }

    /// Gives a source a slice, in this turn or the next, with the readiness it has. A key that is
    /// dead by then is ignored.
    pub fn wake(&mut self, key: Key) {
        self.requests.wake.push(key);
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.requests.stop = true;
    }
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There may be more to do.
    Running,
    /// [`Context::stop`] or a [`StopHandle`] ended it.
    Stopped,
}

/// Counts of the loop since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Turns, each with one poll call.
    pub turns: u64,
    /// Events that reached a living source.
    pub events: u64,
    /// Late events whose source was gone.
    pub events_stale: u64,
    /// Slices given to handlers.
    pub slices: u64,
    /// Slices that ended with work left.
    pub slices_used_up: u64,
}

/// A single-threaded readiness loop that owns every source and asks its handler, statically known,
/// what to do with each. See the [module](self) for how a turn goes.
#[derive(Debug)]
pub struct Reactor<S> {
    poll: Poll,
    events: Events,
    sources: Sources<S>,
    requests: Requests<S>,
    /// When the next poll must return; `None` waits for an event.
    deadline: Option<Instant>,
    now: Instant,
    counts: LoopCounts,
    stop: StopHandle,
    #[cfg(feature = "signals")]
    signals: Option<signals::Signals>,
}

impl<S: Source> Reactor<S> {
    /// Makes a reactor with no source.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left for the selector or for the stop handle.
    pub fn new() -> io::Result<Reactor<S>> {
        let poll = Poll::new()?;
        let now = Instant::now();
        Ok(Reactor {
            stop: StopHandle::new(poll.registry(), STOP)?,
            sources: Sources::new(poll.registry().try_clone()?),
            requests: Requests { insert: Vec::new(), wake: Vec::new(), stop: false },
            events: Events::with_capacity(EVENTS_PER_POLL),
            // The first turn does not sleep: the handler has not said yet when to be called.
            deadline: Some(now),
            now,
            counts: LoopCounts::default(),
            poll,
            #[cfg(feature = "signals")]
            signals: None,
        })
    }

    /// Takes a source in from outside the loop.
    ///
    /// # Errors
    ///
    /// When the system will not register it; the source is closed then.
    pub fn insert(&mut self, source: S) -> io::Result<Key> {
        self.sources.insert(source).map_err(|(_, error)| error)
    }

    /// The sources it holds.
    pub fn sources(&self) -> &Sources<S> {
        &self.sources
    }

    /// What the loop has counted since its start.
    pub fn counts(&self) -> LoopCounts {
        self.counts
    }

    /// A handle by which any thread can end the loop.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Makes these signals events of the loop, given to [`Handler::signalled`]. Their default
    /// action is off from here on, for the whole process.
    ///
    /// # Errors
    ///
    /// When the signal cannot be caught (SIGKILL) or no descriptor is left.
    #[cfg(feature = "signals")]
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        self.signals = Some(signals::Signals::new(signals, self.poll.registry(), SIGNALS)?);
        Ok(())
    }

    /// Turns until stopped.
    ///
    /// # Errors
    ///
    /// When the poll call itself fails. No error of a source ends the loop.
    pub fn run<H: Handler<Source = S>>(&mut self, handler: &mut H) -> io::Result<()> {
        while self.turn(handler)? == Flow::Running {}
        Ok(())
    }

    /// Waits for events, marks who has work, runs each once.
    ///
    /// # Errors
    ///
    /// When the poll call itself fails.
    pub fn turn<H: Handler<Source = S>>(&mut self, handler: &mut H) -> io::Result<Flow> {
        self.wait()?;
        self.mark(handler);
        self.run_ready(handler);
        self.tick(handler);

        let stopped = self.requests.stop || self.stop.is_stopped();
        self.requests.stop = false;
        Ok(if stopped { Flow::Stopped } else { Flow::Running })
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = if self.sources.ready_len() > 0 || self.stop.is_stopped() {
            Some(Duration::ZERO)
        } else {
            // From the turn's own time, which is late by what its slices took: those are short,
            // and a poll timeout is rounded up to whole milliseconds in any case.
            self.deadline.map(|deadline| deadline.saturating_duration_since(self.now))
        };
        let polled = self.poll.poll(&mut self.events, timeout);
        self.now = Instant::now();
        self.counts.turns += 1;
        match polled {
            // A signal came first. Leftovers, deadlines and the stop flag are seen to as ever.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn mark<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        let mut signalled = false;
        for event in &self.events {
            match event.token() {
                STOP => {}
                #[cfg(feature = "signals")]
                SIGNALS => signalled = true,
                token => {
                    let key = Key::from_token(token);
                    if self.sources.mark(key, Readiness::from_event(event)) {
                        self.counts.events += 1;
                    } else {
                        self.counts.events_stale += 1;
                    }
                }
            }
        }
        #[cfg(feature = "signals")]
        if signalled {
            self.take_signals(handler);
        }
        #[cfg(not(feature = "signals"))]
        let _ = (&mut signalled, handler);
    }

    fn run_ready<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        // Whoever joins the list from here on has its slice in the next turn.
        for _ in 0..self.sources.ready_len() {
            let Some(key) = self.sources.next_ready() else { break };
            let Some((source, readiness)) = self.sources.slice(key) else { continue };
            let mut context =
                Context { now: self.now, key: Some(key), requests: &mut self.requests };
            let next = handler.ready(source, readiness, &mut context);
            self.counts.slices += 1;
            match next {
                Next::Wait => self.settle(handler, key),
                Next::Again => {
                    self.counts.slices_used_up += 1;
                    self.sources.mark(key, Readiness::NONE);
                    self.settle(handler, key);
                }
                Next::Close => self.close(handler, key, Closed::ByHandler),
            }
            self.carry_out(handler);
        }
    }

    /// Brings the registration up to date with what the source now waits for.
    fn settle<H: Handler<Source = S>>(&mut self, handler: &mut H, key: Key) {
        if let Err(error) = self.sources.refresh_interest(key) {
            self.close(handler, key, Closed::Unregistered(error));
        }
    }

    fn close<H: Handler<Source = S>>(&mut self, handler: &mut H, key: Key, cause: Closed) {
        if let Some(source) = self.sources.remove(key) {
            let mut context =
                Context { now: self.now, key: Some(key), requests: &mut self.requests };
            handler.closed(source, cause, &mut context);
        }
    }

    /// Carries out what the handler asked for. Requests made meanwhile, by a source that could
    /// not be registered, are carried out as well.
    fn carry_out<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        while let Some(source) = self.requests.insert.pop() {
            if let Err((source, error)) = self.sources.insert(source) {
                let mut context =
                    Context { now: self.now, key: None, requests: &mut self.requests };
                handler.closed(source, Closed::Unregistered(error), &mut context);
            }
        }
        for key in self.requests.wake.drain(..) {
            self.sources.mark(key, Readiness::NONE);
        }
    }

    fn tick<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        let mut context = Context { now: self.now, key: None, requests: &mut self.requests };
        self.deadline = handler.tick(&self.sources, &mut context);
        self.carry_out(handler);
    }

    #[cfg(feature = "signals")]
    fn take_signals<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        let Some(signals) = &mut self.signals else { return };
        let mut context = Context { now: self.now, key: None, requests: &mut self.requests };
        for signal in signals.pending() {
            handler.signalled(signal, &self.sources, &mut context);
        }
        self.carry_out(handler);
    }
}

#[cfg(test)]
mod tests;
