//! The JSON document. `schema.json` beside this file describes each key. Version 1 may gain keys;
//! it never loses or renames one.

use serde_json::Value;

use super::words::one_line;
use crate::measured::{CommandLine, RunResult, SweepResult, Swept, SweptFlag};

impl RunResult {
    /// Creates the result of a run that could not start: the error on one line, and 0, null or an
    /// empty list for everything that was never measured. `typed`: the words after the program's
    /// name.
    ///
    /// ```
    /// use resound::measured::RunResult;
    ///
    /// let typed = vec!["bench".to_owned(), "-J".to_owned()];
    /// let result = RunResult::failed(typed, "cannot connect: refused");
    /// let json: serde_json::Value = serde_json::from_str(&result.to_json())?;
    /// assert_eq!(json["status"], "error");
    /// assert_eq!(json["messages"]["sent"], 0);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn failed(typed: Vec<String>, error: &str) -> RunResult {
        let meant = serde_json::Map::new();
        let options = CommandLine { typed, meant };
        RunResult { error: Some(one_line(error)), options, ..RunResult::default() }
    }

    /// Returns the document on many lines; the last one ends with a newline.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data is JSON");
        text.push('\n');
        text
    }

    /// Returns the document on one line, without a newline in it or after it.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("plain data is JSON")
    }
}

impl SweepResult {
    /// Returns the document of a sweep whose command line was refused: `swept` is null.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn refused(typed: Vec<String>, error: &str) -> String {
        let swept = Swept { flag: SweptFlag::Rate, values: Vec::new(), find: Vec::new() };
        let mut result = SweepResult::new(swept);
        result.error = Some(one_line(error));
        result.options.typed = typed;
        let mut document = serde_json::to_value(result).expect("plain data is JSON");
        document["swept"] = Value::Null;
        format!("{document:#}\n")
    }

    /// Returns the document on many lines; the last one ends with a newline.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data is JSON");
        text.push('\n');
        text
    }

    /// Returns the document on one line, without a newline in it or after it.
    #[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("plain data is JSON")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measured::{Outcome, Rate, samples};

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_document_ends_with_a_newline_and_is_the_same_on_one_line() {
        for result in [samples::open_run(), samples::closed_run()] {
            let (pretty, line) = (result.to_json(), result.to_json_line());
            assert!(pretty.ends_with("}\n") && !line.contains('\n'));
            assert_eq!(parsed(&pretty), parsed(&line));
        }
    }

    #[test]
    fn the_keys_that_people_rely_on_stay_in_their_places() {
        let json = parsed(&samples::open_run().to_json());
        assert_eq!(json["version"], 1);
        assert_eq!(json["status"], "ok");
        assert_eq!(json["loop"], "open");
        assert_eq!(json["rate"]["asked"], 100_000.0);
        assert_eq!(json["latency_ns"]["percentiles"]["99.9"], 120_000);
        assert_eq!(json["latency_ns"]["percentiles"]["99.99"], Value::Null);
        assert_eq!(json["generator"]["pacing"], "hybrid");
        let assert = json!({"expression": "p99<200us", "value": 110_000.0, "held": true});
        assert_eq!(json["asserts"], json!([assert]));
    }

    #[test]
    fn a_value_that_is_not_a_number_is_0() {
        let mut result = samples::closed_run();
        result.rate =
            Rate { asked: Some(f64::INFINITY), achieved: f64::NAN, over_planned: f64::NAN };
        result.generator.cpu_share = f64::NEG_INFINITY;
        let value = Some(f64::NAN);
        result.asserts = vec![Outcome { expression: "rate>1".to_owned(), value, held: false }];
        let json = parsed(&result.to_json());
        assert_eq!(json["rate"], json!({"asked": 0.0, "achieved": 0.0, "over_planned": 0.0}));
        assert_eq!(json["generator"]["cpu_share"], 0.0);
        assert_eq!(json["asserts"][0]["value"], 0.0);
    }

    #[test]
    fn a_run_that_could_not_start_has_every_key() {
        let result = RunResult::failed(vec!["bench".to_owned()], "two\nlines");
        let failed = parsed(&result.to_json());
        assert_eq!(failed["error"], r"two\nlines");
        assert_eq!(failed["options"]["typed"], json!(["bench"]));
        let run = parsed(&samples::closed_run().to_json());
        let keys = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&failed), keys(&run));
        assert_eq!(keys(&failed["generator"]), keys(&run["generator"]));
        assert_eq!(failed["generator"]["verdict"], Value::Null, "nothing was measured");
        let read = RunResult::from_json(&result.to_json()).unwrap();
        assert_eq!(read.generator.verdict, None);
    }
}
