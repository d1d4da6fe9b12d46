use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Lengths {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn drawn(lengths: &Lengths, flow: u32, numbers: std::ops::Range<u64>) -> Vec<Drawn> {
    let mix = lengths.mix().expect("lengths are mixed");
    numbers.map(|number| mix.draw(MessageId { flow, number })).collect()
}

/// Returns true if `count` of `all` trials may have this probability: fewer than one in 10^12 such
/// counts are further off (Hoeffding's inequality, which holds for any number of trials).
fn may_be(count: usize, all: usize, probability: f64) -> bool {
    let (count, all) = (count as f64, all as f64);
    let most = (2e12_f64.ln() / (2.0 * all)).sqrt();
    (count / all - probability).abs() <= most
}

#[test]
fn a_single_length_is_not_drawn() {
    for text in ["64", "64:100%", "64..64"] {
        let lengths = parsed(text);
        assert_eq!(lengths, Lengths::from(64), "{text}");
        assert!(lengths.mix().is_none() && lengths.classes() == [(64, 64)]);
    }
}

/// case B12
#[test]
fn lengths_that_make_no_sense_are_refused_in_one_line_with_an_example() {
    for (text, part) in [
        ("", "expected a size"),
        ("0", "at least 1 byte"),
        ("64,1200", "weights above 0 %"),
        ("64:70%,1200:20%", "add up to 100 % but found 90 %"),
        ("64:70%,1200:30.5%", "found 100.5 %"),
        ("64:0%,1200:100%", "weights above 0 %"),
        ("64:-1%,1200:101%", "weights above 0 %"),
        ("64:7,1200:3", "weights above 0 %"),
        ("64:50%,64:50%", "64 bytes are named twice"),
        ("0:50%,64:50%", "expected sizes"),
        ("64:100%,", "expected sizes"),
        ("1:20%,2:10%,3:10%,4:10%,5:10%,6:10%,7:10%,8:10%,9:10%", "at most 8 sizes but found 9"),
        ("1500..64", "to a greater one"),
        ("0..64", "to a greater one"),
        ("64..", "to a greater one"),
        ("..64", "to a greater one"),
        ("64..128..256", "to a greater one"),
        ("64:50%..128:50%", "expected sizes"),
    ] {
        let error = text.parse::<Lengths>().unwrap_err();
        let is_good = error.contains(part) && error.contains("such as") && !error.contains('\n');
        assert!(is_good, "{text:?}: {error}");
    }
}

#[test]
fn a_range_is_split_into_eight_equal_classes() {
    let expected = [(64, 243), (244, 423), (424, 602), (603, 782)];
    let classes = parsed("64..1500").classes();
    assert_eq!((classes.len(), &classes[..4]), (8, &expected[..]));
    assert_eq!(classes[7], (1_322, 1_500));
    assert_eq!(parsed("1..3").classes(), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn the_greatest_range_is_drawn_from_without_overflow() {
    let text = format!("1..{}", u64::MAX);
    for message in drawn(&parsed(&text), u32::MAX, u64::MAX - 100..u64::MAX) {
        assert!(message.length_bytes >= 1 && message.class < 8);
    }
}

/// The numbers of a stream follow each other, and the flows have the same numbers.
#[test]
fn each_length_has_its_share_on_each_flow_and_over_all_flows() {
    const EACH: usize = 100_000;
    let lengths = parsed("64:70%,1200:25%,9000:4.5%,40000:0.5%");
    let shares = [(64, 0.7), (1_200, 0.25), (9_000, 0.045), (40_000, 0.005)];
    let mut all = [0; 4];
    for flow in 0..20 {
        let messages = drawn(&lengths, flow, 0..EACH as u64);
        for (class, (length, share)) in shares.iter().enumerate() {
            let of_class = messages.iter().filter(|message| message.class == class);
            let count = of_class.clone().count();
            assert!(of_class.clone().all(|message| message.length_bytes == *length));
            assert!(may_be(count, EACH, *share), "{count} of length {length} on flow {flow}");
            all[class] += count;
        }
    }
    for ((_, share), count) in shares.iter().zip(all) {
        assert!(may_be(count, 20 * EACH, *share), "{count}");
    }
    // The first messages of many flows: each connection may carry one message only.
    let firsts: Vec<_> = (0..100_000).flat_map(|flow| drawn(&lengths, flow, 0..1)).collect();
    let count = firsts.iter().filter(|message| message.class == 1).count();
    assert!(may_be(count, firsts.len(), 0.25), "{count}");
}

/// A pattern in the order would make trains and queues that no traffic of that mixture has.
#[test]
fn the_length_of_a_message_does_not_depend_on_the_one_before_it() {
    let lengths = parsed("64:50%,1200:50%");
    for flow in 0..10 {
        let messages = drawn(&lengths, flow, 0..100_000);
        for distance in [1, 2, 3, 5, 8, 13] {
            let pairs = messages.iter().zip(&messages[distance..]);
            let equal = pairs.filter(|(one, other)| one.class == other.class).count();
            assert!(may_be(equal, messages.len() - distance, 0.5), "{equal} at {distance}");
        }
    }
}

proptest! {
    #[test]
    fn lengths_are_parsed_from_what_they_print(
        lengths in prop::collection::btree_set(1_u64..100_000, 1..=8),
        cuts in prop::collection::btree_set(1_u64..WEIGHT_ALL, 7),
    ) {
        let lengths: Vec<u64> = lengths.into_iter().collect();
        let mut bounds: Vec<u64> = cuts.into_iter().take(lengths.len() - 1).collect();
        bounds.insert(0, 0);
        bounds.push(WEIGHT_ALL);
        let weights = bounds.windows(2).map(|pair| pair[1] - pair[0]);
        let parts = lengths.iter().zip(weights).map(|(length, weight)| {
            format!("{length}:{}.{:06}%", weight / 1_000_000, weight % 1_000_000)
        });
        let text = parts.collect::<Vec<_>>().join(",");
        let first = parsed(&text);
        prop_assert_eq!(&parsed(&first.to_string()), &first);
        prop_assert_eq!(first.least(), lengths[0]);
        prop_assert_eq!(first.greatest(), lengths[lengths.len() - 1]);
        prop_assert!((first.least()..=first.greatest()).contains(&first.mean()));
    }

    #[test]
    fn any_text_is_parsed_or_refused_in_one_line(text in "[0-9:,.%a-zA-Z ]{0,40}") {
        if let Err(error) = text.parse::<Lengths>() {
            prop_assert!(error.contains("such as") && !error.contains('\n'), "{}", error);
        }
    }

    /// The receiving side draws again what the sending side has drawn.
    #[test]
    fn a_length_of_a_range_is_within_its_class_and_always_the_same(
        least in 1_u64..1_000_000,
        more in 1_u64..1_000_000,
        flow: u32,
        number in 0..u64::MAX - 200,
    ) {
        let lengths = parsed(&format!("{least}..{}", least + more));
        let classes = lengths.classes();
        prop_assert_eq!(classes[0].0, least);
        prop_assert_eq!(classes[classes.len() - 1].1, least + more);
        prop_assert!(classes.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        for message in drawn(&lengths, flow, number..number + 200) {
            let (first, last) = classes[message.class];
            prop_assert!((first..=last).contains(&(message.length_bytes as u64)));
        }
                let again = || drawn(&lengths, flow, number..number + 9);
        prop_assert_eq!(again(), again());
    }

    #[test]
    fn each_class_of_a_range_has_its_share(least in 1_u64..1_000, more in 7_u64..100_000) {
        let lengths = parsed(&format!("{least}..{}", least + more));
        let messages = drawn(&lengths, 3, 0..20_000);
        for (class, (first, last)) in lengths.classes().into_iter().enumerate() {
            let count = messages.iter().filter(|message| message.class == class).count();
            let share = (last - first + 1) as f64 / (more + 1) as f64;
            prop_assert!(may_be(count, messages.len(), share), "{} in {}", count, class);
        }
    }
}
