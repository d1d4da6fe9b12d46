//! CSV: a line of names and a line of figures. The lines of several runs fit below each other.

use std::io;

use serde_json::Value;

use crate::measured::{Difference, Drift, PercentileList, RunResult, SplitValues, Third};

/// Writes the names of all figures on one line and the figures on the next (RFC 4180, but lines end
/// with LF alone).
///
/// The names are the keys of the JSON document joined by `_`: `messages_sent`, `latency_ns_p99.9`.
/// All runs with the same percentiles have the same names; a figure that a run does not have is an
/// empty cell. A list, and the options, are JSON in one cell. The histograms and
/// the timeline are left out.
///
/// # Errors
///
/// Returns the error of the writer.
pub fn write_csv(result: &RunResult, out: &mut impl io::Write) -> io::Result<()> {
    write_csv_rows(std::slice::from_ref(result), out)
}

/// Writes the names of all figures of the first run on one line, and the figures of each run on a
/// line of its own, as [`write_csv`] does. The runs must have the same percentiles.
///
/// # Errors
///
/// Returns the error of the writer.
#[expect(clippy::missing_panics_doc, reason = "plain data with text keys is always JSON")]
pub fn write_csv_rows(results: &[RunResult], out: &mut impl io::Write) -> io::Result<()> {
    let json = |result: &RunResult| serde_json::to_value(result).expect("plain data is JSON");
    for (index, result) in results.iter().enumerate() {
        let mut cells = Vec::new();
        gather("", &json(&with_every_key(result)), Some(&json(result)), &mut cells);
        let line = |texts: Vec<String>| texts.join(",") + "\n";
        let (names, figures) =
            cells.into_iter().map(|(name, text)| (quoted(&name), quoted(&text))).unzip();
        if index == 0 {
            out.write_all(line(names).as_bytes())?;
        }
        out.write_all(line(figures).as_bytes())?;
    }
    Ok(())
}

/// Returns the run with every optional key present. The writer takes only the names from it.
fn with_every_key(result: &RunResult) -> RunResult {
    let mut full = result.clone();
    full.trains.get_or_insert_default();
    full.run.clock_error.get_or_insert_default();
    full.tcp.get_or_insert_default();
    full.udp.get_or_insert_default();
    let third = Third { count: 0, p50: None, p99: None };
    full.drift
        .get_or_insert_with(|| Drift { found: false, thirds: [(); 3].map(|()| third.clone()) });
    full.service_time_ns.get_or_insert_with(|| result.latency_ns.clone());
    full.split.get_or_insert_with(|| SplitValues::default().split(&PercentileList::default()));
    full.generator.schedule_lag_ns.get_or_insert_with(|| result.latency_ns.clone());
    let (message, sent, received) = (None, None, None);
    full.first_difference.get_or_insert(Difference { flow: 0, message, offset: 0, sent, received });
    full
}

/// Appends the name and the text of each figure of `value`. `shape` has the names.
fn gather(name: &str, shape: &Value, value: Option<&Value>, cells: &mut Vec<(String, String)>) {
    let fields = match shape {
        // Their keys differ between runs, so they get one column instead of one each.
        _ if ["options_meant", "server_drops"].contains(&name) => {
            return cells.push((name.to_owned(), cell(value)));
        }
        Value::Object(fields) => fields,
        _ => return cells.push((name.to_owned(), cell(value))),
    };
    // These are kilobytes of text and no figures.
    let is_left_out = |key: &str| ["histograms", "timeline"].contains(&key);
    for (key, shape) in fields.iter().filter(|(key, _)| !is_left_out(key)) {
        let value = value.and_then(|value| value.get(key));
        let name = match (name.strip_suffix("_percentiles"), name) {
            (Some(parent), _) => format!("{parent}_p{key}"),
            (None, "") => key.clone(),
            (None, name) => format!("{name}_{key}"),
        };
        gather(&name, shape, value, cells);
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) if list.is_empty() => String::new(),
        Some(other) => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::{Trains, Udp, samples};

    /// Returns the cells of each line. No cell of a sample contains a newline.
    fn table(result: &RunResult) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        write_csv(result, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(cells).collect()
    }

    fn cells(line: &str) -> Vec<String> {
        let mut cells = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        cells
    }

    fn value<'a>(table: &'a [Vec<String>], name: &str) -> &'a str {
        let at = table[0].iter().position(|other| other == name).unwrap_or_else(|| {
            panic!("{name} is not in {:?}", table[0]);
        });
        &table[1][at]
    }

    #[test]
    fn every_figure_has_a_name() {
        let table = table(&samples::open_run());
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].len(), table[1].len());
        assert_eq!(value(&table, "messages_sent"), "1050");
        assert_eq!(value(&table, "latency_ns_p99.9"), "120000");
        assert_eq!(value(&table, "latency_ns_p99.99"), "");
        assert_eq!(value(&table, "generator_schedule_lag_ns_max"), "62000");
        assert_eq!(value(&table, "rate_asked"), "100000.0");
        assert_eq!(value(&table, "environment_cpus_allowed"), "[0,1]");
        assert_eq!(value(&table, "label"), "");
        assert_eq!(value(&table, "environment_host"), "lab-7");
        assert_eq!(value(&table, "run_part"), "1/1");
        assert!(table[0].iter().all(|name| !name.starts_with("histograms")), "{:?}", table[0]);
    }

    #[test]
    fn open_closed_and_failed_runs_fit_below_each_other() {
        let closed = table(&samples::closed_run());
        assert_eq!(closed[0], table(&samples::open_run())[0]);
        assert_eq!(value(&closed, "service_time_ns_p50"), "");
        assert_eq!(value(&closed, "first_difference_offset"), "");
        assert_eq!(value(&closed, "udp_receive_drops"), "");
        let mut over_udp = samples::closed_run();
        over_udp.trains = Some(Trains::default());
        over_udp.udp = Some(Udp { receive_drops: 7 });
        over_udp.server_drops = Some([("overflowed".to_owned(), 7)].into());
        let over_udp = table(&over_udp);
        assert_eq!(closed[0], over_udp[0]);
        assert_eq!(value(&over_udp, "udp_receive_drops"), "7");
        assert!(value(&over_udp, "server_drops").contains("overflowed"));
        assert_eq!(value(&closed, "server_drops"), "");
        assert_eq!(value(&over_udp, "tcp_retransmits"), "");
        let failed = table(&RunResult::failed(Vec::new(), "refused"));
        assert_eq!(closed[0], failed[0]);
        assert_eq!(value(&failed, "status"), "error");
    }

    #[test]
    fn several_runs_are_several_rows_below_one_line_of_names() {
        let (open, closed) = (samples::open_run(), samples::closed_run());
        let mut out = Vec::new();
        write_csv_rows(&[open.clone(), closed.clone()], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().map(cells).collect();
        assert_eq!(lines, [&table(&open)[..], &table(&closed)[1..]].concat());
    }

    #[test]
    fn a_text_with_commas_and_quotes_stays_one_cell() {
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(quoted("plain"), "plain");
        let mut result = samples::closed_run();
        result.label = Some("one, two".to_owned());
        assert_eq!(value(&table(&result), "label"), "one, two");
    }
}
