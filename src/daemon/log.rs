//! Which lines the log has, and how each looks.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Level, warn};
use tracing_subscriber::EnvFilter;

use super::outlet::Outlet;
use crate::process::terminal::has_colors;

/// Logs lines up to this level, or those that RUST_LOG names.
pub(super) fn start(level: Level, log: &Outlet) {
    // An empty one would silence all but errors.
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
        // It has times of its own.
        subscriber.without_time().init();
    } else {
        subscriber.init();
    }
    if is_invalid {
        warn!("RUST_LOG is ignored: it is no log filter, such as debug");
    }
}

/// Whether this goes to systemd's journal, which says so by JOURNAL_STREAM (systemd.exec(5)):
/// children inherit the variable, and may have their output elsewhere.
fn is_journal(output: &impl AsFd) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = output.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}
