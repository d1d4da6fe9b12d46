//! The one entry for other threads: they send messages to the handler, and end the loop.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Token, Waker};

/// Messages that wait for the loop. A loop that leaves so many has hung or is overloaded: its
/// senders learn of it, and memory stays bounded.
const MESSAGES_MAX: usize = 1 << 16;

/// By which any thread sends messages to the [`Handler`](super::Handler) of one reactor, and ends
/// its loop. Clones reach the same reactor.
///
/// A handle keeps nothing alive: it may outlive its reactor.
///
/// ```
/// use std::convert::Infallible;
/// # use mio::Interest;
/// # use resound::reactor::{Context, Handler, Next, Reactor, Source, SourceContext, Sources};
/// # use resound::Readiness;
/// # struct Nothing(Infallible);
/// # impl Source for Nothing {
/// #     fn interest(&self) -> Interest { match self.0 {} }
/// # }
/// # impl std::os::fd::AsFd for Nothing {
/// #     fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> { match self.0 {} }
/// # }
///
/// /// Adds up what other threads send.
/// struct Sum(u64);
///
/// impl Handler for Sum {
///     type Source = Nothing;
///     type Message = u64;
///
///     fn message(&mut self, number: u64, _: &Sources<Nothing>, _: &mut Context<'_, Nothing>) {
///         self.0 += number;
///     }
/// #   fn ready(
/// #       &mut self,
/// #       source: &mut Nothing,
/// #       _: &mut Readiness,
/// #       _: &mut SourceContext<'_, Nothing>,
/// #   ) -> Next {
/// #       match source.0 {}
/// #   }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let thread = std::thread::spawn({
///     let handle = handle.clone();
///     move || {
///         (1..=4).for_each(|number| handle.send(number).expect("the loop runs"));
///         handle.stop(); // behind the messages
///     }
/// });
/// let mut sum = Sum(0);
/// reactor.run(&mut sum)?;
/// assert_eq!(sum.0, 10);
/// assert_eq!(handle.send(5).unwrap_err().into_message(), 5);
/// # thread.join().expect("the sender does not panic");
/// # Ok(())
/// # }
/// ```
pub struct Handle<M>(Arc<Shared<M>>);

/// A message that was not accepted, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The loop has been stopped, or its reactor is gone.
    Stopped(M),
    /// 65,536 messages wait for the loop already.
    Full(M),
}

/// The reactor's side. Dropped, it ends the reception.
#[derive(Debug)]
pub(super) struct Inbox<M> {
    shared: Arc<Shared<M>>,
    /// A wake-up has come since the queue was last found empty.
    is_notified: bool,
    /// A handle has stopped the loop, and every message sent before is received.
    is_stopped: bool,
    /// The handler has stopped the loop, which may be run again.
    is_paused: bool,
}

struct Shared<M> {
    queue: Mutex<Queue<M>>,
    waker: Waker,
}

struct Queue<M> {
    messages: VecDeque<M>,
    reception: Reception,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reception {
    Open,
    /// Until the loop is run again.
    Paused,
    Ended,
}

impl<M> Shared<M> {
    /// Nothing that holds the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // This fails only if the reactor is gone, and then no loop is left to wake.
        let _ = self.waker.wake();
    }
}

impl<M> Handle<M> {
    /// Sends a message, and wakes the loop if it sleeps. Does not block.
    ///
    /// The handler receives each message once, and those of one thread in the order in which it
    /// sent them.
    ///
    /// # Errors
    ///
    /// Gives the message back when the loop has stopped, when its reactor is gone, and when 65,536
    /// messages wait. An accepted message that the loop does not come to receive is among
    /// [`Reactor::into_messages`](super::Reactor::into_messages).
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        let mut queue = self.0.lock();
        if queue.reception != Reception::Open {
            return Err(SendError::Stopped(message));
        }
        if queue.messages.len() >= MESSAGES_MAX {
            return Err(SendError::Full(message));
        }
        let was_empty = queue.messages.is_empty();
        queue.messages.push_back(message);
        drop(queue);
        // Otherwise the sender that found the queue empty has woken the loop.
        if was_empty {
            self.0.wake();
        }
        Ok(())
    }

    /// Ends the loop at the end of the turn that receives the last message sent before, and wakes
    /// the loop if it sleeps.
    ///
    /// A reactor that was stopped so stays stopped: a turn begun later ends at once.
    ///
    /// ```
    /// # use resound::echo::{Options, Server};
    /// # use resound::reactor::Reactor;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let server = std::thread::spawn(move || reactor.run(&mut Server::new(Options::default())));
    /// handle.stop();
    /// handle.stop(); // as often as one likes
    /// server.join().expect("the loop does not panic")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop(&self) {
        self.0.lock().reception = Reception::Ended;
        self.0.wake();
    }
}

impl<M> Inbox<M> {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Inbox<M>> {
        let queue = Queue { messages: VecDeque::new(), reception: Reception::Open };
        let shared = Shared { queue: Mutex::new(queue), waker: Waker::new(registry, token)? };
        let shared = Arc::new(shared);
        Ok(Inbox { shared, is_notified: false, is_stopped: false, is_paused: false })
    }

    pub(super) fn handle(&self) -> Handle<M> {
        Handle(Arc::clone(&self.shared))
    }

    /// A wake-up has come.
    pub(super) fn notify(&mut self) {
        self.is_notified = true;
    }

    /// Whether there may be a message to receive. Asked each turn, hence without the lock.
    pub(super) fn is_notified(&self) -> bool {
        self.is_notified
    }

    /// Whether a handle has stopped the loop, and every message sent before is received.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The next message.
    pub(super) fn next(&mut self) -> Option<M> {
        let mut queue = self.shared.lock();
        let message = queue.messages.pop_front();
        if message.is_none() {
            // The next sender finds the queue empty, and wakes the loop again.
            self.is_notified = false;
            self.is_stopped = queue.reception == Reception::Ended;
        }
        message
    }

    /// The handler has stopped the loop.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
        self.change(Reception::Open, Reception::Paused);
    }

    /// The loop runs again, if it was paused.
    #[inline]
    pub(super) fn resume(&mut self) {
        if mem::take(&mut self.is_paused) {
            self.change(Reception::Paused, Reception::Open);
        }
    }

    fn change(&self, from: Reception, to: Reception) {
        let mut queue = self.shared.lock();
        if queue.reception == from {
            queue.reception = to;
        }
    }

    /// Accepts no more messages, and takes out those that were not received.
    pub(super) fn end(&mut self) -> VecDeque<M> {
        let mut queue = self.shared.lock();
        queue.reception = Reception::Ended;
        mem::take(&mut queue.messages)
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        // Dropped without the lock: a message may do as it likes in its own drop.
        drop(self.end());
    }
}

impl<M> SendError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            SendError::Stopped(message) | SendError::Full(message) => message,
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Stopped(_) => write!(formatter, "the loop has stopped"),
            SendError::Full(_) => write!(formatter, "{MESSAGES_MAX} messages wait for the loop"),
        }
    }
}

// By hand, for messages that are not Debug or Clone themselves.

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            SendError::Stopped(_) => "Stopped(..)",
            SendError::Full(_) => "Full(..)",
        })
    }
}

impl<M> Error for SendError<M> {}

impl<M> Clone for Handle<M> {
    fn clone(&self) -> Handle<M> {
        Handle(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Handle<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Shared<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}
