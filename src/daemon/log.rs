//! The level and the format of the log.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Level, warn};
use tracing_subscriber::EnvFilter;

use super::outlet::Outlet;
use crate::process::terminal::has_colors;

/// Starts the log with this level, or with the filter of `RUST_LOG`.
pub(super) fn start(level: Level, log: &Outlet) {
    // An empty filter would silence everything but errors.
    let asked = std::env::var_os("RUST_LOG").filter(|filter| !filter.is_empty());
    let filter = asked.as_ref().and_then(|filter| EnvFilter::try_new(filter.to_str()?).ok());
    let is_invalid = asked.is_some() && filter.is_none();
    let log = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(level.as_str())))
        .with_target(false)
        .with_ansi(has_colors(&io::stderr()))
        .with_writer(move || log.clone());
    if is_journal(&io::stderr()) {
        // The journal adds its own times.
        subscriber.without_time().init();
    } else {
        subscriber.init();
    }
    if is_invalid {
        warn!("RUST_LOG is ignored: expected a log filter, such as debug");
    }
}

/// Returns true if `output` leads to systemd's journal, by JOURNAL_STREAM (systemd.exec(5)). The
/// variable alone does not show it, because children inherit it and may write elsewhere.
fn is_journal(output: &impl AsFd) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = output.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}
