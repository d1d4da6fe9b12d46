//! The format that a client prefers, by its `Accept` lines (RFC 9110, 12.5.1).

use super::families::Format;

/// What the media ranges of a request say about one format.
#[derive(Clone, Copy, Debug, Default)]
struct Preference {
    /// How specific the most specific matching range is: see [`Range::closeness`]. 0 without a
    /// match.
    closeness: u8,
    /// The weight of that range. 0 means that the format is not acceptable.
    weight: f32,
}

impl Preference {
    /// Keeps the most specific range. Of two equally specific ranges, the one with the greater
    /// weight is kept.
    fn consider(&mut self, closeness: u8, weight: f32) {
        if closeness == 0 {
            return;
        }
        if closeness > self.closeness {
            *self = Preference { closeness, weight };
        } else if closeness == self.closeness {
            self.weight = self.weight.max(weight);
        }
    }
}

/// Returns the format with the greatest weight. With equal weights, OpenMetrics wins only if a
/// range names it. A client that accepts neither format, or sends no `Accept` line, gets the plain
/// one.
pub(super) fn preferred<'a>(values: impl Iterator<Item = &'a [u8]>) -> Format {
    let (mut open_metrics, mut plain) = (Preference::default(), Preference::default());
    for value in values {
        // Bytes beyond ASCII match no format.
        let value = String::from_utf8_lossy(value);
        for range in split_unquoted(&value, ',').filter_map(Range::parse) {
            open_metrics.consider(range.closeness(Format::OpenMetrics), range.weight);
            plain.consider(range.closeness(Format::Plain), range.weight);
        }
    }
    let is_drawn = open_metrics.weight == plain.weight;
    let is_named = open_metrics.closeness >= CLOSENESS_NAMED;
    match open_metrics.weight > 0.0 {
        true if open_metrics.weight > plain.weight || (is_drawn && is_named) => Format::OpenMetrics,
        _ => Format::Plain,
    }
}

/// From this closeness, a range names the format instead of only including it.
const CLOSENESS_NAMED: u8 = 3;

/// A media range and its weight.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    version: Option<&'a str>,
    weight: f32,
}

impl<'a> Range<'a> {
    /// Parses a range. Returns `None`, which ignores the range, if it or its weight is malformed.
    fn parse(text: &'a str) -> Option<Range<'a>> {
        let mut parts = split_unquoted(text, ';').map(str::trim);
        let (kind, subkind) = parts.next()?.split_once('/')?;
        let mut range =
            Range { kind: kind.trim(), subkind: subkind.trim(), version: None, weight: 1.0 };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("q") => range.weight = weight(value)?,
                name if name.eq_ignore_ascii_case("version") => range.version = Some(value),
                _ => {}
            }
        }
        Some(range)
    }

    /// Returns how specifically this range matches a format: 1 as any type, 2 by its type, 3 by its
    /// subtype, 4 also by its version; 0 if it does not match.
    fn closeness(&self, format: Format) -> u8 {
        let (kind, subkind, versions) = match format {
            Format::OpenMetrics => ("application", "openmetrics-text", &["1.0.0", "0.0.1"][..]),
            Format::Plain => ("text", "plain", &["0.0.4"][..]),
        };
        let is_kind = self.kind.eq_ignore_ascii_case(kind);
        let is_subkind = self.subkind.eq_ignore_ascii_case(subkind);
        match (self.kind, self.subkind, self.version) {
            ("*", "*", _) => 1,
            (_, "*", _) if is_kind => 2,
            (_, _, None) if is_kind && is_subkind => CLOSENESS_NAMED,
            (_, _, Some(version)) if is_kind && is_subkind && versions.contains(&version) => 4,
            _ => 0,
        }
    }
}

/// Parses a weight from 0 to 1. The standard allows three digits; more are accepted.
fn weight(text: &str) -> Option<f32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let weight: f32 = text.parse().ok().filter(|_| is_plain)?;
    (0.0..=1.0).contains(&weight).then_some(weight)
}

