//! Signals as events of the loop, by signal-hook's self-pipe.

use std::fmt;
use std::io;

use mio::{Interest, Registry, Token};

/// The signals one reactor watches.
pub(super) struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    pub(super) fn new(signals: &[i32], registry: &Registry, token: Token) -> io::Result<Signals> {
        // signal-hook panics for these, and its clean-up for the panic panics again.
        if signals.iter().any(|signal| signal_hook::consts::FORBIDDEN.contains(signal)) {
            let message = "a signal that cannot be caught, or that tells of a fault";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut inner = signal_hook_mio::v1_0::Signals::new(signals)?;
        registry.register(&mut inner, token, Interest::READABLE)?;
        Ok(Signals(inner))
    }

    /// Those that arrived since it was last asked, each once.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = i32> {
        self.0.pending()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signals").finish_non_exhaustive()
    }
}
