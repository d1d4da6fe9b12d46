//! Several datagrams per call: which ones are sent together, which are received together, and which
//! trains the system refuses.

use super::*;

/// Creates an open loop with a message due every microsecond.
fn open_loop(depth: usize) -> Scene {
    let options = options_without_target(Transport::Udp, 64, depth);
    Scene::of(&Options { rate: Some(1_000_000), ..options })
}

#[test]
fn the_whole_depth_leaves_by_one_call_and_a_received_train_frees_another() {
    let mut scene = Scene::new(64, 32);
    assert_eq!(scene.step(), Step::Wait);
    scene.echo_train(&(0..20).collect::<Vec<_>>());
    scene.step();
    assert_eq!(scene.trains(), [32, 20]);
    scene.assert_counts(messages(52, 20, 0));
    assert_eq!(scene.numbers(), (0..52).collect::<Vec<_>>());
    let trains = scene.run.recorder.trains;
    assert_eq!((trains.sends, trains.sent, trains.receives, trains.received), (2, 52, 1, 20));
}

#[test]
fn a_train_is_bounded_by_the_length_of_a_datagram_and_by_the_kernel() {
    for (length, depth, expected) in [
        (64, 65, &[64, 1][..]),
        (1_400, 60, &[46, 14]),
        (20_000, 10, &[3, 3, 3, 1]),
        (32_753, 3, &[2, 1]),
        (32_754, 2, &[1, 1]),
        (65_507, 2, &[1, 1]),
    ] {
        let mut scene = Scene::new(length, depth);
        while scene.woken().unwrap() == Step::Again {}
        assert_eq!(scene.trains(), expected, "{length} bytes");
        assert_eq!(scene.numbers(), (0..depth as u64).collect::<Vec<_>>());
    }
}

/// case L5
#[test]
fn a_slice_has_the_same_bound_of_datagrams_in_trains_as_without() {
    let mut scene = Scene::new(64, 200);
    assert_eq!((scene.step(), scene.trains()), (Step::Again, vec![64]));
    while scene.woken().unwrap() == Step::Again {}
    for from in [0, 50, 100, 150] {
        scene.echo_train(&(from..from + 50).collect::<Vec<_>>());
    }
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.run.recorder.measured.received, 100, "a train is taken whole");
}

#[test]
fn without_offload_and_over_unix_sockets_each_message_is_sent_alone() {
    let udp = options_without_target(Transport::Udp, 64, 8);
    let unix = options_without_target(Transport::Unixgram, 64, 8);
    for options in [Options { offload: false, ..udp }, unix] {
        let mut scene = Scene::of(&options);
        scene.step();
        assert_eq!(scene.trains(), [1; 8]);
        assert!(!scene.run.recorder.trains.asked);
    }
}

/// No message waits for others, and none is sent before it is due.
#[test]
fn in_an_open_loop_the_messages_due_by_now_leave_together() {
    let mut scene = open_loop(100);
    for (now_ns, expected) in
        [(0, &[1][..]), (999, &[1]), (4_000, &[1, 4]), (70_000, &[1, 4, 64, 2])]
    {
        scene.at(now_ns);
        while scene.step() == Step::Again {}
        assert_eq!(scene.trains(), expected, "at {now_ns}");
    }
    assert_eq!(scene.run.not_before_ns, Some(71_000));
    let lag = scene.run.recorder.schedule_lag.histogram();
    assert_eq!((lag.len(), lag.max()), (71, 65_023), "counted from each due time");
    let oldest = scene.mover.oldest().unwrap();
    assert_eq!((oldest.intended_ns, oldest.sent_ns), (0, 0));
}

#[test]
fn no_train_exceeds_the_count_or_the_end() {
    let options = options_without_target(Transport::Udp, 64, 30);
    let mut scene = Scene::of(&Options { count: Some(7), ..options });
    scene.step();
    assert_eq!(scene.trains(), [7]);
    assert!(scene.run.is_count_reached());
    let mut scene = open_loop(100);
    scene.run.end_at(5_000);
    scene.at(9_000).step();
    assert_eq!(scene.trains(), [5]);
}

