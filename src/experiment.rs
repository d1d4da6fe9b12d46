//! Series of runs: which run comes next, given the results so far. Pure state machines; the runs
//! themselves are processes.

mod runner;
mod search;

pub use self::runner::{Failure, Run, Runner};
pub use self::search::{Search, Trial, Verdict};
