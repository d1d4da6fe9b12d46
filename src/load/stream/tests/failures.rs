//! Errors that end a stream, and errors that do not.

use super::*;
use crate::measured::LossCause;

/// case S8
#[test]
fn a_write_that_takes_nothing_ends_the_stream() {
    let mut scene = Scene::new(8, 1).outputs(&[Takes(0)]);
    assert_eq!(scene.slice().unwrap_err().kind(), ErrorKind::WriteZero);
}

/// case S8
#[test]
fn an_interrupted_read_or_write_is_repeated_in_the_same_slice() {
    let interrupted = Output::Fails(libc::EINTR);
    let mut scene = Scene::new(8, 1).outputs(&[interrupted, Takes(3), interrupted]);
    assert_eq!(scene.step(), Step::Wait);
    assert_eq!(scene.peer.written, scene.bytes(0..1));
    scene.peer.inputs.extend([Input::Fails(libc::EINTR), Echo(8)]);
    assert_eq!(scene.step(), Step::Wait);
    scene.assert_counts(2, 1, 0);
}

/// case S8: many signals use up a slice, but none of its work is lost.
#[test]
fn a_slice_of_interruptions_only_is_followed_by_another() {
    let mut scene = Scene::new(8, 1).outputs(&[Output::Fails(libc::EINTR); WRITES_PER_SLICE]);
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.woken().unwrap(), Step::Wait);
    assert_eq!(scene.peer.written, scene.bytes(0..1));
    scene.peer.inputs.extend([const { Input::Fails(libc::EINTR) }; READS_PER_SLICE]);
    assert_eq!(scene.step(), Step::Again);
    assert_eq!(scene.woken().unwrap(), Step::Wait);
    scene.assert_counts(2, 1, 0);
}

/// case B4
#[test]
fn echoes_before_the_end_of_the_stream_are_counted() {
    let mut scene = Scene::new(8, 3);
    scene.step();
    scene.peer.inputs.extend([Echo(20), Input::Fin]);
    scene.readiness.merge(Readiness::READ_CLOSED);
    assert_eq!(scene.step(), Step::Closed);
    scene.assert_counts(3, 2, 0);
    scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
    scene.assert_counts(3, 2, 1);
}

/// case B4
#[test]
fn a_reset_ends_the_stream_on_a_read_and_on_a_write() {
    for number in [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT] {
        let mut scene = Scene::new(8, 2);
        scene.step();
        scene.peer.inputs.extend([Echo(8), Input::Fails(number)]);
        scene.readiness.merge(Readiness::READ_CLOSED);
        assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(number));
        scene.assert_counts(2, 1, 0);

        let mut scene = Scene::new(8, 2).outputs(&[Takes(9), Output::Fails(number)]);
        assert_eq!(scene.slice().unwrap_err().raw_os_error(), Some(number));
        scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
        scene.assert_counts(2, 0, 2);
    }
}

#[test]
fn giving_up_all_twice_counts_once() {
    let mut scene = Scene::new(8, 5);
    scene.step();
    scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
    scene.mover.give_up_all(LossCause::Disconnected, &mut scene.run);
    scene.assert_counts(5, 0, 5);
}

/// case S8: the scratch buffer is back in its place after a slice that failed.
#[test]
fn a_failed_read_keeps_the_scratch_buffer() {
    let mut scene = Scene::new(8, 1).inputs(&[Input::Fails(libc::ECONNRESET)]);
    let length = scene.run.scratch.len();
    assert!(scene.slice().is_err());
    assert_eq!(scene.run.scratch.len(), length);
}

#[test]
fn a_connection_of_one_message_is_finished_with_its_echo() {
    let mut scene = Scene::new(8, 1);
    let message = scene.run.begin(0, 0, 0);
    scene.mover.begin_only(message, &mut scene.run);
    assert!(!scene.mover.is_finished());
    scene.at(5).step();
    scene.peer.inputs.push_back(Echo(7));
    scene.step();
    assert!(!scene.mover.is_finished());
    scene.at(9).step();
    assert!(scene.mover.is_finished());
    scene.assert_counts(1, 1, 0);
    assert_eq!(scene.run.recorder.latency().histogram().max(), 9, "with the time to connect");
    scene.step();
    assert_eq!(scene.peer.written, scene.bytes(0..1), "one message only");
}

#[test]
fn a_connection_of_one_message_is_finished_when_the_message_is_given_up() {
    let mut scene = Scene::new(8, 1).inputs(&[NO_INPUT, NO_INPUT]);
    let message = scene.run.begin(0, 0, 0);
    scene.mover.begin_only(message, &mut scene.run);
    scene.step();
    scene.at(TIMEOUT_NS).step();
    assert!(scene.mover.is_finished());
    scene.assert_counts(1, 0, 1);
}
