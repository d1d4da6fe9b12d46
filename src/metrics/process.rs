//! Figures of this process, read from the system on request.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Figures of this process; `None` if the system does not tell (no `/proc`, or hidden by a
/// sandbox).
#[derive(Debug)]
pub(super) struct Process {
    pub(super) cpu_time: Duration,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) descriptors_open: Option<u64>,
    pub(super) descriptors_max: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Process {
        let cpu_time = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Process {
            cpu_time: Duration::try_from(cpu_time).unwrap_or_default(),
            resident_bytes: bytes_of(&status, "VmRSS:"),
            virtual_bytes: bytes_of(&status, "VmSize:"),
            descriptors_open: descriptors_open(),
            descriptors_max: rlimit::Resource::NOFILE.get_soft().ok(),
        }
    }
}

/// Returns the bytes of a line such as `VmRSS: 1936 kB` of proc_pid_status(5).
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Returns the number of open descriptors. Since Linux 6.2 it is the size of the folder, which
/// saves reading a folder of a million entries.
fn descriptors_open() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // Reading the folder takes one descriptor itself.
        0 => Some(fs::read_dir(FOLDER).ok()?.count().saturating_sub(1) as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_kib_is_read_as_bytes_and_a_missing_one_is_none() {
        let status = "Name:\tresound\nVmRSS:\t    1936 kB\nThreads:\t1\n";
        assert_eq!(bytes_of(status, "VmRSS:"), Some(1936 << 10));
        assert_eq!(bytes_of(status, "VmSize:"), None);
        assert_eq!(bytes_of(status, "Threads:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_time_and_descriptors() {
        let before = Process::now();
        assert!(before.resident_bytes > Some(0) && before.virtual_bytes >= before.resident_bytes);
        assert!(before.cpu_time > Duration::ZERO);
        // At least the standard streams are open. Other tests of this process open and close
        // descriptors.
        assert!(before.descriptors_open >= Some(3));
        assert!(before.descriptors_max >= before.descriptors_open);
    }
}
