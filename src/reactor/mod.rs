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
//! # use std::os::fd::{AsFd, BorrowedFd};
//! use std::os::unix::net::UnixStream;
//!
//! use mio::Interest;
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
mod handler;
mod key;
mod meter;
mod remote;
#[cfg(feature = "signals")]
mod signals;
mod sources;
mod spin;

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use self::handler::Requests;
pub use self::handler::{Closed, Context, Handler, Next};
pub use self::key::Key;
use self::meter::Meter;
pub use self::meter::{Histogram, LoopCounts, TurnMeasures};
use self::remote::Remote;
pub use self::remote::{AskHandle, StopHandle};
pub use self::sources::{Source, Sources};
pub use self::spin::Spin;
use self::spin::Spinning;
use crate::readiness::Readiness;

/// Events fetched by one poll. Those beyond it are fetched by the next, in turn: epoll rotates its
/// list. 1024 of them are 12 KiB and spread the cost of the call thin.
const EVENTS_PER_POLL: usize = 1024;

/// Tokens the reactor keeps for itself; no [`Key`] packs to one (see `Key::INDEX_LIMIT`).
const REMOTE: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX >> 1);

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There may be more to do.
    Running,
    /// [`Context::stop`] or a [`StopHandle`] ended it.
    Stopped,
}

/// What the events of a turn bring for the handler itself.
#[derive(Clone, Copy, Debug)]
struct Calls {
    signalled: bool,
    asked: bool,
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
    spinning: Spinning,
    counts: LoopCounts,
    /// While turns are measured.
    meter: Option<Meter>,
    #[cfg(debug_assertions)]
    left_readable: checks::LeftReadable,
    remote: Remote,
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
            remote: Remote::new(poll.registry(), REMOTE)?,
            sources: Sources::new(poll.registry().try_clone()?),
            requests: Requests::none(),
            events: Events::with_capacity(EVENTS_PER_POLL),
            // The first turn does not sleep: the handler has not said yet when to be called.
            deadline: Some(now),
            now,
            spinning: Spinning::new(now),
            counts: LoopCounts::default(),
            meter: None,
            #[cfg(debug_assertions)]
            left_readable: checks::LeftReadable::default(),
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
        self.remote.stop_handle()
    }

    /// A handle by which any thread can have the handler [asked](Handler::asked).
    pub fn ask_handle(&self) -> AskHandle {
        self.remote.ask_handle()
    }

    /// Sets how long it polls without sleeping. At first it sleeps at once.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spinning.spin = spin;
    }

    /// Sets whether turns are measured, for [`LoopCounts::measures`]. At first they are not: it
    /// takes another look at the clock each turn.
    pub fn measure_turns(&mut self, on: bool) {
        self.meter = on.then(|| Meter::new(&self.counts));
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
        let calls = self.mark();
        if calls.signalled {
            self.take_signals(handler);
        }
        self.run_ready(handler);
        if calls.asked {
            handler.asked(&self.counts);
        }
        self.tick(handler);
        if let Some(meter) = &mut self.meter {
            meter.end_turn(&mut self.counts, self.now);
        }

        let stopped = self.requests.stop || self.remote.is_stopped();
        self.requests.stop = false;
        Ok(if stopped { Flow::Stopped } else { Flow::Running })
    }

    fn wait(&mut self) -> io::Result<()> {
        self.counts.turns += 1;
        let has_work = self.sources.ready_len() > 0 || self.remote.is_stopped();
        if !has_work && self.guess() {
            self.events.clear();
            self.now = Instant::now();
            return Ok(());
        }
        let timeout = if has_work || self.spinning.is_on(self.now) {
            Some(Duration::ZERO)
        } else {
            // From the turn's own time, which is late by what its slices took: those are short,
            // and a poll timeout is rounded up to whole milliseconds in any case.
            self.deadline.map(|deadline| deadline.saturating_duration_since(self.now))
        };
        #[cfg(debug_assertions)]
        if timeout.is_none() {
            self.left_readable.assert_none_is_readable(&self.sources);
        }
        let polled = self.poll.poll(&mut self.events, timeout);
        self.now = Instant::now();
        self.spinning.polled_at = self.now;
        self.counts.polls += 1;
        match polled {
            // A signal came first. Leftovers, deadlines and the stop flag are seen to as ever.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// While it spins: marks the few sources that may be readable in place of asking which are.
    fn guess(&mut self) -> bool {
        let mut is_any_alive = false;
        for key in self.spinning.guess(self.now) {
            is_any_alive |= self.sources.mark(*key, Readiness::READABLE);
        }
        is_any_alive
    }

    /// Marks every source that an event names, and returns what else there is.
    fn mark(&mut self) -> Calls {
        let (mut signalled, mut asked) = (false, false);
        for event in &self.events {
            match event.token() {
                REMOTE => asked |= self.remote.take_question(),
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
        self.spinning.learn(&self.events, self.now);
        Calls { signalled, asked }
    }

    fn run_ready<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        // Whoever joins the list from here on has its slice in the next turn.
        for _ in 0..self.sources.ready_len() {
            let Some(key) = self.sources.next_ready() else { continue };
            let Some((source, readiness)) = self.sources.slice(key) else { continue };
            let mut context = self.requests.context(self.now, Some(key));
            let next = handler.ready(source, readiness, &mut context);
            self.counts.slices += 1;
            #[cfg(debug_assertions)]
            if next == Next::Wait {
                self.left_readable.note(key, source.interest(), *readiness);
            }
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
            let mut context = self.requests.context(self.now, Some(key));
            handler.closed(source, cause, &mut context);
        }
    }

    /// Carries out what the handler asked for. Requests made meanwhile, by a source that could
    /// not be registered, are carried out as well.
    #[inline]
    fn carry_out<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        if self.requests.are_none() {
            return;
        }
        while let Some(source) = self.requests.insert.pop() {
            if let Err((source, error)) = self.sources.insert(source) {
                let mut context = self.requests.context(self.now, None);
                handler.closed(source, Closed::Unregistered(error), &mut context);
            }
        }
        for key in self.requests.wake.drain(..) {
            self.sources.mark(key, Readiness::NONE);
        }
    }

    fn tick<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        let mut context = self.requests.context(self.now, None);
        self.deadline = handler.tick(&self.sources, &mut context);
        self.carry_out(handler);
    }

    #[cfg(feature = "signals")]
    fn take_signals<H: Handler<Source = S>>(&mut self, handler: &mut H) {
        let Some(signals) = &mut self.signals else { return };
        let mut context = self.requests.context(self.now, None);
        for signal in signals.pending() {
            handler.signalled(signal, &self.sources, &mut context);
        }
        self.carry_out(handler);
    }

    #[cfg(not(feature = "signals"))]
    fn take_signals<H: Handler<Source = S>>(&mut self, _: &mut H) {}
}

#[cfg(test)]
mod tests;
