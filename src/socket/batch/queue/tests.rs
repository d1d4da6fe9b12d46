use super::*;

mod properties;

/// To whom, how many bytes, of how many a datagram.
type Answer = (u16, usize, usize);

/// The line of these answers, all hashes alike if they are to collide.
fn line_of(answers: &[Answer], collide: bool) -> Line {
    let mut line = Line::new(answers.len());
    for (index, (peer, bytes, segment_bytes)) in answers.iter().enumerate() {
        let hash = if collide { 0 } else { u64::from(*peer) << 57 };
        let answer = Train::of(index, *bytes, *segment_bytes);
        let joins =
            line.joinable(&answer, hash).is_some_and(|train| answers[train.index].0 == *peer);
        line.add(answer, hash, joins);
    }
    line
}

/// Answers of one datagram each.
fn singles(answers: &[(u16, usize)]) -> Vec<Answer> {
    answers.iter().map(|(peer, bytes)| (*peer, *bytes, *bytes)).collect()
}

/// Each train's datagrams.
fn datagrams(answers: &[Answer]) -> Vec<usize> {
    line_of(answers, false).trains().iter().map(|train| train.datagrams).collect()
}

/// case U15
#[test]
fn answers_of_one_length_to_one_peer_leave_together() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 64), (1, 64)])), [3]);
    assert_eq!(datagrams(&singles(&[(1, 64), (2, 64), (1, 64), (2, 64)])), [2, 2]);
}

/// case U15
#[test]
fn a_shorter_answer_ends_its_train_and_a_longer_one_begins_the_next() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 63), (1, 63), (1, 64)])), [2, 1, 1]);
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 63), (1, 1), (1, 64)])), [2, 2 - 1, 1]);
}

/// case U15: the kernel makes no empty datagram of a train.
#[test]
fn an_empty_answer_leaves_alone_and_is_not_overtaken() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 0), (1, 64), (1, 64)])), [1, 1, 2]);
    assert_eq!(datagrams(&singles(&[(1, 0), (1, 0)])), [1, 1]);
}

/// case U13
#[test]
fn a_train_that_was_received_is_joined_by_what_follows_it_in_kind() {
    assert_eq!(datagrams(&[(1, 300, 100), (1, 200, 100), (1, 50, 50)]), [6]);
    assert_eq!(datagrams(&[(1, 250, 100), (1, 200, 100)]), [3, 2], "its last one is shorter");
    assert_eq!(datagrams(&[(1, 100, 100), (1, 150, 50)]), [1, 3], "of another length");
}

/// case U13: what came in one train was within the bounds of this system.
#[test]
fn a_train_of_more_than_the_bound_is_answered_as_it_came() {
    assert_eq!(datagrams(&[(1, 128, 1), (1, 1, 1)]), [128, 1]);
}

#[test]
fn a_train_has_its_bounds() {
    assert_eq!(datagrams(&singles(&[(1, 8); 130])), [64, 64, 2]);
    assert_eq!(datagrams(&singles(&[(1, 30_000); 5])), [2, 2, 1]);
    assert_eq!(datagrams(&singles(&[(1, 65_507); 2])), [1, 1]);
    assert_eq!(datagrams(&singles(&[(1, 65_527); 2])), [1, 1]);
}

#[test]
fn a_train_that_has_left_is_not_joined() {
    let mut line = Line::new(2);
    line.add(Train::of(0, 8, 8), 0, false);
    assert!(line.joinable(&Train::of(1, 8, 8), 0).is_some());
    line.pass(1);
    assert_eq!(line.joinable(&Train::of(1, 8, 8), 0), None);
}