/// case U13: the last one may be shorter, and each is compared as received.
#[test]
fn a_received_train_is_split_into_its_segments_with_a_shorter_last_one() {
    let mut scene = Scene::new(64, 4);
    scene.step();
    let mut bytes: Vec<u8> = (0..3).flat_map(|number| scene.sent(number)).collect();
    bytes.truncate(64 + 64 + 20);
    scene.train_arrives(&bytes, 64);
    scene.step();
    scene.assert_counts(Messages { corrupted: 1, ..messages(7, 3, 0) });
    assert_eq!(scene.difference(), Some((Some(2), 20)));
}

/// case U13: a server that cuts or joins messages is detected.
#[test]
fn segments_of_another_length_than_the_messages_are_corrupted_echoes() {
    for (segment_bytes, corrupted, at) in [(40, 4, 40), (100, 2, 64), (1_000, 1, 64)] {
        let mut scene = Scene::new(64, 3);
        scene.step();
        let mut bytes = scene.sent(0)[..segment_bytes.min(64)].to_vec();
        bytes.resize(segment_bytes, 7);
        bytes.extend(std::iter::repeat_n(7, (corrupted - 1) * segment_bytes));
        scene.train_arrives(&bytes, segment_bytes);
        scene.step();
        let corrupted = corrupted as u64;
        scene.assert_counts(Messages { corrupted, ..messages(4, 1, 0) });
        assert_eq!(scene.difference(), Some((Some(0), at)), "{segment_bytes}");
    }
}

#[test]
fn an_empty_datagram_is_one_corrupted_echo_and_does_not_end_the_slice() {
    let mut scene = Scene::new(64, 3);
    scene.step();
    scene.arrives(&[]);
    scene.echo_train(&[0, 1]);
    scene.step();
    scene.assert_counts(Messages { corrupted: 1, ..messages(5, 2, 0) });
    assert_eq!(scene.run.recorder.trains.received, 3);
}

/// case B3
#[test]
fn late_duplicated_and_swapped_echoes_in_a_train_are_counted_as_such() {
    let mut scene = Scene::new(64, 6);
    scene.step();
    scene.at(TIMEOUT_NS).step();
    scene.assert_counts(messages(12, 0, 6));
    // Two late echoes, one of them twice; then two swapped ones, and one twice.
    scene.echo_train(&[0, 1, 0, 7, 6, 8, 8, 9]);
    scene.at(TIMEOUT_NS + 5).step();
    let expected = Messages { late: 2, duplicated: 2, reordered: 1, ..messages(16, 4, 6) };
    scene.assert_counts(expected);
    let latency = scene.run.recorder.latency();
    assert_eq!((latency.count(), latency.histogram().max()), (4, 5));
}

/// case B3
#[test]
fn a_train_after_the_timeout_is_lost_and_late_even_without_a_slice_in_between() {
    let mut scene = Scene::new(64, 5);
    scene.step();
    scene.echo_train(&[0, 1, 2, 3, 4]);
    scene.at(TIMEOUT_NS);
    scene.readiness.merge(Readiness::READABLE);
    scene.mover.advance(&scene.wire, &mut scene.readiness, &mut scene.run).unwrap();
    scene.assert_counts(Messages { late: 5, ..messages(10, 0, 5) });
}

/// case B7
#[test]
fn a_wrong_byte_in_a_train_is_reported_with_its_message_and_its_offset() {
    for (wrong, at) in [(0, 0), (0, 63), (3, 9), (3, 40), (7, 63)] {
        let mut scene = Scene::new(64, 8);
        scene.step();
        let mut bytes: Vec<u8> = (0..8).flat_map(|number| scene.sent(number)).collect();
        bytes[wrong * 64 + at] ^= 0x40;
        scene.train_arrives(&bytes, 64);
        scene.step();
        scene.assert_counts(Messages { corrupted: 1, ..messages(16, 8, 0) });
        assert_eq!(scene.difference(), Some((Some(wrong as u64), at as u64)));
    }
}

