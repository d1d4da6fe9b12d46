//! What a socket does not take: for now, at all, or because nobody was there.

use super::*;

const RETRY_NS: u64 = 10_000_000;

#[test]
fn a_message_that_the_socket_has_no_room_for_is_kept_and_goes_under_its_number() {
    let mut scene = Scene::new(64, 3).failing(&[libc::EAGAIN, libc::EAGAIN]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.mover.wants_writable() && scene.mover.held_up().is_some());
    scene.assert_counts(messages(0, 0, 0));
    assert_eq!(scene.at(5).step(), Step::Wait);
    assert!(scene.mover.wants_writable(), "still no room");
    scene.at(9).step();
    assert!(!scene.mover.wants_writable() && scene.mover.held_up().is_none());
    scene.assert_counts(messages(3, 0, 0));
    assert_eq!(scene.numbers(), [0, 1, 2]);
    assert_eq!(scene.mover.oldest().map(|message| message.sent_ns), Some(9));
}

#[test]
fn a_full_socket_in_the_middle_of_a_slice_leaves_the_rest_for_later() {
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
fn a_message_kept_beyond_the_end_is_still_sent() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EAGAIN]);
    scene.step();
    scene.run.end_at(0);
    scene.run.is_draining = true;
    scene.at(3).step();
    scene.assert_counts(messages(1, 0, 0));
}

/// case B2
#[test]
fn what_was_due_while_the_socket_had_no_room_is_held_back() {
    let options = of_no_target(Transport::Udp, 64, 1_000);
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

/// case U8: an ICMP message tells of an earlier datagram.
#[test]
fn a_refusal_met_by_a_udp_send_is_of_earlier_datagrams_and_this_one_goes() {
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

/// case U8: the first refusal is followed by the next message at once, and each further one by a
/// pause, so that a port without a server costs no processor.
#[test]
fn a_udp_socket_that_is_refused_for_ever_counts_once_and_rests_between_messages() {
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
    assert!((out - 0.5).abs() < 1e-3, "it rested for {out} of the time");
}

/// case U8
#[test]
fn what_is_queued_behind_a_refusal_is_received_and_what_then_is_unanswered_is_lost() {
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
fn any_error_of_the_network_loses_what_is_under_way_and_never_the_socket() {
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
fn a_message_that_cannot_be_sent_is_lost_by_name_and_the_next_is_tried() {
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
            let options = of_no_target(Transport::Udp, 64, 100);
            let options = Options { rate: Some(1_000_000), offload: false, ..options };
            let mut scene = Scene::of(&options).failing(&[number; 2 * ERRORS_PER_SEND]);
            scene.wire.is_unix = is_unix;
            assert_eq!(scene.at(5_000).step(), Step::Wait);
            scene.assert_counts(messages(6, 0, 2));
            let losses = scene.run.recorder.losses;
            assert_eq!(losses.named().map(|(_, count)| count).collect::<Vec<_>>(), [2]);
            assert_eq!(scene.numbers(), [0, 1, 2, 3], "the next take the free numbers");
        }
    }
}

/// The error of the one send says nothing of what is under way.
#[test]
fn an_error_of_this_host_that_passes_loses_nothing() {
    for number in [libc::ENOBUFS, libc::EPERM, libc::ENETDOWN] {
        let mut scene = Scene::new(64, 1);
        scene.step();
        scene.echo(&[0]);
        *scene.wire.failures.get_mut() = [number; ERRORS_PER_SEND - 1].into();
        assert_eq!(scene.step(), Step::Wait);
        scene.assert_counts(messages(2, 1, 0));
    }
}

/// case B4: a closed loop has nothing but the error to hold it back.
#[test]
fn a_closed_loop_that_cannot_send_rests() {
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

/// case X4: at a Unix socket a refusal says that the server is gone. Another may be at its path.
#[test]
fn a_unix_socket_whose_server_is_gone_is_connected_to_the_next_one() {
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

/// No path, but the socket itself, refuses the first message for its length: all others as well.
#[test]
fn a_message_too_long_for_a_datagram_ends_the_flow() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EMSGSIZE; ERRORS_PER_SEND]);
    assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    scene.assert_counts(messages(0, 0, 0));
}

#[test]
fn a_receive_that_fails_leaves_the_buffer_to_the_others() {
    let mut scene = Scene::new(64, 3);
    let length = scene.run.scratch.len();
    scene.wire.arriving.get_mut().push_back(Err(libc::ENOTCONN));
    scene.step();
    assert_eq!(scene.run.scratch.len(), length);
}
