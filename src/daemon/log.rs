//! The log of the server: its level, its format, and the lines that have no level.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::{Instant, SystemTime};

use serde_json::{Map, Value, json};
use tracing::{Level, warn};
use tracing_subscriber::EnvFilter;

use super::outlet::Outlet;
use crate::echo::Counters;
use crate::process::terminal::has_colors;

/// The target of the lines about connections that have ended. They have a filter of their own, so
/// that `--quiet` keeps them.
pub(super) const ACCESS: &str = "access";

/// How the lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For a reader and for the journal.
    #[default]
    Text,
    /// A JSON object per line, for a collector.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json, such as json".to_owned()),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// The level. `RUST_LOG` overrides it.
    pub level: Level,
    /// The format of the lines.
    pub format: LogFormat,
    /// Logs each connection at its end.
    pub access: bool,
}

/// The output of the log, and what it takes.
#[derive(Clone, Debug)]
pub(super) struct Log {
    outlet: Outlet,
    options: LogOptions,
}

impl Deref for Log {
    type Target = Outlet;

    fn deref(&self) -> &Outlet {
        &self.outlet
    }
}

impl Log {
    /// Returns true if each connection is logged at its end.
    pub(super) fn has_access(&self) -> bool {
        self.options.access
    }

    /// Prints one line of counters, at every log level.
    pub(super) fn stats(&self, label: &str, started_at: Instant, counters: &Counters) {
        let uptime_s = started_at.elapsed().as_secs_f64();
        let text = format!("{label}uptime_s={uptime_s:.3} {counters}");
        self.outlet.line(|buf| {
            // Writing to a Vec does not fail.
            let _ = match self.options.format {
                LogFormat::Text => write!(buf, "stats {text}"),
                LogFormat::Json => write!(buf, "{}", json_line("INFO", "stats", &text)),
            };
        });
    }
}

/// Returns a line of the JSON log, with words such as `loop=0 uptime_s=1.5` as its members.
fn json_line(level: &str, message: &str, words: &str) -> Value {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), json!(time));
    line.insert("level".to_owned(), json!(level));
    line.insert("message".to_owned(), json!(message));
    for (name, value) in words.split(' ').filter_map(|word| word.split_once('=')) {
        let number = value.parse().ok().map(Value::Number);
        line.insert(name.to_owned(), number.unwrap_or_else(|| json!(value)));
    }
    line.into()
}

/// Returns the line of the JSON log about an error that ends the program.
pub fn json_error(error: &crate::Error) -> String {
    json_line("ERROR", &error.to_string(), "").to_string() + "\n"
}

/// Starts the log, with the filter of `RUST_LOG` if that is set.
pub(super) fn start(options: LogOptions, outlet: Outlet) -> Log {
    let log = Log { outlet, options };
    // An empty filter would silence everything but errors.
    let asked = std::env::var_os("RUST_LOG").filter(|filter| !filter.is_empty());
    let filter = asked.as_ref().and_then(|filter| EnvFilter::try_new(filter.to_str()?).ok());
    let is_invalid = asked.is_some() && filter.is_none();
    let filter = filter.unwrap_or_else(|| EnvFilter::new(options.level.as_str()));
    let access = format!("{ACCESS}=info").parse().expect("the directive parses");
    let writer = log.outlet.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.add_directive(access))
        .with_target(false)
        .with_writer(move || writer.clone());
    // The journal adds its own times.
    match (options.format, is_journal(&io::stderr())) {
        (LogFormat::Json, _) => subscriber.json().flatten_event(true).init(),
        (LogFormat::Text, true) => subscriber.with_ansi(false).without_time().init(),
        (LogFormat::Text, false) => subscriber.with_ansi(has_colors(&io::stderr())).init(),
    }
    if is_invalid {
        warn!("RUST_LOG is ignored: expected a log filter, such as debug");
    }
    log
}

/// Returns true if `output` leads to systemd's journal, by JOURNAL_STREAM (systemd.exec(5)). The
/// variable alone does not show it, because children inherit it and may write elsewhere.
fn is_journal(output: &impl AsFd) -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let metadata = output.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}