/// Splits the text at separators outside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && !was_escaped && c == '\\';
        if c == '"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN: &str = "application/openmetrics-text";

    #[track_caller]
    fn assert_preferred(accept: &str, format: Format) {
        let accept = accept.replace("OPEN", OPEN);
        assert_eq!(preferred([accept.as_bytes()].into_iter()), format, "{accept}");
    }

    #[test]
    fn the_greatest_weight_decides() {
        for (accept, format) in [
            ("text/plain;version=0.0.4;q=0.6,OPEN;version=1.0.0;q=0.5,*/*;q=0.2", Format::Plain),
            ("OPEN;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5", Format::OpenMetrics),
            ("OPEN;q=0.499,text/plain;q=0.5", Format::Plain),
            ("OPEN;q=0.501,text/plain;q=0.5", Format::OpenMetrics),
            ("OPEN ; Q=0.2 , text/plain ; q=0.1", Format::OpenMetrics),
            ("OPEN;q=0.2, text/plain", Format::Plain),
            // Prometheus 3 sends this.
            (
                "OPEN;version=1.0.0;escaping=allow-utf-8;q=0.6,OPEN;version=0.0.1;q=0.5,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_preferred(accept, format);
        }
    }

    #[test]
    fn a_weight_of_zero_excludes_a_format() {
        assert_preferred("OPEN;version=1.0.0;q=0,text/plain", Format::Plain);
        assert_preferred("OPEN;q=0.000,*/*", Format::Plain);
        assert_preferred("text/plain;q=0,OPEN;q=0.1", Format::OpenMetrics);
        assert_preferred("text/*;q=0,*/*;q=0.5", Format::OpenMetrics);
        assert_preferred("*/*;q=0", Format::Plain);
        assert_preferred("OPEN;q=0,text/plain;q=0", Format::Plain);
    }

    #[test]
    fn the_most_specific_range_decides_for_each_format() {
        assert_preferred("*/*", Format::Plain);
        assert_preferred("*/*;q=0.9,OPEN;q=0.1", Format::Plain);
        assert_preferred("*/*;q=0.1,OPEN;q=0.9", Format::OpenMetrics);
        assert_preferred("text/*;q=0.3,OPEN;q=0.4,*/*;q=0.9", Format::OpenMetrics);
        assert_preferred("text/*;q=0.5,OPEN;q=0.4", Format::Plain);
        assert_preferred("application/*", Format::OpenMetrics);
        assert_preferred("OPEN;q=0.9,OPEN;version=1.0.0;q=0.1,text/plain;q=0.5", Format::Plain);
        assert_preferred("OPEN,text/plain", Format::OpenMetrics);
        assert_preferred("text/plain;version=0.0.4", Format::Plain);
        assert_preferred("OPEN;version=2.0.0,text/plain;q=0.1", Format::Plain);
        assert_preferred("Application/OpenMetrics-Text;Version=\"1.0.0\"", Format::OpenMetrics);
    }

    #[test]
    fn a_client_that_names_neither_format_gets_the_plain_one() {
        for accept in ["", "text/html", "application/json;q=1", "x-application/openmetrics-text"] {
            assert_preferred(accept, Format::Plain);
        }
        assert_eq!(preferred(std::iter::empty()), Format::Plain);
    }

    #[test]
    fn a_malformed_range_is_ignored() {
        for weight in ["abc", "", "-1", "1.5", "inf", "nan", "1e-1", "+1", "0,5"] {
            assert_preferred(&format!("OPEN;q={weight},text/plain;q=0.5"), Format::Plain);
        }
        assert_preferred(";;;,,/,=,OPEN;q=0.5,text", Format::OpenMetrics);
        assert_preferred("OPEN;q=0.33333333", Format::OpenMetrics);
        assert_preferred("OPEN;q=.5;q", Format::Plain);
    }

    #[test]
    fn a_quoted_string_is_not_split() {
        assert_preferred("text/plain;note=\"a,OPEN;q=1\\\",\";q=0.5", Format::Plain);
        assert_preferred("OPEN;note=\",;\";q=0.6,text/plain;q=0.5", Format::OpenMetrics);
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines: [&[u8]; 2] = [b"text/plain;q=0.5", b"application/openmetrics-text;q=0.6"];
        assert_eq!(preferred(lines.into_iter()), Format::OpenMetrics);
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted(bytes: Vec<u8>) {
            let _ = preferred([bytes.as_slice()].into_iter());
        }
    }
}
