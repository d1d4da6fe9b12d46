//! Messages that a socket does not take: for now, or at all, or because the peer is gone.

use super::*;

const RETRY_NS: u64 = 10_000_000;

#[test]
fn a_message_without_room_in_the_socket_is_held_and_keeps_its_number() {
    let mut scene = Scene::new(64, 3).failing(&[libc::EAGAIN, libc::EAGAIN]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.mover.wants_writable() && scene.mover.held().is_some());
    scene.assert_counts(messages(0, 0, 0));
    assert_eq!(scene.at(5).step(), Step::Wait);
    assert!(scene.mover.wants_writable(), "still no room");
    scene.at(9).step();
    assert!(!scene.mover.wants_writable() && scene.mover.held().is_none());
    scene.assert_counts(messages(3, 0, 0));
    assert_eq!(scene.numbers(), [0, 1, 2]);
    assert_eq!(scene.mover.oldest().map(|message| message.sent_ns), Some(9));
}

#[test]
fn a_socket_that_fills_up_within_a_slice_sends_the_rest_later() {
    let mut scene = Scene::new(64, 4);
    scene.step();
    scene.echo(&[0, 1, 2, 3]);
    scene.wire.failures.get_mut().push_back(libc::EAGAIN);
    scene.step();
    scene.assert_counts(messages(4, 4, 0));
    scene.woken().unwrap();
    assert_eq!(scene.numbers(), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_message_held_at_the_end_is_still_sent() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EAGAIN]);
    scene.step();
    scene.run.end_at(0);
    scene.run.is_draining = true;
    scene.at(3).step();
    scene.assert_counts(messages(1, 0, 0));
}

/// case B2
#[test]
fn messages_due_while_the_socket_has_no_room_count_as_held_back() {
    let options = options_without_target(Transport::Udp, 64, 1_000);
    let open = Options { rate: Some(1_000_000), ..options };
    let mut scene = Scene::of(&open).failing(&[libc::EAGAIN]);
    scene.step();
    scene.at(50_000).step();
    scene.assert_counts(messages(51, 0, 0));
    assert_eq!(scene.run.recorder.held_back, 49);
    assert!(scene.run.recorder.schedule_lag.histogram().max() <= 1);
    let first = scene.mover.oldest().unwrap();
    assert_eq!((first.intended_ns, first.sent_ns), (0, 50_000), "as old as its due time");
}

/// case U8: an ICMP message concerns an earlier datagram.
#[test]
fn a_refusal_reported_by_a_udp_send_concerns_earlier_datagrams_and_this_one_is_sent() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.echo(&[0]);
    scene.wire.failures.get_mut().push_back(libc::ECONNREFUSED);
    assert_eq!(scene.step(), Step::Again, "what is queued is received first");
    scene.assert_counts(messages(3, 1, 0));
    assert_eq!(scene.woken().unwrap(), Step::Wait);
    scene.assert_counts(messages(4, 1, 1));
    assert_eq!((scene.numbers(), scene.run.recorder.flows.refused), (vec![0, 1, 2, 3], 1));
    assert_eq!(scene.run.recorder.losses.refused, 1);
}

/// case U8: the next message follows the first refusal at once, and each further refusal after a
/// pause, so that a port without a server costs no processor.
#[test]
fn a_udp_socket_that_is_always_refused_counts_once_and_backs_off_between_messages() {
    let mut scene = Scene::new(64, 1);
    let mut refuse = |now_ns| {
        scene.wire.arriving.get_mut().push_back(Err(libc::ECONNREFUSED));
        assert_eq!(scene.at(now_ns).step(), Step::Wait);
        (scene.run.recorder.measured, scene.run.not_before_ns)
    };
    assert_eq!(refuse(0), (messages(1, 0, 0), None));
    assert_eq!(refuse(10), (messages(2, 0, 1), None));
    assert_eq!(refuse(20), (messages(2, 0, 2), Some(20 + RETRY_NS)));
    assert_eq!(refuse(19 + RETRY_NS), (messages(2, 0, 2), Some(20 + RETRY_NS)));
    assert_eq!(refuse(20 + RETRY_NS), (messages(3, 0, 2), None));
    assert_eq!((scene.run.recorder.flows.refused, scene.run.recorder.losses.refused), (1, 2));
    let out = 1.0 - scene.run.outages.up_share(2 * RETRY_NS);
    assert!((out - 0.5).abs() < 1e-3, "it backed off for {out} of the time");
}

/// case U8
#[test]
fn echoes_queued_behind_a_refusal_are_received_and_unanswered_messages_are_lost() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.wire.arriving.get_mut().push_back(Err(libc::ECONNREFUSED));
    scene.echo(&[1]);
    scene.step();
    scene.assert_counts(messages(4, 1, 1));
    assert_eq!((scene.run.recorder.flows.refused, scene.run.recorder.losses.refused), (1, 1));
}

