//! The flags of the generator's loops: how many, and on which CPUs.

use std::cmp::Ordering;

use clap::Args;
use resound::load::Share;
use resound::process::cpus::CpuList;
use serde_json::{Map, Value, json};

use crate::cli::values::{can_be_dealt_out, loops};

#[derive(Debug, Args)]
pub(super) struct LoopFlags {
    /// Make the load on N loops, one per thread; connections, rate and count are those of all loops
    #[arg(long, value_name = "N", default_value = "1", value_parser = loops)]
    pub(super) threads: usize,

    /// Pin the first loop to the first of these CPUs, the second loop to the second, and so on
    /// [default: with the server in this process, CPUs that the server does not use, if there are
    /// enough]
    #[arg(short = 'A', long, value_name = "CPU[,CPU]")]
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
        let names = format!("{} loops{of_parts} (--threads)", self.threads);
        can_be_dealt_out(connections, count, all, &names)
    }

    /// Returns the CPUs that the user asked for.
    pub(super) fn asked_cpus(&self) -> &[usize] {
        self.affinity.as_ref().map_or(&[], |list| &list.0)
    }

    /// Returns what is odd about the list of CPUs.
    pub(super) fn oddity(&self) -> Option<String> {
        let (given, loops) = (self.asked_cpus().len(), self.threads);
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
        let affinity = match self.asked_cpus() {
            [] => Value::Null,
            [cpu] => json!(cpu),
            cpus => json!(cpus),
        };
        let threads = json!(self.threads);
        Map::from_iter([("threads".to_owned(), threads), ("affinity".to_owned(), affinity)])
    }
}
