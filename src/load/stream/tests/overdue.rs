//! Messages whose echo does not come in time, and how an open loop counts them.

use super::*;

/// Creates a scene whose peer has not answered the first messages in time.
fn with_one_lost(depth: usize) -> Scene {
    let mut scene = Scene::new(8, depth).inputs(&[NO_INPUT, NO_INPUT]);
    scene.step();
    scene.at(TIMEOUT_NS).step();
    scene
}

#[test]
fn a_message_is_lost_at_its_timeout_and_not_before() {
    let mut scene = Scene::new(8, 1).inputs(&[NO_INPUT, NO_INPUT]);
    scene.step();
    scene.at(TIMEOUT_NS - 1).step();
    scene.assert_counts(1, 0, 0);
    scene.peer.inputs.push_back(NO_INPUT);
    scene.at(TIMEOUT_NS).step();
    scene.assert_counts(2, 0, 1);
}

/// case B3
#[test]
fn a_late_echo_never_answers_a_newer_message() {
    let mut scene = with_one_lost(1);
    scene.assert_counts(2, 0, 1);
    scene.peer.inputs.push_back(Echo(8));
    scene.at(TIMEOUT_NS + 10).step();
    assert_eq!(scene.run.recorder.measured, Messages { late: 1, ..messages(2, 0, 1) });
    // The second message gets its own echo, 20 ns after it was sent.
    scene.at(TIMEOUT_NS + 20).step();
    assert_eq!(scene.run.recorder.measured, Messages { late: 1, ..messages(3, 1, 1) });
    assert_eq!(scene.run.recorder.latency().histogram().max(), 20);
}

/// case B3: a late echo arrives in pieces, between echoes in time.
#[test]
fn a_late_echo_in_pieces_is_late_once() {
    let mut scene = with_one_lost(2);
    scene.assert_counts(4, 0, 2);
    for (count, late, received) in [(3, 0, 0), (6, 1, 0), (7, 2, 0), (8, 2, 1)] {
        scene.peer.inputs.push_back(Echo(count));
        scene.at(TIMEOUT_NS + 1).step();
        let measured = scene.run.recorder.measured;
        assert_eq!((measured.late, measured.received), (late, received), "after {count}");
    }
    assert_eq!(scene.run.recorder.measured.corrupted, 0);
}

#[test]
fn an_echo_after_the_timeout_is_lost_and_late_even_without_a_slice_in_between() {
    let mut scene = Scene::new(8, 1).inputs(&[NO_INPUT]);
    scene.step();
    // As in a turn that started before the timeout and read the echo after it.
    scene.at(TIMEOUT_NS);
    scene.readiness.merge(Readiness::READABLE);
    scene.mover.advance(&mut scene.peer, &mut scene.readiness, &mut scene.run).unwrap();
    assert_eq!(scene.run.recorder.measured, Messages { late: 1, ..messages(2, 0, 1) });
    assert_eq!(scene.run.recorder.latency().count(), 0);
}

/// case B7
#[test]
fn a_late_echo_is_compared_too() {
    let mut scene = with_one_lost(1);
    scene.peer.corrupted = Some(3);
    scene.step();
    assert_eq!(scene.difference(), Some((Some(0), 3)));
    assert_eq!((scene.run.recorder.measured.late, scene.run.recorder.measured.corrupted), (1, 1));
}

/// A server that never answers does not receive messages without limit.
#[test]
fn the_number_of_unanswered_messages_is_bounded() {
    let mut scene = Scene::new(1, 1);
    for turn in 0..16_384 + 100 {
        scene.peer.inputs.push_back(NO_INPUT);
        scene.at(turn * TIMEOUT_NS).step();
    }
    let bound = 16_384;
    scene.assert_counts(bound, 0, bound);
    scene.peer.inputs.push_back(Echo(1));
    scene.step();
    assert_eq!(scene.run.recorder.measured, Messages { late: 1, ..messages(bound + 1, 0, bound) });
}

#[test]
fn with_a_timeout_of_0_every_message_is_lost_and_every_slice_ends() {
    let options = options_without_target(Transport::Tcp, 8, 4);
    let mut scene = Scene::of(&Options { timeout: std::time::Duration::ZERO, ..options });
    for _ in 0..10 {
        scene.step();
    }
    let measured = scene.run.recorder.measured;
    assert_eq!((measured.received, measured.late), (0, measured.sent - 4));
    scene.assert_counts(measured.sent, 0, measured.sent - scene.mover.in_flight() as u64);
}

/// Creates an open loop of one message per microsecond.
fn open_loop(depth: usize) -> Scene {
    let options = options_without_target(Transport::Tcp, 8, depth);
    Scene::of(&Options { rate: Some(1_000_000), ..options })
}

/// case B1
#[test]
fn a_message_due_while_the_flow_is_at_its_depth_is_held_back_and_as_old_as_its_due_time() {
    let mut scene = open_loop(1).inputs(&[NO_INPUT, NO_INPUT]);
    scene.step();
    scene.at(10_000).step();
    assert_eq!(scene.peer.writes, 1, "the server has stalled");
    scene.step();
    scene.assert_counts(2, 1, 0);
    // Due at 1,000, sent at 10,000 and back at 11,000.
    scene.at(11_000).step();
    assert_eq!(scene.run.recorder.held_back, 2, "those due at 1,000 and at 2,000");
    let lag = scene.run.recorder.schedule_lag.histogram();
    assert!(lag.len() == 3 && lag.max() <= 1, "the generator was late for no message");
    assert_eq!(scene.run.recorder.latency().histogram().max() / 10, 1_000);
    assert_eq!(scene.run.recorder.service_time.histogram().max() / 10, 1_000, "the first's own");
    assert_eq!(scene.run.recorder.service_time.histogram().min(), 1_000);
}

/// case B2: the peer, which does not take the messages, holds them back; the generator does not.
#[test]
fn messages_due_while_the_socket_has_no_room_count_as_held_back() {
    let mut scene = open_loop(1_000).outputs(&[NO_ROOM]).inputs(&[NO_INPUT, NO_INPUT]);
    scene.step();
    assert_eq!(scene.run.recorder.schedule_lag.count(), 1);
    scene.at(50_000);
    assert_eq!(scene.woken().unwrap(), Step::Wait);
    scene.step();
    scene.assert_counts(51, 0, 0);
    let lag = &scene.run.recorder.schedule_lag;
    assert!(lag.histogram().max() <= 1, "{} ns late without a cause", lag.histogram().max());
    assert_eq!(scene.run.recorder.held_back, 49);
}

#[test]
fn after_the_end_only_messages_due_before_it_are_sent() {
    let mut scene = open_loop(1).inputs(&[NO_INPUT, NO_INPUT]);
    scene.step();
    scene.at(2_500).step();
    scene.run.end_at(2_500);
    assert!(scene.run.has_backlog());
    for now_ns in [3_000, 4_000, 5_000, 6_000] {
        scene.at(now_ns).step();
    }
    scene.assert_counts(3, 3, 0);
    assert!(!scene.run.has_backlog());
    assert_eq!(scene.run.not_before_ns, None, "no message follows");
}
