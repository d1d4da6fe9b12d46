//! Which processors the two ends run on.

use resound::Error;
use resound::process::cpus;

/// The processors of a run.
#[derive(Debug)]
pub(super) struct Cpus {
    /// The one that the generator has to itself, as far as this process goes.
    pub(super) generator: Option<usize>,
    /// The user asked for that one.
    is_asked: bool,
    /// Those that this process may use.
    allowed: Vec<usize>,
    is_server_here: bool,
}

impl Cpus {
    /// As asked for; where both ends are in this process and there are two processors, apart.
    /// Left to the system, two threads that wake each other end up on one processor in some runs
    /// and not in others.
    pub(super) fn chosen(asked: Option<usize>, is_server_here: bool) -> Cpus {
        let allowed = cpus::allowed();
        let last = allowed.last().copied().filter(|_| is_server_here && allowed.len() > 1);
        let is_asked = asked.is_some();
        Cpus { generator: asked.or(last), is_asked, allowed, is_server_here }
    }

    /// Runs this thread where the generator is to run. Where the user did not ask for that, it
    /// only makes figures steadier: if the system refuses it, the run goes on, and the reader is
    /// told by what is returned.
    ///
    /// # Errors
    ///
    /// Why the thread cannot run on the CPU that the user asked for.
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

    /// Whether a server on this machine may run on the generator's processor. Of one in another
    /// process it is not known: it is taken to be elsewhere when the generator was given a place.
    pub(super) fn may_be_shared(&self) -> bool {
        let has_others = self.allowed.iter().any(|cpu| Some(*cpu) != self.generator);
        self.generator.is_none() || (self.is_server_here && !has_others)
    }
}
