//! The affinity calls for systems that cannot pin a thread to a CPU.

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// A set of CPUs that is always empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuSet;

impl CpuSet {
    /// As on Linux, so that the error names what the system lacks and not the size of a number.
    pub(crate) const MAX_CPU: usize = 1024;

    pub(crate) fn new() -> CpuSet {
        CpuSet
    }

    pub(crate) fn set(&mut self, _: usize) {}

    pub(crate) fn unset(&mut self, _: usize) {}

    pub(crate) fn is_set(&self, _: usize) -> bool {
        false
    }

    pub(crate) fn count(&self) -> u32 {
        0
    }
}

pub(crate) fn sched_getaffinity(_: Option<Pid>) -> Result<CpuSet> {
    Err(Errno::NOTSUP)
}

pub(crate) fn sched_setaffinity(_: Option<Pid>, _: &CpuSet) -> Result<()> {
    Err(Errno::NOTSUP)
}
