//! Detects that the ephemeral ports of this host limited a run that opens connections.

use crate::measured::RunResult;

/// The file with two numbers: the first ephemeral port and the last (ip(7)).
pub(super) const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Linux's default range, 32768 to 60999.
const PORTS_DEFAULT: u64 = 28_232;

/// A closed connection keeps its port in TIME_WAIT for a minute. On loopback Linux reuses the port
/// after one second (`net.ipv4.tcp_tw_reuse`).
const TIME_WAIT_S: f64 = 60.0;
const TIME_WAIT_LOOPBACK_S: f64 = 1.0;

/// From this share of the ports on, connect(2) spends its time searching: it tries every second
/// port before it tries the others, so that half of the range is soon taken.
const TAKEN_SHARE_MIN: f64 = 0.35;

/// Returns the warning for a run that closed so many connections that ports were scarce.
pub(super) fn warning(range: &str, result: &RunResult) -> Option<String> {
    let hold_s = if result.environment.loopback { TIME_WAIT_LOOPBACK_S } else { TIME_WAIT_S };
    scarcity(range, result.flows.opened, result.rate.achieved, hold_s)
}

fn scarcity(range: &str, opened: u64, rate: f64, hold_s: f64) -> Option<String> {
    let ports = ports_in(range).unwrap_or(PORTS_DEFAULT);
    let taken = (rate * hold_s).min(opened as f64);
    (taken >= TAKEN_SHARE_MIN * ports as f64).then(|| {
        format!(
            "ephemeral ports of this client were scarce: about {taken:.0} of {ports} were in \
             TIME_WAIT, where a closed connection keeps its port for {hold_s:.0} s, and connect(2) \
             takes longer to find a free one. The ports may be the limit, and not the server: \
             widen net.ipv4.ip_local_port_range"
        )
    })
}

fn ports_in(range: &str) -> Option<u64> {
    let mut bounds = range.split_whitespace().map(|word| word.parse::<u64>().ok());
    let (first, last) = (bounds.next()??, bounds.next()??);
    last.checked_sub(first).map(|others| others + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_scarce_when_many_wait_in_time_wait() {
        const RANGE: &str = "32768\t60999\n";
        let said = |opened, rate, hold_s| scarcity(RANGE, opened, rate, hold_s).is_some();
        assert!(said(30_000, 14_100.0, TIME_WAIT_LOOPBACK_S));
        assert!(!said(30_000, 9_000.0, TIME_WAIT_LOOPBACK_S));
        assert!(said(30_000, 9_000.0, TIME_WAIT_S), "over a network a port waits for a minute");
        assert!(!said(5_000, 20_000.0, TIME_WAIT_S), "a run takes no more ports than it opens");
        assert!(scarcity("1024 65000", 50_000, 14_100.0, TIME_WAIT_LOOPBACK_S).is_none());
        assert!(scarcity("", 30_000, 14_100.0, TIME_WAIT_LOOPBACK_S).is_some(), "the default");
    }

    #[test]
    fn the_range_of_ports_includes_both_ends() {
        assert_eq!(ports_in("32768\t60999\n"), Some(PORTS_DEFAULT));
        for text in ["", "1", "x y", "9 1"] {
            assert_eq!(ports_in(text), None, "{text:?}");
        }
    }
}
