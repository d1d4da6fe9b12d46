//! The only entry for other threads. Through it they send messages to the handler and end the loop.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Token, Waker};

/// Messages that can wait for the loop. A loop with this many has hung or is overloaded. The bound
/// tells its senders so, and limits memory.
const MESSAGES_MAX: usize = 1 << 16;

/// A handle to a reactor. Any thread can use it to send messages to the reactor's
/// [`Handler`](super::Handler) and to end its loop. Clones reach the same reactor.
///
/// A handle does not keep its reactor alive, and may outlive it.
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
/// /// Adds up the numbers that other threads send.
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
///         handle.stop(); // takes effect after the messages
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

/// An error that returns a message the loop did not accept.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The loop has been stopped, or its reactor is gone.
    Stopped(M),
    /// 65,536 messages already wait for the loop.
    Full(M),
}

/// The reactor's side. Dropping it ends reception.
#[derive(Debug)]
pub(super) struct Inbox<M> {
    shared: Arc<Shared<M>>,
    /// A wake-up has come since the loop last found the queue empty.
    is_notified: bool,
    /// A handle has stopped the loop, and the handler has received every earlier message.
    is_stopped: bool,
    /// The handler has stopped the loop, and the caller may run it again.
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
    /// Closed until the loop runs again.
    Paused,
    Ended,
}

impl<M> Shared<M> {
    /// Locks the queue. A poisoned lock is safe to use, because no holder panics part-way through a
    /// change.
    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // This fails only if the reactor is gone, so there is no loop to wake.
        let _ = self.waker.wake();
    }
}

impl<M> Handle<M> {
    /// Sends a message, and wakes the loop if it sleeps. Waits only for the queue's lock, which is
    /// held briefly.
    ///
    /// The handler receives each message once. It receives the messages of one thread in the order
    /// in which the thread sent them.
    ///
    /// # Errors
    ///
    /// Returns the message if the loop has stopped, if its reactor is gone, or if 65,536 messages
    /// wait. If the loop ends before it receives an accepted message,
    /// [`Reactor::into_messages`](super::Reactor::into_messages) returns that message.
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
        // If the queue was not empty, the sender that found it empty wakes the loop.
        if was_empty {
            self.0.wake();
        }
        Ok(())
    }

    /// Ends the loop after the turn that receives the last message sent before this call, and wakes
    /// the loop if it sleeps.
    ///
    /// The reactor stays stopped: a turn that begins later does not sleep and ends the loop again.
    ///
    /// ```
    /// # use resound::echo::{Options, Server};
    /// # use resound::reactor::Reactor;
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let server = std::thread::spawn(move || reactor.run(&mut Server::new(Options::default())));
    /// handle.stop();
    /// handle.stop(); // a second call has no effect
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

    /// Records that a wake-up has come.
    pub(super) fn notify(&mut self) {
        self.is_notified = true;
    }

    /// Returns true if a message may wait. Takes no lock, because the loop asks in every turn.
    pub(super) fn is_notified(&self) -> bool {
        self.is_notified
    }

    /// Returns true if a handle has stopped the loop and the handler has received every earlier
    /// message.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Takes the next message.
    pub(super) fn next(&mut self) -> Option<M> {
        let mut queue = self.shared.lock();
        let message = queue.messages.pop_front();
        if message.is_none() {
            // The next sender finds the queue empty and therefore wakes the loop again.
            self.is_notified = false;
            self.is_stopped = queue.reception == Reception::Ended;
        }
        message
    }

    /// Closes reception, because the handler has stopped the loop.
    pub(super) fn pause(&mut self) {
        self.is_paused = true;
        self.change(Reception::Open, Reception::Paused);
    }

    /// Opens reception again if it was paused.
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

    /// Ends reception and returns the messages that the handler did not receive.
    pub(super) fn end(&mut self) -> VecDeque<M> {
        let mut queue = self.shared.lock();
        queue.reception = Reception::Ended;
        mem::take(&mut queue.messages)
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        // `end` releases the lock first, because dropping a message may run any code.
        drop(self.end());
    }
}

impl<M> SendError<M> {
    /// Returns the message.
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

// Derived impls would require messages that are Debug or Clone.

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
