//! What other threads may do to a loop: end it, or ask its handler how it fares.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};

/// What the handles of one reactor share with it.
#[derive(Clone, Debug)]
pub(super) struct Remote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    asked: AtomicBool,
    waker: Waker,
}

/// Ends one reactor's loop, from any thread, at the end of the turn it is in.
///
/// Once stopped, a reactor stays stopped: a turn begun later ends at once.
///
/// ```
/// # use resound::echo::{Options, Server};
/// # use resound::reactor::Reactor;
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let stop = reactor.stop_handle();
/// let server = std::thread::spawn(move || reactor.run(&mut Server::new(Options::default())));
/// stop.stop();
/// stop.stop(); // as often as one likes
/// server.join().expect("the loop does not panic")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StopHandle(Remote);

/// Has one reactor's handler [asked](super::Handler::asked), from any thread: for its counts, or
/// for whether the loop still turns.
///
/// Questions put before the loop has come to answer are answered as one.
#[derive(Clone, Debug)]
pub struct AskHandle(Remote);

impl Remote {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Remote> {
        let (stopped, asked) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Remote(Arc::new(Shared { stopped, asked, waker: Waker::new(registry, token)? })))
    }

    pub(super) fn stop_handle(&self) -> StopHandle {
        StopHandle(self.clone())
    }

    pub(super) fn ask_handle(&self) -> AskHandle {
        AskHandle(self.clone())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }

    /// Whether there is a question, which is answered herewith.
    pub(super) fn take_question(&self) -> bool {
        self.0.asked.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        // It fails only when the reactor is gone, and with it whoever could be told.
        let _ = self.0.waker.wake();
    }
}

impl StopHandle {
    /// Asks the loop to end, and wakes it if it sleeps.
    pub fn stop(&self) {
        self.0.0.stopped.store(true, Ordering::Release);
        self.0.wake();
    }
}

impl AskHandle {
    /// Has the handler asked in the loop's next turn, and wakes the loop if it sleeps.
    pub fn ask(&self) {
        self.0.0.asked.store(true, Ordering::Release);
        self.0.wake();
    }
}
