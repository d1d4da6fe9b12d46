//! Which processors a thread runs on.

use std::io;

#[cfg(target_os = "linux")]
pub(crate) use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

#[cfg(not(target_os = "linux"))]
pub(crate) use self::unsupported::{CpuSet, sched_getaffinity, sched_setaffinity};
use crate::error::Error;

#[cfg(not(target_os = "linux"))]
mod unsupported;

/// CPU numbers are below this.
pub const CPUS_MAX: usize = CpuSet::MAX_CPU;

/// Those that this thread may use.
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Runs this thread on that one. Threads that it starts from here on inherit it.
///
/// # Errors
///
/// There is no such CPU, or this process may not use it.
pub fn pin(cpu: usize) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| {
        Error::new("run on", format!("CPU {cpu}"), io::Error::from(error))
            .hint("no such CPU, or not allowed to this process")
    })
}

/// Finds out whether threads can be pinned to each of these, by trying: which CPUs a process may
/// be given is more than those that it has now.
///
/// # Errors
///
/// As of [`pin`], for the first that this thread cannot be pinned to.
pub fn check(cpus: &[usize]) -> Result<(), Error> {
    if cpus.is_empty() {
        return Ok(());
    }
    let failed = |error| Error::new("ask for", "the CPUs of this process", io::Error::from(error));
    let before = sched_getaffinity(None).map_err(failed)?;
    let outcome = cpus.iter().try_for_each(|cpu| pin(*cpu));
    sched_setaffinity(None, &before).map_err(failed)?;
    outcome
}

/// Runs this thread on the processors that it may use, but for one, if there are others.
pub fn leave(cpu: usize) {
    let Ok(mut set) = sched_getaffinity(None) else { return };
    set.unset(cpu);
    if set.count() > 0 {
        // Best effort: the two ends share processors otherwise, as they do without it.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_leaves_the_thread_where_it_was() {
        let before = allowed();
        check(&before).unwrap();
        assert_eq!(allowed(), before);
        let error = check(&[before[0], CpuSet::MAX_CPU - 1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot run on CPU 1023: "), "{error}");
        assert_eq!(allowed(), before);
    }
}
