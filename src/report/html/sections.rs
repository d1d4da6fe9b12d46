//! Parts that pages are made of: facts, tables of a document's lists, commands.

use maud::{Markup, html};
use serde_json::Value;

use super::figure::Table;
use crate::report::words::{bytes_text, count_text, percent_text, rate_text, time_text};

/// Returns a list of names and values. Values that are `None` are left out.
pub(super) fn facts(facts: &[(&str, Option<String>)]) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                @if let Some(value) = value { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

/// Returns a large figure with its name. `note`: what belongs to it.
pub(super) fn tile(name: &str, value: &str, note: &str, is_bad: bool) -> Markup {
    html! {
        div.tile.bad[is_bad] {
            span.name { (name) }
            strong { (value) }
            @if !note.is_empty() { span.note { (note) } }
        }
    }
}

/// Returns the command with a button that copies it.
pub(super) fn command(words: &[String]) -> Markup {
    let words = words.iter().map(|word| quoted(word)).collect::<Vec<_>>();
    let text = format!("resound {}", words.join(" "));
    html! {
        div.command {
            pre tabindex="0" aria-label="command" { code { (text) } }
            button.needs-script type="button" data-copy=(text) { "Copy" }
        }
    }
}

/// Returns the words of a command line of a document.
pub(super) fn typed(words: &Value) -> Vec<String> {
    let words = words.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// Returns the warnings of a document, if it has any.
pub(super) fn warnings(list: &Value) -> Markup {
    let list: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        @if !list.is_empty() {
            section.warnings {
                h2 { "Warnings" }
                ul { @for warning in list { li { (warning) } } }
            }
        }
    }
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%,+[]".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) && !word.contains('[') {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Returns the text of a value of a document, by the name of its key.
pub(super) fn value_text(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(is_so) => if *is_so { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            match number.as_u64() {
                Some(whole) if key.ends_with("_ns") => time_text(whole),
                _ if key == "delivery_rate" => format!("{}/s", bytes_text(float)),
                _ if key.ends_with("share") => percent_text(float, 1.0),
                Some(whole) => count_text(whole),
                None => rate_text(float),
            }
        }
        Value::Array(list) => {
            list.iter().map(|value| value_text(key, value)).collect::<Vec<_>>().join(", ")
        }
        Value::Object(_) => value.to_string(),
    }
}

/// Returns an object of counts as rows of names and values, without those that are 0.
pub(super) fn counts(object: Option<&Value>) -> Vec<(String, String)> {
    let fields = object.and_then(Value::as_object).into_iter().flatten();
    let fields = fields.filter(|(_, value)| value.as_f64() != Some(0.0));
    fields.map(|(key, value)| (key.replace('_', " "), value_text(key, value))).collect()
}

/// Returns a table of a list of objects: a row for each, a column for each figure. Distributions
/// become p50, p99 and max.
pub(super) fn table_of(list: &[Value]) -> Table {
    let rows: Vec<Vec<(String, String)>> = list.iter().map(|object| flat("", object)).collect();
    let mut names: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let mut table = Table::new(names.clone());
    for row in &rows {
        let cell = |name: &String| row.iter().find(|(other, _)| other == name);
        table.push(names.iter().map(|name| cell(name).map_or("-", |(_, text)| text.as_str())));
    }
    table
}

/// Returns the figures of an object with the names of their columns. `unit`: the end of the name of
/// the object, which says what its figures are.
fn flat(unit: &str, object: &Value) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        let name = key.trim_end_matches("_ns").replace('_', " ");
        match value {
            Value::Object(summary) if summary.contains_key("percentiles") => {
                for percentile in ["50", "99"] {
                    let value = &value["percentiles"][percentile];
                    cells.push((format!("{name} p{percentile}"), value_text("_ns", value)));
                }
                cells.push((format!("{name} max"), value_text("_ns", &value["max"])));
            }
            Value::Object(_) => {
                let unit = if key.ends_with("_ns") { "_ns" } else { unit };
                let inner = flat(unit, value).into_iter();
                cells.extend(inner.map(|(inner, text)| (format!("{name} {inner}"), text)));
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {}
            value => cells.push((name, value_text(&format!("{key}{unit}"), value))),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_is_quoted_as_a_shell_needs_it() {
        let cases = [
            ("tcp://127.0.0.1:7", "tcp://127.0.0.1:7"),
            ("p99<1ms", "'p99<1ms'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(reboot)", "'$(reboot)'"),
        ];
        for (word, expected) in cases {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_list_of_objects_is_a_table() {
        let summary = json!({"count": 3, "max": 9_000, "percentiles": {"50": 5_000, "99": null}});
        let list = [json!({"length": 64, "latency_ns": summary}), json!({"length": 1_500})];
        let table = table_of(&list);
        assert_eq!(table.head, ["length", "latency p50", "latency p99", "latency max"]);
        assert_eq!(table.rows[0], ["64", "5.00 us", "-", "9.00 us"]);
        assert_eq!(table.rows[1], ["1,500", "-", "-", "-"]);
    }
}
