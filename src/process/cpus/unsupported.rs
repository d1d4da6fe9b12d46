//! The affinity calls for systems on which a thread cannot be bound to a processor.

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// A set of processors, always empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuSet;

impl CpuSet {
    /// As on Linux, so that a number is refused for what the system lacks, and not for its size.
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
