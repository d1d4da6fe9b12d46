//! Checks the JSON that the program prints against `src/report/schema.json`, using the few keywords
//! of JSON Schema in that file, and against rules that a schema cannot express.

use std::sync::LazyLock;

use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../src/report/schema.json")).unwrap()
});

/// Checks a document, or a line of `--json-stream`, against the schema as a whole, and then against
/// the part of it with this name, such as `ping`. The document must be of exactly one kind.
///
/// # Panics
///
/// Panics with the list of all violations, if there are any.
#[track_caller]
pub fn check_document(name: &str, document: &Value) {
    let mut found = Vec::new();
    check(name, &SCHEMA["$defs"][name], document, &mut found);
    gather_undocumented(name, &SCHEMA["$defs"][name], document, &mut found);
    check("document", &SCHEMA, document, &mut found);
    assert!(found.is_empty(), "{}\n{document:#}", found.join("\n"));
}

/// Checks the document of `compare -J`, with those of its runs.
///
/// # Panics
///
/// Panics with the list of all violations, if there are any.
#[track_caller]
pub fn check_compare_document(document: &Value) {
    check_document("compare", document);
    let mut found = Vec::new();
    for pair in listed(&document["pairs"]) {
        let runs = ["a", "b", "control"].map(|side| &pair[side]);
        found.extend(runs.into_iter().filter(|run| !run.is_null()).flat_map(bench_violations));
    }
    assert!(found.is_empty(), "{}\n{document:#}", found.join("\n"));
}

/// Checks the document of `bench -J`.
///
/// # Panics
///
/// Panics with the list of all violations, if there are any.
#[track_caller]
pub fn check_bench_document(document: &Value) {
    let found = bench_violations(document);
    assert!(found.is_empty(), "{}\n{document:#}", found.join("\n"));
}

/// Checks a value against one of the schema's `$defs`: `messages`, `summary`, or `interval_line`
/// for a line of `--json-stream`.
///
/// # Panics
///
/// Panics with the list of all violations, if there are any.
#[track_caller]
pub fn check_definition(name: &str, value: &Value) {
    let mut found = Vec::new();
    check(name, &SCHEMA["$defs"][name], value, &mut found);
    assert!(found.is_empty(), "{}\n{value:#}", found.join("\n"));
}

/// Returns all violations of a document.
pub fn bench_violations(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check("document", &SCHEMA["$defs"]["bench"], document, &mut found);
    if found.is_empty() {
        check("document", &SCHEMA, document, &mut found);
    }
    for key in ["messages", "warmup_messages"] {
        let count = |name: &str| document[key][name].as_u64().unwrap_or_default();
        let sent = count("sent");
        let rest: u64 = ["received", "lost", "in_flight_at_end"].map(count).iter().sum();
        if sent != rest {
            found.push(format!("{key}: {sent} sent, but {rest} received, lost or in flight"));
        }
    }
    let error = document["error"].as_str();
    if document["status"] == "error" && error.is_none() {
        found.push("status is error, but error is null".to_owned());
    }
    if error.is_some_and(|error| error.contains('\n')) {
        found.push("error has several lines".to_owned());
    }
    for summary in [
        &document["latency_ns"],
        &document["service_time_ns"],
        &document["generator"]["schedule_lag_ns"],
    ] {
        if summary["min"].as_u64() > summary["max"].as_u64() {
            found.push(format!("min is greater than max: {summary}"));
        }
    }
    found
}

/// Returns the keys of a document that the schema does not name. Such keys are allowed but not
/// documented.
pub fn undocumented_keys(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    gather_undocumented("document", &SCHEMA["$defs"]["bench"], document, &mut found);
    found
}

fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(path) => SCHEMA.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Adds the violations of `value` to `found`.
fn check(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => check(path, resolved(schema), value, found),
            "type" | "const" | "enum" | "minimum" | "maximum" | "minItems" | "maxItems" => {
                if !holds(word, rule, value) {
                    found.push(format!("{path}: expected {word} {rule}, found {value}"));
                }
            }
            "required" => {
                let is_missing = |key: &&str| value.is_object() && value.get(*key).is_none();
                let missing = listed(rule).iter().filter_map(Value::as_str).filter(is_missing);
                found.extend(missing.map(|key| format!("{path}: {key} is missing")));
            }
            "properties" => {
                for (key, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        check(&format!("{path}.{key}"), schema, value, found);
                    }
                }
            }
            "additionalProperties" => {
                assert!(
                    schema.get("properties").is_none(),
                    "{path}: properties and additionalProperties at the same place"
                );
                for (key, value) in value.as_object().into_iter().flatten() {
                    check(&format!("{path}.{key}"), rule, value, found);
                }
            }
            "items" => {
                for (index, value) in listed(value).iter().enumerate() {
                    check(&format!("{path}[{index}]"), rule, value, found);
                }
            }
            "anyOf" => check_any(path, listed(rule), value, found),
            "allOf" => listed(rule).iter().for_each(|schema| check(path, schema, value, found)),
            "oneOf" => {
                let holds = |schema: &&Value| {
                    let mut violations = Vec::new();
                    check(path, schema, value, &mut violations);
                    violations.is_empty()
                };
                let kinds: Vec<_> = listed(rule).iter().filter(holds).collect();
                if kinds.len() != 1 {
                    found.push(format!("{path}: expected one kind of document, found {kinds:?}"));
                }
            }
            other => panic!("{path}: the schema uses {other}, which this check does not know"),
        }
    }
}

/// Checks a rule that concerns only the value itself. A limit holds for every value that is not a
/// number.
fn holds(word: &str, rule: &Value, value: &Value) -> bool {
    let is_type = |name: &Value| has_type(name.as_str().unwrap(), value);
    match word {
        "type" => rule.as_array().map_or_else(|| is_type(rule), |any| any.iter().any(is_type)),
        "const" => rule == value,
        "enum" => listed(rule).contains(value),
        "minimum" => value.as_f64() >= rule.as_f64() || !value.is_number(),
        "maximum" => value.as_f64() <= rule.as_f64(),
        "minItems" => listed(value).len() as u64 >= rule.as_u64().unwrap(),
        _ => listed(value).len() as u64 <= rule.as_u64().unwrap(),
    }
}

fn listed(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Reports the violations of the last alternative, because the others are null.
fn check_any(path: &str, schemas: &[Value], value: &Value, found: &mut Vec<String>) {
    let mut last = Vec::new();
    let holds = schemas.iter().any(|schema| {
        last.clear();
        check(path, schema, value, &mut last);
        last.is_empty()
    });
    if !holds {
        found.append(&mut last);
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is not a type of JSON Schema"),
    }
}

fn gather_undocumented(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let schema = resolved(schema);
    for schema in listed(&schema["anyOf"]) {
        if !has_type("null", value) && schema["type"] != "null" {
            gather_undocumented(path, schema, value, found);
        }
    }
    for value in listed(value) {
        gather_undocumented(path, &schema["items"], value, found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match properties.get(key) {
            Some(schema) => gather_undocumented(&path, schema, value, found),
            None => found.push(path),
        }
    }
}
