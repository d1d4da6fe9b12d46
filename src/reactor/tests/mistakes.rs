//! Tests of the debug checks: handler mistakes that they find, and correct handlers that they pass.

use std::time::Duration;

use super::*;

/// Reads one byte of two and returns `Wait`.
fn read_one(end: &mut End, _: &mut Readiness, _: &mut SourceContext<'_, End>) -> Next {
    assert_eq!(end.stream.read(&mut [0]).unwrap(), 1);
    Next::Wait
}

/// Returns a reactor with an end that has two bytes to read.
fn with_two_bytes(prepare: impl FnOnce(&mut End)) -> (Reactor<End, u32>, Key, UnixStream) {
    let (mut end, far) = End::pair(1);
    prepare(&mut end);
    (&far).write_all(b"xy").unwrap();
    let mut reactor = reactor();
    let key = reactor.insert(end).unwrap();
    (reactor, key, far)
}

/// Long enough for a loop to fall asleep. If a loop takes longer, the test checks less but does not
/// fail.
const ASLEEP: Duration = Duration::from_millis(50);

/// Longer than the loop needs to find a mistake on a busy machine.
const HANGS: Duration = Duration::from_secs(30);

/// Stops a loop that would otherwise never wake.
fn stop_after(reactor: &Reactor<End, u32>, time: Duration) {
    let stop = reactor.handle();
    thread::spawn(move || {
        thread::sleep(time);
        stop.stop();
    });
}

#[test]
#[should_panic(expected = "a source blocks: set O_NONBLOCK before inserting it")]
fn a_blocking_source_is_found_when_it_is_inserted() {
    let (end, _far) = End::pair(1);
    end.stream.set_nonblocking(false).unwrap();
    let _ = reactor().insert(end);
}

#[test]
#[should_panic(expected = "a source blocks: set O_NONBLOCK before inserting it")]
fn a_blocking_source_is_found_when_a_handler_inserts_it() {
    let (end, _far) = End::ready(1);
    let (blocking, _far) = End::pair(2);
    blocking.stream.set_nonblocking(false).unwrap();
    let mut blocking = Some(blocking);
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        end.drain(readiness);
        if let Some(blocking) = blocking.take() {
            context.insert(blocking);
        }
        Next::Wait
    });
    let mut reactor = reactor();
    reactor.insert(end).unwrap();
    stop_after(&reactor, HANGS);
    let _ = reactor.run(&mut script);
}

/// Without the check the loop would sleep without end, with a byte to read.
#[test]
#[should_panic(expected = "a handler returned Next::Wait and left its source readable")]
fn a_handler_that_waits_before_it_has_read_everything_is_found() {
    let (mut reactor, _, _far) = with_two_bytes(|_| ());
    stop_after(&reactor, HANGS);
    let _ = reactor.run(&mut Script::new(read_one));
}

/// The source stays writable from the start, so no writable event comes either.
#[test]
#[should_panic(expected = "a handler returned Next::Wait and left its source readable")]
fn a_handler_that_waits_for_both_directions_is_found_too() {
    let both = Interest::READABLE.add(Interest::WRITABLE);
    let (mut reactor, _, _far) = with_two_bytes(|end| end.interest = both);
    stop_after(&reactor, HANGS);
    let _ = reactor.run(&mut Script::new(read_one));
}

#[test]
fn a_handler_that_reads_everything_without_clearing_the_readiness_passes() {
    let (mut reactor, _, _far) = with_two_bytes(|_| ());
    stop_after(&reactor, ASLEEP);
    let mut script =
        Script::new(|end: &mut End, _: &mut Readiness, _: &mut SourceContext<'_, End>| {
            assert_eq!(end.stream.read(&mut [0; 2]).unwrap(), 2);
            Next::Wait
        });
    reactor.run(&mut script).unwrap();
}

/// A stream that owes an echo does this: it reads again after it has written.
#[test]
fn a_source_that_waits_to_write_may_be_left_readable() {
    let both = Interest::READABLE.add(Interest::WRITABLE);
    let (mut reactor, _, _far) = with_two_bytes(|end| end.interest = both);
    stop_after(&reactor, ASLEEP);
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        readiness.clear_writable();
        read_one(end, readiness, context)
    });
    reactor.run(&mut script).unwrap();
}

#[test]
fn a_source_that_may_rest_and_one_with_a_deadline_may_be_left_readable() {
    let (mut reactor, _, _far) = with_two_bytes(|end| end.may_rest = true);
    stop_after(&reactor, ASLEEP);
    reactor.run(&mut Script::new(read_one)).unwrap();

    let (mut reactor, _, _far) = with_two_bytes(|_| ());
    let mut script = Script::new(read_one);
    script.deadlines = vec![Instant::now(); 3];
    (0..3).for_each(|_| turn(&mut reactor, &mut script));
}

#[test]
fn a_source_that_was_left_readable_and_is_gone_is_forgotten() {
    let (mut reactor, _, far) = with_two_bytes(|_| ());
    let (other, _other_far) = End::ready(2);
    reactor.insert(other).unwrap();
    stop_after(&reactor, ASLEEP);
    let mut slices = 0;
    let mut script = Script::new(|end: &mut End, readiness: &mut Readiness, context| {
        slices += 1;
        match end.name {
            1 if slices > 2 => Next::Close,
            1 => {
                context.wake(context.key());
                read_one(end, readiness, context)
            }
            _ => {
                end.drain(readiness);
                Next::Wait
            }
        }
    });
    reactor.run(&mut script).unwrap();
    drop(far);
}
