//! Property tests of the parser of percentile lists.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::measured::Summary;

/// The longest message.
const MESSAGE_BYTES_MAX: usize = 200;

fn list() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => "[0-9]{1,2}(\\.[0-9]{1,5})?",
        1 => "[0-9.]{0,30}",
        1 => "[0-9]{1,2}\\.[0-9]{10,30}",
        1 => " ?[0-9]{1,3} ?",
        1 => select(vec!["", "-1", "1e1", "nan", "inf", "100", "\n", "\0", "٣"])
            .prop_map(str::to_owned),
    ];
    vec(word, 0..130).prop_map(|words| words.join(","))
}

proptest! {
    /// case P6: a list that parses gives one key of the document per percentile, as typed; any
    /// other text is refused with one short line.
    #[test]
    fn any_text_is_a_list_of_percentiles_or_is_refused_in_one_line(
        text in prop_oneof![4 => list(), 1 => "[0-9]{1,2}(,[0-9]{1,2})*", 1 => any::<String>()],
    ) {
        match text.parse::<PercentileList>() {
            Ok(list) => {
                let summary = Summary::empty(&list);
                let document = serde_json::to_value(&summary).unwrap();
                let keys = document["percentiles"].as_object().unwrap().len();
                prop_assert_eq!(keys, summary.percentiles.len());
                prop_assert!((1..=100).contains(&keys));
                for (word, percentile) in list.iter() {
                    prop_assert!(percentile.rank(1_000) <= 1_000);
                    prop_assert!(word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
                    prop_assert!(text.contains(word));
                    prop_assert!(word.len() <= 20, "{} is a long key", word);
                }
            }
            Err(message) => {
                prop_assert!(message.starts_with("expected ") && message.contains("such as "));
                prop_assert!(message.len() <= MESSAGE_BYTES_MAX);
                prop_assert!(!message.contains(char::is_control));
            }
        }
    }
}
