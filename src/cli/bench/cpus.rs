//! The CPUs of the generator's loops and of the server in this process.

use std::cmp::Ordering;

use clap::Args;
use resound::Error;
use resound::load::Share;
use resound::process::cpus;
use serde_json::{Map, Value, json};

use crate::cli::values::{CpuList, cpu_list, loops};

#[derive(Debug, Args)]
pub(super) struct LoopFlags {
    /// Make the load on N loops, one per thread; connections, rate and count are those of all loops
    #[arg(long, value_name = "N", default_value = "1", value_parser = loops)]
    pub(super) threads: usize,

    /// Pin the first loop to the first of these CPUs, the second loop to the second, and so on
    /// [default: with the server in this process, CPUs that the server does not use, if there are
    /// enough]
    #[arg(short = 'A', long, value_name = "CPU[,CPU]", value_parser = cpu_list)]
    affinity: Option<CpuList>,
}

impl LoopFlags {
    /// Checks that each loop of this part has a connection and a message.
    pub(super) fn check(
        &self,
        part: Share,
        connections: u64,
        count: Option<u64>,
    ) -> Result<(), String> {
        let all = part.parts().saturating_mul(self.threads as u64);
        let of_parts = match part.parts() {
            1 => String::new(),
            parts => format!(" in each of {parts} parts"),
        };
        for (flag, number) in [("--connections", Some(connections)), ("--count", count)] {
            if let Some(number) = number.filter(|number| *number < all) {
                let loops = self.threads;
                return Err(format!(
                    "{flag} {number} cannot be dealt out to {loops} loops{of_parts} (--threads): \
                     expected at least one for each, such as {flag} {all}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the CPUs that the user asked for.
    fn asked(&self) -> &[usize] {
        self.affinity.as_ref().map_or(&[], |list| &list.0)
    }

    /// Returns what is odd about the list of CPUs.
    pub(super) fn oddity(&self) -> Option<String> {
        let (given, loops) = (self.asked().len(), self.threads);
        match given.cmp(&loops) {
            Ordering::Less if given > 0 => {
                Some(format!("--affinity has {given} of {loops} loops pinned: the others are not"))
            }
            Ordering::Greater => {
                Some(format!("--affinity names {given} CPUs, but --threads is {loops}"))
            }
            _ => None,
        }
    }

    pub(super) fn meant(&self) -> Map<String, Value> {
        let affinity = match self.asked() {
            [] => Value::Null,
            [cpu] => json!(cpu),
            cpus => json!(cpus),
        };
        let threads = json!(self.threads);
        Map::from_iter([("threads".to_owned(), threads), ("affinity".to_owned(), affinity)])
    }
}

/// The CPUs of a run.
#[derive(Debug)]
pub(super) struct Cpus {
    /// The CPUs of the loops, in order. No other thread of this process runs on them, if there are
    /// others.
    pub(super) of_loops: Vec<usize>,
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
    pub(super) fn chosen(flags: &LoopFlags, is_server_here: bool) -> Cpus {
        let (asked, loops) = (flags.asked(), flags.threads);
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
    pub(super) fn check(&mut self) -> Result<Option<String>, Error> {
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
    pub(super) fn left_by_server(&self) -> Vec<usize> {
        if self.has_others() { self.of_loops.clone() } else { Vec::new() }
    }

    fn has_others(&self) -> bool {
        self.allowed.iter().any(|cpu| !self.of_loops.contains(cpu))
    }

    /// Returns true if a server on this machine may run on the CPU of a loop. The CPUs of a server
    /// in another process are unknown; it is assumed to run elsewhere if each loop has its own CPU.
    pub(super) fn may_be_shared(&self) -> bool {
        self.of_loops.len() < self.loops || (self.is_server_here && !self.has_others())
    }
}

fn listed(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
