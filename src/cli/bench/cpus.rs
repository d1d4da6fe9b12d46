//! The CPUs of the generator and of the server in this process.

use resound::Error;
use resound::process::cpus;

/// The CPUs of a run.
#[derive(Debug)]
pub(super) struct Cpus {
    /// The generator's own CPU. No other thread of this process runs on it.
    pub(super) generator: Option<usize>,
    /// The user chose the generator's CPU.
    is_asked: bool,
    /// The CPUs that this process may use.
    allowed: Vec<usize>,
    is_server_here: bool,
}

impl Cpus {
    /// Chooses the generator's CPU: the one that the user asked for, or the last one if the server
    /// is in this process and there are two CPUs. Without this, the scheduler puts two threads that
    /// wake each other on one CPU in some runs and not in others.
    pub(super) fn chosen(asked: Option<usize>, is_server_here: bool) -> Cpus {
        let allowed = cpus::allowed();
        let last = allowed.last().copied().filter(|_| is_server_here && allowed.len() > 1);
        let is_asked = asked.is_some();
        Cpus { generator: asked.or(last), is_asked, allowed, is_server_here }
    }

    /// Pins this thread to the generator's CPU. A CPU that the user did not ask for only makes the
    /// figures steadier, so a refusal by the system is returned as a warning and the run goes on.
    ///
    /// # Errors
    ///
    /// The thread cannot run on the CPU that the user asked for.
    pub(super) fn pin_generator(&mut self) -> Result<Option<String>, Error> {
        let Some(cpu) = self.generator else { return Ok(None) };
        match cpus::pin(cpu) {
            Ok(()) => Ok(None),
            Err(error) if self.is_asked => Err(error),
            Err(error) => {
                self.generator = None;
                let reason = error.reason();
                Ok(Some(format!(
                    "the generator could not be kept to CPU {cpu} ({reason}): both ends may share \
                     CPUs, in one run more than in another"
                )))
            }
        }
    }

    /// Returns true if a server on this machine may run on the generator's CPU. The CPUs of a
    /// server in another process are unknown; it is assumed to run elsewhere if the generator has
    /// its own CPU.
    pub(super) fn may_be_shared(&self) -> bool {
        let has_others = self.allowed.iter().any(|cpu| Some(*cpu) != self.generator);
        self.generator.is_none() || (self.is_server_here && !has_others)
    }
}
