//! The text and the JSON document of `ping`.

mod document;
mod lines;
mod summary;

pub use self::document::{error_json, json};
pub use self::lines::{header, line};
pub use self::summary::{figures_line, summaries};
