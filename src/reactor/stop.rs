//! Ending the loop from another thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};

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
pub struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    waker: Waker,
}

impl StopHandle {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<StopHandle> {
        let waker = Waker::new(registry, token)?;
        Ok(StopHandle { shared: Arc::new(Shared { stopped: AtomicBool::new(false), waker }) })
    }

    /// Asks the loop to end, and wakes it if it sleeps.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        // A wake-up fails only when the reactor is gone, and with it whoever could be told.
        let _ = self.shared.waker.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }
}
