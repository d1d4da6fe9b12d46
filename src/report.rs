//! Writes the facts of a run as text, JSON, CSV, hgrm, hlog and HTML. It decides nothing.

mod comparison;
mod files;
mod health;
mod html;
mod input;
mod interval;
mod json;
mod output;
pub mod ping;
mod progress;
mod text;
mod words;

pub use self::files::{Format, HlogWriter, write_csv, write_csv_rows, write_hgrm};
pub use self::health::health_text;
pub use self::html::{read_page, run_page, series_page};
pub use self::input::{files_of, read_run, read_runs, read_text};
pub use self::output::{Output, OutputFile, check_outputs};
pub use self::progress::{IntervalLines, IntervalSender, Progress, ProgressOptions, Shown};
pub use self::words::time_text;
