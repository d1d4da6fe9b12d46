//! The results of single loops of a run.

use serde::{Deserialize, Serialize};

use super::{Hiccups, Messages, Rate, RunResult, Summary, Verdict, finite};

/// The part that one generator loop has in a run. A loop is one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoopResult {
    /// The CPUs that its thread may run on.
    pub cpus_allowed: Vec<u64>,
    /// Its connections, or client sockets.
    pub connections: u64,
    /// Its messages per second.
    pub rate: Rate,
    /// What became of its measured messages.
    pub messages: Messages,
    /// Its response times.
    pub latency_ns: Summary,
    /// Whether a limit of this loop distorts its figures; null if it measured nothing.
    pub verdict: Option<Verdict>,
    /// The share of one CPU that its thread used, without polling that found nothing.
    #[serde(serialize_with = "finite::finite")]
    pub cpu_share: f64,
    /// The share of the time in which its thread could have run, and others did; null where the
    /// system does not say.
    #[serde(serialize_with = "finite::finite_or_null")]
    pub wait_share: Option<f64>,
    /// CPU time of its thread per message, without polling that found nothing.
    pub cpu_ns_per_message: u64,
    /// Times in which it could not run, while it measured or waited for the last echoes.
    pub hiccups: Hiccups,
    /// Why it did not reach its end, or did not make its share of the load, on one line.
    pub error: Option<String>,
}

impl LoopResult {
    /// Takes the facts from the result of one loop.
    pub fn of(result: &RunResult) -> LoopResult {
        let generator = &result.generator;
        LoopResult {
            cpus_allowed: result.environment.cpus_allowed.clone(),
            connections: result.connections,
            rate: result.rate,
            messages: result.messages,
            latency_ns: result.latency_ns.summary.clone(),
            verdict: generator.verdict,
            cpu_share: generator.cpu_share,
            wait_share: generator.wait_share,
            cpu_ns_per_message: generator.cpu_ns_per_message,
            hiccups: result.hiccups,
            error: result.error.clone(),
        }
    }
}
