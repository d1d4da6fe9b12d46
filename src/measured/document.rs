//! Reads the JSON document of a run back.
//!
//! A file may come from anywhere, so its size is bounded, and so is what its histograms inflate to.

use std::io::{self, ErrorKind};

use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{RunResult, VERSION};
use crate::error::Error;

/// The longest document that is read. A run of this program takes at most a few hundred kilobytes
/// per histogram, and a merged run a kilobyte more per part.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

impl RunResult {
    /// Reads a document of version 1, [`RunResult::to_json`], with the distributions that its
    /// histograms hold. Keys that this version does not know are ignored; keys that an earlier
    /// version did not write have their default.
    ///
    /// ```
    /// use resound::measured::RunResult;
    ///
    /// let text = RunResult::failed(Vec::new(), "refused").to_json();
    /// assert_eq!(RunResult::from_json(&text)?.error.as_deref(), Some("refused"));
    /// let error = RunResult::from_json("{}").unwrap_err();
    /// assert!(error.to_string().contains("expected what 'resound bench -J' prints"));
    /// # Ok::<(), resound::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The text is longer than [`DOCUMENT_BYTES_MAX`], is not JSON, is not the document of a run,
    /// or is of another version; or its histograms cannot be read.
    pub fn from_json(text: &str) -> Result<RunResult, Error> {
        check_head(text)
            .and_then(|()| serde_json::from_str(text).map_err(|error| error.to_string()))
            .map_err(|reason| {
                let error = io::Error::new(ErrorKind::InvalidData, reason);
                Error::new("read", "the document", error)
            })
    }
}

/// The keys by which the document of a run is told from others. All versions have them.
#[derive(Deserialize)]
struct Head {
    version: Option<Value>,
    kind: Option<Value>,
    #[serde(rename = "loop")]
    load_loop: Option<IgnoredAny>,
    status: Option<IgnoredAny>,
    messages: Option<IgnoredAny>,
    latency_ns: Option<IgnoredAny>,
}

/// Checks that a text is the document of a run, before its keys are read one by one.
fn check_head(text: &str) -> Result<(), String> {
    const EXPECTED: &str = "expected what 'resound bench -J' prints";
    if text.len() > DOCUMENT_BYTES_MAX {
        let mebibytes = DOCUMENT_BYTES_MAX >> 20;
        return Err(format!("it is longer than {mebibytes} MiB: {EXPECTED}"));
    }
    let head: Head = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => format!("it is not the document of a run: {EXPECTED}"),
        false => format!("it is not a JSON document ({error}): {EXPECTED}"),
    })?;
    match (&head.kind, &head.version) {
        (Some(Value::String(kind)), _) if ["sweep", "compare"].contains(&kind.as_str()) => {
            return Err(format!("it is the document of 'resound {kind}': {EXPECTED}"));
        }
        (None, Some(Value::Number(version))) if version.as_u64() != Some(VERSION.into()) => {
            return Err(format!("it is of version {version}: expected version {VERSION}"));
        }
        _ => {}
    }
    let Head { version, kind, load_loop, status, messages, latency_ns } = head;
    let keys = [load_loop, status, messages, latency_ns];
    let is_versioned = version.is_some_and(|version| version.is_number());
    let is_run = kind.is_none() && is_versioned && keys.iter().all(Option::is_some);
    is_run.then_some(()).ok_or_else(|| format!("it is not the document of a run: {EXPECTED}"))
}

impl Serialize for RunResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RunResult::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for RunResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RunResult, D::Error> {
        let mut result = RunResult::deserialize(deserializer)?;
        result.restore_distributions().map_err(de::Error::custom)?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
