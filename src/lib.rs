//! A readable single-threaded reactor on mio, and an echo server that runs on it.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod echo;
pub mod endpoint;
mod error;
pub mod reactor;
mod readiness;
#[cfg(feature = "program")]
pub mod send;
pub mod socket;
#[cfg(feature = "program")]
pub mod units;

pub use error::{Error, reason};
pub use readiness::Readiness;
