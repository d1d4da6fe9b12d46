//! Series of runs: which run comes next, given the results so far. Pure state machines; the runs
//! themselves are processes.

mod knee;
mod runner;
mod search;
mod sweep;
mod values;

pub use self::knee::knee;
pub use self::runner::{Failure, Run, Runner};
pub use self::search::{Search, Trial, Verdict};
pub use self::sweep::{Point, Sweep};
pub use self::values::{POINTS_MAX, Values};
