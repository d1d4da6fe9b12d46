//! The CPUs of the generator's loops and of the server in this process.

use crate::error::Error;
use crate::process::cpus;

/// The CPUs of the loops of a run, beside a server that may be in this process.
#[derive(Debug)]
pub struct Cpus {
    /// The CPUs of the loops, in order. No other thread of this process runs on them, if there are
    /// others.
    pub of_loops: Vec<usize>,
    loops: usize,
    /// The user chose the CPUs.
    is_asked: bool,
    /// The CPUs that this process may use.
    allowed: Vec<usize>,
    is_server_here: bool,
}

impl Cpus {
    /// Chooses the loops' CPUs: those that the user asked for, or the last ones if the server is in
    /// this process and there is one more for it. Without this, the scheduler puts two threads that
    /// wake each other on one CPU in some runs and not in others.
    pub fn chosen(asked: &[usize], loops: usize, is_server_here: bool) -> Cpus {
        let allowed = cpus::allowed();
        let is_asked = !asked.is_empty();
        let of_loops = match is_server_here && allowed.len() > loops {
            _ if is_asked => asked.iter().copied().take(loops).collect(),
            true => allowed.iter().rev().copied().take(loops).collect(),
            false => Vec::new(),
        };
        Cpus { of_loops, loops, is_asked, allowed, is_server_here }
    }

    /// Checks that the loops can be pinned. CPUs that the user did not ask for only make the
    /// figures steadier, so a refusal by the system is returned as a warning and the run goes on.
    ///
    /// # Errors
    ///
    /// A thread cannot run on a CPU that the user asked for.
    pub fn check(&mut self) -> Result<Option<String>, Error> {
        match cpus::check(&self.of_loops) {
            Ok(()) => Ok(None),
            Err(error) if self.is_asked => Err(error),
            Err(error) => {
                let cpus = listed(&std::mem::take(&mut self.of_loops));
                let reason = error.reason();
                Ok(Some(format!(
                    "the generator could not be kept to CPU {cpus} ({reason}): both ends may \
                     share CPUs, in one run more than in another"
                )))
            }
        }
    }

    /// Returns the CPUs that the server in this process leaves to the loops; none if the loops have
    /// all.
    pub fn left_by_server(&self) -> Vec<usize> {
        if self.has_others() { self.of_loops.clone() } else { Vec::new() }
    }

    fn has_others(&self) -> bool {
        self.allowed.iter().any(|cpu| !self.of_loops.contains(cpu))
    }

    /// Returns true if a server on this machine may run on the CPU of a loop. The CPUs of a server
    /// in another process are unknown; it is assumed to run elsewhere if each loop has its own CPU.
    pub fn may_be_shared(&self) -> bool {
        self.of_loops.len() < self.loops || (self.is_server_here && !self.has_others())
    }
}

fn listed(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
