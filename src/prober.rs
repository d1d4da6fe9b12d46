//! Probes many endpoints at once, for months if need be, and serves figures about each for
//! Prometheus.
//!
//! Each target has a thread of its own, so a target that stalls delays no other. What a target
//! keeps has a bound, however long the run: a histogram, the last probes, and a count per reason.

mod board;
mod page;

use std::io;
use std::ops::ControlFlow;
use std::thread;

use self::board::{Board, Rtt};
use crate::endpoint::HostPort;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::ping::{Controls, Event, Options, ReplyKind, Results, ping};

/// The number of targets of one run. Each takes a thread, up to 5 descriptors and about 400 KiB.
pub const TARGETS_MAX: usize = 1_000;

/// Several targets, and the pages about them.
#[derive(Debug)]
pub struct Prober {
    targets: Vec<Options>,
    metrics: Option<Metrics<Board>>,
}

impl Prober {
    /// Creates a prober, and listens for HTTP if it has an address for that.
    ///
    /// # Errors
    ///
    /// The address of the metrics cannot be bound.
    pub fn new(targets: Vec<Options>, metrics: Option<&HostPort>) -> Result<Prober, Error> {
        Ok(Prober { targets, metrics: metrics.map(Metrics::bind).transpose()? })
    }

    /// Returns the line that names the URLs of the metrics, and a warning if other hosts reach
    /// them.
    pub fn metrics_lines(&self) -> Option<(String, Option<&'static str>)> {
        self.metrics.as_ref().map(Metrics::lines)
    }

    /// Probes each target as [`ping`] does, until all have ended. `controls` has those of each
    /// target. `on_event` gets the index of the target, and is called on many threads; so is
    /// `on_end`, with a target's results or the reason for which it is not probed any more.
    /// `warn` gets failures of the metrics server.
    ///
    /// A single target is probed on this thread.
    ///
    /// # Errors
    ///
    /// The thread of the metrics cannot be started.
    pub fn run(
        self,
        controls: &[Controls<'_>],
        on_event: impl Fn(usize, Event<'_>) -> ControlFlow<()> + Sync,
        on_end: impl Fn(usize, &Result<Results, Error>) + Sync,
        warn: fn(&str),
    ) -> Result<Vec<Result<Results, Error>>, Error> {
        let board = match self.metrics {
            Some(metrics) => {
                let board = Board::new(&self.targets, warn);
                metrics.start(board.clone())?;
                Some(board)
            }
            None => None,
        };
        let probe = |index: usize, options: &Options| {
            let result = probe(index, options, controls[index], board.as_ref(), &on_event);
            on_end(index, &result);
            result
        };
        if let [options] = &self.targets[..] {
            return Ok(vec![probe(0, options)]);
        }
        Ok(thread::scope(|scope| {
            let targets = self.targets.iter().enumerate();
            let threads: Vec<_> = targets
                .map(|(index, options)| {
                    let probe = &probe;
                    let thread = thread::Builder::new()
                        .name(format!("ping {}", index + 1))
                        .spawn_scoped(scope, move || probe(index, options));
                    thread.map_err(|error| {
                        let result = Err(no_thread(options, error));
                        on_end(index, &result);
                        Box::new(result)
                    })
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(|thread| thread.map_or_else(|result| *result, join)).collect()
        }))
    }
}

/// Probes one target, and publishes its figures.
fn probe(
    index: usize,
    options: &Options,
    controls: Controls<'_>,
    board: Option<&Board>,
    on_event: &impl Fn(usize, Event<'_>) -> ControlFlow<()>,
) -> Result<Results, Error> {
    let mut rtt = Rtt::default();
    let result = ping(options, controls, |event| {
        match (board, &event) {
            (Some(_), Event::Reply(reply)) if reply.kind == ReplyKind::InTime => {
                rtt.record(reply.time);
            }
            (Some(board), Event::Counts(counts)) => board.publish(index, counts, &rtt),
            _ => {}
        }
        on_event(index, event)
    });
    if let (Some(board), Err(_)) = (board, &result) {
        board.note_failure(index);
    }
    result
}

fn no_thread(options: &Options, error: io::Error) -> Error {
    let error = crate::process::thread_error(error);
    Error::new("start a thread for", &options.endpoint, error)
}
