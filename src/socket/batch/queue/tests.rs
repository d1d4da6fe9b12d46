use super::*;

mod properties;

/// The peer, how many bytes, and how many of them each datagram has.
type Reply = (u16, usize, usize);

/// The queue of these replies, with equal hashes for all peers if they have to collide.
fn queue_of(replies: &[Reply], collide: bool) -> ReplyQueue {
    let mut queue = ReplyQueue::new(replies.len());
    for (index, (peer, bytes, segment_bytes)) in replies.iter().enumerate() {
        let hash = if collide { 0 } else { u64::from(*peer) << 57 };
        let reply = Train::of(index, *bytes, *segment_bytes);
        queue.join(reply, hash, TrainLimit::ANY, |first| replies[first].0 == *peer);
    }
    queue
}

/// Replies of one datagram each.
fn singles(replies: &[(u16, usize)]) -> Vec<Reply> {
    replies.iter().map(|(peer, bytes)| (*peer, *bytes, *bytes)).collect()
}

/// The number of datagrams of each train.
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

/// case U15: the kernel makes no empty datagram of a train.
#[test]
fn an_empty_reply_leaves_alone_and_is_not_overtaken() {
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
fn a_refused_length_is_the_last_of_its_trains_and_a_short_one_the_last_of_all() {
    let allows = |limit: TrainLimit, length: usize| limit.allows(&Train::of(0, 2 * length, length));
    let mut limit = TrainLimit::ANY;
    assert!(allows(limit, 1_500));
    limit.forbid(1_400);
    assert_eq!([1_400, 1_399].map(|length| allows(limit, length)), [false, true]);
    limit.forbid(1_500);
    assert!(!allows(limit, 1_400), "a longer length allows nothing again");
    // As of a peer behind the narrowest path.
    limit.forbid(525);
    assert_eq!([525, 524].map(|length| allows(limit, length)), [false, true]);
    // Any path takes this length, so the length is not the cause.
    limit.forbid(100);
    assert_eq!(limit, TrainLimit::NONE);
    assert!(limit.allows(&Train::of(0, 64, 64)), "one datagram is no train");
}
