//! The facts of a sweep: runs that differ in one flag, and what they say together.

use serde::Serialize;

/// The answer of a search for the highest rate at which a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The highest rate at which the condition held, in messages per second.
    pub rate: u64,
    /// Whether it may hold at a higher rate too: nothing proves that the server fails there.
    pub at_least: bool,
    /// What kept the search from a higher rate.
    pub limit: Limit,
}

/// Whose limit a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The server's: the generator was well.
    Server,
    /// The generator's, so nothing is known of the server beyond it.
    Generator,
    /// No limit within the range.
    None,
}
