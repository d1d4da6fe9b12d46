//! Property tests: numbers are compared with exact arithmetic, and any text is parsed or refused.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// The longest error message.
const MESSAGE_BYTES_MAX: usize = 200;

type Parse = fn(&str) -> Result<u64, String>;

/// Returns each parser with its table. The parser of times returns nanoseconds.
fn parsers() -> Vec<(Parse, &'static [(&'static str, u64)])> {
    let time: Parse = |text| {
        parse_time(text).map(|time| u64::try_from(time.as_nanos()).expect("it was parsed as a u64"))
    };
    vec![(parse_count, COUNTS), (parse_size, SIZES), (time, TIMES_NS)]
}

/// Generates digits with a point, a suffix of one of the tables, and often an invalid part.
fn near_number() -> impl Strategy<Value = String> {
    let number = "[0-9]{0,22}(\\.[0-9]{0,20}){0,2}";
    let suffixes = COUNTS.iter().chain(SIZES).chain(TIMES_NS).map(|(name, _)| *name);
    let suffix = select(suffixes.collect::<Vec<_>>());
    let invalid =
        select(vec!["", "", "", "", " ", "-", "+", "e3", "k", "\0", "\n", "\u{212a}", "٣"]);
    (number, suffix, invalid, any::<bool>(), any::<bool>()).prop_map(
        |(number, suffix, invalid, is_upper, is_first)| {
            let suffix = if is_upper { suffix.to_uppercase() } else { suffix.to_owned() };
            match is_first {
                true => format!("{invalid}{number}{suffix}"),
                false => format!("{number}{invalid}{suffix}"),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_whole_number_parses_to_itself(value: u64) {
        prop_assert_eq!(parse_count(&value.to_string()), Ok(value));
        prop_assert_eq!(parse_size(&format!("{value}b")), Ok(value));
        prop_assert_eq!(parse_time(&format!("{value}ns")), Ok(Duration::from_nanos(value)));
    }

    /// A fraction is accepted if it is a whole number of the smallest unit. It is never rounded.
    #[test]
    fn decimals_are_exact_or_refused(
        parser in select(parsers()),
        suffix: prop::sample::Index,
        whole in prop_oneof![0..1_000_u64, 0..10_000_000_000_u64],
        digits in 1..=12_u32,
        fraction: u64,
    ) {
        let (parse, suffixes) = parser;
        let (suffix, scale) = suffixes[suffix.index(suffixes.len())];
        let unit = 10_u128.pow(digits);
        let fraction = u128::from(fraction) % unit;
        let text = format!("{whole}.{fraction:0width$}{suffix}", width = digits as usize);
        let scaled = (u128::from(whole) * unit + fraction) * u128::from(scale);
        let exact = (scaled % unit == 0).then_some(scaled / unit);
        let exact = exact.and_then(|value| u64::try_from(value).ok());
        prop_assert_eq!(parse(&text).ok(), exact, "{}", text);
    }

    /// cases P6 B12
    #[test]
    fn any_text_parses_or_is_refused_in_one_line(
        text in prop_oneof![4 => near_number(), 1 => any::<String>(), 1 => ".{0,40}"],
    ) {
        let outcomes = parsers().into_iter().map(|(parse, _)| parse(&text).err());
        let above_zero = parse_time_above_zero(&text);
        prop_assert!(above_zero != Ok(Duration::ZERO));
        for message in outcomes.chain([above_zero.err()]).flatten() {
            prop_assert!(message.starts_with("expected a ") && message.contains("such as "));
            prop_assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains(char::is_control));
        }
    }
}
