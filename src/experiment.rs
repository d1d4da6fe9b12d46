//! Series of runs: which run comes next, given the results so far. Pure state machines; the runs
//! themselves are processes.

mod compare;
mod knee;
mod runner;
mod search;
mod served;
mod sides;
mod sweep;
mod values;

pub use self::compare::{Plan, ROUNDS_MAX, ROUNDS_MIN, Rounds, Side, Turn, compare_runs};
pub use self::knee::knee;
pub use self::runner::{Failure, Run, Runner};
pub use self::search::{Search, Trial, Verdict, short_times};
pub use self::sides::{ServerCommand, SideRuns, compare_sides};
pub use self::sweep::{Point, Sweep};
pub use self::values::{POINTS_MAX, Values};
