//! The JSON document of `ping`, version 1. Keys may be added, and none is renamed. Times are whole
//! nanoseconds.

use resound::measured::{Messages, PROGRAM, PercentileList, Split, Status, Summary, VERSION};
use resound::ping::{Options, Results};
use resound::units::duration_ns;
use serde::Serialize;
use serde_json::{Map, Value};

use super::summary::all_corrupted;

/// The document. An unknown value is null or 0.
#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    program: String,
    status: Status,
    error: Option<String>,
    endpoint: Option<String>,
    /// Always null: `ping` has no flag for it. The document of `bench` has the same key.
    label: Option<String>,
    length: usize,
    interval_ns: u64,
    timeout_ns: u64,
    elapsed_ns: u64,
    messages: &'a Messages,
    /// The number of lost messages by reason.
    losses: Map<String, Value>,
    latency_ns: Summary,
    /// Where the time of the answers went; null without `--timestamps`.
    split: Option<Split>,
}

/// Returns the document of a run, or of a failure to run.
pub(super) fn json(options: &Options, outcome: Result<&Results, &resound::Error>) -> String {
    let mut document = Document {
        endpoint: Some(options.endpoint.to_string()),
        length: options.length,
        interval_ns: duration_ns(options.interval),
        timeout_ns: duration_ns(options.timeout),
        ..empty()
    };
    match outcome {
        Err(error) => document.error = Some(error.to_string()),
        Ok(outcome) => {
            document.elapsed_ns = duration_ns(outcome.elapsed);
            document.messages = &outcome.messages;
            let losses = outcome.losses.iter();
            let losses = losses.map(|(loss, count)| (loss.to_string(), Value::from(*count)));
            document.losses = losses.collect();
            document.latency_ns = outcome.latency.summary(&PercentileList::default());
            let split = outcome.split.as_ref();
            document.split = split.map(|split| split.split(&PercentileList::default()));
            match outcome.has_come_back() {
                true if outcome.is_cut_short => document.status = Status::Partial,
                true => document.status = Status::Ok,
                false => document.error = Some(nothing_came_back(outcome)),
            }
        }
    }
    text(&document)
}

/// Returns the document of an invalid command line.
pub(crate) fn error_document(message: &str) -> String {
    text(&Document { error: Some(message.to_owned()), ..empty() })
}

fn nothing_came_back(outcome: &Results) -> String {
    if let Some(reason) = all_corrupted(outcome) {
        return reason;
    }
    let reasons: Vec<_> = outcome.losses.iter().map(|(loss, _)| loss.to_string()).collect();
    match reasons.is_empty() {
        true => "nothing came back".to_owned(),
        false => format!("nothing came back: {}", reasons.join(", ")),
    }
}

fn empty() -> Document<'static> {
    static NO_MESSAGES: Messages = Messages {
        sent: 0,
        received: 0,
        lost: 0,
        late: 0,
        duplicated: 0,
        reordered: 0,
        corrupted: 0,
        in_flight_at_end: 0,
    };
    Document {
        version: VERSION,
        program: PROGRAM.to_owned(),
        status: Status::Error,
        error: None,
        endpoint: None,
        label: None,
        length: 0,
        interval_ns: 0,
        timeout_ns: 0,
        elapsed_ns: 0,
        messages: &NO_MESSAGES,
        losses: Map::new(),
        latency_ns: Summary::empty(&PercentileList::default()),
        split: None,
    }
}

fn text(document: &Document<'_>) -> String {
    serde_json::to_string(document).expect("strings and numbers can be written as JSON")
}
