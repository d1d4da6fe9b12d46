use super::*;

mod properties;

/// The peer, the total length, and the length of each datagram.
type Reply = (u16, usize, usize);

/// Creates the queue of these replies. With `collide`, all peers have the same hash.
fn queue_of(replies: &[Reply], collide: bool) -> ReplyQueue {
    let mut queue = ReplyQueue::new(replies.len());
    for (index, (peer, bytes, segment_bytes)) in replies.iter().enumerate() {
        let hash = if collide { 0 } else { u64::from(*peer) << 57 };
        let reply = Train::of(index, *bytes, *segment_bytes);
        queue.join(reply, hash, TrainLimit::ANY, |first| replies[first].0 == *peer);
    }
    queue
}

/// Makes replies of one datagram each.
fn singles(replies: &[(u16, usize)]) -> Vec<Reply> {
    replies.iter().map(|(peer, bytes)| (*peer, *bytes, *bytes)).collect()
}

/// Returns the number of datagrams in each train.
fn datagrams(replies: &[Reply]) -> Vec<usize> {
    queue_of(replies, false).trains().iter().map(|train| train.datagrams).collect()
}

/// case U15
#[test]
fn replies_of_one_length_to_one_peer_leave_together() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 64), (1, 64)])), [3]);
    assert_eq!(datagrams(&singles(&[(1, 64), (2, 64), (1, 64), (2, 64)])), [2, 2]);
}

/// case U15
#[test]
fn a_shorter_reply_ends_its_train_and_a_longer_one_begins_the_next() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 63), (1, 63), (1, 64)])), [2, 1, 1]);
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 63), (1, 1), (1, 64)])), [2, 2 - 1, 1]);
}

/// case U15: the kernel cannot split an empty datagram off a train.
#[test]
fn an_empty_reply_leaves_alone_and_is_not_overtaken() {
    assert_eq!(datagrams(&singles(&[(1, 64), (1, 0), (1, 64), (1, 64)])), [1, 1, 2]);
    assert_eq!(datagrams(&singles(&[(1, 0), (1, 0)])), [1, 1]);
}

/// case U13
#[test]
fn replies_of_the_same_length_join_the_reply_to_a_received_train() {
    assert_eq!(datagrams(&[(1, 300, 100), (1, 200, 100), (1, 50, 50)]), [6]);
    assert_eq!(datagrams(&[(1, 250, 100), (1, 200, 100)]), [3, 2], "the first train has ended");
    assert_eq!(datagrams(&[(1, 100, 100), (1, 150, 50)]), [1, 3], "the lengths differ");
}

/// case U13: the kernel delivered it as one train, so it is within the kernel's bounds.
#[test]
fn a_received_train_above_the_bound_is_answered_as_one_train() {
    assert_eq!(datagrams(&[(1, 128, 1), (1, 1, 1)]), [128, 1]);
}

#[test]
fn a_train_has_at_most_64_datagrams_and_65_507_bytes() {
    assert_eq!(datagrams(&singles(&[(1, 8); 130])), [64, 64, 2]);
    assert_eq!(datagrams(&singles(&[(1, 30_000); 5])), [2, 2, 1]);
    assert_eq!(datagrams(&singles(&[(1, 65_507); 2])), [1, 1]);
    assert_eq!(datagrams(&singles(&[(1, 65_527); 2])), [1, 1]);
}

#[test]
fn no_reply_joins_a_train_that_has_left_the_queue() {
    for (leaves, trains) in [(false, 1), (true, 2)] {
        let mut queue = ReplyQueue::new(2);
        queue.join(Train::of(0, 8, 8), 0, TrainLimit::ANY, |_| true);
        queue.dequeue(usize::from(leaves));
        queue.join(Train::of(1, 8, 8), 0, TrainLimit::ANY, |_| true);
        assert_eq!(queue.trains().len(), trains);
        assert_eq!(queue.queued().len(), 1);
    }
}

/// case U14
#[test]
fn a_refused_length_forbids_longer_trains_and_a_short_one_forbids_all() {
    let allows = |limit: TrainLimit, length: usize| limit.allows(&Train::of(0, 2 * length, length));
    let mut limit = TrainLimit::ANY;
    assert!(allows(limit, 1_500));
    limit.forbid(1_400);
    assert_eq!([1_400, 1_399].map(|length| allows(limit, length)), [false, true]);
    limit.forbid(1_500);
    assert!(!allows(limit, 1_400), "a longer length does not raise the limit");
    // A peer behind the path with the smallest MTU.
    limit.forbid(525);
    assert_eq!([525, 524].map(|length| allows(limit, length)), [false, true]);
    // Every path carries this length, so the length is not the cause.
    limit.forbid(100);
    assert_eq!(limit, TrainLimit::NONE);
    assert!(limit.allows(&Train::of(0, 64, 64)), "a single datagram is always allowed");
}
