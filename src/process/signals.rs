//! The signals that ask a program to end, or to report.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use libc::{SIGHUP, SIGINT, SIGTERM};

/// Returns the signals that ask a program to end: SIGINT, SIGTERM and SIGHUP.
///
/// SIGHUP is left out if this process ignores it: nohup(1) starts a program that way, and watching
/// the signal would undo that.
///
/// ```
/// assert!(resound::process::ending_signals().contains(&libc::SIGTERM));
/// ```
pub fn ending_signals() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

/// Restores the default action of the ending signals. From here on Ctrl-C ends the program, because
/// the reader of a report may have stopped reading.
pub fn restore_ending_signals() {
    let is_over = Arc::new(AtomicBool::new(true));
    for signal in ending_signals() {
        // A signal that cannot be restored is caught as before.
        let _ = signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_over));
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail with EFBIG, like a write to a full
/// disk fails with ENOSPC. Without a handler, SIGXFSZ ends the program.
pub fn survive_file_size_limit() {
    let is_caught = Arc::new(AtomicBool::new(false));
    // If the handler cannot be installed, the program ends at the limit, as any other does.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, is_caught);
}

/// Pipes by which signals reach threads that wait with poll(2).
#[derive(Debug)]
pub struct SignalPipes {
    /// Becomes readable when a signal asks the program to end.
    pub stop: PipeReader,
    /// A byte written to it asks the program to end as a signal does.
    pub stopper: PipeWriter,
    /// Each becomes readable at each SIGQUIT, which asks for the figures so far.
    pub reports: Vec<PipeReader>,
}

impl SignalPipes {
    /// Watches the ending signals, and SIGQUIT with this number of pipes. A second ending signal
    /// ends the program at once, as by default.
    ///
    /// # Errors
    ///
    /// No pipe could be made, or a signal could not be watched.
    pub fn watch(reports: usize) -> io::Result<SignalPipes> {
        let (stop, stopper) = io::pipe()?;
        let is_second = Arc::new(AtomicBool::new(false));
        for signal in ending_signals() {
            // The order matters: the first signal must not see the flag that it sets.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&is_second))?;
            signal_hook::flag::register(signal, Arc::clone(&is_second))?;
            signal_hook::low_level::pipe::register(signal, stopper.try_clone()?)?;
        }
        let report = |_| {
            let (report, reporter) = io::pipe()?;
            signal_hook::low_level::pipe::register(libc::SIGQUIT, reporter)?;
            Ok(report)
        };
        let reports = (0..reports).map(report).collect::<io::Result<_>>()?;
        Ok(SignalPipes { stop, stopper, reports })
    }
}

/// Returns true if this process ignores a signal, by proc_pid_status(5). Returns false if /proc is
/// not mounted.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn an_ignored_signal_is_recognised() {
        // The runtime of Rust ignores SIGPIPE.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(SIGTERM));
    }
}
