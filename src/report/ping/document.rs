//! The JSON document of `ping`, version 1. Keys may be added, and none is renamed. Times are whole
//! nanoseconds. With several endpoints, it contains the document of each.

use serde::Serialize;
use serde_json::{Map, Value};

use super::summary::all_corrupted;
use crate::error::Error;
use crate::measured::ping::{Results, Target};
use crate::measured::{Messages, PROGRAM, PercentileList, Split, Status, Summary, VERSION};
use crate::units::duration_ns;

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
    /// Where the time of the replies went; null without `--timestamps`.
    split: Option<Split>,
    /// The number of connections of a stream after the first.
    reconnects: u64,
}

/// The document of several endpoints.
#[derive(Debug, Serialize)]
struct Documents<'a> {
    version: u32,
    program: String,
    /// `error` if nothing came back from one of the targets.
    status: Status,
    /// The first of their errors, with its endpoint.
    error: Option<String>,
    targets: Vec<Document<'a>>,
}

/// Returns the document of a run.
pub fn json(targets: &[Target], results: &[Result<Results, Error>]) -> String {
    let documents = targets.iter().zip(results);
    let mut documents: Vec<_> =
        documents.map(|(target, result)| document(target, result.as_ref())).collect();
    if let [_] = documents[..] {
        return documents.pop().map_or_else(String::new, |only| text(&only));
    }
    let error = documents.iter().find_map(|document| {
        let endpoint = document.endpoint.as_deref().unwrap_or_default();
        Some(format!("{endpoint}: {}", document.error.as_ref()?))
    });
    let is_partial = documents.iter().any(|document| document.status == Status::Partial);
    let status = match &error {
        Some(_) => Status::Error,
        None if is_partial => Status::Partial,
        None => Status::Ok,
    };
    let program = PROGRAM.to_owned();
    text(&Documents { version: VERSION, program, status, error, targets: documents })
}

/// Returns the document of one endpoint, or of a failure to probe it.
fn document<'a>(target: &Target, outcome: Result<&'a Results, &Error>) -> Document<'a> {
    let mut document = Document {
        endpoint: Some(target.endpoint.clone()),
        length: target.length,
        interval_ns: duration_ns(target.interval),
        timeout_ns: duration_ns(target.timeout),
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
            document.reconnects = outcome.reconnects;
            match outcome.has_come_back() {
                true if outcome.is_cut_short => document.status = Status::Partial,
                true => document.status = Status::Ok,
                false => document.error = Some(nothing_came_back(outcome)),
            }
        }
    }
    document
}

/// Returns the document of a run that could not start.
pub fn error_json(message: &str) -> String {
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
        reconnects: 0,
    }
}

fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("strings and numbers can be written as JSON")
}
