//! What a socket does not take: for now, at all, or because nobody was there.

use super::*;

#[test]
fn a_message_that_the_socket_has_no_room_for_is_kept_and_goes_under_its_number() {
    let mut scene = Scene::new(64, 3).failing(&[libc::EAGAIN, libc::EAGAIN]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.mover.wants_writable() && scene.mover.is_held_up());
    scene.assert_counts(messages(0, 0, 0));
    assert_eq!(scene.at(5).step(), Step::Wait);
    assert!(scene.mover.wants_writable(), "still no room");
    scene.at(9).step();
    assert!(!scene.mover.wants_writable() && !scene.mover.is_held_up());
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

/// No event tells when the system has memory again.
#[test]
fn a_message_that_the_system_has_no_memory_for_waits_for_the_sweep_and_not_for_an_event() {
    let mut scene = Scene::new(64, 1).failing(&[libc::ENOBUFS]);
    assert_eq!(scene.step(), Step::Wait);
    assert!(scene.mover.is_held_up() && !scene.mover.wants_writable());
    scene.woken().unwrap();
    assert!(!scene.mover.is_held_up());
    scene.assert_counts(messages(1, 0, 0));
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
    assert_eq!(scene.run.tally.held_back, 49);
    assert!(scene.run.tally.schedule_lag.histogram().max() <= 1);
    let first = scene.mover.oldest().unwrap();
    assert_eq!((first.intended_ns, first.sent_ns), (0, 50_000), "as old as its due time");
}

/// case U8: an ICMP message tells of an earlier datagram.
#[test]
fn a_refusal_met_by_a_udp_send_is_of_an_earlier_datagram_and_this_one_goes() {
    let mut scene = Scene::new(64, 2).failing(&[libc::ECONNREFUSED]);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(messages(2, 0, 0));
    assert_eq!((scene.numbers(), scene.run.tally.flows.refused), (vec![0, 1], 1));
}

/// case U8
#[test]
fn a_udp_socket_that_is_refused_for_ever_counts_once_and_turns_no_faster_than_the_sweep() {
    let mut scene = Scene::new(64, 1).failing(&[libc::ECONNREFUSED; 30]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.wire.sends.get(), REFUSALS_PER_SEND);
    assert!(scene.mover.is_held_up() && !scene.mover.wants_writable());
    while scene.mover.is_held_up() {
        assert_eq!(scene.woken().unwrap(), Step::Wait);
    }
    scene.assert_counts(messages(1, 0, 0));
    assert_eq!(scene.run.tally.flows.refused, 1);
}

/// case U8
#[test]
fn a_refusal_met_by_a_receive_is_counted_and_what_is_queued_behind_it_is_received() {
    let mut scene = Scene::new(64, 2);
    scene.step();
    scene.wire.arriving.get_mut().push_back(Err(libc::ECONNREFUSED));
    scene.echo(&[1]);
    scene.step();
    scene.assert_counts(messages(3, 1, 0));
    scene.at(TIMEOUT_NS).step();
    scene.assert_counts(messages(5, 1, 2));
    assert_eq!(scene.run.tally.flows.refused, 1);
}

/// case X4: at a Unix socket a refusal says that the peer is gone.
#[test]
fn a_refusal_of_a_unix_socket_ends_the_flow() {
    let mut scene = Scene::new(64, 3).failing(&[libc::ECONNREFUSED]);
    scene.wire.is_unix = true;
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    scene.assert_counts(messages(0, 0, 0));
}

#[test]
fn a_message_too_long_for_a_datagram_ends_the_flow() {
    let mut scene = Scene::new(64, 1).failing(&[libc::EMSGSIZE]);
    assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
    scene.assert_counts(messages(0, 0, 0));
}

#[test]
fn a_receive_that_fails_leaves_the_buffer_to_the_others() {
    let mut scene = Scene::new(64, 3);
    let length = scene.run.scratch.len();
    scene.wire.arriving.get_mut().push_back(Err(libc::ENOTCONN));
    assert!(scene.slice().is_err());
    assert_eq!(scene.run.scratch.len(), length);
}
