//! The shape of an output: the part that is the same in every run.

/// Units of measured values. The unit depends on the value.
const UNITS: &[&str] =
    &["ns", "us", "ms", "s", "k", "M", "B", "KiB", "MiB", "kB", "KB", "MB", "GB"];

/// The width of the first column of a report of `bench`.
const LABEL_COLUMNS: usize = 14;

/// Returns a line with `#` for each number, `U` for its unit, and one space for several.
pub fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() {
            rest = after_number(rest);
            shape.push('#');
            if let Some(after) = after_unit(rest) {
                rest = after;
                shape.push('U');
            }
        } else if let Some(after) = rest.strip_prefix("null") {
            // In JSON, null is a percentile with too few samples.
            rest = after;
            shape.push('#');
        } else if first == ' ' {
            rest = rest.trim_start_matches(' ');
            shape.push(' ');
        } else {
            shape.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    shape
}

/// Returns the text after the digits, and after the points and commas between digits.
fn after_number(text: &str) -> &str {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = 0;
    while is_digit(end) || (matches!(bytes.get(end), Some(b'.' | b',')) && is_digit(end + 1)) {
        end += 1;
    }
    &text[end..]
}

fn after_unit(text: &str) -> Option<&str> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    UNITS.contains(&&text[..end]).then(|| &text[end..])
}

/// Returns the label of a line of a report of `bench`. Values and line breaks depend on the
/// machine, and the value decides whether some labels are in capitals. Returns `None` for a
/// continued line. An assertion and an interval are compared whole.
pub fn label(line: &str) -> Option<String> {
    if line.starts_with(&" ".repeat(LABEL_COLUMNS)) {
        None
    } else if line.starts_with(' ') || line.starts_with("assert ") {
        Some(shape(line))
    } else {
        let label: String = line.chars().take(LABEL_COLUMNS).collect();
        Some(shape(label.trim_end()).to_lowercase())
    }
}

#[test]
fn numbers_and_their_units_have_one_shape() {
    assert_eq!(shape("rtt 128.768/206.752 us, 0% loss"), shape("rtt 1.5/2,000 ms, 10% loss"));
    assert_eq!(shape("p99    12.0 ms"), "p# #U");
    assert_ne!(shape("3 received"), shape("3 sent"));
    assert_ne!(shape("64 bytes"), shape("64 B"));
}

#[test]
fn a_report_is_compared_by_its_labels() {
    assert_eq!(label("HEALTH        the generator was late"), label("health        ok"));
    assert_eq!(label("              last echoes after it"), None);
    assert_ne!(label("assert        held: lost==0"), label("assert        NOT held: lost==0"));
    assert_ne!(label("   0.0 -   0.5 s  warm-up"), label("   2.0 -   2.3 s  drain"));
}
