//! Replies of any lengths to any peers, compared with what the kernel makes of their trains.

use proptest::prelude::*;

use super::*;

fn reply() -> impl Strategy<Value = Reply> {
    let segment_bytes = prop_oneof![
        6 => 0_usize..6,
        2 => prop::sample::select(vec![1_200, 20_000, 65_507, 65_527]),
    ];
    (0_u16..4, segment_bytes, 1_usize..80, 0_usize..6).prop_map(|(peer, segment, count, cut)| {
        let most = (65_527 / segment.max(1)).max(1);
        let bytes = segment * count.min(most);
        (peer, bytes.saturating_sub(cut.min(segment.saturating_sub(1))), segment)
    })
}

proptest! {
    /// cases U13 U15: for any replies, each peer gets its datagrams in order, and the kernel splits
    /// every train into exactly these datagrams.
    #[test]
    fn every_peer_gets_its_datagrams_in_its_order(
        replies in prop::collection::vec(reply(), 0..64),
        collide in any::<bool>(),
    ) {
        let queue = queue_of(&replies, collide);
        let mut sent = vec![Vec::new(); 4];
        for (number, train) in queue.trains().iter().enumerate() {
            let members = queue.members().iter().filter(|(of, _)| *of == number);
            let indexes: Vec<usize> = members.map(|(_, index)| *index).collect();
            prop_assert_eq!(train.index, indexes[0]);
            prop_assert_eq!(train.parts, indexes.len());
            let bytes: usize = indexes.iter().map(|index| replies[*index].1).sum();
            prop_assert_eq!(train.bytes, bytes);
            prop_assert!(train.parts == 1 || bytes <= 65_507);
            prop_assert!(train.parts == 1 || train.datagrams <= 64);
            // The kernel splits the train by its segment length.
            let split = split(bytes, train.segment_bytes);
            prop_assert_eq!(split.len(), train.datagrams);
            let expected: Vec<usize> =
                indexes.iter().flat_map(|at| self::split(replies[*at].1, replies[*at].2)).collect();
            prop_assert_eq!(&split, &expected);
            let peer = usize::from(replies[indexes[0]].0);
            prop_assert!(indexes.iter().all(|index| usize::from(replies[*index].0) == peer));
            sent[peer].extend(indexes);
        }
        for (peer, sent) in sent.into_iter().enumerate() {
            let queued = (0..replies.len()).filter(|index| usize::from(replies[*index].0) == peer);
            prop_assert_eq!(sent, queued.collect::<Vec<_>>());
        }
    }
}

/// Splits a number of bytes into the lengths of datagrams.
fn split(bytes: usize, segment_bytes: usize) -> Vec<usize> {
    if bytes == 0 {
        return vec![0];
    }
    let full = vec![segment_bytes; bytes / segment_bytes];
    let rest = Some(bytes % segment_bytes).filter(|rest| *rest > 0);
    full.into_iter().chain(rest).collect()
}
