//! The signals that ask a program to end.

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