#[test]
fn the_first_message_of_a_train_without_room_is_held_and_sent_alone_before_the_others() {
    let mut scene = Scene::new(64, 5).failing(&[libc::EAGAIN, libc::EAGAIN]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.mover.wants_writable() && scene.mover.held().is_some());
    scene.assert_counts(messages(0, 0, 0));
    assert_eq!(scene.run.recorder.begun_ns_last, 0);
    scene.at(5).step();
    assert!(scene.mover.wants_writable() && scene.mover.held().is_some(), "still no room");
    scene.at(9).step();
    assert!(scene.mover.held().is_none());
    assert_eq!((scene.trains(), scene.numbers()), (vec![1, 4], vec![0, 1, 2, 3, 4]));
    scene.assert_counts(messages(5, 0, 0));
    assert_eq!(scene.mover.oldest().map(|message| message.sent_ns), Some(9));
    assert!(!scene.run.recorder.trains.refused);
}

/// Without memory for a train, messages are still sent alone.
#[test]
fn lack_of_memory_for_trains_does_not_block_the_messages() {
    let mut scene = Scene::new(64, 3);
    scene.wire.train_failure.set(Some(libc::ENOBUFS));
    while scene.run.recorder.measured.sent < 3 {
        scene.woken().unwrap();
    }
    assert_eq!((scene.trains(), scene.numbers()), (vec![1; 3], vec![0, 1, 2]));
}

/// case B2: the messages due with a held one waited for the same room.
#[test]
fn messages_due_while_there_is_no_room_for_a_train_count_as_held_back() {
    let mut scene = open_loop(1_000).failing(&[libc::EAGAIN]);
    scene.at(4_000).step();
    scene.assert_counts(messages(0, 0, 0));
    assert_eq!(scene.run.recorder.schedule_lag.count(), 1, "one was begun");
    scene.at(50_000).step();
    scene.assert_counts(messages(51, 0, 0));
    assert_eq!(scene.trains(), [1, 50]);
    // All but the first, which had been begun, and the last, which is due at this moment.
    assert_eq!(scene.run.recorder.held_back, 49);
}

/// case U8
#[test]
fn a_refusal_reported_by_a_train_concerns_an_earlier_datagram_and_the_train_is_sent() {
    let mut scene = Scene::new(64, 9).failing(&[libc::ECONNREFUSED, libc::EINTR]);
    while scene.step() == Step::Again {}
    assert_eq!((scene.trains(), scene.run.recorder.flows.refused), (vec![9], 1));
    assert!(!scene.run.recorder.trains.refused);
}

/// case U14: the messages are longer than the path takes, or the device computes no checksums.
#[test]
fn after_a_refused_train_all_messages_are_sent_alone() {
    for error in [libc::EINVAL, libc::EIO, libc::EMSGSIZE] {
        let mut scene = Scene::new(64, 4);
        scene.wire.train_failure.set(Some(error));
        assert_eq!(scene.step(), Step::Wait);
        assert_eq!((scene.trains(), scene.wire.sends.get()), (vec![1; 4], 5));
        assert!(scene.run.recorder.trains.refused);
        // Trains are still received. None is sent again, even if the system would take it now.
        scene.wire.train_failure.set(None);
        scene.echo_train(&[0, 1, 2, 3]);
        scene.step();
        assert_eq!(scene.trains(), [1; 8]);
        scene.assert_counts(messages(8, 4, 0));
        assert_eq!(scene.numbers(), (0..8).collect::<Vec<_>>());
    }
}

/// case U14: the error concerns each message, not the train.
#[test]
fn a_length_that_is_refused_without_a_train_too_ends_the_flow() {
    let mut scene = Scene::new(64, 3).failing(&[libc::EMSGSIZE; 1 + ERRORS_PER_SEND]);
    assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    scene.assert_counts(messages(0, 0, 0));
}