/// case B4
#[test]
fn a_network_error_loses_the_messages_in_flight_and_never_the_socket() {
    let errors = [
        (libc::ENETUNREACH, "network unreachable"),
        (libc::EHOSTUNREACH, "host unreachable"),
        (libc::EACCES, "permission denied"),
        (libc::EMSGSIZE, "message too long"),
        (libc::EPROTO, "another error"),
    ];
    for (number, name) in errors {
        let mut scene = Scene::new(64, 3);
        scene.step();
        scene.wire.arriving.get_mut().push_back(Err(number));
        scene.step();
        scene.assert_counts(messages(6, 0, 3));
        assert_eq!(scene.run.recorder.losses.named().collect::<Vec<_>>(), [(name, 3)]);
    }
}

/// case B4: in an open loop the next message is tried when it is due.
#[test]
fn a_message_that_cannot_be_sent_is_lost_by_cause_and_the_next_is_tried() {
    let errors = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::ENETDOWN,
        libc::EPERM,
        libc::EACCES,
        libc::ENOBUFS,
        libc::EIO,
        libc::ECONNREFUSED,
    ];
    for number in errors {
        for is_unix in [false, true] {
            let options = options_without_target(Transport::Udp, 64, 100);
            let options = Options { rate: Some(1_000_000), offload: false, ..options };
            let mut scene = Scene::of(&options).failing(&[number; 2 * ERRORS_PER_SEND]);
            scene.wire.is_unix = is_unix;
            assert_eq!(scene.at(5_000).step(), Step::Wait);
            scene.assert_counts(messages(6, 0, 2));
            let losses = scene.run.recorder.losses;
            assert_eq!(losses.named().map(|(_, count)| count).collect::<Vec<_>>(), [2]);
            assert_eq!(scene.numbers(), [0, 1, 2, 3], "later messages use the free numbers");
        }
    }
}

/// The error concerns only the send, not the messages in flight.
#[test]
fn a_temporary_error_of_this_host_loses_nothing() {
    for number in [libc::ENOBUFS, libc::EPERM, libc::ENETDOWN] {
        let mut scene = Scene::new(64, 1);
        scene.step();
        scene.echo(&[0]);
        *scene.wire.failures.get_mut() = [number; ERRORS_PER_SEND - 1].into();
        assert_eq!(scene.step(), Step::Wait);
        scene.assert_counts(messages(2, 1, 0));
    }
}

/// case B4: in a closed loop nothing but the error delays the next message.
#[test]
fn a_closed_loop_that_cannot_send_backs_off() {
    let mut scene = Scene::new(64, 1).failing(&[libc::ENETUNREACH; 3 * ERRORS_PER_SEND]);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(messages(2, 0, 2));
    assert_eq!(scene.run.not_before_ns, Some(RETRY_NS));
    scene.at(RETRY_NS).step();
    scene.assert_counts(messages(3, 0, 3));
    scene.at(2 * RETRY_NS).step();
    scene.assert_counts(messages(4, 0, 3));
    assert_eq!(scene.run.recorder.losses.network_unreachable, 3);
}

/// case X4: over a Unix socket a refusal says that the server is gone. Its path may have a new one.
#[test]
fn a_unix_socket_whose_server_is_gone_connects_to_the_next_one() {
    let mut scene = Scene::new(64, 1);
    scene.wire.is_unix = true;
    scene.step();
    scene.echo(&[0]);
    *scene.wire.failures.get_mut() = [libc::ECONNREFUSED].into();
    scene.step();
    scene.assert_counts(messages(2, 1, 0));
    assert_eq!((scene.wire.reconnects.get(), scene.run.recorder.flows.refused), (1, 1));

    scene.woken().unwrap();
    scene.echo(&[1]);
    scene.wire.reconnect_failure.set(Some(libc::ENOENT));
    *scene.wire.failures.get_mut() = [libc::ENOTCONN; ERRORS_PER_SEND].into();
    scene.step();
    assert_eq!(scene.run.recorder.losses.refused, 1, "nothing is at the path");
    assert_eq!(scene.run.recorder.measured.received, 2);
}

/// The socket, not the path, refuses the first message for its length, so it would refuse all.
#[test]
fn a_message_too_long_for_a_datagram_ends_the_flow() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EMSGSIZE; ERRORS_PER_SEND]);
    assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    scene.assert_counts(messages(0, 0, 0));
}

#[test]
fn a_failed_receive_keeps_the_scratch_buffer() {
    let mut scene = Scene::new(64, 3);
    let length = scene.run.scratch.len();
    scene.wire.arriving.get_mut().push_back(Err(libc::ENOTCONN));
    scene.step();
    assert_eq!(scene.run.scratch.len(), length);
}
