//! The result of a run: the checks against the server's counters, and the figures.

use crate::support::{Counters, Ended};
use crate::watch::{Open, Pings, SILENCE_MAX};
use crate::world::{Plan, Tally};

/// The mean of the last quarter may exceed that of the first by this much.
const GROWTH_PERCENT_MAX: u64 = 5;

#[derive(Debug)]
pub struct Outcome {
    pub plan: Plan,
    pub tally: Tally,
    pub tcp: Pings,
    pub udp: Pings,
    pub resident_kib: [u64; 4],
    pub descriptors_max: usize,
    pub before: Open,
    pub after: Open,
    /// The datagrams that the kernel dropped at the server's sockets.
    pub server_drops: u64,
    /// The counts of the script that sends trains: datagrams, lost ones, trains.
    pub script: Option<[u64; 3]>,
    pub ended: Ended,
}

impl Outcome {
    pub fn print(&mut self) {
        let Plan { seed, duration, flags } = &self.plan;
        println!("chaos for {} s, seed {seed}, flags {flags:?}", duration.as_secs());
        for (words, count) in self.tally.lines() {
            println!("  {words}: {count}");
        }
        if let Some([datagrams, lost, trains]) = self.script {
            println!("  trains: {datagrams} datagrams, {lost} lost, {trains} trains received");
        }
        println!("  tcp: {}", self.tcp.summary());
        println!("  udp: {}", self.udp.summary());
        println!("  silent for longer than {SILENCE_MAX:?}: never");
        println!("  resident KiB by quarter: {:?}", self.resident_kib);
        let most = self.descriptors_max;
        println!(
            "  descriptors: {:?} at the start, {:?} at the end, {most} at the most",
            self.before, self.after
        );
        println!("  {}", self.stats_line());
    }

    fn stats_line(&self) -> &str {
        self.ended.stderr.lines().rev().find(|line| line.starts_with("stats ")).unwrap_or_default()
    }

    pub fn check(&self) {
        assert_eq!(self.ended.code(), 0, "{}", self.ended.stderr);
        let counters = Counters::last_of(&self.ended.stderr);
        self.check_connections(&counters);
        self.check_datagrams(&counters);
        self.check_log();
        let excused_max = 1 + self.tally.connections.get() / 100;
        if self.tally.excused.get() > excused_max {
            println!("  this machine is too busy for a result about every peer");
        }
        if self.plan.is_long_enough_for_memory() {
            let [first, _, _, last] = self.resident_kib;
            let most = first + first * GROWTH_PERCENT_MAX / 100;
            assert!(last <= most, "it grows: {:?} KiB", self.resident_kib);
        }
    }

    /// Asserts that every connection is counted exactly once.
    fn check_connections(&self, counters: &Counters) {
        let get = |name| counters.get(name);
        let tally = &self.tally;
        let made = get("accepted") + get("accept_aborted") + get("shed");
        assert_eq!(made, tally.connections.get(), "accepted, gone before that, or shed");
        let names = ["finished", "reset", "broken_pipe", "idle", "stalled", "drain_cut"];
        let ends: u64 = names.into_iter().map(get).sum();
        assert_eq!(get("connections_open"), 0);
        assert_eq!(get("accepted"), ends, "each has ended for one reason");
        assert_eq!((get("stream_failed"), get("unregistered"), get("drain_cut")), (0, 0, 0));
        assert_eq!(get("accept_failed"), 0);
        let resets = get("reset") + get("broken_pipe");
        assert!(resets >= tally.resets.get() + tally.closed_unread.get());
        // If a peer seemed stuck although the kernel's buffers held its whole echo, the server has
        // no pending bytes for it. If it then waits long for its turn to send, it is idle.
        let silent = tally.stalls_ended.get() + tally.idle_ended.get();
        assert!(
            get("stalled") + get("idle") >= silent,
            "{silent} were ended because they were silent"
        );
        assert!(get("idle") >= tally.idle_ended.get());
        // A peer whose own thread paused too long can be the only stalled one.
        let may_be_excused = tally.excused.get() > 0;
        assert!(get("stalled") > 0 || tally.stalls_ended.get() == 0);
        assert!(get("stalled") == 0 || tally.stalls_ended.get() > 0 || may_be_excused);
        assert!(get("shed") >= tally.shed_seen.get());
        assert!(get("accept_no_descriptor") >= tally.no_descriptors.get());
        let echoed = get("tcp_bytes_out") + get("unix_bytes_out");
        assert!(echoed >= tally.bytes.get(), "{echoed} bytes echoed");
        assert!(get("tcp_bytes_out") <= get("tcp_bytes_in"));
        assert!(get("unix_bytes_out") <= get("unix_bytes_in"));
        let splices = !self.plan.flags.iter().any(|flag| flag == "--no-splice");
        assert_eq!(get("tcp_bytes_spliced") > 0, splices && tally.bulk.get() > 0);
    }

    fn check_datagrams(&self, counters: &Counters) {
        let tally = &self.tally;
        assert_eq!(counters.get("unnamed"), tally.unnamed.get());
        assert_eq!(counters.get("truncated"), 0);
        assert_eq!(counters.get("overflowed"), self.server_drops, "as the kernel has counted");
        assert!(tally.lost.get() <= self.server_drops + tally.client_drops.get());
        let (came, answered) = (counters.get("udp_messages_in"), counters.get("udp_messages_out"));
        let dropped: u64 = ["answer_refused", "answer_failed", "answer_no_memory"]
            .into_iter()
            .map(|name| counters.get(name))
            .sum();
        assert!(answered <= came && came <= answered + dropped, "{came} came, {answered} answered");
    }

    /// Asserts that the server logs each problem, and not too often.
    fn check_log(&self) {
        let log = &self.ended.stderr;
        let count_lines =
            |words: &str| log.lines().filter(|line| line.contains(words)).count() as u64;
        let tally = &self.tally;
        assert!(tally.limits.get() == 0 || count_lines("the limit: further clients wait") > 0);
        let pauses = count_lines("accepting pauses");
        assert!(tally.no_descriptors.get() == 0 || pauses > 0);
        // One line per second, for each of two kinds and for each loop. The last scenes may have
        // prolonged the run.
        let seconds = self.plan.duration.as_secs() + 60;
        assert!(pauses <= 2 * 2 * seconds, "{pauses} lines in {seconds} s");
        assert!(!log.contains("panicked"), "{log}");
    }
}
