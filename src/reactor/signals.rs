//! Signals as events of the loop, through the self-pipe of signal-hook.

use std::fmt;
use std::io;

use mio::{Interest, Registry, Token};

/// The signals that one reactor watches.
pub(super) struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    pub(super) fn new(signals: &[i32], registry: &Registry, token: Token) -> io::Result<Signals> {
        // signal-hook panics for these, and its clean-up after the panic panics again.
        if signals.iter().any(|signal| signal_hook::consts::FORBIDDEN.contains(signal)) {
            let message = "a signal that cannot be caught, or that reports a fault";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut inner = signal_hook_mio::v1_0::Signals::new(signals)?;
        registry.register(&mut inner, token, Interest::READABLE)?;
        Ok(Signals(inner))
    }

    /// Returns the signals that arrived since the last call, each once.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = i32> {
        self.0.pending()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signals").finish_non_exhaustive()
    }
}
