//! Property tests of the parser with valid, nearly valid and arbitrary text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::measured::samples;

/// The longest message, which lists every name.
const MESSAGE_BYTES_MAX: usize = 500;

fn name() -> impl Strategy<Value = String> {
    let statistic = prop_oneof![
        select(vec!["min", "mean", "max", "stddev"]).prop_map(str::to_owned),
        "p[0-9]{1,3}(\\.[0-9]{0,4})?",
        "p[0-9.]{0,30}",
        "p[0-9]{1,2}\\.[0-9]{10,300}",
    ];
    let series = select(vec!["", "service.", "lag.", "send.", "away.", "wake."]);
    prop_oneof![
        2 => (0..FACTS.len()).prop_map(|at| FACTS[at].name.to_owned()),
        3 => (series, statistic).prop_map(|(series, statistic)| format!("{series}{statistic}")),
        1 => "[a-z._]{0,12}",
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let operator = select(vec!["<", "<=", ">", ">=", "==", "!=", "=", "<>", "!", " < ", "\t<\n"]);
    let value = "[0-9]{0,24}(\\.[0-9]{0,4})?(ns|us|ms|s|m|h|d|%| %|k|m|g|x)?";
    (name(), operator, value).prop_map(|(name, sign, value)| format!("{name}{sign}{value}"))
}

/// Replaces `taken` characters of a text at one place.
fn mutated((text, at, what, taken): (String, Index, String, usize)) -> String {
    let mut parts: Vec<char> = text.chars().collect();
    let place = at.index(parts.len() + 1);
    let end = parts.len().min(place + taken);
    parts.splice(place..end, what.chars());
    parts.into_iter().collect()
}

fn any_text() -> impl Strategy<Value = String> {
    let change = prop_oneof![".{0,3}", "[<>=!.%0-9a-z ]{0,6}", "9{300}"];
    prop_oneof![
        4 => expression(),
        4 => (expression(), any::<Index>(), change, 0..5_usize).prop_map(mutated),
        1 => any::<String>(),
        1 => vec(any::<u8>(), 0..100)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

proptest! {
    /// case P6: an expression that parses can be checked on any run; any other text is refused with
    /// one short line and an example.
    #[test]
    fn any_text_is_a_comparison_or_is_refused_in_one_line(
        text in any_text(),
        is_open: bool,
        is_empty: bool,
    ) {
        let result = match (is_empty, is_open) {
            (true, _) => RunResult::default(),
            (_, true) => samples::open_run(),
            (_, false) => samples::closed_run(),
        };
        match text.parse::<Assertion>() {
            Ok(assertion) => {
                let outcome = assertion.check(&result);
                prop_assert!(outcome.value.is_some() || !outcome.held);
                prop_assert_eq!(outcome.expression.as_str(), text.trim());
                prop_assert!(assertion.bound.is_finite() && assertion.bound >= 0.0);
                if let Some(value) = outcome.value {
                    prop_assert!(value.is_finite(), "{} is {}", text, value);
                }
                // The expression parses to the same bound again.
                let again = outcome.expression.parse::<Assertion>().unwrap();
                prop_assert_eq!(again.bound.to_bits(), assertion.bound.to_bits());
            }
            Err(message) => {
                prop_assert!(message.starts_with("expected ") && message.contains("such as "));
                prop_assert!(message.len() <= MESSAGE_BYTES_MAX, "{} bytes", message.len());
                prop_assert!(!message.contains(char::is_control), "{:?}", message);
            }
        }
    }

    /// Each operator compares the two sides as integers would.
    #[test]
    fn a_count_is_compared_as_it_is_typed(
        lost in 0..1_000_u64,
        bound in 0..1_000_u64,
        operator in select(&["<", "<=", ">", ">=", "==", "!="][..]),
    ) {
        let mut result = samples::closed_run();
        result.messages.lost = lost;
        let expected = match operator {
            "<" => lost < bound,
            "<=" => lost <= bound,
            ">" => lost > bound,
            ">=" => lost >= bound,
            "==" => lost == bound,
            _ => lost != bound,
        };
        let assertion: Assertion = format!("lost{operator}{bound}").parse().unwrap();
        prop_assert_eq!(assertion.check(&result).held, expected);
    }
}
