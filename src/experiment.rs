//! Series of runs: which run comes next, given the results so far. Pure state machines; the runs
//! themselves are processes.

mod search;

pub use self::search::{Search, Trial, Verdict};
