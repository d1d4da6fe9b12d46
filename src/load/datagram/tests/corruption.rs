//! Corrupted datagrams: which message they answer, if any, and where they differ from it.

use super::*;

/// The length of the number and the flow, which come first.
const HEADER: usize = 12;

/// case B7
#[test]
fn a_wrong_byte_is_reported_with_its_message_and_its_offset() {
    for at in [HEADER, 40, 99] {
        let mut scene = Scene::new(100, 3);
        scene.step();
        scene.echo(&[0]);
        scene.echo_wrong(1, at);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(5, 2, 0) });
        assert_eq!(scene.difference(), Some((Some(1), at as u64)));
    }
}

/// case B7: the message is found by its body.
#[test]
fn a_wrong_byte_in_the_header_does_not_answer_another_message() {
    for at in 0..HEADER {
        let mut scene = Scene::new(64, 3);
        scene.step();
        scene.echo_wrong(1, at);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(4, 1, 0) });
        assert_eq!(scene.difference(), Some((Some(1), at as u64)), "byte {at}");
        assert!(scene.mover.window.latest().all(|number| number != 1));
    }
}

/// case B7
#[test]
fn a_truncated_echo_answers_its_message_and_differs_where_it_ends() {
    for length in [1, 8, HEADER, 63] {
        let mut scene = Scene::new(64, 2);
        scene.step();
        let cut = scene.sent(1)[..length].to_vec();
        scene.arrives(&cut);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(3, 1, 0) });
        let difference = scene.run.recorder.first_difference.as_ref().unwrap();
        assert_eq!((difference.message, difference.offset), (Some(1), length as u64));
        assert_eq!((difference.sent.is_some(), difference.received), (true, None));
    }
}

/// case B7
#[test]
fn an_echo_with_extra_bytes_answers_its_message_and_differs_where_it_should_end() {
    for extra in [1, 5, 100_000] {
        let mut scene = Scene::new(64, 2);
        scene.step();
        let mut longer = scene.sent(1);
        longer.extend(std::iter::repeat_n(7, extra));
        scene.arrives(&longer);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(3, 1, 0) });
        let difference = scene.run.recorder.first_difference.as_ref().unwrap();
        assert_eq!((difference.message, difference.offset), (Some(1), 64));
        assert_eq!((difference.sent, difference.received), (None, Some(7)));
    }
}

#[test]
fn a_datagram_unlike_any_message_is_counted_and_answers_none() {
    for length in [0, 1, 64, 1_000] {
        let mut scene = Scene::new(64, 3);
        scene.step();
        scene.arrives(&vec![0xaa; length]);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(3, 0, 0) });
        assert_eq!(scene.difference(), Some((None, 0)), "{length} bytes");
    }
}

/// case B3: the number names it, although the message is given up and one in flight has a similar
/// header.
#[test]
fn a_corrupted_late_echo_never_answers_a_newer_message() {
    for length in [13, 16, 24, 64] {
        let mut scene = Scene::new(length, 1);
        scene.step();
        scene.at(TIMEOUT_NS).step();
        scene.echo_wrong(0, length - 1);
        scene.at(TIMEOUT_NS + 1).step();
        scene.assert_counts(Messages { corrupted: 1, late: 1, ..messages(2, 0, 1) });
        assert_eq!(scene.difference(), Some((Some(0), length as u64 - 1)), "{length} bytes");
    }
}

/// case B3: the same for a truncated echo, and for one that was received before.
#[test]
fn a_truncated_duplicate_never_answers_a_newer_message() {
    for length in [13, 16, 64] {
        let mut scene = Scene::new(length, 1);
        scene.step();
        scene.echo(&[0]);
        scene.step();
        let cut = scene.sent(0)[..length - 1].to_vec();
        scene.arrives(&cut);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, duplicated: 1, ..messages(2, 1, 0) });
    }
}

/// A message shorter than the number carries the low bytes of it.
#[test]
fn very_short_messages_are_matched_by_the_low_bytes_of_their_number() {
    for length in 1..=HEADER {
        let mut scene = Scene::new(length, 3);
        scene.step();
        for number in 0..600 {
            scene.echo(&[number + 1, number]);
            scene.step();
            scene.echo(&[number + 2]);
            scene.step();
            scene.mover.expire(&mut scene.run, TIMEOUT_NS - 1);
        }
        let measured = scene.run.recorder.measured;
        assert_eq!((measured.received, measured.lost, measured.corrupted), (602, 0, 0));
        assert_eq!((measured.duplicated, measured.sent), (3 * 600 - 602, 605));
    }
}

#[test]
fn without_verification_an_echo_is_matched_by_its_number_alone() {
    let mut scene = Scene::new(64, 2);
    scene.run.verify = false;
    scene.step();
    scene.echo_wrong(1, 30);
    scene.arrives(&[0xaa; 64]);
    scene.step();
    // The second datagram names a number that was never sent.
    scene.assert_counts(Messages { corrupted: 1, ..messages(3, 1, 0) });
    assert_eq!(scene.difference(), Some((None, 0)));
}
