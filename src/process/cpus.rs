//! The CPUs that a thread runs on.

use std::io;
use std::str::FromStr;

#[cfg(target_os = "linux")]
pub(crate) use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

#[cfg(not(target_os = "linux"))]
pub(crate) use self::unsupported::{CpuSet, sched_getaffinity, sched_setaffinity};
use crate::error::Error;

#[cfg(not(target_os = "linux"))]
mod unsupported;

/// CPU numbers are below this.
pub const CPUS_MAX: usize = CpuSet::MAX_CPU;

/// CPU numbers in the order in which they were typed, as text `0,2,1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<CpuList, String> {
        let cpus: Option<Vec<usize>> = text.split(',').map(cpu_number).collect();
        cpus.map(CpuList).ok_or_else(|| "expected the numbers of CPUs, such as 0,1".to_owned())
    }
}

fn cpu_number(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number < CPUS_MAX)
}

/// Returns the CPUs that this thread may use.
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Pins this thread to a CPU. Threads that it starts later inherit this.
///
/// # Errors
///
/// The CPU does not exist, or this process may not use it.
pub fn pin(cpu: usize) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| {
        Error::new("run on", format!("CPU {cpu}"), io::Error::from(error))
            .hint("no such CPU, or not allowed to this process")
    })
}

/// Checks that threads can be pinned to each of these CPUs, by trying: a process may be pinned to
/// more CPUs than it may use now.
///
/// # Errors
///
/// Like [`pin`], for the first CPU that this thread cannot be pinned to.
pub fn check(cpus: &[usize]) -> Result<(), Error> {
    if cpus.is_empty() {
        return Ok(());
    }
    let failed = |error| Error::new("ask for", "the CPUs of this process", io::Error::from(error));
    let before = sched_getaffinity(None).map_err(failed)?;
    let outcome = cpus.iter().try_for_each(|cpu| pin(*cpu));
    let restored = sched_setaffinity(None, &before).map_err(failed);
    outcome.and(restored)
}

/// Removes a CPU from those that this thread may use, unless it is the only one.
pub fn leave(cpu: usize) {
    let Ok(mut set) = sched_getaffinity(None) else { return };
    set.unset(cpu);
    if set.count() > 0 {
        // Best effort: after a failure the two ends share CPUs, as they would without this call.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_list_is_numbers_separated_by_commas() {
        assert_eq!("0".parse(), Ok(CpuList(vec![0])));
        assert_eq!("3,0,3".parse(), Ok(CpuList(vec![3, 0, 3])));
        for text in ["", ",", "0,", ",0", "0,,1", "0, 1", "-1", "0-1", "+1", "1k", "a", "1048576"] {
            assert!(text.parse::<CpuList>().is_err(), "{text:?}");
        }
    }

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
