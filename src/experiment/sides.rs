//! Makes the runs of a comparison, each as a process of its own.

use std::ffi::OsString;

use super::served::Served;
use super::{Failure, Plan, Rounds, Run, Runner, Side, Turn};
use crate::measured::Comparison;

/// How the runs of one side are made.
#[derive(Clone, Debug, Default)]
pub struct SideRuns {
    /// The words behind `resound bench`.
    pub words: Vec<OsString>,
    /// A server to start for each run.
    pub server: Option<ServerCommand>,
}

/// A server that is started for a run and stopped after it.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    /// A command of the shell.
    pub command: String,
    /// The endpoint that it serves.
    pub endpoint: String,
}

/// Runs all rounds, and judges them. A run that does not take place leaves out its round, and a
/// further round replaces it. If that happens to a side twice in a row, or if its server ends by
/// itself, the comparison ends with the rounds so far, and its error says why. `show` is told what
/// comes next.
///
/// # Errors
///
/// `bench` refuses its flags.
pub fn compare_sides(
    runner: &Runner,
    plan: Plan,
    a: &SideRuns,
    b: &SideRuns,
    mut show: impl FnMut(Turn),
) -> Result<Comparison, Failure> {
    let mut rounds = Rounds::new(plan);
    let mut failed_before: [bool; 2] = [false, false];
    while let Some(turn) = rounds.next_turn() {
        show(turn);
        let (place, side) = if turn.side == Side::B { (1, b) } else { (0, a) };
        let named = |reason: &str| format!("round {}, {}: {reason}", turn.round, turn.side.title());
        match run(runner, side) {
            Ok(run) => {
                rounds.tell(&run.result);
                failed_before[place] = false;
            }
            Err(RunEnd::Run(Failure::Failed(reason))) if !failed_before[place] => {
                rounds.tell_failure(&reason);
                failed_before[place] = true;
            }
            Err(RunEnd::Run(Failure::Failed(reason)) | RunEnd::Server(Failure::Failed(reason))) => {
                return Ok(rounds.end(Some(named(&reason))));
            }
            Err(RunEnd::Run(failure) | RunEnd::Server(failure)) => match failure {
                Failure::Interrupted => return Ok(rounds.end(Some(failure.to_string()))),
                failure => return Err(failure),
            },
        }
    }
    Ok(rounds.end(None))
}

/// Whose failure there is no run for.
enum RunEnd {
    Run(Failure),
    Server(Failure),
}

fn run(runner: &Runner, side: &SideRuns) -> Result<Run, RunEnd> {
    let run = || runner.run(&side.words).map_err(RunEnd::Run);
    let Some(server) = &side.server else { return run() };
    let started = Served::start(runner, &server.command, &server.endpoint);
    let mut served = started.map_err(RunEnd::Server)?;
    let run = run();
    // A server that died explains what its run lacks.
    if !runner.is_interrupted() {
        served.check().map_err(RunEnd::Server)?;
    }
    run
}
