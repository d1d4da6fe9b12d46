//! Threads, CPUs, descriptors, signals and standard streams of this process.

#[cfg(feature = "program")]
pub mod cpus;
#[cfg(feature = "program")]
pub mod descriptors;
#[cfg(feature = "signals")]
mod signals;
#[cfg(feature = "program")]
pub mod standard;
#[cfg(feature = "program")]
pub mod terminal;
mod threads;

#[cfg(feature = "signals")]
pub use self::signals::{
    SignalPipes, ending_signals, restore_ending_signals, survive_file_size_limit,
};
#[cfg(feature = "program")]
pub(crate) use self::threads::thread_error;
pub use self::threads::{has_memory, spawn_thread};
