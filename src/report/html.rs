//! The page: one file of HTML that loads nothing, for one document or for several.
//!
//! Every figure is a small picture (SVG) and a table, which a reader without scripts sees. The
//! page's script draws interactive figures instead, by uPlot. Text of documents is hostile: maud
//! escapes all of it, and JSON in the page has no `<`. The page's policy forbids all scripts and
//! styles but its own, by their hashes, and every connection.

mod axis;
mod chart;
mod comparison;
mod documents;
mod figure;
mod forest;
mod frame;
mod latency;
mod run;
mod sections;
mod slim;
mod sweep;

use serde::Serialize;
use serde_json::Value;

pub use self::documents::read_page;
use self::frame::framed;
use crate::measured::RunResult;

/// A run that is shown.
#[derive(Clone, Debug)]
struct Run {
    /// What tells it from the others of the page.
    name: String,
    result: RunResult,
    /// The document, with keys that this version does not know.
    document: Value,
}

/// Returns the page of one run. If it is longer than 200 KiB, it holds a smaller document.
#[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
pub fn run_page(result: &RunResult) -> String {
    let document = serde_json::to_value(result).expect("plain data is JSON");
    let name = result.label.clone().unwrap_or_else(|| result.endpoint.clone());
    runs_page(&[Run { name, result: result.clone(), document }])
}

/// Returns the page of a sweep or of a comparison. If it is longer than 200 KiB, it holds smaller
/// documents of the runs.
#[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
pub fn series_page(result: &impl Serialize) -> String {
    let document = serde_json::to_value(result).expect("plain data is JSON");
    match document["kind"] == "compare" {
        true => comparison::page(&[(String::new(), document)]),
        false => sweep::page(&[(String::new(), document)]),
    }
}

fn runs_page(runs: &[Run]) -> String {
    let documents: Vec<_> = runs.iter().map(|run| (run.name.as_str(), &run.document)).collect();
    framed(&run::title(runs), &run::body(runs), &documents)
}

#[cfg(test)]
mod tests;
